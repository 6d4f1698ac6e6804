import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

@testable import Fetching

/// `densenet fetch` from a server on this machine that does what servers and networks do.
@Suite struct DownloadTests {
    private let scratch = ScratchFolder()
    private let archive: SmallArchive
    private let part: String
    private let folder: String

    init() throws {
        archive = try SmallArchive("cifar10", in: scratch)
        part = scratch("data/cifar-10-batches-bin.tar.gz.part")
        folder = scratch("data/cifar-10-batches-bin")
    }

    private func start(_ server: LoopbackServer, md5: String? = nil) throws -> RunningProgram {
        try startFetch([
            "cifar10", "--to", scratch("data"), "--url", server.url(), "--md5", md5 ?? archive.md5,
        ])
    }

    private func fetch(_ server: LoopbackServer, md5: String? = nil) throws -> ProgramResult {
        try start(server, md5: md5).wait(timeout: 30)
    }

    private func writePart(_ bytes: some Sequence<UInt8>) throws {
        try FileSystem.makeFolder(scratch("data"))
        _ = try scratch.write(Array(bytes), to: "data/cifar-10-batches-bin.tar.gz.part")
    }

    /// The data set is there, and nothing else but the lock's file.
    private func expectWhole(_ job: ProgramResult, sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(job.status == 0 && job.errors == "", "\(job)", sourceLocation: sourceLocation)
        #expect(try contents(of: folder) == archive.files(in: scratch), sourceLocation: sourceLocation)
        #expect(
            try FileSystem.names(inFolder: scratch("data")).sorted()
                == [".cifar-10-batches-bin.lock", "cifar-10-batches-bin"], sourceLocation: sourceLocation)
    }

    private func expectRefused(
        _ job: ProgramResult, _ kind: Failure.Kind, _ words: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(job.status == kind.rawValue, "\(job)", sourceLocation: sourceLocation)
        #expect(
            job.errors.split(separator: "\n").count == 1 && job.errors.contains(words), "\(job)",
            sourceLocation: sourceLocation)
        #expect(PathKind(of: folder).isMissing, sourceLocation: sourceLocation)
    }

    @Test func `a server's whole file is checked and unpacked, once`() throws {
        let server = LoopbackServer { [bytes = archive.bytes] _, _ in .file(bytes) }
        let first = try fetch(server)
        try expectWhole(first)
        #expect(first.output == "\(folder): 25 training and 5 test images, for --data \(folder)\n")
        let second = try fetch(server)
        try expectWhole(second)
        #expect(second.output.hasPrefix("\(folder) is there already: 25 training"))
        #expect(server.requests == [.init(path: "/archive.tar.gz", start: nil)])
    }

    @Test func `a redirection is followed, to http and https alone`() throws {
        let server = LoopbackServer { [bytes = archive.bytes] _, request in
            request.path == "/archive.tar.gz" ? .status("302 Found", fields: "Location: /there\r\n") : .file(bytes)
        }
        try expectWhole(try fetch(server))
        let other = LoopbackServer { _, _ in .status("302 Found", fields: "Location: file:///etc/passwd\r\n") }
        try FileManager.default.removeItem(atPath: folder)
        expectRefused(try fetch(other), .unavailable, "cannot fetch \(other.url()): Protocol")
    }

    @Test func `a connection that breaks is made again, from where it broke`() throws {
        let server = LoopbackServer { [bytes = archive.bytes] number, _ in
            switch number {
            case 0: .file(bytes, length: 1000)
            case 1: .status("503 Service Unavailable")
            default: .file(bytes)
            }
        }
        try expectWhole(try fetch(server))
        #expect(server.requests.map(\.start) == [nil, 1000, 1000])
    }

    @Test(arguments: [SIGINT, SIGTERM, SIGKILL])
    func `what was downloaded before a signal stays, and the next call goes on from there`(_ signal: Int32) throws {
        let slow = LoopbackServer { [bytes = archive.bytes] _, _ in .file(bytes, pause: 50_000) }
        let job = try start(slow)
        try job.wait(for: "the first bytes") { size(part) > 500 }
        // As a terminal does for Ctrl-C, to both processes; other signals reach the one alone.
        kill(signal == SIGINT ? -job.process : job.process, signal)
        let result = try job.wait(timeout: 10)
        #expect(result.status == 128 + signal && result.errors == "")
        let before = size(part)
        #expect(before > 500 && before < archive.bytes.count)
        let server = LoopbackServer { [bytes = archive.bytes] _, _ in .file(bytes) }
        try expectWhole(try fetch(server))
        #expect(server.requests.map(\.start) == [before])
    }

    @Test func `curl does not outlive a fetch that was killed`() throws {
        let slow = LoopbackServer { [bytes = archive.bytes] _, _ in .file(bytes, pause: 50_000) }
        let job = try start(slow)
        try job.wait(for: "the first bytes") { size(part) > 500 }
        #expect(processes(naming: slow.url(), program: "curl").count == 1)
        // Waiting for its end would end its process group too.
        kill(job.process, SIGKILL)
        var tries = 100
        while tries > 0, !processes(naming: slow.url(), program: "curl").isEmpty {
            usleep(50_000)
            tries -= 1
        }
        #expect(tries > 0)
    }

    @Test func `a server that knows no ranges sends the whole file again`() throws {
        try writePart(archive.bytes.prefix(700))
        let server = LoopbackServer { [bytes = archive.bytes] _, _ in .file(bytes, ranges: false) }
        try expectWhole(try fetch(server))
        #expect(server.requests.map(\.start) == [700])
    }

    @Test func `a part that is longer than the file is fetched anew`() throws {
        try writePart([UInt8](repeating: 1, count: archive.bytes.count + 1))
        let server = LoopbackServer { [bytes = archive.bytes] _, _ in .file(bytes) }
        try expectWhole(try fetch(server))
        #expect(server.requests.map(\.start) == [archive.bytes.count + 1, nil])
    }

    @Test func `another range than was asked for is not taken`() throws {
        try writePart(archive.bytes.prefix(700))
        let wrong =
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 10-19/2000\r\nContent-Length: 10\r\n\r\n0123456789"
        let server = LoopbackServer { [bytes = archive.bytes] number, _ in
            number == 0 ? .bytes(Array(wrong.utf8)) : .file(bytes)
        }
        try expectWhole(try fetch(server))
        #expect(server.requests.map(\.start) == [700, nil])
    }

    @Test func `a server that never gets to the end, or never sends what it should, is given up`() throws {
        let stuck = LoopbackServer { [bytes = archive.bytes] number, _ in
            .file(bytes, ranges: false, length: number == 1 ? 600 : 700)
        }
        let refusing = LoopbackServer { [bytes = archive.bytes] _, request in
            request.start == nil ? .file(bytes, length: 700) : .status("416 Range Not Satisfiable")
        }
        let wrong = LoopbackServer { _, _ in
            .status("206 Partial Content", fields: "Content-Range: bytes 9-9/2000\r\n", body: "9")
        }
        for (server, requests) in [(stuck, 4), (refusing, 7), (wrong, 1)] {
            var download = Download(url: server.url(), path: scratch("file-\(server.port)"), largest: 1 << 20)
            download.pauses = [0, 0, 0]
            let failure = #expect(throws: Failure.self) { try download.run() }
            #expect(failure?.kind == .unavailable && server.requests.count == requests, "\(server.requests)")
        }
    }

    @Test func `a part that is whole is not asked for again`() throws {
        try writePart(archive.bytes)
        let server = LoopbackServer { _, _ in .status("500 Internal Server Error") }
        try expectWhole(try fetch(server))
        #expect(server.requests == [])
    }

    @Test func `a file with another sum is removed, and both sums are named`() throws {
        let server = LoopbackServer { [bytes = archive.bytes] _, _ in .file(bytes) }
        let wrong = String(repeating: "0", count: 32)
        expectRefused(
            try fetch(server, md5: wrong), .data,
            "\(server.url()): has the MD5 sum \(archive.md5), expected \(wrong) (--md5); what was downloaded has been removed"
        )
        #expect(PathKind(of: part).isMissing)
    }

    @Test(arguments: [
        "404 Not Found", "403 Forbidden", "503 Service Unavailable", "304 Not Modified", "206 Partial Content",
    ])
    func `a server's refusal is named, and no empty file stays`(_ status: String) throws {
        let server = LoopbackServer { _, _ in .status(status, body: "<html>") }
        expectRefused(try fetch(server), .unavailable, "cannot fetch \(server.url()): the server answers \(status); ")
        #expect(PathKind(of: part).isMissing && server.requests.count == 1)
    }

    @Test func `what is no HTTP is refused`() throws {
        let endless = "HTTP/1.1 200 OK\r\n" + String(repeating: "a: b\r\n", count: 300_000)
        for bytes in [
            "", "\n", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", endless,
        ] {
            let server = LoopbackServer { _, _ in .bytes(Array(bytes.utf8)) }
            expectRefused(try fetch(server), .unavailable, "cannot fetch \(server.url()): ")
        }
    }

    @Test func `without a network the line says how to bring the archive from elsewhere`() throws {
        let words = ["cifar10", "--to", scratch("data"), "--md5", archive.md5]
        // A port that nobody listens to, and a name that nobody has.
        let port = LoopbackServer { _, _ in .status("500 Gone") }.port
        for url in ["http://127.0.0.1:\(port)/a", "http://host.invalid/a"] {
            let job = try startFetch(words + ["--url", url]).wait(timeout: 30)
            expectRefused(job, .unavailable, "cannot fetch \(url): ")
            #expect(job.errors.contains("fetch it on a machine with internet and give the file as --from"))
        }
    }

    @Test func `a slow server is waited for, one that falls silent is not`() throws {
        let server = LoopbackServer { [bytes = archive.bytes] number, _ in
            number == 0 ? .stall(bytes, length: 1000) : .file(bytes, pause: 10_000)
        }
        let set = try DataSetArchive.cifar10.with(url: server.url(), md5: archive.md5)
        _ = try DataSetFetch(set, into: scratch("data"), patience: 1).run()
        #expect(try contents(of: folder) == archive.files(in: scratch))
        #expect(server.requests.map(\.start) == [nil, 1000])

        let silent = LoopbackServer { _, _ in .stall([], length: 0) }
        let other = try DataSetArchive.cifar10.with(url: silent.url(), md5: archive.md5)
        let failure = #expect(throws: Failure.self) {
            try DataSetFetch(other, into: scratch("other"), patience: 1).run()
        }
        #expect(failure?.kind == .unavailable && silent.requests.count == 1)
    }

    @Test func `a file that is too large to be the archive is not downloaded`() throws {
        let answers = [
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            // The server does not say it.
            "HTTP/1.1 200 OK\r\n\r\n" + String(repeating: "x", count: 5000),
        ]
        for answer in answers {
            let server = LoopbackServer { _, _ in .bytes(Array(answer.utf8)) }
            let download = Download(url: server.url(), path: scratch("file"), largest: 4000)
            let failure = #expect(throws: Failure.self) { try download.run() }
            #expect(failure?.kind == .data && failure?.message.contains("expected at most 4000") == true)
            #expect(size(scratch("file")) <= 4000)
        }
    }

    @Test func `a second fetch of the same data set is refused while the first is at work`() throws {
        let slow = LoopbackServer { [bytes = archive.bytes] _, _ in .file(bytes, pause: 10_000) }
        let job = try start(slow)
        try job.wait(for: "the first bytes") { size(part) > 0 }
        expectRefused(
            try fetch(slow), .unavailable, "\(folder) is being fetched by process \(job.process) on ")
        try expectWhole(try job.wait(timeout: 30))
        #expect(slow.requests.count == 1)
    }

    @Test func `where no more can be written the part stays`() throws {
        let server = LoopbackServer { [bytes = archive.bytes] _, _ in .file(bytes) }
        let program = try builtExecutable(named: "densenet")
        let words = ["fetch", "cifar10", "--to", scratch("data"), "--url", server.url(), "--md5", archive.md5]
        let job = try run("bash", ["-c", "ulimit -f 4; exec \"$0\" \"$@\"", program] + words)
        expectRefused(
            job, .unavailable, "cannot write \(part): File too large; raise the limit of file sizes (ulimit -f)")
        #expect(size(part) == 4096)
        try expectWhole(try fetch(server))
        #expect(server.requests.map(\.start) == [nil, 4096])
    }
}

/// The bytes of a file; 0 where there is none.
private func size(_ path: String) -> Int { (try? InputFile(path: path).size) ?? 0 }

/// Starts `densenet fetch`, whose connections no proxy of this machine's takes.
func startFetch(_ words: [String]) throws -> RunningProgram {
    try RunningProgram(
        try builtExecutable(named: "densenet"), ["fetch"] + words, environment: ["no_proxy": "*", "NO_PROXY": "*"])
}
