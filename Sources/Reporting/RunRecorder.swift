import Support
import Synchronization
import Training

/// Keeps a run's record while it trains, and writes its report and model card at the end. What cannot be written is
/// one warning; the run goes on.
package final class RunRecorder: RunObserver {
    private let program: String
    private let command: [String]
    private let report: @Sendable (String) -> Void
    private let state = Mutex(State())

    private struct State {
        var record: RunRecord?
        var path = ""
        var hasWarned = false
    }

    /// - Parameters:
    ///   - program: its name and version.
    ///   - command: its arguments.
    ///   - report: called with what could not be written.
    package init(program: String, command: [String], report: @escaping @Sendable (String) -> Void) {
        self.program = program
        self.command = command
        self.report = report
    }

    /// Takes note of the start.
    package func runBegins(_ run: TrainingRun) {
        var before: RunRecord?
        do { before = try RunRecord.read(from: run.path) } catch {
            report("\(error); the run has a new record from here on")
        }
        let start = RunRecord.Start(
            program: program, command: command, began: dateAndTime("%Y-%m-%dT%H:%M:%SZ", utc: true),
            machine: run.machine)
        var record = RunRecord(
            model: run.configuration.model, parameters: run.step.network.table.parameterCount,
            starts: (before?.starts ?? []) + [start],
            data: RunRecord.Images(
                name: run.configuration.data.name, train: run.data.train.count, test: run.data.test.count,
                classes: run.data.train.classNames ?? []),
            evaluation: before?.evaluation)
        let excess = record.starts.count - RunRecord.startLimit
        if excess > 0 { record.starts.removeSubrange(1...excess) }
        state.withLock { ($0.record, $0.path) = (record, run.path) }
        write()
    }

    /// Writes the epoch's confusion matrix and mistakes.
    package func epochEnded(_ metrics: EpochMetrics, _ evaluation: Evaluation) {
        state.withLock { $0.record?.evaluation = .init(epoch: metrics.epoch, evaluation) }
        write()
    }

    /// Writes `RUN/report.html` and `RUN/README.md`.
    package func runEnded(_ run: TrainingRun) {
        warnOnce {
            let reported = try ReportedRun(path: run.path, test: run.data.test)
            try ReportPage(runs: [reported]).write(to: reported.defaultReport)
            try ModelCard(reported).write()
        }
    }

    private func write() {
        let (record, path) = state.withLock { ($0.record, $0.path) }
        warnOnce { try record?.write(to: path) }
    }

    private func warnOnce(_ body: () throws -> Void) {
        do { try body() } catch {
            let isFirst = state.withLock { state in
                defer { state.hasWarned = true }
                return !state.hasWarned
            }
            if isFirst { report("\(error); training continues without") }
        }
    }
}
