import DenseNetModel
import Support

/// The version of what a run writes for itself and reads again: config.json and checkpoints.
///
/// It grows when an older program would misunderstand a file, and a file has the lowest that fits it: 2 where the run
/// averages its weights, or has a `normMomentum`, an image schedule or batch statistics of its own, 3 where parts of
/// the network are frozen or have learning rates of their own, test images have another size, images are grey, classes
/// have weights, it may end early, or its best epoch is not that of the best accuracy. Older programs would resume without. Files without
/// a version are from before there were any, and like those of version 1.
enum FormatVersion {
    static let first = 1
    static let current = 3

    /// The version of a run's files.
    static func needed(by run: RunConfiguration) -> Int {
        let learnsAlike =
            run.fineTuning.freeze == nil && run.fineTuning.learningRateOf == nil && run.classWeights == nil
        let isJudgedAlike =
            run.network.imageChannels == 3 && run.testImage == nil && run.earlyStop == nil && run.bestBy == .accuracy
        guard learnsAlike, isJudgedAlike else { return current }
        let isAsEver =
            run.averageDecay == nil && run.normMomentum == TrainableDenseNet.defaultNormMomentum
            && run.imageSchedule == nil && run.statistics == .globalBatch
        return isAsEver ? first : 2
    }

    /// - Throws: `Failure(.data)` for a file of a newer program.
    static func check(_ found: Int?, of path: String) throws {
        guard let found, found > current else { return }
        throw Failure(
            .data,
            "\(path): has format version \(found), this program reads up to \(current); use the program that wrote it, or a newer one"
        )
    }
}
