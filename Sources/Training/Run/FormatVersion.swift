import DenseNetModel
import Support

/// The version of what a run writes for itself and reads again: config.json and checkpoints.
///
/// It grows when an older program would misunderstand a file, and a file has the lowest that fits it: 2 where the run
/// averages its weights, or has a `normMomentum`, an image schedule or batch statistics of its own, and 3 where its
/// classes have weights, it may end early or its best epoch is not that of the best accuracy, which older programs would resume without. Files without a version are from before there were any, and like those of version 1.
enum FormatVersion {
    static let first = 1
    static let current = 3

    /// The version of a run's files.
    static func needed(by run: RunConfiguration) -> Int {
        let isAsEver =
            run.averageDecay == nil && run.normMomentum == TrainableDenseNet.defaultNormMomentum
            && run.imageSchedule == nil && run.statistics == .globalBatch
        guard run.classWeights == nil, run.earlyStop == nil, run.bestBy == .accuracy else { return current }
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
