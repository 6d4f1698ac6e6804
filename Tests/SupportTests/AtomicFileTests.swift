import Glibc
import Safetensors
import Support
import TestSupport
import Testing

@Suite struct AtomicFileTests {
    let folder = ScratchFolder()

    private func write(_ text: String, to path: String) throws {
        try AtomicFile.write(path) { output in
            for byte in text.utf8 { try withUnsafeBytes(of: byte) { try output.write($0) } }
        }
    }

    @Test func `a new file replaces the old one, and no temporary file is left`() throws {
        try write("old and long", to: folder("f"))
        try write("new", to: folder("f"))
        #expect(try folder.read("f") == Array("new".utf8))
        #expect(folder.names == ["f"])
    }

    @Test func `an error while writing leaves the old file and no other`() throws {
        try write("old", to: folder("f"))
        #expect(throws: Failure(.data, "on the way")) {
            try AtomicFile.write(folder("f")) { output in
                try withUnsafeBytes(of: 7) { try output.write($0) }
                throw Failure(.data, "on the way")
            }
        }
        #expect(try folder.read("f") == Array("old".utf8))
        #expect(folder.names == ["f"])
    }

    @Test func `a missing folder, or a file in its place, is named with the reason`() throws {
        try write("", to: folder("f"))
        let missing = folder("no/f")
        #expect(
            throws: Failure(.unavailable, "cannot write \(missing): No such file or directory; its folder must exist")
        ) {
            try write("x", to: missing)
        }
        let below = folder("f/g")
        #expect(throws: Failure(.unavailable, "cannot write \(below): Not a directory; a part of the path is a file")) {
            try write("x", to: below)
        }
    }

    /// The limit of file sizes acts as a full disk: both fail in the middle of a write.
    @Test func `a partial write is undone`() async throws {
        let path = folder("weights.safetensors")
        try write("old", to: path)
        await #expect(processExitsWith: .success) { [path = path as String] in
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
            limit.rlim_cur = 100_000
            #expect(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
            let values = [Float](repeating: 1, count: 50_000)
            let failure = #expect(throws: Failure.self) {
                try values.withUnsafeBufferPointer {
                    try SafetensorsWriter.write(
                        to: path, tensors: [NamedTensor(name: "w", shape: [50_000], values: $0)])
                }
            }
            #expect(
                failure
                    == Failure(
                        .unavailable, "cannot write \(path): File too large; raise the limit of file sizes (ulimit -f)")
            )
        }
        #expect(folder.names == ["weights.safetensors"])
        #expect(try folder.read("weights.safetensors") == Array("old".utf8))
    }

    @Test func `a full disk is reported and nothing is left on it`() throws {
        let disk = folder("disk")
        mkdir(disk, 0o700)
        guard mount("tmpfs", disk, "tmpfs", 0, "size=64k") == 0 else {
            try Test.cancel("only root can mount a small disk")
        }
        defer { umount(disk) }
        let path = disk + "/f"
        #expect(
            throws: Failure(
                .unavailable, "cannot write \(path): No space left on device; free some space or choose another folder")
        ) {
            try write(String(repeating: "x", count: 80_000), to: path)
        }
        #expect(access(path, F_OK) != 0)
        try write("small", to: path)
    }
}
