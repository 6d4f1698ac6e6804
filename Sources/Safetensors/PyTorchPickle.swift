import Support

/// Parses the pickle of a state dictionary: accepts only operations and names that tensors need, and executes none.
///
/// Tuples and dictionaries are stored in flat arrays, so that no nesting can exhaust the stack.
struct PyTorchPickle {
    private enum Value {
        case mark
        case bool
        case integer(Int)
        case text(String)
        case global(String)
        /// The index in `tuples`.
        case tuple(Int)
        /// The index in `dictionaries`.
        case dictionary(Int)
        case storage(SafetensorsFile.DataType, start: Int, count: Int)
        case tensor(SafetensorsFile.TensorInfo)
    }

    private static let orderedDictionary = "collections.OrderedDict"
    private static let tensor = "torch._utils._rebuild_tensor_v2"
    private static let storages: [String: SafetensorsFile.DataType] = [
        "torch.FloatStorage": .float32, "torch.DoubleStorage": .float64, "torch.HalfStorage": .float16,
        "torch.BFloat16Storage": .bfloat16, "torch.LongStorage": .int64,
    ]

    private var rest: ArraySlice<UInt8>
    private let path: String
    private let storage: (String) throws -> Range<Int>?
    private var stack: [Value] = []
    private var memo: [Int: Value] = [:]
    private var tuples: [[Value]] = []
    private var dictionaries: [[String: Value]] = []

    /// - Parameter storage: returns the byte range of a storage in the file, by name.
    init(_ bytes: [UInt8], path: String, storage: @escaping (String) throws -> Range<Int>?) {
        rest = bytes[...]
        self.path = path
        self.storage = storage
    }

    /// The tensors of the dictionary, or of its entry `state_dict`.
    ///
    /// - Throws: `Failure(.data)` if the pickle is invalid or has anything but tensors.
    mutating func read() throws -> [String: SafetensorsFile.TensorInfo] {
        while true {
            let operation = try byte()
            if operation == UInt8(ascii: ".") { break }
            try perform(operation)
        }
        guard case .dictionary(var index) = try pop() else { throw damaged("is not a dictionary of tensors") }
        if case .dictionary(let inner)? = dictionaries[index]["state_dict"] { index = inner }
        var tensors: [String: SafetensorsFile.TensorInfo] = [:]
        for (name, value) in dictionaries[index].sorted(by: { $0.key < $1.key }) {
            guard case .tensor(let tensor) = value else {
                throw damaged("has \(quoted(name)), which is not a tensor; save the state_dict alone")
            }
            tensors[name] = tensor
        }
        return tensors
    }

    private mutating func perform(_ operation: UInt8) throws {
        switch operation {
        case 0x80:
            let version = try byte()
            guard version == 2 else { throw damaged("is of protocol \(version), expected torch.save's 2") }
        case UInt8(ascii: "c"): try pushGlobal()
        case UInt8(ascii: "("): stack.append(.mark)
        case UInt8(ascii: ")"): push(tuple: [])
        case UInt8(ascii: "t"): push(tuple: try popToMark())
        case 0x85...0x87:
            let count = Int(operation) - 0x84
            push(tuple: try (0..<count).map { _ in try pop() }.reversed())
        case UInt8(ascii: "}"): pushDictionary()
        case UInt8(ascii: "s"):
            let value = try pop()
            try set([try pop(), value])
        case UInt8(ascii: "u"): try set(try popToMark())
        // The attributes of a dictionary, torch's `_metadata`.
        case UInt8(ascii: "b"):
            _ = try pop()
            guard case .dictionary? = stack.last else {
                throw damaged("sets attributes of something other than a dictionary")
            }
        case UInt8(ascii: "X"): try pushText()
        case UInt8(ascii: "K"): stack.append(.integer(try integer(bytes: 1)))
        case UInt8(ascii: "M"): stack.append(.integer(try integer(bytes: 2)))
        case UInt8(ascii: "J"): stack.append(.integer(Int(Int32(truncatingIfNeeded: try integer(bytes: 4)))))
        case 0x8A: try pushLong()
        case 0x88, 0x89: stack.append(.bool)
        case UInt8(ascii: "q"): memo[try integer(bytes: 1)] = try top()
        case UInt8(ascii: "r"): memo[try integer(bytes: 4)] = try top()
        case UInt8(ascii: "h"): try recall(try integer(bytes: 1))
        case UInt8(ascii: "j"): try recall(try integer(bytes: 4))
        case UInt8(ascii: "Q"): try pushStorage()
        case UInt8(ascii: "R"): try reduce()
        default:
            throw damaged(
                "has the operation 0x\(String(operation, radix: 16)), which tensors do not need; nothing was run")
        }
    }

    // MARK: - Operations

    private mutating func pushGlobal() throws {
        let module = try line()
        let name = module + "." + (try line())
        guard name == Self.orderedDictionary || name == Self.tensor || Self.storages[name] != nil else {
            throw damaged("names \(quoted(name)), which tensors do not need; nothing was run")
        }
        stack.append(.global(name))
    }

    private mutating func pushText() throws {
        let bytes = try take(try integer(bytes: 4))
        guard let text = String(validating: bytes, as: UTF8.self) else { throw damaged("has text that is not UTF-8") }
        stack.append(.text(text))
    }

