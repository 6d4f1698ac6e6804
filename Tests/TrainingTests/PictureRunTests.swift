import DenseNetModel
import FoundationEssentials
import Glibc
import ImageData
import Pictures
import Support
import TestSupport
import Testing
import Training

/// Training on a folder of pictures.
@Suite struct PictureRunTests {
    let scratch = ScratchFolder()
    private var data: String { scratch("data") }
    private static let network = ["--blocks", "1,1", "--growth-rate", "4", "--stem-channels", "4", "--image", "8"]
    private static let options = network + ["--batch-size", "8", "--epochs", "2", "--learning-rate", "0.05"]
    private static let classes = ["ant", "bee", "cat"]

    /// Pictures of random pixels with a colour of their class: `count` of each class to train on, half as many to test
    /// with.
    private func makePictures(
        count: Int = 8, in folder: String = "data", size: (Int) -> (height: Int, width: Int) = { _ in (8, 8) }
    ) throws {
        for (part, count) in [("train", count), ("test", count / 2)] {
            for (label, name) in Self.classes.enumerated() {
                try FileSystem.makeFolderAndParents(scratch("\(folder)/\(part)/\(name)"))
                for index in 0..<count {
                    let (height, width) = size(index)
                    let picture = Self.picture(label, index + (part == "test" ? 1000 : 0), height, width)
                    _ = try scratch.write(try picture.png, to: "\(folder)/\(part)/\(name)/\(10 + index).png")
                }
            }
        }
    }

    private static func picture(_ label: Int, _ number: Int, _ height: Int, _ width: Int) -> Picture {
        var random = CounterRandom(.synthetic, UInt64(label), UInt64(number))
        let planes = (0..<3 * height * width).map { i in
            UInt8(random.below(120) + (i / (height * width) == label ? 130 : 0))
        }
        return Picture(height: height, width: width, planes: planes)
    }

    // MARK: - The same as with records

    @Test func `weights from pictures as PNG files are those from the same pixels as records, byte for byte`() throws {
        try FileSystem.makeFolder(scratch("records"))
        var files = [[UInt8]](repeating: [], count: 6)
        for part in ["train", "test"] {
            for label in 0..<10 {
                try FileSystem.makeFolderAndParents(scratch("data/\(part)/\(label)"))
                for index in 0..<5 {
                    let picture = Self.picture(label % 3, label * 10 + index, 32, 32)
                    _ = try scratch.write(try picture.png, to: "data/\(part)/\(label)/\(index).png")
                    // In the order of the list, ten records in each file.
                    files[part == "test" ? 5 : label / 2] += [UInt8(label)] + picture.planes
                }
            }
        }
        for index in 0..<5 { _ = try scratch.write(files[index], to: "records/data_batch_\(index + 1).bin") }
        _ = try scratch.write(files[5], to: "records/test_batch.bin")
        let options = [
            "--blocks", "1,1", "--growth-rate", "4", "--stem-channels", "4", "--image", "32", "--batch-size", "16",
            "--epochs", "2",
        ]
        for augmentation in ["none", "crop,flip", "resized-crop,vertical-flip,erase"] {
            let both = try ["records", "data"].map { folder in
                try train(
                    options + ["--augment", augmentation, "--data", scratch(folder)],
                    out: scratch("\(folder)-\(augmentation)"))
            }
            #expect(both[0].tensors == both[1].tensors, "\(augmentation)")
            #expect(both[0].results == both[1].results, "\(augmentation)")
        }
    }

    @Test func `records and pictures of other sizes than the network's are resized`() throws {
        try makePictures { (5 + $0, 20 - $0) }
        let run = try train(Self.options + ["--data", data, "--image", "12"], out: scratch("run"))
        #expect(run.epochs.count == 2)
        let synthesized = try densenet(["synthesize", scratch("cifar"), "--train", "40", "--test", "10"])
        #expect(synthesized.status == 0, "\(synthesized.errors)")
        let records = try train(
            Self.options + ["--data", scratch("cifar"), "--image", "16"], out: scratch("records"))
        #expect(records.epochs.count == 2)
        let refused = try densenet(
            ["train", "--normalize", "pixel-mean", "--data", scratch("cifar")] + Self.options)
        #expect(refused.status == 64 && refused.errors.contains("--normalize pixel-mean"), "\(refused.errors)")
    }

    // MARK: - Ranks, and stopping

