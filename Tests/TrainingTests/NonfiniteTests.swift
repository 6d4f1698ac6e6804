import DenseNetModel
import FoundationEssentials
import ImageData
import Safetensors
import Support
import TestSupport
import Testing

@testable import Training

/// Nonfinite numbers end a run, or the step is skipped on all ranks without a trace.
@Suite struct NonfiniteTests {
    let scratch = ScratchFolder()

    // MARK: - Weights

    /// The small network's weights with a number put into one tensor.
    private func weights(_ tensor: String, _ number: Float) throws -> String {
        let network = try freshSmallNetwork()
        let parameter = try #require(
            (network.table.trainable + network.table.runningStatistics).first { $0.name == tensor })
        (tensor.contains("running_") ? network.runningStatistics : network.parameters)[
            parameter.offset + parameter.count / 2] = number
        try SafetensorsWriter.write(to: scratch("given"), tensors: WeightsFile.tensors(of: network))
        return scratch("given")
    }

    /// A run that must end with one line.
    private func line(_ options: [String], sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
        let job = try mpirun(
            ranks: 2, program: "densenet", arguments: ["train", "--out", scratch("run")] + options, quiet: true,
            timeout: 20)
        #expect(job.status == Failure.Kind.data.rawValue, "\(job.errors)", sourceLocation: sourceLocation)
        let lines = job.errors.lines
        #expect(lines.count == 1, "\(job.errors)", sourceLocation: sourceLocation)
        print(lines.joined(separator: "\n"))
        try FileManager.default.removeItem(atPath: scratch("run"))
        return String(lines.last ?? "")
    }

    @Test(arguments: [
        ("features.conv0.weight", Float.nan), ("features.denseblock1.denselayer1.norm2.bias", .infinity),
        ("features.transition1.conv.weight", -.infinity), ("features.denseblock2.denselayer1.conv2.weight", .nan),
        ("classifier.bias", .nan),
    ])
    func `a nonfinite weight is named, whether or not steps may be skipped`(_ tensor: String, _ number: Float)
        throws
    {
        for word in ["stop", "skip"] {
            let text = try line(smallRun + ["--init", weights(tensor, number), "--on-nonfinite", word])
            #expect(
                text.hasPrefix(
                    "densenet: epoch 1, step 1: \(tensor) is not finite on all ranks; there is no checkpoint yet; start anew "
                ))
        }
    }

    @Test func `a nonfinite running statistic never gets into a checkpoint`() throws {
        let text = try line(smallRun + ["--init", weights("features.norm5.running_var", .nan)])
        #expect(text.contains(": features.norm5.running_var is not finite on all ranks; there is no checkpoint yet; "))
    }

    @Test func `weights so large that products overflow are found where the overflow begins`() throws {
        let text = try line(smallRun + ["--init", weights("features.denseblock2.denselayer1.conv1.weight", 3e38)])
        #expect(text.contains("step 1: the output of features.denseblock2.denselayer1.conv"), "\(text)")
    }

    @Test func `divergence names the step and the checkpoint to go back to`() throws {
        let text = try line(smallRun + ["--epochs", "2", "--learning-rate", "1e30", "--checkpoint-steps", "1"])
        #expect(text.contains("epoch 1, step ") && text.contains(" is not finite on all ranks; "), "\(text)")
        #expect(text.contains("--learning-rate"))
    }

    // MARK: - One bad image

    /// Images in CIFAR-10's layout whose red is 0 except, if `bad`, in one image: its red becomes infinite when
    /// normalized by the smallest deviation in float32. If not `bad`, the first eight images are left out.
    private func images(_ name: String, bad: Bool) throws -> [String] {
        try SyntheticImages.write(to: scratch(name), train: 25, test: 8, seed: 1)
        let files = (1...5).map { "\(name)/data_batch_\($0).bin" }
        var records = try files.flatMap { file in
            let bytes = try scratch.read(file)
            return stride(from: 0, to: bytes.count, by: 3073).map { Array(bytes[$0..<$0 + 3073]) }
        }
        for index in records.indices {
            for pixel in 1...1024 { records[index][pixel] = bad && index == 5 ? UInt8(pixel % 7 * 40) : 0 }
        }
        if !bad { records.removeFirst(8) }
        // The first file has the remaining images.
        let rest = records.count - 12
        for (index, file) in files.enumerated() {
            let range = index == 0 ? 0..<rest : rest + 3 * index - 3..<rest + 3 * index
            _ = try scratch.write(Array(records[range].joined()), to: file)
        }
        var test = try scratch.read("\(name)/test_batch.bin")
        for start in stride(from: 0, to: test.count, by: 3073) { for pixel in 1...1024 { test[start + pixel] = 0 } }
        _ = try scratch.write(test, to: "\(name)/test_batch.bin")
        return smallNetwork.dropLast(2) + [
            "--data", scratch(name), "--mean", "0,0,0", "--std", "3e-39,0.5,0.5", "--augment", "none", "--no-shuffle",
            "--schedule",
            "constant", "--batch-size", "8", "--epochs", "1",
        ]
    }

    @Test func `an image that makes numbers infinite is located by rank and layer`() throws {
        let text = try line(images("bad", bad: true))
        #expect(
            text.hasPrefix(
                "densenet: epoch 1, step 1: the output of features.conv0 is not finite on rank 1; no weight was moved; to resume from "
                    + "the start without such steps: train --resume \(scratch("run")) --on-nonfinite skip; "), "\(text)"
        )
    }

    @Test func `an image that makes the numbers of its group infinite is located behind other groups too`() throws {
        let text = try line(images("bad", bad: true) + ["--statistics-group", "1"])
        #expect(
            text.contains(" step 1: the output of features.conv0 is not finite on rank 1; no weight was moved"),
            "\(text)")
    }

    @Test func `a skipped step leaves weights, momenta and statistics unchanged`() throws {
        let with = try images("bad", bad: true) + ["--ema", "0.9"]
        let without = try images("good", bad: false) + ["--ema", "0.9"]
        let arguments = ["train", "--out", scratch("skipped"), "--on-nonfinite", "skip"] + with
        let job = try mpirun(ranks: 2, program: "densenet", arguments: arguments, quiet: true)
        #expect(job.status == 0, "\(job.errors)")
        #expect(
            job.errors.lines == [
                "densenet: epoch 1, step 1: the output of features.conv0 is not finite on rank 1; the step is skipped, 1 so far"
            ])
        let skipped = try FinishedRun(path: scratch("skipped"))
        let never = try train(without, out: scratch("never"), ranks: 2)
        #expect(skipped.tensors == never.tensors)
        #expect(skipped.averageTensors == never.averageTensors && never.averages != nil)
        #expect(skipped.results == never.results)
        func momenta(_ path: String) throws -> [[Float]] {
            let file = try #require(try CheckpointFolder(path: path + "/checkpoints").newestValid()).checkpoint.file
            return try file.tensors.keys.sorted().filter { $0.hasPrefix("momentum.") }.map {
                try file.floats(named: $0)
            }
        }
        #expect(try momenta(skipped.path) == momenta(never.path))
    }

    @Test func `a run that stopped can be resumed with skip`() throws {
        let with = try images("bad", bad: true)
        let without = try images("good", bad: false)
        let stopped = try mpirun(
            ranks: 2, program: "densenet", arguments: ["train", "--out", scratch("run")] + with, quiet: true)
        #expect(stopped.status == 65)
        let resumed = try mpirun(
            ranks: 2, program: "densenet", arguments: ["train", "--resume", scratch("run"), "--on-nonfinite", "skip"],
            quiet: true)
        #expect(resumed.status == 0, "\(resumed.errors)")
        #expect(
            try FinishedRun(path: scratch("run")).tensors == train(without, out: scratch("never"), ranks: 2).tensors)
    }

    @Test func `an exponent of all ones is found at any position`() {
        let buffer = AlignedBuffer<Float>(count: 1037)
        for number in [Float.greatestFiniteMagnitude, -.greatestFiniteMagnitude, .leastNonzeroMagnitude, 0, -0.0] {
            buffer.elements.update(repeating: number)
            #expect(buffer.elements.allFinite)
        }
        for place in [0, 15, 16, 511, 1036] {
            for number in [Float.nan, .infinity, -.infinity, .signalingNaN] {
                buffer.elements.update(repeating: 1)
                buffer.elements[place] = number
                #expect(!buffer.elements.allFinite)
            }
        }
    }
}
