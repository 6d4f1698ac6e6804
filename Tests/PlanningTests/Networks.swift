import DenseNetModel
import Planning

/// A network of each kind, and small.
let networks = [
    small(.cifar, [2, 1, 2], bottleneck: false), small(.cifar, [2, 2], bottleneck: true),
    small(.imagenet, [1, 2], bottleneck: true),
]

private func small(_ stem: DenseNetConfiguration.Stem, _ blocks: [Int], bottleneck: Bool) -> DenseNetConfiguration {
    DenseNetConfiguration(
        stem: stem, blocks: blocks, growthRate: 4, stemChannels: 8, bottleneck: bottleneck,
        compression: bottleneck ? 0.5 : 1, classes: 4, image: stem == .cifar ? 8 : 35)
}

func stepSchedule(_ network: DenseNetConfiguration) -> StepSchedule { StepSchedule(ParameterTable(network)) }

func stepSchedule(of model: String) throws -> StepSchedule { stepSchedule(try DenseNetConfiguration(model: model)) }

/// A profile whose steps take a fixed part and a part an image, without differences between ranks unless `spread` is
/// above 0: then each part takes its time and up to so much more of it.
func linearProfile(
    _ schedule: StepSchedule, fixed: Double = 0, perImage: Double = 0.01, spread: Double = 0
) -> ComputeProfile {
    let parts = Double(schedule.events.count + 1)
    return ComputeProfile(
        [1, 64].map { images in
            let seconds = (fixed + perImage * Double(images)) / parts
            return ComputeProfile.Point(
                images: images,
                parts: (0...schedule.events.count).map { _ in
                    [seconds, seconds * (1 + spread / 2), seconds * (1 + spread)]
                })
        })
}

/// A model of ranks that compute as fast beside each other as alone.
func stepModel(_ schedule: StepSchedule, _ machine: Machine = .assumed, profile own: ComputeProfile? = nil) -> StepModel
{
    let profile = own ?? linearProfile(schedule)
    return StepModel(schedule: schedule, machine: machine, alone: profile, full: profile, fullRanks: 16)
}
