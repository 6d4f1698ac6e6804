import Pictures
import Support

/// What is known of a picture file once somebody has decoded it.
package struct PictureFacts: Sendable, Equatable {
    /// In pixels; 0 for a file that is no picture that can be used.
    package let height, width: Int
    /// CRC-32 of the file's bytes.
    package let checksum: UInt32
    /// Whether it has 16 bits per channel, of which 8 are read.
    package let isDeep: Bool
    /// Sums of red, green, blue and grey over all pixels, in bytes, and of their squares.
    let sums, squares: [Int64]
    /// Why it cannot be used, naming the file; nil if it can.
    package let problem: String?

    /// Decodes a picture.
    package init(of file: PictureFile, in files: PictureFiles) {
        do {
            let bytes = try files.bytes(of: file)
            var checksum = CRC32()
            bytes.withUnsafeBytes { checksum.add($0) }
            self.init(
                try Picture(bytes, path: "\(files.root)/\(file.path)"), checksum: checksum.value,
                isDeep: Picture.isDeep(bytes))
        } catch {
            self.init(problem: "\(error)")
        }
    }

    private init(_ picture: Picture, checksum: UInt32, isDeep: Bool) {
        (height, width, self.checksum, problem) = (picture.height, picture.width, checksum, nil)
        self.isDeep = isDeep
        let area = height * width
        var (sums, squares): ([Int64], [Int64]) = ([], [])
        for planes in [picture.planes, picture.grey.planes] {
            planes.withUnsafeBufferPointer { planes in
                for start in stride(from: 0, to: planes.count, by: area) {
                    var (sum, square): (Int64, Int64) = (0, 0)
                    for i in start..<start + area {
                        let pixel = Int32(planes[i])
                        sum &+= Int64(pixel)
                        square &+= Int64(pixel &* pixel)
                    }
                    sums.append(sum)
                    squares.append(square)
                }
            }
        }
        (self.sums, self.squares) = (sums, squares)
    }

    private init(problem: String) {
        (height, width, checksum, isDeep, self.problem) = (0, 0, 0, false, problem)
        (sums, squares) = (Self.noSums, Self.noSums)
    }

    private static let noSums = [Int64](repeating: 0, count: 4)

    // MARK: As text

    /// Numbers and, of a file that cannot be used, the reason, separated by tabs.
    package var text: String {
        let numbers = [Int64(height), Int64(width), Int64(checksum), isDeep ? 1 : 0] + sums + squares
        return (numbers.map { "\($0)" } + [(problem ?? "").replacing("\n", with: " ")]).joined(separator: "\t")
    }

    /// Reads `text`; nil if it is something else.
    package init?(text: some StringProtocol) {
        let fields = text.split(separator: "\t", maxSplits: 12, omittingEmptySubsequences: false)
        let numbers = fields.prefix(12).compactMap { Int64($0) }
        guard fields.count == 13, numbers.count == 12, let checksum = UInt32(exactly: numbers[2]) else { return nil }
        (height, width, self.checksum, isDeep) = (Int(numbers[0]), Int(numbers[1]), checksum, numbers[3] != 0)
        (sums, squares) = (Array(numbers[4..<8]), Array(numbers[8..<12]))
        problem = fields[12].isEmpty ? nil : String(fields[12])
    }
}

/// Facts by file, which hold as long as the file has its size and its time of change; kept in a file between two runs.
package struct PictureFactTable: Sendable {
    private var facts: [String: PictureFacts] = [:]
    private static let header = "facts of pictures, 2"
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
    ///
    /// - Parameter channels: 3 for those of red, green and blue, 1 for those of grey.
    package init(of facts: [PictureFacts], channels: Int) {
        let range = channels == 1 ? 3..<4 : 0..<3
        func total(_ numbers: (PictureFacts) -> [Int64]) -> [Int64] {
            range.map { channel in facts.reduce(0) { $0 + numbers($1)[channel] } }
        }
        self.init(
            pixels: facts.reduce(0) { $0 + $1.height * $1.width }, sums: total(\.sums), squares: total(\.squares))
    }
}
