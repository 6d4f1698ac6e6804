import Glibc
import Support

/// The damage of one case, a function of its number.
struct Mutator {
    private(set) var random: CounterRandom
    let number: Int

    init(case number: Int) {
        self.number = number
        random = CounterRandom(.synthetic, 1993, UInt64(number))
    }

    /// Text that breaks parsers.
    private static let pieces: [[UInt8]] =
        [
            "-1", "0", "1", "2", "1000000", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808",
            "-9223372036854775808", "18446744073709551615", "99999999999999999999", "4611686018427387904", "1e18",
            "1.5", "1e-300", "1e308", "1e400", "-1e400",
            "NaN", "Infinity", "{", "}", "[", "]", "[[", ",", ":", "\"", "\\",
            "\\u", "\\ud800", "\\u0000", "null", "true", "[]", "{}", "\"\"", "\u{0}", "\u{7F}", "\u{FEFF}",
            "__metadata__", "F64",
            "\"config\":", "\n", "../", "/etc/passwd", ".tmp-1",
        ].map { Array($0.utf8) } + [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80]]

    /// The number of leading pieces that are JSON numbers.
    private static let numbers = 19

    /// A number from 0 to `bound` − 1.
    mutating func below(_ bound: Int) -> Int { random.below(bound) }

    /// The first cases truncate the bytes at each position. The others make one to four changes: bits, bytes, pieces,
    /// cuts, repeats; or only numbers, so that the syntax stays valid.
    mutating func damage(_ bytes: inout [UInt8]) {
        guard number > bytes.count else { return bytes.removeSubrange((number - 1)...) }
        guard below(2) == 0 else {
            for _ in 0...below(3) where !bytes.isEmpty { replaceNumber(in: &bytes, from: below(bytes.count)) }
            return
        }
        for _ in 0...below(below(4) + 1) where !bytes.isEmpty {
            let place = below(bytes.count)
            switch below(8) {
            case 0: bytes[place] = UInt8(below(256))
            case 1: bytes[place] ^= 1 << UInt8(below(8))
            case 2: bytes.insert(contentsOf: piece(), at: place)
            case 3: bytes.replaceSubrange(place..<min(bytes.count, place + 1 + below(4)), with: piece())
            case 4: bytes.removeSubrange(place..<min(bytes.count, place + 1 + below(12)))
            case 5:
                bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + 1 + below(40))], at: below(bytes.count))
            case 6: replaceNumber(in: &bytes, from: place)
            default: bytes.removeLast(below(bytes.count))
            }
        }
    }

    private mutating func piece() -> [UInt8] { Self.pieces[below(Self.pieces.count)] }

    /// Replaces the first number after a position.
    private mutating func replaceNumber(in bytes: inout [UInt8], from place: Int) {
        func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
        guard let start = bytes[place...].firstIndex(where: isDigit) else { return }
        let end = bytes[start...].firstIndex { !isDigit($0) } ?? bytes.count
        bytes.replaceSubrange(start..<end, with: Self.pieces[below(Self.numbers)])
    }
}

/// Writes a file in place, which is good enough here.
func write(_ bytes: [UInt8], to path: String) {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard file >= 0, Glibc.write(file, bytes, bytes.count) == bytes.count else { fatalError("cannot write \(path)") }
    close(file)
}

func contents(of path: String) throws -> [UInt8] { try InputFile.contents(of: path, atMost: 1 << 24) }
