import Glibc
import Support
import Testing

@testable import ImageData

@Suite struct CIFARTests {
    let folder = TemporaryFolder()

    @Test func `CIFAR-10 files are read in order, from the folder or its parent`() throws {
        let parent = TemporaryFolder()
        writeSmallCIFAR10(to: folder)
        try #require(symlink(folder.path, "\(parent.path)/cifar-10-batches-bin") == 0)
        for path in [folder.path, parent.path] {
            let (train, test, warnings) = try CIFAR.open(path)
            #expect(train.count == 15 && test.count == 3)
            #expect(train.classes == 10 && train.channels == 3 && train.height == 32 && train.width == 32)
            #expect(train.classNames == nil)
            for i in 0..<15 {
                #expect(try train.label(of: i) == i % 10)
                #expect(try train.pixels(of: i).enumerated().allSatisfy { Int($1) == (i + $0) % 251 })
            }
            #expect(try test.label(of: 0) == 5)
            #expect(try test.pixels(of: 2)[0] == 17)
            let read = path == folder.path ? path : "\(path)/cifar-10-batches-bin"
            #expect(warnings == ["\(read): 15 training and 3 test images; CIFAR-10's own files have 50000 and 10000"])
        }
    }

    @Test func `a set smaller than the official one gives a warning, unless it has classes of its own`() throws {
        writeSmallCIFAR10(to: folder)
        func warnings(_ first: String) throws -> Int {
            let names = [first, "automobile"] + (2..<10).map { "class\($0)" }
            folder.write(Array(names.joined(separator: "\n").utf8), to: "batches.meta.txt")
            return try CIFAR.open(folder.path).warnings.count
        }
        #expect(try warnings("airplane") == 1)
        #expect(try warnings("kite") == 0)
        unlink("\(folder.path)/batches.meta.txt")
        for number in 1...5 { truncate("\(folder.path)/data_batch_\(number).bin", 3073 * 10_000) }
        #expect(try CIFAR.open(folder.path).warnings.count == 1)
        truncate("\(folder.path)/test_batch.bin", 3073 * 10_000)
        #expect(try CIFAR.open(folder.path).warnings == [])
    }

