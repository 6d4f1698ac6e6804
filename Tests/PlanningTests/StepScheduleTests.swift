import DenseNetModel
import Planning
import TestSupport
import Testing

/// The schedule against what a network really asks for.
@Suite struct StepScheduleTests {
    /// Writes down what a network asks for.
    private final class Recorder: GlobalSums {
        var events: [StepSchedule.Event] = []
        func sum(_ values: UnsafeMutableBufferPointer<Double>) { events.append(.sum(values: values.count)) }
    }

    @Test(arguments: networks.indices)
    func `a network asks for the sums of its schedule, and finishes gradients as it says`(_ index: Int) throws {
        let network = try TrainableDenseNet(networks[index], capacity: 2)
        network.initialize(seed: 1)
        let size = networks[index].image
        let images = [Float](repeating: 0.5, count: 2 * 3 * size * size)
        let recorder = Recorder()
        try images.withUnsafeBufferPointer { images in
            let pass = try network.forward(images.baseAddress!, count: 2, globalCount: 2, sums: recorder)
            let forwardCount = recorder.events.count
            try pass.loss([0, 1]).backward { recorder.events.append(.ready(offset: $0)) }
            let schedule = stepSchedule(networks[index])
            #expect(recorder.events == schedule.events)
            #expect(schedule.forwardCount == forwardCount)
        }
    }

    @Test(arguments: networks.indices)
    func `without synchronized statistics only the running ones are summed, at the end, and the work is the same`(
        _ index: Int
    ) throws {
        let table = ParameterTable(networks[index])
        let (schedule, synchronized) = (StepSchedule(table, isSynchronized: false), StepSchedule(table))
        #expect(schedule.sums == [table.runningStatisticsCount] && schedule.forwardCount == 0)
        let ready = synchronized.events.filter { if case .ready = $0 { true } else { false } }
        #expect(schedule.events == ready + [.sum(values: table.runningStatisticsCount)])
        let (work, whole) = (schedule.work.reduce(0, +), synchronized.work.reduce(0, +))
        #expect(abs(work / whole - 1) < 1e-12)
    }

    @Test func `the work between the events is that of the network, once forward and twice back`() throws {
        for model in ["densenet-bc-100-12", "densenet-40-12", "densenet121"] {
            let configuration = try DenseNetConfiguration(model: model)
            let table = ParameterTable(configuration)
            let schedule = StepSchedule(table)
            let convolutions = table.convolutions.reduce(0.0) {
                $0 + Double($1.weight.count * $1.computedSize * $1.computedSize)
            }
            let whole = convolutions + Double(table.classifierWeight.count)
            #expect(abs(schedule.work.reduce(0, +) / (3 * whole) - 1) < 1e-9)
        }
        // Stem, 48 bottleneck layers and 2 transitions; both directions.
        #expect(try stepSchedule(of: "densenet-bc-100-12").sums.count == 2 * (1 + 2 * 48 + 2))
    }

    /// Where Open MPI is to keep shared memory in `/proc`, ranks have none and exchange messages.
    @Test(arguments: [(folder: String?.none, path: "shared memory"), ("/proc", "messages")])
    func `a real step over two ranks makes the calls that a plan counts, in that order`(
        _ folder: String?, _ path: String
    ) throws {
        let environment = folder.map { ["OMPI_MCA_osc_sm_backing_directory": $0 as String?] } ?? [:]
        let job = try mpirun(
            ranks: 2, program: "ScheduleTestProgram", arguments: [], environment: environment, timeout: 60)
        #expect(job.status == 0, "\(job.errors)")
        let agreeing = job.output.split(separator: "\n").count { $0.hasSuffix(" calls as planned, \(path)") }
        // Four networks, one of them in groups too, and twice with frozen features.
        #expect(agreeing == 7, "\(job.output)")
    }
}
