import FoundationEssentials
import Glibc
import Safetensors
import Support
import TestSupport
import Testing

/// The failure of opening a file of these bytes; nil if it opens.
func refusal(_ bytes: [UInt8], in folder: ScratchFolder) throws -> Failure? {
    let path = try folder.write(bytes, to: "t.safetensors")
    do { _ = try SafetensorsFile(path: path) } catch let failure as Failure {
        #expect(failure.message.hasPrefix(path + ": "))
        #expect(!failure.message.contains("\n") && failure.message.utf8.count < 700, "not one short line: \(failure)")
        return failure
    }
    return nil
}

@Suite struct SafetensorsTests {
    let folder = ScratchFolder()

    @Test func `what is written is read back`() throws {
        let path = folder("weights.safetensors")
        let weights: [Float] = [1, -2.5, .infinity, 0, .leastNonzeroMagnitude, 6]
        let metadata = ["config": "{\"a\":\"b\\\"\"}\n\t\u{1}", "naïve 😀": "ü/\\"]
        try weights.withUnsafeBufferPointer { values in
            try SafetensorsWriter.write(
                to: path,
                tensors: [
                    NamedTensor(name: "z \"quoted\" é", shape: [2, 3], values: values),
                    NamedTensor(name: "empty", shape: [0, 7], values: UnsafeBufferPointer(rebasing: values[0..<0])),
                    NamedTensor(name: "a", shape: [], values: UnsafeBufferPointer(rebasing: values[1..<2])),
                ], metadata: metadata)
        }
        let file = try SafetensorsFile(path: path)
        #expect(file.metadata == metadata)
        #expect(Set(file.tensors.keys) == ["z \"quoted\" é", "empty", "a"])
        let info = try #require(file.tensors["a"])
        #expect(info.dtype == .float32 && info.shape == [] && info.range == 24..<28)
        #expect(try file.floats(named: "z \"quoted\" é", shape: [2, 3]) == weights)
        #expect(try file.floats(named: "empty") == [])
        let single = AlignedBuffer<Float>(count: 1)
        try file.floats(named: "a", shape: [], into: single.elements)
        #expect(single.pointer[0] == -2.5)
        #expect(folder.names == ["weights.safetensors"])
    }

    @Test func `the bytes follow the format, are aligned and reproducible`() throws {
        try [Float(1)].withUnsafeBufferPointer { values in
            let tensor = NamedTensor(name: "w", shape: [1], values: values)
            try SafetensorsWriter.write(to: folder("f"), tensors: [tensor], metadata: ["b": "2", "a": "1", "c": "3"])
        }
        let header = #"{"__metadata__":{"a":"1","b":"2","c":"3"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#
        let padding = String(repeating: " ", count: (8 - header.utf8.count % 8) % 8)
        #expect(try folder.read("f") == safetensors(header + padding) + [0, 0, 0x80, 0x3F])
    }

    @Test func `integers are read`() throws {
        let header =
            #"{"n":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"#
            + #""d":{"data_offsets":[16,24],"shape":[],"dtype":"F64"}}"#
        let data = withUnsafeBytes(
            of: (Int64(-5).littleEndian, Int64.max.littleEndian, 0.1.bitPattern.littleEndian), Array.init)
        let file = try SafetensorsFile(path: folder.write(safetensors(header) + data, to: "f"))
        #expect(try file.integers(named: "n", shape: [2]) == [-5, .max])
        #expect(file.tensors["d"]?.shape == [])
    }

    /// A file of one tensor, `w`.
    private func file<Stored: BitwiseCopyable>(of numbers: [Stored], _ dtype: String) throws -> SafetensorsFile {
        let data = numbers.withUnsafeBytes(Array.init)
        let header = #"{"w":{"dtype":"\#(dtype)","shape":[\#(numbers.count)],"data_offsets":[0,\#(data.count)]}}"#
        return try SafetensorsFile(path: folder.write(safetensors(header) + data, to: dtype))
    }

    private func weights(in file: SafetensorsFile, count: Int) throws -> [UInt32] {
        let buffer = AlignedBuffer<Float>(count: count)
        try file.floats(named: "w", shape: [count], into: buffer.elements)
        return buffer.elements.map(\.bitPattern)
    }