    @Test func `further files of training images give a warning that they are not read`() throws {
        writeSmallCIFAR10(to: folder)
        folder.write(Array((0..<10).map { "class\($0)\n" }.joined().utf8), to: "batches.meta.txt")
        folder.write([0], to: "data_batch_6.bin")
        folder.write([0], to: "notes.bin")
        let words = "not read; training images are read from data_batch_1.bin to 5 only"
        #expect(try CIFAR.open(folder.path).warnings == ["\(folder.path): data_batch_6.bin is \(words)"])
        folder.write([0], to: "data_batch_10.bin")
        #expect(
            try CIFAR.open(folder.path).warnings == ["\(folder.path): data_batch_10.bin, data_batch_6.bin are \(words)"]
        )
    }

    @Test(arguments: ["data_batch_2.bin", "batches.meta.txt", ""])
    func `a dangling or circular link is reported as such`(name: String) throws {
        writeSmallCIFAR10(to: folder)
        let links = TemporaryFolder()
        let path = name.isEmpty ? "\(links.path)/images" : "\(folder.path)/\(name)"
        for (target, words) in [
            ("nowhere", "it is a link to something that does not exist"), (path, "Too many levels of symbolic links"),
        ] {
            unlink(path)
            symlink(target, path)
            let images = name.isEmpty ? path : folder.path
            #expect(throws: Failure(.noInput, "cannot read \(path): \(words)")) { try CIFAR.open(images) }
        }
    }

    @Test func `CIFAR-100 gives the fine labels and their names`() throws {
        let record: (UInt8, UInt8) -> [UInt8] = { [$0, $1] + [UInt8](repeating: $1, count: pixelBytes) }
        folder.write(record(3, 99) + record(4, 0), to: "train.bin")
        folder.write(record(19, 42), to: "test.bin")
        folder.write(Array((0..<100).map { "name\($0)\r\n" }.joined().utf8), to: "fine_label_names.txt")
        let (train, test, _) = try CIFAR.open(folder.path)
        #expect(train.classes == 100 && train.count == 2)
        #expect(try [train.label(of: 0), train.label(of: 1), test.label(of: 0)] == [99, 0, 42])
        #expect(try [train.pixels(of: 0)[0], test.pixels(of: 0)[pixelBytes - 1]] == [99, 42])
        #expect(train.classNames?.count == 100 && train.classNames?[7] == "name7")
        try train.validateLabels(part: 0, of: 1)
    }

    @Test func `limits and prefixes keep the first images`() throws {
        writeSmallCIFAR10(to: folder)
        let (train, test, _) = try CIFAR.open(folder.path, limitTrain: 7, limitTest: 100)
        #expect(train.count == 7 && test.count == 3)
        #expect(try train.label(of: 6) == 6)
        let prefix = train.prefix(5)
        #expect(prefix.count == 5)
        #expect(try prefix.pixels(of: 4) == train.pixels(of: 4))
        #expect(train.prefix(50).count == 7)
        let error = #expect(throws: Failure.self) { try CIFAR.open(folder.path, limitTrain: 0) }
        #expect(error?.kind == .usage)
    }

    @Test func `images stay valid when only a prefix of the set is kept`() throws {
        writeSmallCIFAR10(to: folder)
        let kept = try CIFAR.open(folder.path).train.prefix(4)
        #expect(try kept.pixels(of: 3)[10] == 13)
    }

    @Test func `a folder, file or data set that is missing is named`() throws {
        func message(_ path: String) -> String? {
            let error = #expect(throws: Failure.self) { try CIFAR.open(path) }
            #expect(error?.kind == .noInput)
            return error?.message
        }
        #expect(message("\(folder.path)/nowhere")?.contains("\(folder.path)/nowhere: No such file") == true)
        #expect(message(folder.path)?.contains("cs.toronto.edu") == true)
        writeSmallCIFAR10(to: folder)
        #expect(message("\(folder.path)/test_batch.bin")?.contains("not a folder") == true)
        unlink("\(folder.path)/data_batch_4.bin")
        let missing = message(folder.path)
        #expect(missing?.contains("data_batch_4.bin") == true && missing?.contains("cs.toronto.edu") == true)
    }

    @Test func `files of the wrong size are refused by name`() throws {
        func refusal() -> String {
            let error = #expect(throws: Failure.self) { try CIFAR.open(folder.path) }
            #expect(error?.kind == .data)
            return error?.message ?? ""
        }
        writeSmallCIFAR10(to: folder)
        let path = "\(folder.path)/data_batch_3.bin"
        truncate(path, 3073 * 3 - 1)
        #expect(
            refusal().contains(
                "data_batch_3.bin: 9218 bytes are 2 records of CIFAR-10's 3073 bytes and 3072 bytes more; the file is truncated or"
            ))
        truncate(path, 3073 * 10_001)
        #expect(refusal().contains("data_batch_3.bin: 10001 records, expected at most 10000"))
        truncate(path, 0)
        #expect(refusal().contains("data_batch_3.bin: empty"))
        truncate(path, 3073 * 10_000)
        #expect(try CIFAR.open(folder.path).train.count == 10_012)
    }

    @Test func `a file that is truncated after it was opened is an error rather than a signal`() throws {
        writeSmallCIFAR10(to: folder)
        let train = try CIFAR.open(folder.path).train
        truncate("\(folder.path)/data_batch_3.bin", 3073)
        _ = try train.pixels(of: 6)
        let words = "\(folder.path)/data_batch_3.bin: has become shorter than its 9219 bytes while it was read"
        #expect(throws: Failure(.data, words)) { try train.pixels(of: 7) }
        #expect(throws: Failure(.data, words)) { try train.validateLabels(part: 0, of: 1) }
        #expect(throws: Failure(.data, words)) { try PixelSums(of: train) }
    }

    @Test func `anything but a regular file is refused without waiting for it`() throws {
        writeSmallCIFAR10(to: folder)
        for name in ["data_batch_2.bin", "batches.meta.txt"] {
            let path = "\(folder.path)/\(name)"
            unlink(path)
            mkfifo(path, 0o600)
            #expect(throws: Failure(.noInput, "cannot read \(path): it is not a file")) { try CIFAR.open(folder.path) }
            unlink(path)
            symlink("/dev/zero", path)
            #expect(throws: Failure(.noInput, "cannot read \(path): it is not a file")) { try CIFAR.open(folder.path) }
            unlink(path)
            writeSmallCIFAR10(to: folder)
        }
    }

    @Test func `a wrong number of class names is refused`() throws {
        writeSmallCIFAR10(to: folder)
        folder.write(Array("cat\ndog\n\n".utf8), to: "batches.meta.txt")
        let error = #expect(throws: Failure.self) { try CIFAR.open(folder.path) }
        #expect(error?.kind == .data && error?.message.contains("batches.meta.txt: 2 class names") == true)
    }

    @Test func `two data sets in one folder are refused`() throws {
        writeSmallCIFAR10(to: folder)
        folder.write([0], to: "train.bin")
        let error = #expect(throws: Failure.self) { try CIFAR.open(folder.path) }
        #expect(error?.kind == .usage)
    }

    @Test func `the rank whose part holds a bad label names file, record and byte`() throws {
        writeSmallCIFAR10(to: folder)
        var bytes = folder.read("data_batch_2.bin")
        bytes[3073] = 10
        folder.write(bytes, to: "data_batch_2.bin")
        let train = try CIFAR.open(folder.path).train
        for part in 0..<4 where part != 1 { try train.validateLabels(part: part, of: 4) }
        // Record 4 of 15 is in the second part, 4..<8.
        let error = #expect(throws: Failure.self) { try train.validateLabels(part: 1, of: 4) }
        #expect(error?.kind == .data)
        #expect(error?.message.contains("data_batch_2.bin: record 1 (byte 3073) has label 10, expected 0 to 9") == true)
        try train.prefix(4).validateLabels(part: 0, of: 1)
    }
}
