import Glibc
import Support
import TestSupport
import Testing

@Suite struct PathKindTests {
    let scratch = ScratchFolder()

    @Test func `files, folders, missing paths and dangling links are distinguished`() throws {
        let file = try scratch.write([1], to: "file")
        #expect(PathKind(of: file) == .other && PathKind(of: scratch.path) == .folder)
        #expect(PathKind(of: file).problem == nil)
        for (path, reason) in [("nowhere", "No such file or directory"), ("file/below", "Not a directory")] {
            let kind = PathKind(of: scratch(path))
            #expect(kind.isMissing)
            #expect(kind.problem == Failure(.noInput, "cannot read \(scratch(path)): \(reason)"))
        }
        symlink(scratch("nowhere"), scratch("link"))
        let link = PathKind(of: scratch("link"))
        #expect(!link.isMissing && link.problem?.message.contains("a link to something that does not exist") == true)
        symlink(scratch("circle"), scratch("circle"))
        #expect(PathKind(of: scratch("circle")).problem?.message.contains("Too many levels") == true)
    }
}

@Suite struct FolderTests {
    let scratch = ScratchFolder()

    @Test func `a folder is made with its parents, and may already exist`() throws {
        let path = scratch("a/b//c")
        try FileSystem.makeFolderAndParents(path)
        try FileSystem.makeFolderAndParents(path)
        #expect(PathKind(of: scratch("a/b/c")) == .folder)
        #expect(try FileSystem.makeFolder(scratch("d")))
        #expect(try !FileSystem.makeFolder(scratch("d")))
    }

    @Test func `a folder that cannot be made is named with the reason`() throws {
        let file = try scratch.write([], to: "file")
        #expect(
            throws: Failure(
                .unavailable, "cannot make the folder \(file): a file of that name exists; choose another path")
        ) { try FileSystem.makeFolderAndParents(file) }
        #expect(
            throws: Failure(
                .unavailable, "cannot make the folder \(file)/x: Not a directory; a part of the path is a file")
        ) { try FileSystem.makeFolderAndParents(file + "/x") }
        let below = scratch("none/x")
        #expect(
            throws: Failure(
                .unavailable, "cannot make the folder \(below): No such file or directory; its folder must exist")
        ) { try FileSystem.makeFolder(below) }
    }

    @Test func `the names in a folder are those of all its entries`() throws {
        for name in ["b", "a", ".hidden", "ü"] { _ = try scratch.write([], to: name) }
        #expect(try Set(FileSystem.names(inFolder: scratch.path)) == ["a", "b", ".hidden", "ü"])
        let missing = scratch("none")
        #expect(throws: Failure(.noInput, "cannot read \(missing): No such file or directory")) {
            try FileSystem.names(inFolder: missing)
        }
    }
}

@Suite struct LogFileTests {
    let scratch = ScratchFolder()

    @Test func `records are appended, and the file is created for the first`() throws {
        try LogFile.append(Array("one\n".utf8), to: scratch("log"))
        try LogFile.append(Array("two\n".utf8), to: scratch("log"))
        #expect(try scratch.read("log") == Array("one\ntwo\n".utf8))
    }

    /// The limit of file sizes acts as a full disk: both accept part of the bytes.
    @Test func `a record that does not fit leaves the file unchanged`() async throws {
        let path = scratch("log")
        try LogFile.append([1, 2, 3], to: path)
        await #expect(processExitsWith: .success) { [path = path as String] in
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
            limit.rlim_cur = 1000
            #expect(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
            #expect(
                throws: Failure(
                    .unavailable, "cannot write \(path): File too large; raise the limit of file sizes (ulimit -f)")
            ) { try LogFile.append([UInt8](repeating: 7, count: 2000), to: path) }
        }
        #expect(try scratch.read("log") == [1, 2, 3])
    }

    @Test func `a link is not followed`() throws {
        let target = try scratch.write([1], to: "target")
        symlink(target, scratch("log"))
        let failure = #expect(throws: Failure.self) { try LogFile.append([2], to: scratch("log")) }
        #expect(failure?.message.contains("it is a link, which is not followed here") == true)
        #expect(try scratch.read("target") == [1])
    }
}

@Suite struct FileLockTests {
    let scratch = ScratchFolder()

    @Test func `one process has the lock, another is told which`() throws {
        let path = scratch("lock")
        do {
            let lock = try FileLock(path: path, owner: "the first")
            let held = #expect(throws: FileLock.AlreadyLocked.self) { try FileLock(path: path, owner: "the second") }
            #expect(held?.owner == "the first")
            withExtendedLifetime(lock) {}
        }
        _ = try FileLock(path: path, owner: "2nd")
        #expect(try scratch.read("lock") == Array("2nd".utf8))
    }

    @Test func `a lock that cannot be taken leaves no descriptor open`() throws {
        let path = scratch("lock")
        let lock = try FileLock(path: path, owner: "the first")
        for _ in 0..<2000 {
            #expect(throws: FileLock.AlreadyLocked.self) { try FileLock(path: path, owner: "another") }
        }
        #expect(try FileSystem.names(inFolder: "/proc/self/fd").count < 1000)
        withExtendedLifetime(lock) {}
    }
}

@Suite struct InputFileTests {
    let scratch = ScratchFolder()

    @Test func `a part is read from its offset, and a file that shrinks is an error`() throws {
        let path = try scratch.write(Array(0..<100), to: "file")
        let file = try InputFile(path: path)
        #expect(file.size == 100)
        var bytes = [UInt8](repeating: 0, count: 10)
        try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 40) }
        #expect(bytes == Array(40..<50))
        truncate(path, 45)
        #expect(throws: Failure(.data, "\(path): has become shorter than its 100 bytes while it was read")) {
            try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 40) }
        }
    }

    @Test func `anything but a regular file is refused at once, and a long file before allocating memory`() throws {
        mkfifo(scratch("pipe"), 0o600)
        for path in [scratch("pipe"), scratch.path] {
            #expect(throws: Failure(.noInput, "cannot read \(path): it is not a file")) { try InputFile(path: path) }
        }
        let path = try scratch.write(Array(0..<100), to: "file")
        #expect(try InputFile.contents(of: path, atMost: 100) == Array(0..<100))
        #expect(throws: Failure.self) { try InputFile.contents(of: path, atMost: 99) }
    }
}
