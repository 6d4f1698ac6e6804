import FoundationEssentials
import Pictures
import Support
import TestSupport
import Testing
import Training

/// Training on grey pictures, `--channels 1`.
@Suite struct GreyRunTests {
    let scratch = ScratchFolder()
    private static let options = [
        "--blocks", "1,1", "--growth-rate", "4", "--stem-channels", "4", "--image", "32", "--batch-size", "16",
        "--epochs", "2", "--channels", "1", "--augment", "crop,flip,jitter,erase,mixup",
    ]

    /// The same random pixels as records, as pictures in colour and as pictures in grey.
    private func makeSets() throws {
        try FileSystem.makeFolder(scratch("records"))
        var files = [[UInt8]](repeating: [], count: 6)
        for part in ["train", "test"] {
            for label in 0..<10 {
                for folder in ["colour", "grey"] {
                    try FileSystem.makeFolderAndParents(scratch("\(folder)/\(part)/\(label)"))
                }
                for index in 0..<5 {
                    var random = CounterRandom(.synthetic, UInt64(label), UInt64(index), part == "test" ? 1 : 0)
                    let planes = (0..<3072).map { _ in UInt8(random.below(200) + 5 * label) }
                    let picture = Picture(height: 32, width: 32, planes: planes)
                    _ = try scratch.write(try picture.png, to: "colour/\(part)/\(label)/\(index).png")
                    _ = try scratch.write(try picture.grey.png, to: "grey/\(part)/\(label)/\(index).png")
                    files[part == "test" ? 5 : label / 2] += [UInt8(label)] + planes
                }
            }
        }
        for index in 0..<5 { _ = try scratch.write(files[index], to: "records/data_batch_\(index + 1).bin") }
        _ = try scratch.write(files[5], to: "records/test_batch.bin")
    }

    @Test func `records, pictures in colour and in grey, and a cache of them give the same weights, byte for byte`()
        throws
    {
        try makeSets()
        let runs = try [("records", "none"), ("colour", "none"), ("grey", "none"), ("grey", "ram")].map {
            folder, cache in
            try train(
                Self.options + ["--data", scratch(folder)] + (folder == "records" ? [] : ["--cache", cache]),
                out: scratch("run-\(folder)-\(cache)"))
        }
        for run in runs.dropFirst() {
            #expect(run.tensors == runs[0].tensors)
            #expect(run.results == runs[0].results)
        }
        let three = try train(Self.options + ["--data", scratch("grey")], out: scratch("three"), ranks: 3)
        #expect(three.lossDifference(to: runs[0]) <= 1e-4)
        // The network is a grey one wherever its weights go.
        let weights = ["--weights", scratch("three")]
        let answers = try ["colour", "grey"].map { folder in
            try densenet(["predict", scratch("\(folder)/test/3/0.png")] + weights)
        }
        #expect(answers[0].status == 0, "\(answers[0].errors)")
        #expect(answers[0].output.replacing("/colour/", with: "/grey/") == answers[1].output)
        let evaluation = try densenet(["evaluate", "--data", scratch("records")] + weights)
        #expect(evaluation.status == 0, "\(evaluation.errors)")
        let description = try densenet(["describe", "densenet-bc-22-12", "--channels", "1"])
        #expect(description.output.contains("from images of 1 × 32 × 32"), "\(description.output)")
    }

    @Test func `a grey run begins with a colour run's weights, and says so`() throws {
        try makeSets()
        let data = ["--data", scratch("grey"), "--epochs", "1"]
        try train(Self.options + data + ["--channels", "3"], out: scratch("colour-run"))
        let job = try densenet(
            ["train", "--init", scratch("colour-run/weights.safetensors"), "--out", scratch("run")] + Self.options
                + data)
        #expect(job.status == 0, "\(job.errors)")
        #expect(
            job.errors.contains(
                "its stem reads red, green and blue, this network grey; the weights of the three are added up"),
            "\(job.errors)")
        let refused = try densenet(["train", "--channels", "2"] + data)
        #expect(refused.status == 64 && refused.errors.contains("expected 1 for grey or 3 for red, green and blue"))
        let colours = try densenet(["train", "--mean", "0.5,0.5,0.5", "--std", "1,1,1"] + Self.options + data)
        #expect(
            colours.status == 64 && colours.errors.contains("expected a number for each channel"), "\(colours.errors)")
    }
}
