import FoundationEssentials
import TestSupport
import Testing

/// The package in `Examples`, brought up to date and run as a user of this package's libraries.
///
/// Its first build takes minutes of all cores, so it is left to whoever wants it, and to `.ci/run`.
@Suite(.serialized) struct ExamplesTests {
    private static let package = launchScript.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/Examples"

    /// Where SwiftPM puts the programs.
    private func build() throws -> String {
        let arguments = ["build", "--package-path", Self.package]
        let build = try run("swift", arguments, timeout: 580)
        #expect(build.status == 0 && !build.output.contains("warning:"), "\(build.output)\(build.errors)")
        let folder = try run("swift", arguments + ["--show-bin-path"], timeout: 60)
        return String(folder.output.prefix { $0 != "\n" })
    }

    private static var isBuilt: Bool { FileManager.default.fileExists(atPath: package + "/.build") }

    @Test(.enabled(if: isBuilt, "first: swift build --package-path Examples"))
    func `a network is trained on the program's own arrays over ranks, and weights from a file classify an image`()
        throws
    {
        let programs = try build()
        let scratch = ScratchFolder()
        func train(ranks: Int) throws -> [Double] {
            let result = try withJobSlot {
                try run(
                    "mpirun",
                    [
                        "--allow-run-as-root", "--oversubscribe", "-q", "-n", "\(ranks)", programs + "/own-loop",
                        scratch("own.safetensors"),
                    ], timeout: 120)
            }
            #expect(result.status == 0, "\(result.errors)")
            let lines = result.output.split(separator: "\n")
            #expect(lines.count == 4 && lines.last?.hasSuffix("accuracy 1.0") == true, "\(result.output)")
            return lines.compactMap { Double($0.split(separator: " ")[3].dropLast()) }
        }
        for (one, two) in zip(try train(ranks: 1), try train(ranks: 2)) { #expect(abs(one - two) < 1e-5) }

        let data = scratch("data")
        let out = scratch("run")
        let densenet = try builtExecutable(named: "densenet")
        #expect(try run(densenet, ["synthesize", data, "--train", "64", "--test", "16"]).status == 0)
        let options = ["--model", "densenet-bc-10-4", "--epochs", "1", "--batch-size", "16", "--data", data]
        #expect(try run(densenet, ["train", "--out", out] + options, timeout: 120).status == 0)
        let answer = try run(programs + "/classify", [out + "/weights.safetensors", data, "3"])
        let lines = answer.output.split(separator: "\n")
        #expect(answer.status == 0 && lines.count == 4, "\(answer.errors)")
        #expect(lines.last?.hasPrefix("labelled: ") == true, "\(answer.output)")
        let probabilities = lines.prefix(3).compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }
        #expect(probabilities.count == 3 && probabilities == probabilities.sorted(by: >), "\(answer.output)")
    }

    @Test(.enabled(if: isBuilt, "first: swift build --package-path Examples"))
    func `a classifier for pictures is trained on the features of given weights, alike over ranks`() throws {
        let programs = try build()
        let scratch = ScratchFolder()
        let weights =
            launchScript.split(separator: "/").dropLast().map { "/" + $0 }.joined()
            + "/Examples/cifar10-fast-4.safetensors"
        let made = try densenet(["synthesize", scratch("data"), "--pictures", "--train", "200", "--test", "80"])
        #expect(made.status == 0, "\(made.errors)")
        func tune(ranks: Int) throws -> [Double] {
            let result = try withJobSlot {
                try run(
                    "mpirun",
                    [
                        "--allow-run-as-root", "--oversubscribe", "-q", "-n", "\(ranks)", programs + "/fine-tune",
                        weights,
                        scratch("data"), scratch("tuned.safetensors"),
                    ], timeout: 240)
            }
            #expect(result.status == 0, "\(result.output)\(result.errors)")
            return result.output.split(separator: "\n").compactMap {
                $0.split(separator: " ").last.flatMap { Double($0) }
            }
        }
        let (one, two) = (try tune(ranks: 1), try tune(ranks: 2))
        #expect(one.count == 5 && one[4] > 0.5 && zip(one, two).allSatisfy { abs($0 - $1) < 0.05 }, "\(one) \(two)")
        let names = try densenet(
            ["predict", "--weights", scratch("tuned.safetensors"), scratch("data/test/disc/00008.png")])
        #expect(names.status == 0 && names.output.contains("disc"), "\(names.output)\(names.errors)")
    }
}
