import Support

/// A safetensors file opened for reading (format: https://github.com/huggingface/safetensors).
///
/// The file is eight bytes of header length (little endian), a JSON header `{name: {dtype, shape, data_offsets}}` with
/// an optional string map `__metadata__`, then the data. Opening reads and validates the header; tensors are read on
/// request. Thread-safe. Also reads the tensors of files written by `torch.save` since version 1.6.
public final class SafetensorsFile: Sendable {
    /// The element types of the format. Tensors can be read in F32, F16, BF16, F64 and I64.
    public enum DataType: String, Sendable {
        case bool = "BOOL"
        case uint8 = "U8"
        case int8 = "I8"
        case float8e5m2 = "F8_E5M2"
        case float8e4m3 = "F8_E4M3"
        case float8e8m0 = "F8_E8M0"
        case int16 = "I16"
        case uint16 = "U16"
        case float16 = "F16"
        case bfloat16 = "BF16"
        case int32 = "I32"
        case uint32 = "U32"
        case float32 = "F32"
        case int64 = "I64"
        case uint64 = "U64"
        case float64 = "F64"
        case complex64 = "C64"

        /// Bytes per element.
        package var size: Int {
            switch self {
            case .bool, .uint8, .int8, .float8e5m2, .float8e4m3, .float8e8m0: 1
            case .int16, .uint16, .float16, .bfloat16: 2
            case .int32, .uint32, .float32: 4
            case .int64, .uint64, .float64, .complex64: 8
            }
        }
    }

    /// A tensor's entry in the header.
    public struct TensorInfo: Sendable, Equatable {
        /// The type of its elements.
        public let dtype: DataType
        /// Empty for a scalar.
        public let shape: [Int]
        /// Byte offsets from the start of the data.
        package let range: Range<Int>
    }

    /// Longer headers are rejected before memory is allocated for them (the limit of the format's own library).
    package static let maximumHeaderBytes = 100_000_000

    /// The path passed to `init`.
    public let path: String
    /// All tensors by name.
    public let tensors: [String: TensorInfo]
    /// The header's `__metadata__`; empty if it has none.
    public let metadata: [String: String]
    private let file: InputFile
    private let dataStart: Int

    /// Opens a file and validates its header.
    ///
    /// - Throws: `Failure(.noInput)` if the file does not exist or cannot be read; `Failure(.data)` if the header is
    ///   truncated, too long or not JSON, has a duplicate name, an unknown dtype or an impossible shape, or if the
    ///   tensors' byte ranges do not match their shapes, overlap, leave gaps, or do not end with the file.
    public init(path: String) throws {
        let file = try InputFile(path: path)
        guard file.size >= 8 else {
            throw Failure(
                .data,
                "\(path): has \(file.size) bytes, a safetensors file has at least 8; it is truncated or of another format"
            )
        }
        var start = [UInt8](repeating: 0, count: 9)
        try unsafe start.withUnsafeMutableBytes { bytes in
            try unsafe file.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<min(9, file.size)]), at: 0)
        }
        if PyTorchArchive.isStart(start) {
            tensors = try PyTorchArchive(file).tensors
            (dataStart, metadata) = (0, [:])
            self.path = path
            self.file = file
            return
        }
        try Self.refusePickle(file, start: start)
        let length = start.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= UInt64(Self.maximumHeaderBytes) else {
            throw Failure(
                .data,
                "\(path): claims a header of \(length) bytes, at most \(Self.maximumHeaderBytes) are allowed;"
                    + " it is not a safetensors file")
        }
        guard length <= UInt64(file.size - 8) else {
            throw Failure(
                .data, "\(path): claims a header of \(length) bytes, but only \(file.size - 8) follow; it is truncated")
        }
        var bytes = [UInt8](repeating: 0, count: Int(length))
        try unsafe bytes.withUnsafeMutableBytes { try unsafe file.read(into: $0, at: 8) }
        let header = try SafetensorsHeader(bytes, path: path)
        dataStart = 8 + Int(length)
        metadata = header.metadata
        tensors = try header.tensors(dataSize: file.size - dataStart)
        self.path = path
        self.file = file
    }

    // MARK: - Tensors

    /// Copies an F32, F16, BF16 or F64 tensor into `destination`, which has as many elements as `shape`.
    ///
    /// F64 values are rounded; those beyond Float's range become infinite.
    ///
    /// - Throws: `Failure(.data)` if there is no such tensor, its dtype or shape is different, or the file has shrunk.
    package func floats(named name: String, shape: [Int], into destination: UnsafeMutableBufferPointer<Float>) throws {
        let info = try tensor(name, .float32, .float16, .bfloat16, .float64, shape: shape)
        precondition(
            destination.count * info.dtype.size == info.range.count, "\(shape) does not fit \(destination.count) floats"
        )
        switch info.dtype {
        case .float16: try unsafe convert(info, into: destination) { (number: Float16) in Float(number) }
        // bfloat16 is the upper half of a float32.
        case .bfloat16:
            try unsafe convert(info, into: destination) { (half: UInt16) in Float(bitPattern: UInt32(half) << 16) }
        case .float64: try unsafe convert(info, into: destination) { (number: Double) in Float(number) }
        default: try unsafe read(info.range, into: UnsafeMutableRawBufferPointer(destination))
        }
    }

    /// The elements of an F32 tensor in row-major order; nil accepts any shape.
    ///
    /// - Throws: as `floats(named:shape:into:)`.
    public func floats(named name: String, shape: [Int]? = nil) throws -> [Float] {
        try array(tensor(name, .float32, shape: shape))
    }

    /// The elements of an I64 tensor, as `floats(named:shape:)`.
    public func integers(named name: String, shape: [Int]? = nil) throws -> [Int64] {
        try array(tensor(name, .int64, shape: shape))
    }

    /// Copies bytes of the data without conversion.
    ///
    /// - Parameters:
    ///   - range: byte offsets from the start of the data, as in `TensorInfo.range`.
    ///   - destination: `range.count` bytes.
    /// - Throws: `Failure(.data)` if the file has shrunk since it was opened.
    package func read(_ range: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws {
        precondition(range.count == destination.count, "\(range.count) bytes do not fit \(destination.count)")
        try unsafe file.read(into: destination, at: dataStart + range.lowerBound)
    }

    private func tensor(_ name: String, _ dtypes: DataType..., shape: [Int]?) throws -> TensorInfo {
        guard let info = tensors[name] else {
            throw Failure(.data, "\(path): has no tensor \(quoted(name))")
        }
        guard dtypes.contains(info.dtype) else {
            let expected = dtypes.map(\.rawValue).joined(separator: ", ")
            throw Failure(.data, "\(path): tensor \(quoted(name)) is \(info.dtype.rawValue), expected \(expected)")
        }
        if let shape, shape != info.shape {
            throw Failure(.data, "\(path): tensor \(quoted(name)) has shape \(info.shape), expected \(shape)")
        }
        return info
    }

    /// Reads a tensor piece by piece: a second copy of it would not be covered by the memory check.
    private func convert<Stored: BitwiseCopyable>(
        _ info: TensorInfo, into destination: UnsafeMutableBufferPointer<Float>, _ value: (Stored) -> Float
    ) throws {
        let piece = AlignedBuffer<Stored>(count: min(destination.count, 1 << 16))
        var done = 0
        while done < destination.count {
            let count = min(piece.count, destination.count - done)
            let start = info.range.lowerBound + done * info.dtype.size
            try unsafe read(
                start..<start + count * info.dtype.size, into: UnsafeMutableRawBufferPointer(piece[0..<count]))
            for index in 0..<count { unsafe destination[done + index] = unsafe value(piece.pointer[index]) }
            done += count
        }
    }

    private func array<Element: BitwiseCopyable>(_ info: TensorInfo) throws -> [Element] {
        let count = info.range.count / MemoryLayout<Element>.stride
        return try unsafe [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
            try unsafe read(
                info.range, into: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: buffer[..<count])))
            initialized = count
        }
    }
}

