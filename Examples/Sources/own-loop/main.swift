// Trains a small DenseNet on arrays of this program, data-parallel over MPI ranks:
//
//     mpirun -n 2 own-loop WEIGHTS
import DataParallel
import DenseNetModel
import Glibc
import ImageData
import Training

/// Pictures of 16 × 16 pixels: a bright square on the left (class 0) or on the right (class 1).
func pictures(_ count: Int) -> (pixels: [UInt8], labels: [Int]) {
    let labels = (0..<count).map { ($0 * 7 / 3) % 2 }
    let pixels = labels.enumerated().flatMap { index, label in
        (0..<3 * 16 * 16).map { i -> UInt8 in
            let (x, y) = (i % 16, i / 16 % 16)
            let isInSquare = (2..<7).contains(x - label * 8) && (index % 9..<index % 9 + 6).contains(y)
            return isInSquare ? 200 : UInt8((index * 31 + i * 17) % 60)
        }
    }
    return (pixels, labels)
}

func report(_ failure: some Error) { print("own-loop: \(failure)") }

let code = MPIEnvironment.run(report: report) { world in
    let (pixels, labels) = pictures(256)
    let images = try ImageSet(
        pixels: pixels.span, labels: labels, height: 16, width: 16, classNames: ["left", "right"])
    let sampler = try Sampler(
        sampleCount: images.count, globalBatch: 32, worldSize: world.size, seed: 1, shuffle: true)
    let loader = try BatchLoader(images: images, sampler: sampler, rank: world.rank, normalization: .none, seed: 1)

    let configuration = try DenseNetConfiguration(model: "densenet-bc-10-4", classes: 2, image: 16)
    let network = try TrainableDenseNet(configuration, capacity: sampler.maximumLocalBatchSize(rank: world.rank))
    network.initialize(seed: 1)
    let step = try TrainingStep(network, seed: 1, communicator: world)

    for epoch in 1...4 {
        var sums = [0.0, 0.0]
        for _ in 0..<sampler.stepsPerEpoch {
            let result = try step(try loader.next(), rate: 0.05)
            sums = [sums[0] + result.lossSum, sums[1] + Double(result.correct)]
        }
        sums = try world.allReduceSum(sums).map { $0 / Double(images.count) }
        if world.rank == 0 { print("epoch \(epoch): loss \(sums[0]), accuracy \(sums[1])") }
    }
    if world.rank == 0, CommandLine.arguments.count > 1 { try WeightsFile.write(network, to: CommandLine.arguments[1]) }
}
exit(code)
