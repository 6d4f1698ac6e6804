import FoundationEssentials
import Glibc
import Testing

@testable import ImageData

/// A new folder, removed on deinit.
final class TemporaryFolder {
    let path: String

    init() {
        var template = Array("/tmp/densenet-data-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ bytes: [UInt8], to name: String) {
        let file = fopen("\(path)/\(name)", "w")!
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
    }

    func read(_ name: String) -> [UInt8] {
        let size = size(name)
        let file = fopen("\(path)/\(name)", "r")!
        defer { fclose(file) }
        return [UInt8](unsafeUninitializedCapacity: size) { $1 = fread($0.baseAddress, 1, size, file) }
    }

    func size(_ name: String) -> Int {
        var status = stat()
        return stat("\(path)/\(name)", &status) == 0 ? Int(status.st_size) : -1
    }

    var names: Set<String> { Self.entries(of: path) }

    static func entries(of path: String) -> Set<String> {
        let folder = opendir(path)!
        defer { closedir(folder) }
        var names: Set<String> = []
        while let entry = readdir(folder) {
            names.insert(
                withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
        }
        return names.subtracting([".", ".."])
    }
}

let pixelBytes = 3 * 32 * 32

extension ImageSet {
    func label(of index: Int) throws -> Int { try image(index).label }

    /// The planes of an image.
    func pixels(of index: Int) throws -> [UInt8] { try image(index).pixels }
}

/// CIFAR-10 files whose records encode their index: label `i mod 10`, pixel p `i + p mod 251`.
func writeSmallCIFAR10(to folder: TemporaryFolder, recordsPerFile: Int = 3) {
    for file in 0..<6 {
        var bytes: [UInt8] = []
        for i in file * recordsPerFile..<(file + 1) * recordsPerFile {
            bytes.append(UInt8(i % 10))
            bytes += (0..<pixelBytes).map { UInt8((i + $0) % 251) }
        }
        folder.write(bytes, to: file < 5 ? "data_batch_\(file + 1).bin" : "test_batch.bin")
    }
}

/// Memory for one image that a test can fill and inspect.
final class TestImage {
    let planes: ImagePlanes

    init(height: Int, width: Int, _ value: (_ channel: Int, _ row: Int, _ column: Int) -> Float) {
        planes = ImagePlanes(.allocate(capacity: 3 * height * width), channels: 3, height: height, width: width)
        for channel in 0..<3 {
            for row in 0..<height {
                for column in 0..<width {
                    planes.pointer[(channel * height + row) * width + column] = value(channel, row, column)
                }
            }
        }
    }

    /// One row of pixels of the given colours.
    convenience init(colours: [[Float]]) {
        self.init(height: 1, width: colours.count) { channel, _, column in colours[column][channel] }
    }

    deinit { planes.pointer.deallocate() }

    var values: [Float] { (0..<planes.count).map { planes.pointer[$0] } }

    func colour(_ column: Int) -> [Float] { (0..<3).map { planes.pointer[$0 * planes.planeCount + column] } }

    subscript(channel: Int, row: Int, column: Int) -> Float {
        planes.pointer[(channel * planes.height + row) * planes.width + column]
    }
}

func expectClose(
    _ a: [Float], _ b: [Float], within tolerance: Float = 1e-6, _ location: SourceLocation = #_sourceLocation
) {
    let isClose = a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= tolerance }
    #expect(isClose, "\(a) is not \(b)", sourceLocation: location)
}
