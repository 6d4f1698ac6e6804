import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

/// `densenet fetch` as a user runs it, and `--data` with the name of what it has fetched.
@Suite struct FetchCommandTests {
    private let scratch = ScratchFolder()

    /// Runs densenet in the scratch folder.
    private func densenet(_ words: [String], before: String = "") throws -> ProgramResult {
        try run(
            "bash",
            ["-c", "cd '\(scratch.path)'; \(before) exec \"$0\" \"$@\"", try builtExecutable(named: "densenet")] + words
        )
    }

    private func fetch(_ archive: SmallArchive, _ options: [String] = []) throws -> ProgramResult {
        try densenet(["fetch", archive.name, "--from", "\(archive.name).tar.gz", "--md5", archive.md5] + options)
    }

    @Test(arguments: [("cifar10", "25 training and 5"), ("cifar100", "7 training and 3")])
    func `an archive brought by hand is unpacked below data, where its name finds it`(
        _ name: String, _ counts: String
    ) throws {
        let archive = try SmallArchive(name, in: scratch)
        let job = try fetch(archive)
        #expect(job.status == 0, "\(job)")
        #expect(job.output == "data/\(archive.folder): \(counts) test images, for --data \(name)\n")
        #expect(try contents(of: scratch("data/\(archive.folder)")) == archive.files(in: scratch))
        #expect(try scratch.read("\(name).tar.gz") == archive.bytes)

        let options = [
            "--blocks", "1", "--growth-rate", "2", "--stem-channels", "2", "--batch-size", "4", "--steps", "1",
        ]
        let training = try densenet(["train", "--data", name, "--out", "run"] + options)
        #expect(training.status == 0, "\(training)")
        let configuration = String(decoding: try scratch.read("run/config.json"), as: UTF8.self)
        #expect(configuration.contains("\"\(scratch("data/\(archive.folder)"))\""), "\(configuration)")
        for words in [["evaluate", "--weights", "run"], ["train", "--resume", "run"]] {
            let job = try densenet(words + ["--data", name])
            #expect(job.status == 0, "\(job)")
        }
    }

    @Test func `a data set that was not fetched is refused with the command that fetches it`() throws {
        let words = ["train", "--data", "cifar10", "--steps", "1"]
        let line =
            "densenet: --data cifar10: there is no data/cifar-10-batches-bin; fetch it with: ./launch.sh fetch cifar10"
        let job = try densenet(words)
        #expect(job.status == Failure.Kind.noInput.rawValue && job.errors == line + "\n", "\(job)")
        // A folder of that name is another matter.
        try FileSystem.makeFolder(scratch("cifar10"))
        #expect(try densenet(words).errors == "\(line); what is in the folder cifar10 is --data ./cifar10\n")
        let folder = try densenet(["train", "--data", "./cifar10", "--steps", "1"])
        #expect(folder.errors.hasPrefix("densenet: ./cifar10: has neither CIFAR-10"), "\(folder)")
        #expect(scratch.names == ["cifar10"])
    }

