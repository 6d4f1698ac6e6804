import DenseNetModel
import Safetensors
import Support
import TestSupport
import Testing

@testable import Exporting

/// What `torch.save` writes is read as weights, and nothing in it is run.
@Suite struct PyTorchReadingTests {
    private let scratch = ScratchFolder()

    private func network() throws -> DenseNet {
        try DenseNet(
            DenseNetConfiguration(
                stem: .cifar, blocks: [1], growthRate: 2, stemChannels: 3, bottleneck: false, compression: 1,
                classes: 4, image: 4),
            capacity: 1)
    }

    @Test func `a state dictionary gives the weights that it was written from`() throws {
        let (written, read) = (try network(), try network())
        written.initialize(seed: 1)
        try ExportedNetwork(written, normalization: nil).writePyTorch(to: scratch("x.pth"))
        try WeightsFile.load(SafetensorsFile(path: scratch("x.pth")), into: read)
        #expect(Array(read.parameters) == Array(written.parameters))
        #expect(Array(read.runningStatistics) == Array(written.runningStatistics))
        let options = [
            "--blocks", "1", "--growth-rate", "2", "--stem-channels", "3", "--no-bottleneck", "--image", "4",
        ]
        let job = try run(
            builtExecutable(named: "densenet"),
            ["export", "--to", "pytorch", scratch("y.pth"), "--weights", scratch("x.pth")] + options)
        #expect(job.status == 0, "\(job)")
        #expect(try scratch.read("x.pth") == scratch.read("y.pth"))
    }

    /// Reads an archive of this pickle and one storage of 8 bytes.
    private func read(_ pickle: [UInt8]) throws -> [String: SafetensorsFile.TensorInfo] {
        try ZipArchive.write(
            [.init("a/data.pkl", pickle), .init("a/data/0", [UInt8](repeating: 0, count: 8))], to: scratch("p.pth"))
        return try SafetensorsFile(path: scratch("p.pth")).tensors
    }

    /// A dictionary with one tensor of two numbers and its strides; `count` and `shape` as claimed.
    private func pickle(type: String = "FloatStorage", count: UInt8 = 2, shape: UInt8 = 2, stride: UInt8 = 1) -> [UInt8]
    {
        func text(_ text: String) -> [UInt8] { Array("X".utf8) + [UInt8(text.utf8.count), 0, 0, 0] + Array(text.utf8) }
        let storage =
            Array("(".utf8) + text("storage") + Array("ctorch\n\(type)\n".utf8) + text("0") + text("cpu")
            + Array("K".utf8) + [count] + Array("tQ".utf8)
        let numbers = Array("K".utf8) + [0] + Array("K".utf8) + [shape, 0x85] + Array("K".utf8) + [stride, 0x85]
        return [0x80, 2] + Array("}".utf8) + text("w") + Array("ctorch._utils\n_rebuild_tensor_v2\n(".utf8) + storage
            + numbers + [0x89] + Array("ccollections\nOrderedDict\n)RtRs}b.".utf8)
    }

    @Test func `a tensor is read, and one that its storage does not hold is refused`() throws {
        #expect(try read(pickle()).mapValues(\.shape) == ["w": [2]])
        let cases: [([UInt8], String)] = [
            (pickle(type: "QInt8Storage"), "'torch.QInt8Storage', which tensors do not need; nothing was run"),
            (pickle(count: 3), "claims 3 numbers in the storage '0' of 8 bytes"),
            (pickle(shape: 3), "shape [3] that goes beyond its storage"),
            (pickle(stride: 2), "not contiguous"),
            (Array("cos\nsystem\n(X".utf8) + [2, 0, 0, 0] + Array("lstR.".utf8), "'os.system'"),
            ([0x80, 4], "protocol 4"),
            ([0x80, 2] + Array("N.".utf8), "the operation 0x4e"),
            ([0x80, 2] + Array("h".utf8) + [7], "recalls a value that it has not stored"),
            ([0x80, 2] + Array("}K".utf8) + [1], "is truncated"),
            ([0x80, 2] + Array(")R.".utf8), "empty stack"),
            ([0x80, 2] + Array(").".utf8), "is not a dictionary"),
        ]
        for (pickle, words) in cases {
            let failure = #expect(throws: Failure.self) { try read(pickle) }
            #expect(failure?.kind == .data && failure?.message.contains(words) == true, "\(failure as Any)")
        }
    }

    @Test func `nesting without end is refused and does no harm`() throws {
        let deep = [0x80, 2] + Array(")".utf8) + [UInt8](repeating: 0x85, count: 1_000_000) + Array(".".utf8)
        #expect(throws: Failure.self) { try read(deep) }
    }

    @Test func `an archive that is cut or of something else is refused`() throws {
        try ZipArchive.write([.init("a/b", [1])], to: scratch("z"))
        #expect(throws: Failure.self) { try SafetensorsFile(path: scratch("z")) }
        let path = try scratch.write(scratch.read("z").dropLast(), to: "cut")
        let failure = #expect(throws: Failure.self) { try SafetensorsFile(path: path) }
        #expect(failure?.message.contains("is a zip archive without a directory at its end; it is truncated") == true)
    }
}