    @Test func `16-bit weights are read exactly`() throws {
        // All of them except NaNs, whose bits are unspecified.
        let all = (UInt16.min ... .max)
        let halves = all.map { Float16(bitPattern: $0) }.filter { !$0.isNaN }
        // A piece has 2¹⁶ elements: twice as many and a few more take three.
        let many = halves + halves + halves.prefix(5)
        #expect(try weights(in: file(of: many, "F16"), count: many.count) == many.map { Float($0).bitPattern })
        let upper = Array(all)
        #expect(try weights(in: file(of: upper, "BF16"), count: upper.count) == upper.map { UInt32($0) << 16 })
    }

    @Test func `float64 weights are rounded, and infinite beyond float32's range`() throws {
        let numbers = [0.1, -1e-50, 3.5e38, -.greatestFiniteMagnitude, .infinity, 1 + 0x1p-24, 1 + 0x1.8p-23]
        let floats: [Float] = [0.1, -0.0, .infinity, -.infinity, .infinity, 1, 1 + 0x1p-22]
        #expect(try weights(in: file(of: numbers, "F64"), count: numbers.count) == floats.map(\.bitPattern))
    }

    @Test func `a converted tensor in a file that shrinks is an error`() throws {
        let file = try file(of: [UInt16](repeating: 0, count: 100_000), "BF16")
        truncate(file.path, 150_000)
        let failure = #expect(throws: Failure.self) { try weights(in: file, count: 100_000) }
        #expect(failure?.message.contains("has become shorter") == true)
    }

    @Test(
        arguments: [
            // The first bytes of torch.save before version 1.6, and of Python's own pickles.
            [0x80, 2, 0x8A, 10, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20],
            [0x80, 4, 0x95, 20, 0, 0, 0, 0, 0, 0],
        ] as [[UInt8]])
    func `a pickle saved by PyTorch is refused with a command that converts it`(
        start: [UInt8]
    ) throws {
        let path = try folder.write(start + [UInt8](repeating: 0, count: 100), to: "it's.pth")
        let failure = try #require(throws: Failure.self) { try SafetensorsFile(path: path) }
        #expect(
            failure.kind == .data
                && failure.message.hasPrefix("\(path): is a pickle like PyTorch's .pth files"))
        // The shell must pass the exact paths.
        let command = failure.message[try #require(failure.message.firstRange(of: "python3 -c")).lowerBound...]
        _ = try folder.write(Array("#!/bin/sh\nprintf '%s\\n' \"$@\" > '\(folder("words"))'\n".utf8), to: "python3")
        chmod(folder("python3"), 0o755)
        let search = "\(folder.path):\(String(cString: getenv("PATH")))"
        #expect(try run("sh", ["-c", String(command)], environment: ["PATH": search]).status == 0)
        let lines = String(decoding: try folder.read("words"), as: UTF8.self).split(separator: "\n")
        #expect(lines.count == 4 && lines[0] == "-c" && lines[2] == path && lines[3] == folder("it's.safetensors"))
    }

    @Test func `a header whose length looks like the first bytes of a pickle is a header`() throws {
        let header = #"{"__metadata__":{"a":""# + String(repeating: "x", count: 0x280 - 25) + #""}}"#
        try #require(header.utf8.count == 0x280)
        #expect(
            try SafetensorsFile(path: folder.write(safetensors(header), to: "f")).metadata["a"]?.count == 0x280 - 25)
    }

    @Test func `escapes in names are decoded`() throws {
        let header =
            #"{"__metadata__" : { "\u0041\n\/\"\\" : "\ud83d\ude00\t\u00e9" } , "#
            + #""x":{"dtype":"U8","shape":[1,0], "data_offsets":[0,0]}}  "#
        let file = try SafetensorsFile(path: folder.write(safetensors(header), to: "f"))
        #expect(file.metadata == ["A\n/\"\\": "😀\té"])
        #expect(file.tensors["x"]?.shape == [1, 0])
    }

    @Test func `a request for the wrong name, dtype or shape is refused by name`() throws {
        let header = #"{"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#
        let file = try SafetensorsFile(path: folder.write(safetensors(header, data: 8), to: "f"))
        let path = folder("f")
        #expect(throws: Failure(.data, "\(path): has no tensor 'v'")) {
            try file.floats(named: "v")
        }
        #expect(throws: Failure(.data, "\(path): tensor 'w' is F32, expected I64")) { try file.integers(named: "w") }
        #expect(
            throws: Failure(.data, "\(path): tensor 'w' has shape [2, 1], expected [1, 2]")
        ) {
            try file.floats(named: "w", shape: [1, 2])
        }
    }

    @Test func `a missing file, a folder or a pipe is refused`() throws {
        mkfifo(folder("pipe"), 0o600)
        for path in [folder("nowhere"), folder.path, folder("pipe")] {
            let failure = #expect(throws: Failure.self) { try SafetensorsFile(path: path) }
            #expect(failure?.kind == .noInput && failure?.message.contains(path) == true)
        }
    }

    @Test func `a file that shrinks after it was opened is an error`() throws {
        let header = #"{"w":{"dtype":"F32","shape":[100000],"data_offsets":[0,400000]}}"#
        let path = try folder.write(safetensors(header, data: 400_000), to: "f")
        let file = try SafetensorsFile(path: path)
        truncate(path, 5000)
        #expect(throws: Failure.self) { try file.floats(named: "w") }
    }
}

