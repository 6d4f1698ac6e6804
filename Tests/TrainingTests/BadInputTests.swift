import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing
import Training

/// Whatever is wrong, two ranks end within seconds with the right exit code, and one line says what it is.
@Suite struct BadInputTests {
    let scratch = ScratchFolder()

    /// Runs the program on two ranks, without mpirun's own messages, and checks how it ends.
    private func check(_ kind: Failure.Kind, _ words: [String], _ arguments: [String]) throws {
        let job = try mpirun(ranks: 2, program: "densenet", arguments: arguments, quiet: true)
        #expect(job.status == kind.rawValue, "\(job.errors)")
        // A run does without what it keeps for people alone, and says so.
        let lines = job.errors.lines.filter { !$0.contains("; training continues without") }
        #expect(lines.count == 1 && lines[0].hasPrefix("densenet: "), "\(job.errors)")
        for word in words { #expect(job.errors.contains(word)) }
    }

    @Test(arguments: BadInput.usage + BadInput.images + BadInput.weights)
    func `what cannot be done is refused before a run folder is created`(input: BadInput) throws {
        try check(input.kind, input.words, input.arguments(scratch))
        #expect(!FileManager.default.fileExists(atPath: scratch("run")))
    }

    @Test(arguments: BadInput.folders) func `an impossible run is ended`(input: BadInput) throws {
        try check(input.kind, input.words, input.arguments(scratch))
    }

    @Test func `a run folder in use is refused`() throws {
        let holder = try RunFolder(path: scratch("run"), resuming: false)
        try withExtendedLifetime(holder) {
            try check(.unavailable, ["\(scratch("run")) is in use by process \(getpid()) on "], BadInput.small(scratch))
        }
    }

    /// Whether this process may mount a file system.
    private static let canMount: Bool = {
        let scratch = ScratchFolder()
        guard (try? run("mount", ["-t", "tmpfs", "tmpfs", scratch.path]).status) == 0 else { return false }
        return (try? run("umount", [scratch.path]).status) == 0
    }()

    @Test(.enabled(if: canMount)) func `a disk that fills up ends a run, which can be resumed once there is space`()
        throws
    {
        let whole = try train(smallRun + ["--epochs", "4"], out: scratch("whole"), ranks: 2)
        try FileManager.default.createDirectory(atPath: scratch("disk"), withIntermediateDirectories: true)
        try #require(run("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", scratch("disk")]).status == 0)
        defer { _ = try? run("umount", ["-l", scratch("disk")]) }
        let path = scratch("disk/run")
        try check(
            .unavailable, [path, "No space left on device"], ["train", "--out", path] + smallRun + ["--epochs", "4"])
        try #require(run("mount", ["-o", "remount,size=4m", scratch("disk")]).status == 0)
        let resumed = try resume(path, ranks: 2)
        #expect(resumed.weights == whole.weights && resumed.results == whole.results)
    }
}
