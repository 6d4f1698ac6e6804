import Support
import Training

/// What TensorBoard's HParams plugin reads: a run is an experiment with one session.
enum Hyperparameters {
    private static let plugin = "hparams"
    private static let experimentTag = "_hparams_/experiment"
    private static let startTag = "_hparams_/session_start_info"
    private static let endTag = "_hparams_/session_end_info"
    /// Columns of its table beside the parameters.
    private static let metrics = ["test_accuracy", "test_loss", "train_accuracy", "train_loss"]

    /// All that decides the result. The names are the same for every run, since the plugin hides a run that lacks one
    /// of another's.
    private static func values(of run: RunConfiguration) -> [NamedValue] {
        [NamedValue("data", run.data.path ?? "synthetic")]
            + NamedValue.all(of: run, except: ["version", "path", "files", "faults"])
    }

    /// What the files of a run do not have yet.
    static func atStart(_ run: RunConfiguration, in folder: EventFolder, at time: Double) -> [ProtobufMessage] {
        let values = values(of: run)
        return [
            (experimentTag, 2, experiment(values, at: time)), (startTag, 3, sessionStart(values, at: time)),
        ].compactMap { message($0, $1, $2, in: folder, at: time) }
    }

    /// Likewise, once all epochs are done.
    static func atEnd(in folder: EventFolder, at time: Double) -> [ProtobufMessage] {
        var end = ProtobufMessage()
        // Success.
        end.add(1, 1)
        end.add(2, time)
        return [message(endTag, 4, end, in: folder, at: time)].compactMap(\.self)
    }

    private static func message(
        _ tag: String, _ field: Int, _ content: ProtobufMessage, in folder: EventFolder, at time: Double
    ) -> ProtobufMessage? {
        guard !folder.tags.contains(tag) else { return nil }
        var data = ProtobufMessage()
        data.add(field, content)
        return EventMessage.plugin(plugin, tag, content: data, at: time)
    }

    private static func experiment(_ values: [NamedValue], at time: Double) -> ProtobufMessage {
        var experiment = ProtobufMessage()
        experiment.add(3, time)
        for value in values {
            experiment.add(4) {
                $0.add(1, name(value))
                $0.add(4, value.kind.dataType)
            }
        }
        for metric in metrics {
            experiment.add(5) { $0.add(1) { $0.add(2, EventTag.epoch + metric) } }
        }
        return experiment
    }

    private static func sessionStart(_ values: [NamedValue], at time: Double) -> ProtobufMessage {
        var session = ProtobufMessage()
        for value in values {
            session.add(1) {
                $0.add(1, name(value))
                $0.add(2) { $0.add(value) }
            }
        }
        session.add(5, time)
        return session
    }

    /// Without a message's backticks.
    private static func name(_ value: NamedValue) -> String { value.name.replacing("`", with: "") }
}

extension NamedValue.Kind {
    /// As `api.proto` numbers them.
    fileprivate var dataType: Int {
        switch self {
        case .text: 1
        case .truth: 2
        case .number: 3
        }
    }
}

extension ProtobufMessage {
    /// Adds a value to a `google.protobuf.Value`.
    fileprivate mutating func add(_ value: NamedValue) {
        switch value.kind {
        case .text: add(3, value.value)
        case .truth: add(4, value.value == "true" ? 1 : 0)
        case .number: add(2, Double(value.value) ?? .nan)
        }
    }
}