    private mutating func pushLong() throws {
        let count = try integer(bytes: 1)
        guard count <= 8 else { throw damaged("has a number of \(count) bytes, expected 8 at most") }
        let bits = try integer(bytes: count)
        let unused = 64 - 8 * count
        stack.append(.integer(count == 0 ? 0 : (bits << unused) >> unused))
    }

    private mutating func recall(_ number: Int) throws {
        guard let value = memo[number] else { throw damaged("recalls a value that it has not stored") }
        stack.append(value)
    }

    /// `('storage', type, key, device, count)` becomes a storage.
    private mutating func pushStorage() throws {
        guard case .tuple(let index) = try pop(), tuples[index].count == 5, case .text("storage") = tuples[index][0],
            case .global(let type) = tuples[index][1], let dtype = Self.storages[type],
            case .text(let key) = tuples[index][2], case .integer(let count) = tuples[index][4]
        else { throw damaged("has an invalid storage") }
        guard let range = try storage(key) else {
            throw damaged("has the storage \(quoted(key)), which does not exist")
        }
        guard count >= 0, count <= range.count / dtype.size else {
            throw damaged("claims \(count) numbers in the storage \(quoted(key)) of \(range.count) bytes")
        }
        stack.append(.storage(dtype, start: range.lowerBound, count: count))
    }

    private mutating func reduce() throws {
        guard case .tuple(let index) = try pop(), case .global(let name) = try pop() else {
            throw damaged("calls something other than a function")
        }
        switch name {
        case Self.orderedDictionary where tuples[index].isEmpty: pushDictionary()
        case Self.tensor: stack.append(.tensor(try tensor(tuples[index])))
        default: throw damaged("calls \(name), which tensors do not need; nothing was run")
        }
    }

    /// Builds a tensor from storage, offset, shape and strides.
    private func tensor(_ values: [Value]) throws -> SafetensorsFile.TensorInfo {
        guard values.count >= 4, case .storage(let dtype, let start, let size) = values[0],
            case .integer(let offset) = values[1]
        else { throw damaged("has an invalid tensor") }
        let (shape, strides) = (try integers(values[2]), try integers(values[3]))
        var count = 1
        for (dimension, stride) in zip(shape, strides).reversed() {
            guard dimension == 1 || stride == count else {
                throw damaged("has a tensor of shape \(shape) that is not contiguous; save it after .contiguous()")
            }
            let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
            guard dimension >= 0, !overflow else { throw damaged("has a tensor of an impossible shape") }
            count = product
        }
        guard shape.count == strides.count, offset >= 0, offset <= size, count <= size - offset else {
            throw damaged("has a tensor of shape \(shape) that goes beyond its storage")
        }
        let first = start + offset * dtype.size
        return SafetensorsFile.TensorInfo(dtype: dtype, shape: shape, range: first..<first + count * dtype.size)
    }

    private func integers(_ value: Value) throws -> [Int] {
        guard case .tuple(let index) = value, tuples[index].count <= 8 else {
            throw damaged("has an invalid shape")
        }
        return try tuples[index].map {
            guard case .integer(let number) = $0 else { throw damaged("has an invalid shape") }
            return number
        }
    }

    // MARK: - Stack and bytes

    private mutating func push(tuple: [Value]) {
        stack.append(.tuple(tuples.count))
        tuples.append(tuple)
    }

    private mutating func pushDictionary() {
        stack.append(.dictionary(dictionaries.count))
        dictionaries.append([:])
    }

    /// Adds alternating keys and values to the dictionary on top of the stack.
    private mutating func set(_ items: [Value]) throws {
        guard case .dictionary(let index)? = stack.last, items.count.isMultiple(of: 2) else {
            throw damaged("sets items of something other than a dictionary")
        }
        for place in stride(from: 0, to: items.count, by: 2) {
            guard case .text(let key) = items[place] else { throw damaged("has a key that is not text") }
            dictionaries[index][key] = items[place + 1]
        }
    }

    private func top() throws -> Value {
        guard let value = stack.last else { throw damaged("takes from an empty stack") }
        return value
    }

    private mutating func pop() throws -> Value {
        guard let value = stack.popLast() else { throw damaged("takes from an empty stack") }
        return value
    }

    private mutating func popToMark() throws -> [Value] {
        let mark = stack.lastIndex { if case .mark = $0 { true } else { false } }
        guard let mark else { throw damaged("takes from an empty stack") }
        defer { stack.removeSubrange(mark...) }
        return Array(stack[(mark + 1)...])
    }

    private mutating func byte() throws -> UInt8 {
        guard let byte = rest.popFirst() else { throw damaged("is truncated") }
        return byte
    }

    private mutating func take(_ count: Int) throws -> ArraySlice<UInt8> {
        guard count <= rest.count else { throw damaged("is truncated") }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    private mutating func integer(bytes count: Int) throws -> Int {
        try take(count).reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    private mutating func line() throws -> String {
        guard let end = rest.prefix(256).firstIndex(of: UInt8(ascii: "\n")) else {
            throw damaged("has an endless name")
        }
        defer { rest = rest[(end + 1)...] }
        return String(decoding: rest[..<end], as: UTF8.self)
    }

    private func damaged(_ problem: String) -> Failure {
        Failure(.data, "\(path): its pickle \(problem)")
    }
}
