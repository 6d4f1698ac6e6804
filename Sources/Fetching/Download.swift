import Glibc
import Support
import SystemPackage

/// The download of a file that may be cut off and go on later, by the program curl.
///
/// curl writes to a pipe and only this process to the file: a curl that outlives it cannot disturb the next one's.
struct Download {
    let url: String
    /// Where the file is to be; what is there already is taken to be its beginning.
    let path: String
    /// In bytes.
    let largest: Int
    /// Seconds without a connection, and seconds in which less than 1,000 bytes a second come, until a try is given up.
    var patience = 30
    /// Seconds before each of the tries in a row that may bring nothing new, once something has come.
    var pauses: [UInt32] = [1, 2, 4, 8, 16]
    /// Called with the bytes that are there and those of the whole file, where the server says that.
    var progress: (_ done: Int, _ total: Int?) -> Void = { _, _ in }

    /// Downloads what is missing. Where the connection breaks it goes on from there, as long as one of the tries that
    /// follow, with `pauses` between, brings more than has ever been there.
    ///
    /// - Throws: `Failure(.unavailable)` if the program, the server or the file system refuses; what was downloaded stays.
    ///   `Failure(.data)` if the file is larger than it may be.
    func run() throws {
        let file = try explainingErrors("cannot write", path) {
            try unsafe FileDescriptor.open(
                path, .readWrite, options: [.create, .noFollow, .nonBlocking, .closeOnExec],
                permissions: FilePermissions(rawValue: 0o666))
        }
        defer {
            // An empty file is nothing to go on from.
            if (try? file.seek(offset: 0, from: .end)) == 0 { FileSystem.remove(path) }
            try? file.close()
        }
        var size = try explainingErrors("cannot write", path) { Int(try file.seek(offset: 0, from: .end)) }
        var largestSoFar = size
        var pausesLeft: ArraySlice<UInt32> = []
        while true {
            do {
                guard try !fetch(onto: file, &size) else { return }
                size = 0
            } catch let broken as BrokenOff {
                // A server without ranges begins anew each time: that alone is no progress.
                if size > largestSoFar { pausesLeft = pauses[...] }
                largestSoFar = max(largestSoFar, size)
                guard let pause = pausesLeft.popFirst() else { throw broken.failure }
                sleep(pause)
            }
        }
    }

    /// A try that another one may follow.
    private struct BrokenOff: Error { let failure: Failure }

    /// One request for what is missing.
    ///
    /// - Parameter size: the bytes that the file has.
    /// - Returns: false where the server has no such range: what is there is not the file's beginning.
    private func fetch(onto file: FileDescriptor, _ size: inout Int) throws -> Bool {
        progress(size, nil)
        let curl = try ChildProcess("curl", arguments(from: size), package: "curl")
        let buffer = AlignedBuffer<UInt8>(count: 1 << 16)
        let bytes = unsafe UnsafeMutableRawBufferPointer(buffer.elements)
        var head = ResponseHead()
        while true {
            let count = try unsafe curl.read(into: bytes)
            guard count > 0 else { break }
            var body = unsafe UnsafeRawBufferPointer(rebasing: bytes[..<count])
            if !head.isComplete {
                let used = try unsafe head.add(body, url: url)
                guard head.isComplete else { continue }
                guard try begin(head, &size) else { return false }
                unsafe body = UnsafeRawBufferPointer(rebasing: body[used...])
            }
            guard size + body.count <= largest else { throw tooLarge(size + body.count) }
            try explainingErrors("cannot write", path) {
                try file.resize(to: Int64(size))
                try unsafe file.writeAll(toAbsoluteOffset: Int64(size), body)
            }
            size += body.count
            progress(size, head.total)
        }
        let (code, errors) = try curl.end()
        guard code == 0 else { throw BrokenOff(failure: failure(code, errors)) }
        guard head.isComplete else { throw refusal("the server has sent no answer") }
        return true
    }

    /// Takes the server's answer before the first byte of the body.
    ///
    /// - Returns: false where the server has no such range.
    private func begin(_ head: ResponseHead, _ size: inout Int) throws -> Bool {
        if head.code == 416, size > 0 { return false }
        if head.code >= 500 { throw BrokenOff(failure: refusal("the server answers \(head.status)")) }
        guard head.code == 200 || head.code == 206, let start = head.start else {
            throw refusal("the server answers \(head.status)")
        }
        // A server that knows no ranges sends the whole file.
        guard start == 0 || start == size else {
            guard size > 0 else { throw refusal("the server sends bytes from \(start) on, without being asked to") }
            return false
        }
        size = start
        if let total = head.total, total > largest { throw tooLarge(total) }
        return true
    }

    private func arguments(from size: Int) -> [String] {
        [
            // The user's .curlrc could change what is printed. Proxies are taken from the environment.
            "--disable", "--silent", "--show-error", "--include", "--suppress-connect-headers", "--globoff",
            "--location", "--proto", "=http,https", "--connect-timeout", "\(patience)", "--speed-limit", "1000",
            "--speed-time", "\(patience)",
        ] + (size > 0 ? ["--range", "\(size)-"] : []) + ["--url", url]
    }

    /// - Parameter errors: curl's, such as `curl: (6) Could not resolve host: a.invalid`.
    private func failure(_ code: Int32, _ errors: String) -> Failure {
        let line = errors.split(separator: "\n").last { $0.hasPrefix("curl: ") } ?? "curl has ended with \(code)"
        return refusal(String(line.replacing(/^curl: (\([0-9]+\) )?/, with: "")))
    }

    private func refusal(_ reason: String) -> Failure {
        Failure(
            .unavailable,
            "cannot fetch \(url): \(reason); try again later, give another `url`, or fetch it on a machine with internet and "
                + "give the file as `from`")
    }

    private func tooLarge(_ size: Int) -> Failure {
        Failure(.data, "\(url): has \(size) bytes or more, expected at most \(largest); it is a different file")
    }
}
