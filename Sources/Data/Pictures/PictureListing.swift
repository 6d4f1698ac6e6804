import Support

/// The pictures of a folder for training and testing, as they are found: no picture is opened.
package struct PictureListing: Sendable {
    package var train: PictureFiles
    package var test: PictureFiles
    /// In the order of their labels.
    package let classNames: [String]
    /// What is listed but cannot be used, with the reason: the names of files that are not UTF-8.
    package let problems: [PictureProblem]
    /// Lines for the user.
    package let warnings: [String]

    /// Which files are for testing where no folder or list says it.
    package struct Split: Sendable, Equatable {
        /// The share of files that are for testing, above 0 and below 1.
        package let share: Double
        package let seed: UInt64

        package init(share: Double, seed: UInt64) { (self.share, self.seed) = (share, seed) }

        /// A function of its path and the seed alone: other files that come or go do not change it.
        func isForTesting(_ path: String) -> Bool {
            var random = CounterRandom(.split, seed, pathHash(path))
            return random.uniform(in: 0...1) < share
        }
    }

    /// Lists the pictures of a folder, or those that a table names.
    ///
    /// - Parameters:
    ///   - folder: has `train` and `test` (or `val`, or `validation`), in each a folder for each class; or, with a
    ///     split, only the latter. With a table the paths in it begin here.
    ///   - table: a file of comma- or tab-separated values; see `PictureTable`.
    ///   - split: what is for testing where neither folders nor the table say it.
    /// - Throws: `Failure(.noInput)` for what cannot be read, `.data` for a folder or table without use, `.usage` where
    ///   it is not known what is for testing.
    package init(folder: String, table: String?, split: Split?) throws {
        if let split, !(split.share > 0 && split.share < 1) {
            throw Failure(.usage, "`split` is \(split.share), expected above 0 and below 1, such as 0.1")
        }
        if let problem = PathKind(of: folder).problem { throw problem }
        let found = try table.map { try PictureTable(path: $0).find(in: folder) } ?? ClassFolders.find(in: folder)
        (classNames, problems) = (found.classNames, found.problems)
        var warnings = found.warnings
        var (train, test) = (found.train, found.test ?? [])
        if found.test == nil {
            guard let split else {
                throw Failure(
                    .usage,
                    "\(table ?? folder): does not say which pictures are for testing; give a share of them, such as `split` "
                        + "0.1\(table == nil ? ", or make folders train and test" : "")")
            }
            test = train.filter { split.isForTesting($0.path) }
            train = train.filter { !split.isForTesting($0.path) }
        } else if split != nil {
            warnings.append("\(table ?? folder): says which pictures are for testing; `split` is not used")
        }
        self.warnings = warnings
        self.train = PictureFiles(root: folder, files: train, name: "train")
        self.test = PictureFiles(root: folder, files: test, name: "test")
        try requireUse(of: table ?? folder)
    }

    /// Takes pictures away.
    ///
    /// - Parameter paths: as in the lists.
    package mutating func leaveOut(_ paths: Set<String>) {
        guard !paths.isEmpty else { return }
        train.files.removeAll { paths.contains($0.path) }
        test.files.removeAll { paths.contains($0.path) }
    }

    /// - Throws: `Failure(.data)` for a set that nothing can be learned or tested with.
    package func requireUse(of path: String) throws {
        guard classNames.count > 1 else {
            let only = classNames.first.map { "only one class, \($0)" } ?? "no classes"
            throw Failure(.data, "\(path): has \(only), expected pictures of two classes or more")
        }
        let labels = Set(train.files.map(\.label))
        let missing = classNames.indices.filter { !labels.contains($0) }
        guard missing.isEmpty else {
            throw Failure(
                .data,
                "\(path): has no pictures to train on of \(missing.map { classNames[$0] }.joined(separator: ", ")); add some, or "
                    + "take away the class")
        }
        guard !test.files.isEmpty else {
            throw Failure(.data, "\(path): has no pictures to test with; add some, or use another `split`")
        }
    }
}

/// Something that is listed as a picture and cannot be used.
package struct PictureProblem: Sendable, Equatable {
    package let path: String
    /// With the path: a line for the user.
    package let text: String

    package init(path: String, text: String) { (self.path, self.text) = (path, text) }
}

/// What a folder or a table names; no test pictures where it does not tell them apart.
struct FoundPictures {
    var train: [PictureFile] = []
    var test: [PictureFile]?
    var classNames: [String] = []
    var problems: [PictureProblem] = []
    var warnings: [String] = []
}

extension PictureFiles {
    /// The first `count` pictures of an order that depends on their paths alone, so that all classes are among them; in
    /// the order of the list.
    package func limited(to count: Int?) -> PictureFiles {
        guard let count, count < files.count else { return self }
        let order = files.indices.sorted {
            let (one, other) = (pathHash(files[$0].path), pathHash(files[$1].path))
            return one != other ? one < other : $0 < $1
        }
        var limited = self
        limited.files = order.prefix(count).sorted().map { files[$0] }
        return limited
    }
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo).
func pathHash(_ path: String) -> UInt64 {
    path.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
}

/// Bytes in the order of Python's and C's strings, which `String`'s `<` has not.
func isBefore(_ one: String, _ other: String) -> Bool { one.utf8.lexicographicallyPrecedes(other.utf8) }
