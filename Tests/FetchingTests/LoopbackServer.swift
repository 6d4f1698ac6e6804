import Glibc
import Synchronization

/// An HTTP server on 127.0.0.1 that answers as a test wants, one connection after another.
final class LoopbackServer: Sendable {
    struct Request: Equatable {
        let path: String
        /// From `Range: bytes=100-`.
        let start: Int?
    }

    enum Answer: Sendable {
        /// The whole file, or from the start that was asked for.
        ///
        /// - Parameters:
        ///   - length: bytes of the body after which the connection is closed.
        ///   - pause: microseconds before each hundredth of the file.
        case file([UInt8], ranges: Bool = true, length: Int = .max, pause: UInt32 = 0)
        /// A status line's end, such as `404 Not Found`, and fields, each with a line's end.
        case status(String, fields: String = "", body: String = "")
        /// Bytes as they are.
        case bytes([UInt8])
        /// Some bytes of the file, then nothing until the client gives up.
        case stall([UInt8], length: Int)
    }

    let port: UInt16
    private let listener: Int32
    private let thread: pthread_t
    private let shared = Shared()

    private final class Shared: Sendable {
        let requests = Mutex<[Request]>([])
        /// The socket of the present client; −1 after the end.
        let client = Mutex<Int32?>(nil)
    }

    /// The requests so far.
    var requests: [Request] { shared.requests.withLock { $0 } }

    /// - Parameter answer: is given the number of the request, from 0, and the request.
    init(_ answer: @escaping @Sendable (Int, Request) -> Answer) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 8) == 0 && getsockname(listener, $0, &length) == 0
            }
        }
        precondition(isListening, "no socket on 127.0.0.1: errno \(errno)")
        self.listener = listener
        port = UInt16(bigEndian: address.sin_port)
        let body = Body { [shared] in Self.serve(listener, shared, answer) }
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            {
                Unmanaged<Body>.fromOpaque($0!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(body).toOpaque())
        self.thread = thread
    }

    deinit {
        shared.client.withLock {
            if let client = $0 { shutdown(client, Int32(SHUT_RDWR)) }
            $0 = -1
        }
        shutdown(listener, Int32(SHUT_RDWR))
        pthread_join(thread, nil)
        close(listener)
    }

    func url(_ path: String = "/archive.tar.gz") -> String { "http://127.0.0.1:\(port)\(path)" }

    private final class Body {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }

    private static func serve(_ listener: Int32, _ shared: Shared, _ answer: (Int, Request) -> Answer) {
        while true {
            let client = accept(listener, nil, nil)
            guard client >= 0 else { return }
            // A program that another test starts may have a copy of the socket.
            defer {
                shutdown(client, Int32(SHUT_RDWR))
                close(client)
            }
            let goesOn = shared.client.withLock { (current: inout Int32?) in
                if current != -1 { current = client }
                return current != -1
            }
            guard goesOn else { return }
            if let request = request(from: client) {
                let number = shared.requests.withLock {
                    $0.append(request)
                    return $0.count - 1
                }
                send(answer(number, request), request, to: client)
            }
            shared.client.withLock { if $0 != -1 { $0 = nil } }
        }
    }

    private static func request(from client: Int32) -> Request? {
        var bytes: [UInt8] = []
        while !bytes.suffix(4).elementsEqual("\r\n\r\n".utf8) {
            var byte: UInt8 = 0
            guard recv(client, &byte, 1, 0) == 1 else { return nil }
            bytes.append(byte)
        }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\r\n")
        let start = lines.compactMap { $0.wholeMatch(of: /Range: bytes=([0-9]+)-/).flatMap { Int($0.1) } }.first
        return Request(path: String(lines[0].split(separator: " ")[1]), start: start)
    }

    private static func send(_ answer: Answer, _ request: Request, to client: Int32) {
        switch answer {
        case .file(let bytes, let ranges, let length, let pause):
            let start = ranges ? request.start ?? 0 : 0
            guard start < bytes.count || start == 0 else {
                let fields = "Content-Range: bytes */\(bytes.count)\r\n"
                return send(.status("416 Range Not Satisfiable", fields: fields), request, to: client)
            }
            let isPart = ranges && request.start != nil
            let head =
                "HTTP/1.1 \(isPart ? "206 Partial Content" : "200 OK")\r\nContent-Length: \(bytes.count - start)\r\n"
                + (isPart ? "Content-Range: bytes \(start)-\(bytes.count - 1)/\(bytes.count)\r\n" : "")
            send(Array("\(head)Connection: close\r\n\r\n".utf8), to: client)
            var rest = bytes[start...].prefix(length)
            while !rest.isEmpty {
                usleep(pause)
                let piece = rest.prefix(pause == 0 ? rest.count : max(bytes.count / 100, 1))
                guard send(Array(piece), to: client) else { return }
                rest = rest.dropFirst(piece.count)
            }
        case .status(let line, let fields, let body):
            let head = "HTTP/1.1 \(line)\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\(fields)\r\n"
            send(Array((head + body).utf8), to: client)
        case .bytes(let bytes): send(bytes, to: client)
        case .stall(let bytes, let length):
            if length > 0 { send(.file(bytes, length: length), request, to: client) }
            var byte: UInt8 = 0
            _ = recv(client, &byte, 1, 0)
        }
    }

    @discardableResult private static func send(_ bytes: [UInt8], to client: Int32) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes {
                Glibc.send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }
}