    @Test func `an archive of another sum is refused and stays, a missing one too`() throws {
        let archive = try SmallArchive("cifar10", in: scratch)
        let official = "c32a1d4ab5d03f1284b67883e8d87530"
        let job = try densenet(["fetch", "cifar10", "--from", "cifar10.tar.gz"])
        #expect(job.status == Failure.Kind.data.rawValue)
        #expect(
            job.errors
                == "densenet: cifar10.tar.gz: has the MD5 sum \(archive.md5), expected \(official) (--md5); it is damaged or "
                + "another file; fetch it again\n")
        #expect(try scratch.read("cifar10.tar.gz") == archive.bytes)
        let missing = try densenet(["fetch", "cifar10", "--from", "missing"])
        #expect(missing.status == Failure.Kind.noInput.rawValue && missing.errors.contains("cannot read missing"))
    }

    @Test func `what is there and not whole is left alone`() throws {
        let archive = try SmallArchive("cifar10", in: scratch)
        #expect(try fetch(archive).status == 0)
        FileSystem.remove(scratch("data/\(archive.folder)/test_batch.bin"))
        let job = try fetch(archive)
        #expect(job.status == Failure.Kind.noInput.rawValue && job.errors.split(separator: "\n").count == 1)
        #expect(
            job.errors.contains("test_batch.bin: missing file")
                && job.errors.hasSuffix("; to fetch it anew remove data/\(archive.folder)\n"), "\(job)")
        #expect(try contents(of: scratch("data/\(archive.folder)")).count == 7)
        try FileManager.default.removeItem(atPath: scratch("data/\(archive.folder)"))
        _ = try scratch.write([1], to: "data/\(archive.folder)")
        #expect(try fetch(archive).errors.contains("remove data/\(archive.folder)"))
    }

    @Test func `a folder that may not be written to is named, and one that is whole needs no writing`() throws {
        let archive = try SmallArchive("cifar10", in: scratch)
        #expect(try fetch(archive, ["--to", "a/b"]).output.hasSuffix("for --data a/b/\(archive.folder)\n"))
        chmod(scratch("a/b"), 0o555)
        defer { chmod(scratch("a/b"), 0o755) }
        #expect(try fetch(archive, ["--to", "a/b"]).output.contains("is there already"))
        let file = try fetch(archive, ["--to", "cifar10.tar.gz"])
        #expect(file.status == Failure.Kind.unavailable.rawValue && file.errors.contains("cifar10.tar.gz"), "\(file)")
    }

    @Test func `without curl the line names the package, and an archive at hand needs none`() throws {
        let archive = try SmallArchive("cifar10", in: scratch)
        try FileSystem.makeFolder(scratch("bin"))
        symlink("/usr/bin/md5sum", scratch("bin/md5sum"))
        let words = ["fetch", "cifar10", "--md5", archive.md5]
        let job = try densenet(words + ["--url", "http://127.0.0.1:1/"], before: "export PATH=bin;")
        #expect(job.status == Failure.Kind.unavailable.rawValue)
        #expect(job.errors == "densenet: the program curl is missing; install Debian's package curl\n")
        #expect(try densenet(words + ["--from", "cifar10.tar.gz"], before: "export PATH=bin;").status == 0)
    }

    @Test func `wrong options are refused before anything is made`() throws {
        let cases: [(words: [String], text: String)] = [
            (["mnist"], "mnist"), ([], "set"),
            (["cifar10", "--md5", "123"], "--md5 is '123', expected 32 hexadecimal digits"),
            (
                ["cifar10", "--url", "file:///etc/passwd"],
                "--url is 'file:///etc/passwd', expected http:// or https://"
            ),
            (["cifar10", "--url", "-o/tmp/x"], "--url"),
            (["cifar10", "--from", "a", "--url", "http://b/"], "--from and --url"),
            (["cifar10", "--to", ""], "the path of the folder to fetch into is empty"),
        ]
        for (words, text) in cases {
            let job = try densenet(["fetch"] + words)
            #expect(job.status == Failure.Kind.usage.rawValue && job.errors.contains(text), "\(job)")
            #expect(job.errors.split(separator: "\n").count == 1)
        }
        #expect(scratch.names == [])
    }

    @Test func `under mpirun one rank fetches, and launch_sh starts no ranks for it`() throws {
        let archive = try SmallArchive("cifar10", in: scratch)
        let words = [
            "fetch", "cifar10", "--from", scratch("cifar10.tar.gz"), "--to", scratch("data"), "--md5", archive.md5,
        ]
        let job = try mpirun(ranks: 2, program: "densenet", arguments: words)
        #expect(job.status == 0 && job.output.split(separator: "\n").count == 1, "\(job)")
        #expect(try densenet(["launch-plan", "0", "0", "none"] + words).output.hasPrefix("process "))
    }
}