extension SafetensorsHeader {
    /// Validates the byte range of every entry against its shape, the other entries and the size of the data.
    fileprivate func tensors(dataSize: Int) throws -> [String: SafetensorsFile.TensorInfo] {
        var result: [String: SafetensorsFile.TensorInfo] = [:]
        var covered = 0
        var last = "the header"
        for entry in entries.sorted(by: { ($0.start, $0.end) < ($1.start, $1.end) }) {
            let tensor = "\(path): tensor \(quoted(entry.name))"
            let claimed = "data_offsets [\(entry.start), \(entry.end)]"
            var bytes = entry.dtype.size
            for dimension in entry.shape {
                let (product, overflow) = bytes.multipliedReportingOverflow(by: dimension)
                guard !overflow else {
                    throw Failure(.data, "\(tensor) has shape \(brief(entry.shape)), which does not fit in any memory")
                }
                bytes = product
            }
            guard entry.end >= entry.start, entry.end - entry.start == bytes else {
                throw Failure(
                    .data,
                    "\(tensor) has \(claimed), expected \(bytes) bytes for"
                        + " \(entry.dtype.rawValue) of shape \(brief(entry.shape))")
            }
            guard entry.end <= dataSize else {
                throw Failure(
                    .data, "\(tensor) has \(claimed), but the file has only \(dataSize) bytes of data; it is truncated")
            }
            guard entry.start >= covered else {
                throw Failure(.data, "\(tensor) has \(claimed), which overlaps \(last)")
            }
            guard entry.start == covered else {
                throw Failure(
                    .data, "\(tensor) has \(claimed), which leaves \(entry.start - covered) bytes unused after \(last)")
            }
            covered = entry.end
            last = quoted(entry.name)
            result[entry.name] = SafetensorsFile.TensorInfo(
                dtype: entry.dtype, shape: entry.shape, range: entry.start..<entry.end)
        }
        guard covered == dataSize else {
            throw Failure(
                .data,
                "\(path): has \(dataSize) bytes of data, but its tensors end at \(covered); trailing bytes belong to no tensor"
            )
        }
        return result
    }

    private func brief(_ shape: [Int]) -> String {
        shape.count <= 8 ? "\(shape)" : "of \(shape.count) dimensions"
    }
}
