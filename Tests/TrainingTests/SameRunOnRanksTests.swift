import TestSupport
import Testing

/// A run is a function of its options: neither the number of ranks nor the time of day changes its result.
@Suite struct SameRunOnRanksTests {
    let scratch = ScratchFolder()

    /// 65 images make a last batch of one image, so that most ranks have none; so do 33 in the evaluation.
    private func run(_ name: String, ranks: Int, _ options: [String] = []) throws -> FinishedRun {
        try train(Self.options + options, out: scratch(name), ranks: ranks)
    }

    private static let options =
        smallNetwork + ["--limit-train", "65", "--limit-test", "33", "--batch-size", "16", "--seed", "3"]

    @Test
    func `one, two and four ranks learn the same from augmented images, and two runs on two ranks exactly the same`()
        throws
    {
        let options = ["--augment", "crop,flip,jitter,cutout", "--epochs", "5", "--steps", "20", "--ema", "0.9"]
        let one = try run("one", ranks: 1, options)
        let two = try run("two", ranks: 2, options)
        let again = try run("again", ranks: 2, options)
        let four = try run("four", ranks: 4, options)
        #expect(one.epochs.map(\.epoch) == [1, 2, 3, 4])
        #expect(two.lossDifference(to: one) <= 1e-4)
        #expect(four.lossDifference(to: one) <= 1e-4)
        #expect(again.weights == two.weights && again.averages == two.averages && two.averages != nil)
        #expect(again.results == two.results)
        #expect(
            two.weights != one.weights, "sums over ranks round in another order; equal bytes mean that the two were one"
        )
    }

    /// Where Open MPI is to keep shared memory has no room for it, as `/dev/shm` of a container may not.
    @Test func `without room for shared memory ranks exchange messages, say so and learn exactly the same`() throws {
        let options = ["--epochs", "2", "--no-decay-norm", "--ema", "0.9"]
        let shared = try run("shared", ranks: 3, options)
        let job = try densenet(
            ["train", "--out", scratch("messages")] + Self.options + options, ranks: 3,
            environment: ["OMPI_MCA_osc_sm_backing_directory": "/proc"])
        #expect(job.status == 0, "\(job.output)\(job.errors)")
        #expect(
            job.errors.lines.filter { $0.hasPrefix("densenet:") } == [
                "densenet: the ranks exchange gradients by messages, not in shared memory: /proc of a host has 0 MiB left, 1 are "
                    + "needed (for a container: docker run --shm-size)"
            ], "\(job.errors)")
        let messages = try FinishedRun(path: scratch("messages"))
        #expect(messages.weights == shared.weights && messages.results == shared.results)
        #expect(messages.averages == shared.averages && shared.averages != nil)
    }

    @Test func `any number of threads learns exactly the same`() throws {
        let runs = try ["1", "2", "3"].map {
            try run($0, ranks: 1, ["--epochs", "2", "--ema", "0.9", "--threads", $0])
        }
        for other in runs[1...] {
            #expect(other.weights == runs[0].weights && other.results == runs[0].results)
            #expect(other.averages == runs[0].averages && other.averages != nil)
        }
    }

    @Test func `a different seed gives a different run`() throws {
        let runs = try ["1", "2"].map { try train(smallRun + ["--steps", "1", "--seed", $0], out: scratch($0)) }
        #expect(runs[0].weights != runs[1].weights)
        #expect(runs[0].lossDifference(to: runs[1]) > 1e-3)
    }

    @Test func `dropout drops the same elements on any number of ranks`() throws {
        let one = try run("one", ranks: 1, ["--dropout", "0.2", "--epochs", "2"])
        let two = try run("two", ranks: 2, ["--dropout", "0.2", "--epochs", "2"])
        let without = try run("without", ranks: 1, ["--epochs", "2"])
        #expect(two.lossDifference(to: one) <= 1e-4)
        #expect(without.lossDifference(to: one) > 1e-3)
    }

    @Test func `label smoothing is the same on any number of ranks`() throws {
        let one = try run("one", ranks: 1, ["--label-smoothing", "0.1", "--epochs", "2"])
        let two = try run("two", ranks: 2, ["--label-smoothing", "0.1", "--epochs", "2"])
        #expect(two.lossDifference(to: one) <= 1e-4)
    }
}
