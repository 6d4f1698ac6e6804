import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing
import Training

@Suite struct CheckpointKillTests {
    let scratch = ScratchFolder()
    private static let kills = 150

    /// The program's file system calls are slowed down, so that it spends nearly all its time in writes.
    @Test func `a process killed anywhere in a write leaves the last checkpoint or the one before intact`() throws {
        var random = CounterRandom(.synthetic, 7)
        var inWrite = 0
        var unsaid = 0
        for kill in 0..<Self.kills {
            let said = try stepSaidBeforeKill(after: UInt32(random.below(16_000)))
            // The current contents, before any cleanup.
            let temporaries = scratch.names.filter { $0.contains(".tmp-") }
            inWrite += temporaries.isEmpty ? 0 : 1
            for name in temporaries { unlink(scratch(name)) }
            guard let found = try CheckpointFolder(path: scratch.path).newestValid() else {
                #expect(said == 0, "kill \(kill): checkpoint \(said) is lost")
                continue
            }
            let step = found.checkpoint.position.step
            #expect(step == said || step == said + 1, "kill \(kill): \(said) was written, \(step) is there")
            #expect(found.warnings.isEmpty, "kill \(kill): \(found.warnings)")
            unsaid += step == said + 1 ? 1 : 0
            for name in found.checkpoint.file.tensors.keys {
                #expect(try found.checkpoint.file.floats(named: name).allSatisfy { $0 == Float(step) }, "kill \(kill)")
            }
        }
        print(
            "\(Self.kills) kills: \(inWrite) before the rename, \(unsaid) between the rename and the program's word, "
                + "\(Self.kills - inWrite - unsaid) elsewhere")
        #expect(inWrite > Self.kills / 3 && unsaid > 5, "too few kills hit a write: \(inWrite), \(unsaid)")
    }

    /// Starts the program, kills it some microseconds after its first output, and returns the last step that it
    /// reported as written.
    private func stepSaidBeforeKill(after delay: UInt32) throws -> Int {
        let program = try RunningProgram(builtExecutable(named: "CheckpointTestProgram"), [scratch.path])
        try program.wait(for: "its first word") { program.output.contains("\n") }
        usleep(delay)
        kill(program.process, SIGKILL)
        let result = try program.wait(timeout: 5)
        #expect(result.status == 128 + SIGKILL, "\(result.errors)")
        return try #require(result.output.lines.last.flatMap { Int($0) })
    }
}
