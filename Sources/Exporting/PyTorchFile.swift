import Safetensors
import Support

extension ExportedNetwork {
    /// Writes a state dictionary for `torch.load(weights_only=True)`: torchvision's names and shapes, and
    /// `num_batches_tracked` (0) of each norm.
    ///
    /// - Throws: `Failure(.usage)` where it is too large for a zip archive; `Failure(.unavailable)` when the system
    ///   refuses.
    package func writePyTorch(to path: String) throws {
        try withTensors { tensors in
            var pickle = Pickle()
            var storages: [ZipArchive.Member] = []
            for tensor in tensors {
                pickle.addTensor(tensor.name, type: "FloatStorage", storage: storages.count, shape: tensor.shape)
                storages.append(ZipArchive.Member("archive/data/\(storages.count)", [], tensor: tensor))
            }
            for name in batchCounterNames {
                pickle.addTensor(name, type: "LongStorage", storage: storages.count, shape: [])
                storages.append(ZipArchive.Member("archive/data/\(storages.count)", [UInt8](repeating: 0, count: 8)))
            }
            try ZipArchive.write(
                [
                    ZipArchive.Member("archive/data.pkl", pickle.finished),
                    ZipArchive.Member("archive/byteorder", Array("little".utf8)),
                ] + storages + [ZipArchive.Member("archive/version", Array("3\n".utf8))], to: path)
        }
    }
}

/// A pickled `OrderedDict` of tensors (protocol 2), as `torch.save` writes it.
private struct Pickle {
    private var bytes: [UInt8] = [0x80, 2] + orderedDictionary + Array("(".utf8)

    /// An empty `OrderedDict`.
    private static let orderedDictionary = Array("ccollections\nOrderedDict\n)R".utf8)

    /// Ends the dictionary and the pickle.
    var finished: [UInt8] { bytes + Array("u.".utf8) }

    /// Adds a contiguous tensor that takes all of a storage.
    mutating func addTensor(_ name: String, type: String, storage: Int, shape: [Int]) {
        var (strides, count) = ([Int](), 1)
        for size in shape.reversed() {
            strides.insert(count, at: 0)
            count *= size
        }
        add(name)
        bytes += Array("ctorch._utils\n_rebuild_tensor_v2\n((".utf8)
        add("storage")
        bytes += Array("ctorch\n\(type)\n".utf8)
        add("\(storage)")
        add("cpu")
        add(count)
        bytes += Array("tQ".utf8)
        add(0)
        add(shape)
        add(strides)
        // Needs no gradient, has no hooks.
        bytes += [0x89] + Self.orderedDictionary + Array("tR".utf8)
    }

    private mutating func add(_ text: String) {
        bytes.append(UInt8(ascii: "X"))
        withUnsafeBytes(of: UInt32(text.utf8.count).littleEndian) { bytes += $0 }
        bytes += Array(text.utf8)
    }

    private mutating func add(_ number: Int) {
        if let number = Int32(exactly: number) {
            bytes.append(UInt8(ascii: "J"))
            withUnsafeBytes(of: number.littleEndian) { bytes += $0 }
        } else {
            bytes += [0x8A, 8]
            withUnsafeBytes(of: Int64(number).littleEndian) { bytes += $0 }
        }
    }

    private mutating func add(_ tuple: [Int]) {
        bytes.append(UInt8(ascii: "("))
        for number in tuple { add(number) }
        bytes.append(UInt8(ascii: "t"))
    }
}