@Suite struct SafetensorsRefusals {
    let folder = ScratchFolder()

    /// Header, bytes of data, and what the message must contain.
    static let headers: [(String, Int, String)] = [
        ("", 0, "does not begin with {"),
        ("[]", 0, "does not begin with {"),
        ("{", 0, "has its end, expected '\"', at byte 1"),
        ("{} {}", 0, "continues after its closing }"),
        ("{\"a\u{1}\":1}", 0, "control character"),
        (#"{"a"#, 0, "ends within a string"),
        (#"{"\"#, 0, "ends within a string"),
        (#"{"\u12"#, 0, "ends within a string"),
        (#"{"\u12G4":1}"#, 0, "unknown escape"),
        (#"{"\x":1}"#, 0, "unknown escape"),
        (#"{"\ud800":1}"#, 0, "unpaired surrogate"),
        (#"{"\ud800\u0041":1}"#, 0, "unpaired surrogate"),
        (#"{"\udc00":1}"#, 0, "unpaired surrogate"),
        (#"{"__metadata__":{"a":1}}"#, 0, "has '1', expected '\"'"),
        (#"{"__metadata__":{"a":"1","a":"2"}}"#, 0, "__metadata__ has 'a' twice"),
        (#"{"__metadata__":{},"__metadata__":{}}"#, 0, "the header has '__metadata__' twice"),
        (#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},}"#, 4, "has '}', expected '\"'"),
        (
            #"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            4,
            "the header has 'w' twice"
        ),
        (#"{"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4, "tensor 'w' has 'dtype' twice"),
        (
            #"{"w":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, 4,
            "tensor 'w' has the unknown dtype 'F31', expected one like F32"
        ),
        (#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, 4, "unknown key 'x' in tensor 'w'"),
        (#"{"w":{"dtype":"F32","shape":[1]}}"#, 4, "tensor 'w' has no data_offsets"),
        (#"{"w":{"dtype":"F32","data_offsets":[0,4]}}"#, 4, "tensor 'w' has no shape"),
        (#"{"w":{"shape":[1],"data_offsets":[0,4]}}"#, 4, "tensor 'w' has no dtype"),
        (
            #"{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4,
            "tensor 'w' has a shape with '-1', expected whole numbers from 0"
        ),
        (#"{"w":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, 4, "tensor 'w' has a shape with '1.0'"),
        (#"{"w":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}"#, 4, "tensor 'w' has a shape with '01'"),
        (#"{"w":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}}"#, 4, "with '9223372036854775808'"),
        (#"{"w":{"dtype":"F32","shape":[null],"data_offsets":[0,4]}}"#, 4, "tensor 'w' has a shape with ''"),
        (#"{"w":{"dtype":"F32","shape":[1,],"data_offsets":[0,4]}}"#, 4, "tensor 'w' has a shape with ''"),
        (#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}}"#, 4, "tensor 'w' has data_offsets with '-4'"),
        (#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "tensor 'w' has 1 data_offsets, expected 2"),
        (
            #"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4,
            "tensor 'w' has data_offsets [4, 0], expected 4 bytes"
        ),
        (
            #"{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#, 4,
            "which does not fit in any memory"
        ),
        (
            #"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4,
            "has data_offsets [0, 4], expected 8 bytes for F32 of shape [2]"
        ),
        (
            #"{"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#, 4,
            "tensor 'w' has data_offsets [0, 8], but the file has only 4"
        ),
        (
            #"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"v":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            12,
            "tensor 'v' has data_offsets [4, 12], which overlaps 'w'"
        ),
        (
            #"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#,
            12,
            "tensor 'v' has data_offsets [8, 12], which leaves 4 bytes unused after 'w'"
        ),
        (#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "which leaves 4 bytes unused after the header"),
        (
            #"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 5,
            "has 5 bytes of data, but its tensors end at 4"
        ),
        ("{}", 1, "has 1 bytes of data, but its tensors end at 0"),
    ]

    @Test(arguments: headers)
    func `a wrong header is refused in one clear line`(_ header: String, _ data: Int, _ words: String) throws {
        let failure = try refusal(safetensors(header, data: data), in: folder)
        #expect(failure?.kind == .data)
        #expect(failure?.message.contains(words) == true, "\(failure?.message ?? "opened")")
    }

    @Test func `a header that lies about its length is refused before allocating memory`() throws {
        #expect(try refusal([], in: folder)?.message.contains("has 0 bytes") == true)
        #expect(try refusal([1, 0, 0, 0, 0, 0, 0], in: folder)?.message.contains("has 7 bytes") == true)
        #expect(
            try refusal([3, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0x7D], in: folder)?.message.contains("only 2 follow") == true)
        for length in [UInt64.max, 1 << 63, UInt64(Int.max), 100_000_001] {
            let bytes = withUnsafeBytes(of: length.littleEndian, Array.init) + Array("{}".utf8)
            #expect(
                try refusal(bytes, in: folder)?.message.contains("a header of \(length) bytes, at most 100000000")
                    == true)
        }
    }

    @Test func `bytes that are not UTF-8 are refused`() throws {
        var bytes = safetensors(#"{"__metadata__":{"a":"xx"}}"#)
        bytes[bytes.lastIndex(of: UInt8(ascii: "x"))!] = 0xFF
        #expect(try refusal(bytes, in: folder)?.message.contains("not UTF-8") == true)
    }

    @Test func `deep nesting is refused without deep recursion`() throws {
        for opening in [#"{"a":"#, "["] {
            let header = #"{"w":"# + String(repeating: opening, count: 200_000)
            #expect(try refusal(safetensors(header), in: folder)?.kind == .data)
        }
    }

    @Test func `a name with line feeds or of any length gives one short line`() throws {
        let name = #"\n\u2028"# + String(repeating: "long", count: 10_000)
        #expect(try refusal(safetensors(#"{"\#(name)":{"dtype":"X"}}"#), in: folder)?.kind == .data)
    }

    @Test func `thousands of mutated files open or are refused but never trap`() throws {
        let header =
            #"{"__metadata__":{"k":"v\n"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"#
            + #""b":{"dtype":"I64","shape":[1],"data_offsets":[24,32]}}"#
        let original = safetensors(header, data: 32)
        let pieces = [
            "-1", "9223372036854775807", "99999999999999999999", "{", "}", "[", "]", ",", ":", "\"", "\\u", "\\ud800",
            "null", "1e9", "__metadata__", "\"a\":", "0", "F64", "\u{0}",
        ].map { Array($0.utf8) }
        var random = CounterRandom(.synthetic, 20_250)
        var opened = 0
        for _ in 0..<4000 {
            var bytes = original
            for _ in 0...random.below(3) where !bytes.isEmpty {
                let place = random.below(bytes.count)
                switch random.below(5) {
                case 0: bytes[place] = UInt8(random.below(256))
                case 1: bytes[place] ^= 1 << UInt8(random.below(8))
                case 2: bytes.insert(contentsOf: pieces[random.below(pieces.count)], at: place)
                case 3: bytes.removeSubrange(place..<min(bytes.count, place + 1 + random.below(12)))
                default: bytes.removeLast(random.below(bytes.count))
                }
            }
            // In half of the cases the length is corrected, so that the JSON is what is wrong.
            if random.below(2) == 0, bytes.count >= 40 {
                let length = withUnsafeBytes(of: UInt64(bytes.count - 40).littleEndian, Array.init)
                bytes.replaceSubrange(0..<8, with: length)
            }
            if let failure = try refusal(bytes, in: folder) {
                #expect(failure.kind == .data)
                continue
            }
            opened += 1
            let file = try SafetensorsFile(path: folder("t.safetensors"))
            for (name, info) in file.tensors where info.dtype == .float32 {
                #expect(try file.floats(named: name, shape: info.shape).count * 4 == info.range.count)
            }
        }
        #expect(opened > 0 && opened < 4000)
    }
}
