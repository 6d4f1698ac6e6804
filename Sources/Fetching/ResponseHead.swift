import Support

/// The head of an HTTP response as `curl --include` puts it before the body: status and fields of the last response,
/// after redirections.
struct ResponseHead {
    /// The status line from the number on, such as `404 Not Found`.
    private(set) var status = ""
    private var fields: [String: String] = [:]
    private(set) var isComplete = false
    private var line: [UInt8] = []
    private var size = 0

    /// The bytes of all heads together, at most.
    private static let largest = 1 << 20

    var code: Int { Int(status.prefix(3)) ?? 0 }

    /// The bytes of the whole file, where the server says it.
    var total: Int? {
        guard code == 206 else { return fields["content-length"].flatMap { Int($0) } }
        return range?.total
    }

    /// The first byte of the body in the whole file.
    var start: Int? { code == 206 ? range?.start : 0 }

    /// Of `bytes 100-199/200`, where the length may be `*`.
    private var range: (start: Int, total: Int?)? {
        guard let match = fields["content-range"]?.wholeMatch(of: /bytes +([0-9]+)-[0-9]+\/([0-9]+|\*)/),
            let start = Int(match.1)
        else { return nil }
        return (start, Int(match.2))
    }

    /// Takes what belongs to the head from the beginning of `bytes`.
    ///
    /// - Returns: how many bytes that are; the rest is the body's.
    /// - Throws: `Failure(.unavailable)` for a head without end.
    mutating func add(_ bytes: UnsafeRawBufferPointer, url: String) throws -> Int {
        var used = 0
        while !isComplete, used < bytes.count {
            let byte = unsafe bytes[used]
            used += 1
            if byte == UInt8(ascii: "\n") { endLine() } else { line.append(byte) }
        }
        size += used
        guard size <= Self.largest else {
            throw Failure(.unavailable, "cannot fetch \(url): the server's answer has no end; give another `url`")
        }
        return used
    }

    private mutating func endLine() {
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        let text = String(decoding: line, as: UTF8.self)
        line = []
        if text.hasPrefix("HTTP/") {
            status = String(text.drop { $0 != " " }.drop { $0 == " " })
            fields = [:]
        } else if let colon = text.firstIndex(of: ":") {
            let value = text[text.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
            fields[text[..<colon].lowercased()] = String(value).trimmedAtEnd
        } else if text.isEmpty {
            // Another head follows that of an interim answer or of a redirection.
            isComplete = !(100..<200).contains(code) && !((300..<400).contains(code) && fields["location"] != nil)
        }
    }
}

extension String {
    fileprivate var trimmedAtEnd: String { String(reversed().drop { $0 == " " || $0 == "\t" }.reversed()) }
}
