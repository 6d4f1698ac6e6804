import Glibc
import Pictures
import Support
import TestSupport
import Testing

@testable import ImageData

/// A picture of one colour as a PNG file.
func png(_ colour: UInt8 = 100, height: Int = 4, width: Int = 4) throws -> [UInt8] {
    try Picture(height: height, width: width, planes: [UInt8](repeating: colour, count: 3 * height * width)).png
}

/// What lies in folders of pictures, and what becomes of it.
@Suite struct PictureListingTests {
    let scratch = ScratchFolder()
    private var root: String { scratch.path }

    /// Makes files, of a byte each, and their folders.
    private func make(_ paths: [String]) throws {
        for path in paths {
            try FileSystem.makeFolderAndParents(
                scratch(String(path.prefix(path.count - path.split(separator: "/").last!.count))))
            _ = try scratch.write([1], to: path)
        }
    }

    private func list(table: String? = nil, split: Double? = nil, seed: UInt64 = 1) throws -> PictureListing {
        try PictureListing(folder: root, table: table, split: split.map { .init(share: $0, seed: seed) })
    }

    private func refusal(table: String? = nil, split: Double? = nil) throws -> String {
        let error = #expect(throws: Failure.self) { try list(table: table, split: split) }
        return try #require(error).message
    }

