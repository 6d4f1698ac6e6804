import FoundationEssentials
import Glibc
import TestSupport
import Testing

/// A run's use of resources does not grow after its first epoch, at whose end some code runs for the first time.
@Suite struct LongRunTests {
    let scratch = ScratchFolder()
    private static let (steps, stepsPerEpoch) = (2000, 500)

    /// A process's resources according to the kernel.
    private struct Usage {
        /// Resident memory in KiB.
        let memory: Int
        let descriptors: Int

        /// Nil if the process has ended.
        init?(of process: pid_t) {
            guard let status = try? String(contentsOf: URL(filePath: "/proc/\(process)/status"), encoding: .utf8),
                let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }),
                let memory = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) }),
                let files = try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd")
            else { return nil }
            self.memory = memory
            descriptors = files.count
        }
    }

    @Test func `two thousand steps with forty checkpoints leak no memory and no files`() throws {
        let path = scratch("run")
        let arguments =
            ["train", "--out", path] + smallNetwork + [
                "--limit-train", "\(16 * Self.stepsPerEpoch)", "--limit-test", "64",
                "--batch-size", "16", "--epochs", "9", "--steps", "\(Self.steps)", "--checkpoint-steps", "50",
                "--threads", "1",
            ]
        try withMPIJob(ranks: 2, program: "densenet", arguments: arguments) { job in
            try job.wait(for: "the second epoch", timeout: 120) { step(path) > Self.stepsPerEpoch }
            let ranks = processes(naming: path, program: "densenet")
            #expect(ranks.count == 2)
            var samples = ranks.map { _ in [Usage]() }
            while job.isRunning, step(path) < Self.steps - 50 {
                for (index, rank) in ranks.enumerated() {
                    if let usage = Usage(of: rank) { samples[index].append(usage) }
                }
                usleep(20_000)
            }
            let result = try job.wait(timeout: 60)
            #expect(result.status == 0, "\(result.output)\(result.errors)")
            for (rank, samples) in samples.enumerated() {
                let memory = samples.map(\.memory)
                let descriptors = samples.map(\.descriptors)
                let (first, last) = (try #require(memory.first), try #require(memory.last))
                print(
                    "rank \(rank): \(samples.count) samples, memory \(first) KiB first, \(memory.min()!) to \(memory.max()!), \(last) last; "
                        + "descriptors \(descriptors.first!) first, \(descriptors.max()!) at most, \(descriptors.last!) last"
                )
                #expect(samples.count > 20)
                if !isSanitized {
                    #expect(memory.allSatisfy { abs($0 - first) * 100 <= first }, "rank \(rank)")
                }
                // While a checkpoint is written, its file and its folder are open.
                #expect(descriptors.max()! <= descriptors.min()! + 2, "rank \(rank)")
            }
            print(result.output.lines.filter { $0.hasPrefix("checkpoints: ") }.joined())
        }
    }

    /// Steps completed, according to the newest checkpoint.
    private func step(_ path: String) -> Int {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path + "/checkpoints")) ?? []
        return names.compactMap { name in
            name.hasSuffix(".safetensors") ? name.dropLast(12).split(separator: "-").last.flatMap { Int($0) } : nil
        }.max() ?? 0
    }
}
