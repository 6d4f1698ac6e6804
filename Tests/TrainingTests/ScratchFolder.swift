import DenseNetModel
import FoundationEssentials
import Glibc
import Kernels

/// A fresh folder for one test, removed with the object.
final class ScratchFolder {
    let path: String

    init() {
        var template = Array("/tmp/densenet-test-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The path of a file in the folder.
    func callAsFunction(_ name: String) -> String { path + "/" + name }

    /// Names of all that lies in the folder.
    var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? [] }

    func write(_ bytes: [UInt8], to name: String) throws -> String {
        let file = open(self(name), O_WRONLY | O_CREAT | O_TRUNC, 0o666)
        defer { close(file) }
        guard Glibc.write(file, bytes, bytes.count) == bytes.count else { throw Failure.system("cannot write", self(name)) }
        return self(name)
    }

    func read(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(filePath: self(name)))) }
}
