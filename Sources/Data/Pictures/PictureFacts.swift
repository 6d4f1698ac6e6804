import Pictures
import Support

/// What is known of a picture file once somebody has decoded it.
package struct PictureFacts: Sendable, Equatable {
    /// In pixels; 0 for a file that is no picture that can be used.
    package let height, width: Int
    /// CRC-32 of the file's bytes.
    package let checksum: UInt32
    /// Sums of red, green and blue over all pixels, in bytes, and of their squares.
    let sums, squares: [Int64]
    /// Why it cannot be used, naming the file; nil if it can.
    package let problem: String?

    /// Decodes a picture.
    package init(of file: PictureFile, in files: PictureFiles) {
        do {
            let bytes = try files.bytes(of: file)
            var checksum = CRC32()
            bytes.withUnsafeBytes { checksum.add($0) }
            self.init(try Picture(bytes, path: "\(files.root)/\(file.path)"), checksum: checksum.value)
        } catch {
            self.init(problem: "\(error)")
        }
    }

    private init(_ picture: Picture, checksum: UInt32) {
        (height, width, self.checksum, problem) = (picture.height, picture.width, checksum, nil)
        let area = height * width
        var (sums, squares) = ([Int64](repeating: 0, count: 3), [Int64](repeating: 0, count: 3))
        picture.planes.withUnsafeBufferPointer { planes in
            for channel in 0..<3 {
                var (sum, square): (Int64, Int64) = (0, 0)
                for i in channel * area..<(channel + 1) * area {
                    let pixel = Int32(planes[i])
                    sum &+= Int64(pixel)
                    square &+= Int64(pixel &* pixel)
                }
                (sums[channel], squares[channel]) = (sum, square)
            }
        }
        (self.sums, self.squares) = (sums, squares)
    }

    private init(problem: String) {
        (height, width, checksum, sums, squares, self.problem) = (0, 0, 0, [0, 0, 0], [0, 0, 0], problem)
    }

    // MARK: As text

    /// Numbers and, of a file that cannot be used, the reason, separated by tabs.
    package var text: String {
        let numbers = [Int64(height), Int64(width), Int64(checksum)] + sums + squares
        return (numbers.map { "\($0)" } + [(problem ?? "").replacing("\n", with: " ")]).joined(separator: "\t")
    }

    /// Reads `text`; nil if it is something else.
    package init?(text: some StringProtocol) {
        let fields = text.split(separator: "\t", maxSplits: 9, omittingEmptySubsequences: false)
        let numbers = fields.prefix(9).compactMap { Int64($0) }
        guard fields.count == 10, numbers.count == 9, let checksum = UInt32(exactly: numbers[2]) else { return nil }
        (height, width, self.checksum) = (Int(numbers[0]), Int(numbers[1]), checksum)
        (sums, squares) = (Array(numbers[3..<6]), Array(numbers[6..<9]))
        problem = fields[9].isEmpty ? nil : String(fields[9])
    }
}

/// Facts by file, which hold as long as the file has its size and its time of change; kept in a file between two runs.
package struct PictureFactTable: Sendable {
    private var facts: [String: PictureFacts] = [:]
    private static let header = "facts of pictures, 1"
    /// The largest file, in bytes.
    private static let largestFile = 1 << 31

    package init() {}

    package subscript(file: PictureFile, of files: PictureFiles) -> PictureFacts? {
        get { facts[Self.key(file, files)] }
        set { facts[Self.key(file, files)] = newValue }
    }

    package var count: Int { facts.count }

    private static func key(_ file: PictureFile, _ files: PictureFiles) -> String {
        "\(file.size)\t\(file.modified)\t\(files.root)/\(file.path)"
    }

    /// Reads `text`; what cannot be read is left out, for it can be found out anew.
    package init(_ text: String) {
        let lines = text.split(separator: "\n")
        guard lines.first.map(String.init) == Self.header else { return }
        var index = 1
        while index + 1 < lines.count {
            if let known = PictureFacts(text: lines[index + 1]) { facts[String(lines[index])] = known }
            index += 2
        }
    }

    /// Two lines for each file, in no particular order but the same for the same table.
    package var text: String {
        // What was wrong may be mended without a trace in size or time, such as a permission.
        let kept = facts.filter { $0.value.problem == nil && !$0.key.contains("\n") }.sorted { $0.key < $1.key }
        return Self.header + "\n" + kept.map { "\($0.key)\n\($0.value.text)\n" }.joined()
    }

    /// Reads a file; one that is missing or damaged is as good as none.
    package init(path: String) {
        let bytes = try? InputFile.contents(of: path, atMost: Self.largestFile)
        self.init(bytes.map { String(decoding: $0, as: UTF8.self) } ?? "")
    }
}

extension PixelSums {
    /// Sums over all pixels of pictures.
    package init(of facts: [PictureFacts]) {
        func total(_ numbers: (PictureFacts) -> [Int64]) -> [Int64] {
            facts.reduce(into: [0, 0, 0]) { sums, facts in
                for (channel, number) in numbers(facts).enumerated() { sums[channel] += number }
            }
        }
        self.init(
            pixels: facts.reduce(0) { $0 + $1.height * $1.width }, sums: total(\.sums), squares: total(\.squares))
    }
}
