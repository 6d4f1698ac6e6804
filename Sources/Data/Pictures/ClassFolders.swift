import Support

/// Folders of pictures, one for each class, as torchvision's `ImageFolder` reads them: classes and files in the order of
/// their names, folders within a class included, links followed.
enum ClassFolders {
    private static let trainFolder = "train"
    /// The first that is there has the pictures to test with.
    private static let testFolders = ["test", "val", "validation"]
    private static let extensions = ["png", "jpg", "jpeg"]
    /// Of pictures that torchvision would read.
    private static let otherExtensions = ["ppm", "bmp", "pgm", "tif", "tiff", "webp", "gif"]

    /// Whether a folder has folders, so that it may hold pictures; opens nothing in them.
    static func areIn(_ folder: String) -> Bool { (try? classes(in: folder).isEmpty) == false }

    /// - Throws: `Failure(.noInput)` for what cannot be read, `.data` for a class without pictures, for one that there is
    ///   in the test folder alone, and for links that lead in a circle.
    static func find(in folder: String) throws -> FoundPictures {
        var found = FoundPictures()
        guard PathKind(of: "\(folder)/\(trainFolder)") == .folder else {
            found.classNames = try classes(in: folder)
            found.train = try pictures(of: found.classNames, in: "", below: folder, mayLack: false, &found)
            return found
        }
        found.classNames = try classes(in: "\(folder)/\(trainFolder)")
        found.train = try pictures(of: found.classNames, in: "\(trainFolder)/", below: folder, mayLack: false, &found)
        let tests = testFolders.filter { PathKind(of: "\(folder)/\($0)") == .folder }
        guard let test = tests.first else { return found }
        if tests.count > 1 {
            found.warnings.append("\(folder): testing with \(test); \(tests[1...].joined(separator: ", ")) is not read")
        }
        let unknown = try classes(in: "\(folder)/\(test)").filter { !found.classNames.contains($0) }
        guard unknown.isEmpty else {
            throw Failure(
                .data,
                "\(folder)/\(test): has \(unknown.joined(separator: ", ")), which \(trainFolder) has not; give both the same "
                    + "classes")
        }
        found.test = try pictures(of: found.classNames, in: "\(test)/", below: folder, mayLack: true, &found)
        return found
    }

    /// The folders in a folder but for hidden ones, sorted.
    private static func classes(in folder: String) throws -> [String] {
        let names = try FileSystem.names(inFolder: folder).filter { !$0.hasPrefix(".") }
        return try names.filter { name in
            let path = "\(folder)/\(name)"
            switch PathKind(of: path) {
            case .folder: return true
            case .unusable(let failure): throw failure
            case .other, .missing: return false
            }
        }.sorted(by: isBefore)
    }

    /// The pictures of all classes.
    ///
    /// - Parameter mayLack: whether a class may have none.
    private static func pictures(
        of classes: [String], in prefix: String, below root: String, mayLack: Bool, _ found: inout FoundPictures
    ) throws -> [PictureFile] {
        var files: [PictureFile] = []
        var others = 0
        for (label, name) in classes.enumerated() {
            let folder = prefix + name
            guard !PathKind(of: "\(root)/\(folder)").isMissing else { continue }
            var walk = FolderWalk(root: root)
            try walk.visit(folder)
            found.problems += walk.problems
            let listed = walk.sorted { file in
                let suffix = file.split(separator: ".").last.map { $0.lowercased() } ?? ""
                others += otherExtensions.contains(suffix) ? 1 : 0
                return extensions.contains(suffix)
            }
            guard mayLack || !listed.isEmpty else {
                throw Failure(
                    .data, "\(root)/\(folder): has no pictures (.png, .jpg, .jpeg); add some, or take away the folder")
            }
            for (path, facts) in listed {
                files.append(PictureFile(path: path, label: label, size: facts.size, modified: facts.modified))
            }
        }
        if others > 0 {
            let subject = others == 1 ? "1 picture in another format is" : "\(others) pictures in other formats are"
            found.warnings.append("\(root)/\(prefix): \(subject) not read; convert to PNG or JPEG")
        }
        return files
    }
}

/// All files below a folder.
private struct FolderWalk {
    let root: String
    private(set) var problems: [PictureProblem] = []
    /// By folder.
    private var files: [(folder: String, names: [(name: String, facts: FileFacts)])] = []
    /// The folders on the way to the one being read.
    private var path: [FileFacts] = []

    init(root: String) { self.root = root }

    /// The files with a name that `isWanted` takes: folders in the order of their paths, then names.
    func sorted(_ isWanted: (String) -> Bool) -> [(path: String, facts: FileFacts)] {
        files.sorted { isBefore($0.folder, $1.folder) }.flatMap { folder, names in
            names.filter { isWanted($0.name) }.sorted { isBefore($0.name, $1.name) }.map {
                ("\(folder)/\($0.name)", $0.facts)
            }
        }
    }

    mutating func visit(_ folder: String) throws {
        let own = try FileFacts(of: "\(root)/\(folder)")
        guard !path.contains(where: { $0.device == own.device && $0.inode == own.inode }) else {
            throw Failure(
                .data,
                "\(root)/\(folder): is a link to a folder that it lies in, so there is no end of files; remove it")
        }
        path.append(own)
        defer { path.removeLast() }
        var names: [(name: String, facts: FileFacts)] = []
        for bytes in try FileSystem.entries(ofFolder: "\(root)/\(folder)") {
            guard let name = String(validating: bytes, as: UTF8.self) else {
                let shown = bytes.map { $0 < 0x80 ? String(UnicodeScalar($0)) : "\\x\(String($0, radix: 16))" }.joined()
                problems.append(
                    PictureProblem(
                        path: "\(folder)/\(shown)", text: "\(root)/\(folder)/\(shown): its name is not UTF-8; rename it"
                    ))
                continue
            }
            guard let facts = try? FileFacts(of: "\(root)/\(folder)/\(name)") else {
                // A link to nothing is found to be unreadable when it is opened.
                names.append((name, .nothing))
                continue
            }
            if facts.isFolder { try visit("\(folder)/\(name)") } else { names.append((name, facts)) }
        }
        files.append((folder, names))
    }
}