    @Test func `classes, folders and files are in the order of their names' bytes, as ImageFolder has them`() throws {
        try make([
            "train/b/2.png", "train/b/10.PNG", "train/b/x/1.jpg", "train/b/x-y/1.jpeg", "train/Zoo/é.png",
            "train/Zoo/z.JPG",
            "train/b/readme.txt", "test/b/1.png", "train/.hidden/1.png",
        ])
        let listing = try list()
        #expect(listing.classNames == ["Zoo", "b"])
        #expect(
            listing.train.files.map(\.path) == [
                "train/Zoo/z.JPG", "train/Zoo/é.png", "train/b/10.PNG", "train/b/2.png", "train/b/x/1.jpg",
                "train/b/x-y/1.jpeg",
            ])
        #expect(listing.train.files.map(\.label) == [0, 0, 1, 1, 1, 1])
        #expect(listing.test.files.map(\.path) == ["test/b/1.png"] && listing.test.files.map(\.label) == [1])
        #expect(listing.warnings.isEmpty)
    }

    @Test func `val and validation are test folders too, and what is not read is said`() throws {
        try make(["train/a/1.png", "train/b/1.png", "train/b/1.bmp", "validation/a/1.png", "val/b/1.png"])
        let listing = try list(split: 0.5)
        #expect(listing.test.files.map(\.path) == ["val/b/1.png"])
        #expect(
            listing.warnings == [
                "\(root)/train/: 1 picture in another format is not read; convert to PNG or JPEG",
                "\(root): testing with val; validation is not read",
                "\(root): says which pictures are for testing; `split` is not used",
            ])
    }

    @Test func `a split stays as it is when files come and go, and depends on the seed`() throws {
        let names = (0..<400).map { "\($0 % 2 == 0 ? "a" : "b")/\($0).png" }
        try make(names)
        let before = try list(split: 0.25)
        let tests = Set(before.test.files.map(\.path))
        #expect((60...140).contains(tests.count) && before.train.files.count + tests.count == 400)
        #expect(Set(try list(split: 0.25, seed: 2).test.files.map(\.path)) != tests)
        #expect(tests.isSubset(of: try list(split: 0.5).test.files.map(\.path)))

        try make((400..<500).map { "a/\($0).png" })
        for name in names.prefix(50) { unlink(scratch(name)) }
        let after = try list(split: 0.25)
        let kept = Set(names.dropFirst(50))
        #expect(Set(after.test.files.map(\.path)).intersection(kept) == tests.intersection(kept))
    }

    @Test func `a folder without use is refused in words`() throws {
        #expect(try refusal(split: 0.1) == "\(root): has no classes, expected pictures of two classes or more")
        try make(["a/1.png"])
        #expect(try refusal(split: 0.1) == "\(root): has only one class, a, expected pictures of two classes or more")
        try make(["b/1.png", "b/2.png", "b/3.png", "b/4.png"])
        #expect(
            try refusal()
                == "\(root): does not say which pictures are for testing; give a share of them, such as `split` 0.1, or make "
                + "folders train and test")
        mkdir(scratch("c"), 0o777)
        #expect(
            try refusal(split: 0.1)
                == "\(root)/c: has no pictures (.png, .jpg, .jpeg); add some, or take away the folder")
        rmdir(scratch("c"))
        #expect(try refusal(split: 1) == "`split` is 1.0, expected above 0 and below 1, such as 0.1")
        #expect(
            try refusal(split: 0.999)
                == "\(root): has no pictures to train on of a, b; add some, or take away the class")
        #expect(try refusal(split: 1e-9) == "\(root): has no pictures to test with; add some, or use another `split`")
    }

    @Test func `a test class that is not trained on, and links without end, are refused`() throws {
        try make(["train/a/1.png", "train/b/1.png", "test/c/1.png"])
        #expect(
            try refusal() == "\(root)/test: has c, which train has not; give both the same classes")
        unlink(scratch("test/c/1.png"))
        rmdir(scratch("test/c"))
        try make(["test/a/1.png"])
        symlink("..", scratch("train/a/up"))
        #expect(
            try refusal()
                == "\(root)/train/a/up/a: is a link to a folder that it lies in, so there is no end of files; remove it"
        )
    }

    @Test func `names that are not UTF-8 are problems, and links are followed`() throws {
        try make(["train/a/1.png", "train/b/1.png", "test/a/1.png", "elsewhere/2.png"])
        symlink(scratch("elsewhere"), scratch("train/a/more"))
        symlink("/nowhere", scratch("train/b/gone.png"))
        let name = Array("\(root)/train/a/".utf8CString.dropLast()) + [-1] + Array(".png".utf8CString)
        close(name.withUnsafeBufferPointer { open($0.baseAddress!, O_CREAT | O_WRONLY, 0o666) })
        let listing = try list()
        #expect(
            listing.train.files.map(\.path) == [
                "train/a/1.png", "train/a/more/2.png", "train/b/1.png", "train/b/gone.png",
            ])
        #expect(listing.problems.map(\.text) == ["\(root)/train/a/\\xff.png: its name is not UTF-8; rename it"])
        let facts = PictureFacts(of: listing.train.files[3], in: listing.train)
        #expect(facts.problem?.hasPrefix("cannot read \(root)/train/b/gone.png: ") == true)
    }

    @Test func `a limit takes pictures of all classes, whatever their order`() throws {
        try make((0..<200).map { "train/\("abcd".map(String.init)[$0 % 4])/\($0).png" } + ["test/a/1.png"])
        let limited = try list().train.limited(to: 40)
        #expect(limited.files.count == 40 && Set(limited.files.map(\.label)).count == 4)
        #expect(limited.files == limited.files.sorted { isBefore($0.path, $1.path) })
        #expect(Set(limited.files.map(\.path)).isSuperset(of: try list().train.limited(to: 20).files.map(\.path)))
    }

    // MARK: - Tables

    @Test func `a table gives paths, classes and perhaps what is for testing`() throws {
        try make(["x/1.png", "x/a,b.png"])
        let table = try scratch.write(
            Array(
                "path,label,split\nx/1.png,cat,train\r\n\"x/a,b.png\",\"the \"\"dog\"\"\",train\n\nx/1.png,cat,test\n"
                    .utf8),
            to: "list.csv")
        let listing = try list(table: table)
        #expect(listing.classNames == ["cat", "the \"dog\""])
        #expect(listing.train.files.map(\.path) == ["x/1.png", "x/a,b.png"])
        #expect(listing.test.files.map(\.path) == ["x/1.png"] && listing.train.files.map(\.label) == [0, 1])

        let numbers = try scratch.write(
            Array((0..<40).map { "x/\($0).png\t\($0 % 4 * 5)\n" }.joined().utf8), to: "list.tsv")
        let split = try list(table: numbers, split: 0.4)
        #expect(split.classNames == ["0", "5", "10", "15"])
        #expect(split.train.files.count + split.test.files.count == 40)
    }

    @Test(arguments: [
        ("x.png\n", "line 1 is 'x.png', expected path,label, and perhaps train or test"),
        ("a.png,b\nx.png,y,testing\n", "line 2 is 'x.png,y,testing', expected path,label, and perhaps train or test"),
        ("path,label\n\"a.png,b\n", "line 2 is '\"a.png,b', expected path,label, and perhaps train or test"),
        ("a.png,b\nx.png,y,test\n", "says train or test in some lines only; say it in all or in none"),
        ("", "has no classes, expected pictures of two classes or more"),
    ])
    func `a line that is no row is named`(text: String, words: String) throws {
        let table = try scratch.write(Array(text.utf8), to: "list.csv")
        #expect(try refusal(table: table, split: 0.5) == "\(table): \(words)")
    }
}
