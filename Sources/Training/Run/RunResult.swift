import DenseNetModel

extension RunFolder {
    /// Writes what a run has come to: the weights and, where there is one, their average.
    ///
    /// - Parameter last: what the last epoch came to; nil for that of the log, since a run may be resumed behind it.
    /// - Throws: `Failure(.unavailable)` when the system refuses; what reading the log throws.
    func writeResult(
        of step: TrainingStep, _ configuration: RunConfiguration, data: RunData, after last: EpochMetrics?
    ) throws {
        let last = try last ?? MetricsLog(path: metrics).epochs().last
        func write(_ kind: TrainingSummary.Weights, to path: String) throws {
            var metadata = try data.weightsMetadata
            if let last {
                let summary = TrainingSummary(kind, configuration, trainImages: data.train.count, after: last)
                metadata.merge(try summary.metadata) { $1 }
            }
            try WeightsFile.write(step.network, to: path, metadata: metadata)
        }
        _ = try step.withAverage { try write(.averaged, to: averages) }
        // This one comes last: a run that has it is finished.
        try write(.trained, to: weights)
    }
}
