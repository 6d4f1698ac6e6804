import FoundationEssentials
import Glibc
import ImageData
import Pictures
import Support
import Training

/// The event files of a run that is at work: what this start adds to them.
package struct EventLog: Sendable {
    private let folder: EventFolder
    private let plan: EventPlan
    private let host: String
    private var points: StepPoints
    /// The file of this start; nil until something is written.
    private(set) var file: String?

    private static var now: Double { Date().timeIntervalSince1970 }

    /// - Parameters:
    ///   - path: of the run folder.
    ///   - step: the last step that is done, counted from 1 over the run; 0 for a run that begins.
    ///   - epoch: the last epoch that is done, likewise.
    ///   - host: this one's name.
    /// - Throws: as `EventFolder`.
    package init(ofRun path: String, plan: EventPlan, step: Int, epoch: Int, host: String) throws {
        folder = try EventFolder(path: EventFolder.path(ofRun: path), keepingStepsUpTo: step, epochsUpTo: epoch)
        self.plan = plan
        // A name's parts are separated by points and folders by strokes.
        self.host = host.replacing("/", with: "-")
        points = StepPoints(capacity: plan.pointsPerEpoch)
    }

    /// Writes what the files of the run do not have yet: its parameters, and its first images, augmented.
    ///
    /// - Throws: `Failure` where images cannot be read or the file not be written; also below.
    mutating func begin(
        _ configuration: RunConfiguration, images: ImageSet, normalization: Normalization
    ) throws {
        let now = Self.now
        var messages = Hyperparameters.atStart(configuration, in: folder, at: now)
        if !folder.tags.contains(EventTag.images) {
            let sheet = try Picture(sheetOf: images, configuration, normalization: normalization)
            messages.append(try EventMessage.picture(EventTag.images, sheet, step: 0, at: now))
        }
        try append(messages)
    }

    /// Keeps a step's numbers in memory until a checkpoint follows. Allocates nothing otherwise.
    mutating func add(_ step: StepMetrics) throws {
        points.add(step)
        if plan.endsPoint(step.step) { points.finishPoint(at: Self.now) }
        if plan.precedesCheckpoint(step.step) { try writePoints() }
    }

    /// Writes the steps that are in memory, also those that are no whole point.
    mutating func finishSteps() throws {
        points.finishPoint(at: Self.now)
        try writePoints()
    }

    private mutating func writePoints() throws {
        let messages = points.finished.map { EventMessage.scalars($0.scalars, step: $0.step, at: $0.time) }
        points.removeFinished()
        try append(messages)
    }

    /// Writes an epoch's numbers and, unless other epochs do, its confusion matrix.
    mutating func add(_ epoch: EpochMetrics, _ evaluation: Evaluation) throws {
        let now = Self.now
        let scalars = epoch.namedNumbers.map { (EventTag.epoch + $0.name, $0.value) }
        var messages = [EventMessage.scalars(scalars, step: epoch.epoch, at: now)]
        if plan.hasPicture(epoch.epoch) {
            messages.append(
                try EventMessage.picture(
                    EventTag.confusion, evaluation.confusionPicture(), step: epoch.epoch, at: now))
        }
        try append(messages)
    }

    /// Writes that all epochs are done.
    mutating func end() throws { try append(Hyperparameters.atEnd(in: folder, at: Self.now)) }

    /// Appends whole records at once, to a file that is made with the first of them.
    private mutating func append(_ messages: [ProtobufMessage]) throws {
        guard !messages.isEmpty else { return }
        let now = Self.now
        let path = file ?? folder.newFile(time: now, host: host, process: getpid())
        let all = (file == nil ? [EventMessage.version(at: now)] : []) + messages
        // Events are no part of a run's result, so a power failure may take the last of them.
        try LogFile.append(all.flatMap { EventRecord.bytes(of: $0.bytes) }, to: path, synchronizes: false)
        file = path
    }
}
