import Support

/// A list of pictures in a file: a line for each, with its path and its class separated by a comma (or a tab in a `.tsv`
/// file), and, where the list says it, `train` or `test`. A first line `path,label` or `path,label,split` is a header.
///
/// Classes are in the order of their names, or of their numbers where all are numbers.
struct PictureTable {
    private struct Row {
        let path: String
        let label: String
        let isForTesting: Bool?
    }

    private let path: String
    private var rows: [Row] = []
    /// The largest file, in bytes: ten million lines.
    private static let largestFile = 1 << 30

    /// - Throws: `Failure(.noInput)` if the file cannot be read, `.data` for a line that is no row.
    init(path: String) throws {
        self.path = path
        let bytes = try InputFile.contents(of: path, atMost: Self.largestFile)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Failure(.data, "\(path): is not text in UTF-8; convert it")
        }
        let separator: Character = path.lowercased().hasSuffix(".tsv") ? "\t" : ","
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            guard !line.isEmpty else { continue }
            let fields = SeparatedValues.fields(of: line, separator: separator)
            if index == 0, fields?.first == "path" { continue }
            guard let fields, let row = Self.row(fields) else {
                throw Failure(
                    .data,
                    "\(path): line \(index + 1) is '\(line.prefix(80))', expected path\(separator == "," ? "," : " TAB ")label, "
                        + "and perhaps train or test")
            }
            rows.append(row)
        }
        guard Set(rows.map { $0.isForTesting == nil }).count <= 1 else {
            throw Failure(.data, "\(path): says train or test in some lines only; say it in all or in none")
        }
    }

    private static func row(_ fields: [String]) -> Row? {
        guard (2...3).contains(fields.count), !fields[0].isEmpty, !fields[1].isEmpty else { return nil }
        guard fields.count == 3 else { return Row(path: fields[0], label: fields[1], isForTesting: nil) }
        guard ["train", "test"].contains(fields[2]) else { return nil }
        return Row(path: fields[0], label: fields[1], isForTesting: fields[2] == "test")
    }

    /// - Parameter folder: where the paths begin.
    func find(in folder: String) -> FoundPictures {
        var found = FoundPictures()
        let names = Set(rows.map(\.label))
        let numbers = names.compactMap { name in Int(name).flatMap { String($0) == name ? $0 : nil } }
        found.classNames =
            numbers.count == names.count ? numbers.sorted().map(String.init) : names.sorted(by: isBefore)
        let labels = Dictionary(uniqueKeysWithValues: found.classNames.enumerated().map { ($1, $0) })
        if rows.first?.isForTesting != nil { found.test = [] }
        for row in rows {
            // One that is not there is found to be unreadable when it is opened.
            let facts = (try? FileFacts(of: "\(folder)/\(row.path)")) ?? .nothing
            let file = PictureFile(
                path: row.path, label: labels[row.label] ?? 0, size: facts.size, modified: facts.modified)
            if row.isForTesting == true { found.test?.append(file) } else { found.train.append(file) }
        }
        return found
    }
}