    private static let random = [
        "--augment", "resized-crop:0.3,flip,vertical-flip,jitter,erase,mixup,cutmix", "--ema", "0.9",
    ]

    @Test func `any number of ranks and loader threads sees the same pictures`() throws {
        try makePictures { (6 + $0 % 5, 9 + $0 % 3) }
        let options = Self.options + Self.random + ["--data", data]
        let one = try train(options, out: scratch("one"))
        for ranks in [2, 3] {
            let other = try train(options + ["--loader-threads", "3"], out: scratch("\(ranks)"), ranks: ranks)
            #expect(other.lossDifference(to: one) <= 1e-4, "\(ranks)")
        }
        let threads = try train(options + ["--loader-threads", "4"], out: scratch("threads"))
        #expect(threads.weights == one.weights)
    }

    @Test func `a run on pictures that is stopped resumes as if nothing had happened`() throws {
        try makePictures(count: 40)
        let options = Self.options + Self.random + ["--data", data, "--split", "0.2", "--epochs", "6"]
        let whole = try train(options, out: scratch("whole"), ranks: 2)
        let path = scratch("stopped")
        try withMPIJob(ranks: 2, program: "densenet", arguments: ["train", "--out", path] + options) { job in
            try job.wait(for: "an epoch's end") { job.output.contains("epoch 001") }
            kill(job.process, SIGUSR1)
            #expect(try job.wait(timeout: 60).status == 75)
        }
        let resumed = try resume(path, ranks: 2)
        #expect(resumed.weights == whole.weights && resumed.averages == whole.averages)
        #expect(resumed.results == whole.results)
    }

    // MARK: - Pictures that cannot be used

    @Test func `bad pictures are all listed before the first epoch, or left out`() throws {
        try makePictures()
        let good = try scratch.read("data/train/ant/10.png")
        _ = try scratch.write(Array(good.prefix(60)), to: "data/train/ant/20.png")
        _ = try scratch.write([], to: "data/train/bee/20.png")
        _ = try scratch.write(Array("hello".utf8), to: "data/test/cat/20.jpg")
        let options = ["--data", data] + Self.options
        let stopped = try densenet(["train", "--out", scratch("stopped")] + options, ranks: 2)
        let lines = stopped.errors.lines.filter { $0.hasPrefix("densenet: ") }
        #expect(stopped.status == 65 && lines.count == 4, "\(stopped.errors)")
        for name in ["train/ant/20.png", "train/bee/20.png", "test/cat/20.jpg"] {
            #expect(lines.filter { $0.hasPrefix("densenet: \(data)/\(name): ") }.count == 1, "\(stopped.errors)")
        }
        #expect(lines.last?.hasSuffix("leave them out with --on-bad-image skip") == true, "\(stopped.errors)")

        let skipping = try train(options + ["--on-bad-image", "skip"], out: scratch("skipping"), ranks: 2)
        for name in ["train/ant/20.png", "train/bee/20.png", "test/cat/20.jpg"] { unlink(scratch("data/\(name)")) }
        let without = try train(options, out: scratch("without"), ranks: 2)
        #expect(skipping.tensors == without.tensors && skipping.results == without.results)
    }

    @Test(arguments: ["stop", "skip"])
    func `a picture that is gone while a run trains ends it by name, or is left out`(action: String) throws {
        try makePictures(count: 40)
        let options =
            Self.options + ["--data", data, "--epochs", "100000", "--on-bad-image", action, "--out", scratch("run")]
        try withMPIJob(ranks: 2, program: "densenet", arguments: ["train"] + options, quiet: true) { job in
            try job.wait(for: "an epoch's end") { job.output.contains("epoch 001") }
            unlink(scratch("data/train/bee/30.png"))
            if action == "stop" {
                let result = try job.wait(timeout: 60)
                #expect(result.status == 66, "\(result.errors)")
                #expect(result.errors.contains("cannot read \(data)/train/bee/30.png: "), "\(result.errors)")
            } else {
                try job.wait(for: "the warning") { job.errors.contains("data/train/bee/30.png: ") }
                let epochs = try readMetrics(scratch("run")).count
                try job.wait(for: "more epochs") { (try? readMetrics(scratch("run")).count > epochs + 2) == true }
                kill(job.process, SIGUSR1)
                let result = try job.wait(timeout: 60)
                #expect(result.status == 75, "\(result.errors)")
                let warnings = result.errors.lines.filter { $0.contains("data/train/bee/30.png: ") }
                #expect(warnings.count == 1 && warnings[0].hasSuffix("; left out"), "\(result.errors)")
            }
        }
    }

