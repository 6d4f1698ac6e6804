import FoundationEssentials
import Reporting
import Support
import Training

/// What a run keeps for people: RUN/record.json as the next start reads it, and an event file as a resumed run cuts it.
struct RecordTarget: Target {
    let kinds: Set<Failure.Kind> = [.data]
    private let folder: String
    private let record: [UInt8]
    private let events: [UInt8]
    private var eventFile: String { folder + "/events/events.out.tfevents.0000000001.host.1.0" }

    init(_ folder: String) throws {
        self.folder = folder
        let text = """
            {"version":1,"model":"custom","parameters":1622,"starts":[{"program":"densenet","command":["train"],\
            "began":"2026-01-31T23:59:59Z","machine":{"ranks":2,"threads":1,"hosts":["a"],"processor":"CPU",\
            "vectorLevel":"v3","isBound":true}}],"data":{"name":"images","train":64,"test":32,"classes":["x","y"]},\
            "evaluation":{"epoch":1,"loss":0.8,"accuracy":0.7,"total":[16,16],"confusion":[[0,0,12],[0,1,4],[1,1,16]],\
            "mistakes":[{"index":17,"truth":0,"guess":1,"probability":0.99}],"auroc":[0.75,null]}}
            """
        record = Array(text.utf8)
        // One start's events.
        let log = try EventLog(ofRun: folder, plan: Self.plan, step: 0, epoch: 0, host: "host")
        let recorder = EventRecorder(log, report: { print($0) })
        for step in 1...6 {
            recorder.stepped(
                StepMetrics(
                    epoch: (step - 1) / 3 + 1, step: step, loss: 1, accuracy: 0.5, learningRate: 0.1, images: 8,
                    seconds: 0.1, dataWaitSeconds: 0))
        }
        let names = try FileSystem.names(inFolder: folder + "/events")
        events = try contents(of: "\(folder)/events/\(names[0])")
        FileSystem.remove("\(folder)/events/\(names[0])")
    }

    private static let plan = EventPlan(epochs: 2, stepsPerEpoch: 3)

    func run(_ mutator: Mutator) throws {
        var mutator = mutator
        var bytes = mutator.below(2) == 0 ? record : events
        let isRecord = bytes == record
        if mutator.number > 0 { mutator.damage(&bytes) }
        if isRecord {
            write(bytes, to: RunRecord.path(in: folder))
            _ = try RunRecord.read(from: folder)
        } else {
            write(bytes, to: eventFile)
            _ = try EventLog(
                ofRun: folder, plan: Self.plan, step: mutator.below(8), epoch: mutator.below(3), host: "host")
        }
    }
}
