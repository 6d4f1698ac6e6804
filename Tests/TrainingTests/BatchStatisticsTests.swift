import TestSupport
import Testing

/// `--statistics-group` and `--no-sync-bn`, over real ranks.
@Suite struct BatchStatisticsTests {
    let scratch = ScratchFolder()

    private func run(_ name: String, ranks: Int = 1, _ options: [String]) throws -> FinishedRun {
        try train(
            smallNetwork + ["--limit-test", "33", "--epochs", "2", "--seed", "3"] + options, out: scratch(name),
            ranks: ranks)
    }

    /// 65 images make a last batch of 17 images: two groups of 8 and one of a single image.
    @Test func `groups are the same on one rank, on two that have different numbers of them, and on three`() throws {
        let options = ["--limit-train", "65", "--batch-size", "24"]
        let groups = options + ["--statistics-group", "8"]
        let one = try run("one", groups)
        let two = try run("two", ranks: 2, groups)
        let three = try run("three", ranks: 3, groups)
        #expect(two.lossDifference(to: one) <= 1e-4 && three.lossDifference(to: one) <= 1e-4)
        #expect(try run("whole", options).lossDifference(to: one) > 1e-3)
    }

    @Test func `a group of the whole batch on one rank is the batch, bit for bit`() throws {
        let options = ["--limit-train", "40", "--batch-size", "16"]
        let (whole, group) = (try run("whole", options), try run("group", options + ["--statistics-group", "16"]))
        #expect(group.tensors == whole.tensors && group.results == whole.results)
    }

    @Test func `ranks that do not synchronize batch norm compute what groups of their parts do`() throws {
        let options = ["--limit-train", "64", "--batch-size", "16"]
        let ranks = try run("ranks", ranks: 2, options + ["--no-sync-bn"])
        let groups = try run("groups", options + ["--statistics-group", "8"])
        #expect(ranks.lossDifference(to: groups) <= 1e-4)
        let (alone, whole) = (try run("alone", options + ["--no-sync-bn"]), try run("whole", options))
        #expect(alone.tensors == whole.tensors, "a rank that has all images has the whole batch")
    }

    @Test func `a run in groups that is resumed has the same bytes`() throws {
        let options = [
            "--limit-train", "64", "--batch-size", "16", "--statistics-group", "4", "--schedule", "constant",
        ]
        let whole = try run("whole", options)
        try train(
            smallNetwork + ["--limit-test", "33", "--epochs", "1", "--seed", "3"] + options, out: scratch("parts"))
        let job = try densenet(["train", "--resume", scratch("parts"), "--epochs", "2"])
        #expect(job.status == 0, "\(job.errors)")
        let parts = try FinishedRun(path: scratch("parts"))
        #expect(parts.weights == whole.weights && parts.results == whole.results)
    }

    @Test func `fewer groups than ranks are refused, with what would fit`() throws {
        let job = try densenet(["train", "--out", scratch("run")] + smallRun + ["--statistics-group", "16"], ranks: 2)
        #expect(job.status == 64, "\(job)")
        let words =
            "densenet: --batch-size 16 has fewer groups of --statistics-group 16, 1, than there are ranks, 2; each rank needs a "
            + "group in every step: use groups of 8 at most, or a --batch-size of 32 or more"
        #expect(job.errors.lines.filter { $0.hasPrefix("densenet:") } == [words[...]], "\(job.errors)")
        #expect(scratch.names.isEmpty)
    }
}