    @Test func `a scan prints classes, sizes, duplicates and what cannot be used, alike on any number of ranks`() throws
    {
        try makePictures { (8 + $0, 20) }
        let good = try scratch.read("data/train/bee/12.png")
        _ = try scratch.write(good, to: "data/test/bee/copy.png")
        // A bomb: a hundred thousand pixels each way in 70 bytes.
        var bomb = Array(try scratch.read("data/train/ant/10.png").prefix(70))
        bomb.replaceSubrange(16..<24, with: [0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0])
        _ = try scratch.write(bomb, to: "data/train/cat/bomb.png")
        let jobs = try [1, 3].map { try densenet(["scan", data], ranks: $0) }
        for job in jobs {
            #expect(job.status == 65, "\(job.errors)")
            #expect(
                job.errors.lines.filter { $0.hasSuffix("1 picture cannot be used; mend or remove them") }.count == 1)
            #expect(job.output == jobs[0].output)
        }
        let lines = jobs[0].output.lines.map { $0.split(separator: " ").joined(separator: " ") }
        #expect(lines.contains("\(data): 3 classes, 25 pictures to train on, 13 to test with"), "\(lines)")
        #expect(lines.contains("bee 8 5") && lines.contains("height: 8 to 15 pixels, median 10"), "\(lines)")
        #expect(lines.contains("the same picture: train/bee/12.png and test/bee/copy.png"), "\(lines)")
        #expect(lines.contains { $0.hasPrefix("\(data)/train/cat/bomb.png: ") }, "\(lines)")
        unlink(scratch("data/train/cat/bomb.png"))
        struct Report: Decodable {
            let mean, std: [Float]
            let problems: [String]
        }
        let json = try densenet(["scan", data, "--json"], ranks: 2)
        let report = try JSONDecoder().decode(Report.self, from: Data(json.output.utf8))
        #expect(json.status == 0 && report.problems.isEmpty && report.mean.count == 3, "\(json.errors)")
        // The pictures' own normalization.
        let run = try train(["--data", data] + Self.options, out: scratch("run"))
        let text = String(decoding: run.weights, as: UTF8.self)
        #expect(text.contains("\(report.mean[0])"), "\(report.mean)")
    }

    @Test func `a folder that may not be read ends a scan by name, and a file that may not is a bad picture`() throws {
        try makePictures()
        chmod(scratch.path, 0o755)
        /// As another user where this is root, who may read everything.
        func scan() throws -> ProgramResult {
            let program = try builtExecutable(named: "densenet")
            guard getuid() == 0 else { return try densenet(["scan", data]) }
            let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"]
            return try run("setpriv", user + [program, "scan", data], timeout: 60)
        }
        #expect(try scan().status == 0)
        chmod(scratch("data/train/bee/10.png"), 0)
        let file = try scan()
        #expect(file.status == 65, "\(file)")
        #expect(file.output.contains("cannot read \(data)/train/bee/10.png: Permission denied"), "\(file)")
        chmod(scratch("data/train/bee"), 0)
        let folder = try scan()
        chmod(scratch("data/train/bee"), 0o755)
        #expect(folder.status == 66, "\(folder)")
        #expect(folder.errors.lines.count { $0.hasPrefix("densenet: ") } == 1, "\(folder)")
        #expect(folder.errors.contains("cannot read \(data)/train/bee: Permission denied"), "\(folder)")
    }

    @Test func `an evaluation leaves bad pictures out by name, or ends with the first`() throws {
        try makePictures()
        try train(["--data", data] + Self.options, out: scratch("run"))
        for name in ["cat/10.png", "ant/13.png"] { _ = try scratch.write([1], to: "data/test/\(name)") }
        let weights = ["evaluate", "--weights", scratch("run"), "--data", data, "--batch-size", "5"]
        let stopped = try densenet(weights, ranks: 2)
        #expect(stopped.status == 65 && stopped.errors.contains("data/test/"), "\(stopped.errors)")
        for ranks in [1, 3] {
            let job = try densenet(weights + ["--on-bad-image", "skip", "--tta", "flip"], ranks: ranks)
            #expect(job.status == 0 && job.output.contains(" of 3)") && job.output.contains(" of 4)"), "\(job.errors)")
            for name in ["cat/10.png", "ant/13.png"] {
                let lines = job.errors.lines.filter { $0.contains("data/test/\(name): ") && $0.hasSuffix("; left out") }
                #expect(lines.count == 1, "\(job.errors)")
            }
        }
    }

    // MARK: - The cache

    @Test func `pictures of the network's size give the same weights from any cache, and a folder's is used again`()
        throws
    {
        try makePictures { (8, 8 + $0) }
        let options = Self.options + ["--augment", "crop,flip", "--data", data]
        let none = try train(options, out: scratch("none"))
        for (name, ranks) in [("ram", 1), (scratch("cache"), 1), (scratch("cache"), 3)] {
            let path = scratch("\(ranks)-\(name.split(separator: "/").last!)")
            let job = try densenet(["train", "--out", path, "--cache", name] + options, ranks: ranks)
            #expect(job.status == 0, "\(job.errors)")
            let isFirst = ranks == 1
            #expect(job.errors.contains("decoding 24 pictures into ") == isFirst, "\(job.errors)")
            let run = try FinishedRun(path: path)
            #expect(ranks > 1 ? run.lossDifference(to: none) <= 1e-4 : run.tensors == none.tensors, "\(name)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch("cache")).count == 2)
        let memory = try FileManager.default.contentsOfDirectory(atPath: "/dev/shm")
        #expect(memory.allSatisfy { !$0.contains("pictures-") }, "\(memory)")
    }

    @Test func `a run that is killed while it decodes leaves a whole cache or none`() throws {
        try makePictures(count: 120) { _ in (40, 50) }
        let options = ["train", "--data", data, "--cache", scratch("cache")] + Self.options
        let whole = 3 * 8 * 10 * 3
        for delay in [0, 3, 10, 30, 100, 200] {
            try withMPIJob(ranks: 2, program: "densenet", arguments: options + ["--out", scratch("\(delay)")]) { job in
                try job.wait(for: "the cache") { (try? scratchNames("cache").isEmpty) == false }
                usleep(useconds_t(delay * 1000))
                for rank in processes(naming: scratch.path, program: "densenet") { kill(rank, SIGKILL) }
                _ = try job.wait(timeout: 60)
            }
            for name in try scratchNames("cache") where name.hasSuffix(".cache") {
                let size = try scratch.read("cache/\(name)").count
                #expect(size == whole * 120 || size == whole * 60, "\(name): \(size)")
            }
        }
        let job = try densenet(options + ["--out", scratch("last")])
        #expect(job.status == 0, "\(job.errors)")
    }

    private func scratchNames(_ folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: scratch(folder))
    }

    // MARK: - Ranks with other files

    @Test func `ranks with other pictures are refused, and those with the same at other times are not`() throws {
        try makePictures()
        try FileManager.default.copyItem(atPath: data, toPath: scratch("copy"))
        for (part, name) in [("train", "ant"), ("test", "cat")] {
            for file in try scratchNames("copy/\(part)/\(name)") {
                utimes(scratch("copy/\(part)/\(name)/\(file)"), [timeval(), timeval()])
            }
        }
        func job() throws -> ProgramResult {
            let options = Self.options + ["--out", scratch("run-\(UInt32.random(in: 0...9999))")]
            let command = """
                data="\(scratch("copy"))"
                [ "$OMPI_COMM_WORLD_RANK" != 0 ] || data="\(data)"
                exec "$0" train --data "$data" "$@"
                """
            return try run(
                "mpirun",
                ["--allow-run-as-root", "--oversubscribe", "-q", "-n", "2", "sh", "-c", command]
                    + [try builtExecutable(named: "densenet")] + options, timeout: 60)
        }
        let same = try job()
        #expect(same.status == 0, "\(same.errors)")
        // The same size, another byte.
        var picture = try scratch.read("copy/train/ant/10.png")
        picture[picture.count - 1] ^= 1
        _ = try scratch.write(picture, to: "copy/train/ant/10.png")
        let changed = try job()
        #expect(changed.status == 65 && changed.errors.contains("ranks disagree on the pictures"), "\(changed.errors)")
        unlink(scratch("copy/train/ant/10.png"))
        let fewer = try job()
        #expect(
            fewer.status == 65 && fewer.errors.contains("ranks disagree on the list of pictures: 24 pictures"),
            "\(fewer.errors)")
    }
}
