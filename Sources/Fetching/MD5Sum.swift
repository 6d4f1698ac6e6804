import Support
import SystemPackage

/// The MD5 sum of a file, in hexadecimal digits.
///
/// By coreutils' md5sum, which every Debian has: libraries for it are large, and it is needed once for each data set.
///
/// - Throws: `Failure(.unavailable)` if the program cannot be run or fails.
func md5Sum(of file: InputFile) throws -> String {
    // Where md5sum begins to read.
    try explainingErrors("cannot read", file.path, .noInput) { _ = try file.descriptor.seek(offset: 0, from: .start) }
    let program = try ChildProcess("md5sum", [], input: file.descriptor, package: "coreutils")
    let line = try unsafe String(unsafeUninitializedCapacity: 64) {
        try unsafe program.read(into: UnsafeMutableRawBufferPointer($0))
    }
    let (code, errors) = try program.end()
    guard code == 0, isMD5Sum(line.prefix { $0 != " " }) else {
        throw Failure(.unavailable, "md5sum cannot read \(file.path): \(errors.split(separator: "\n").last ?? "")")
    }
    return String(line.prefix { $0 != " " })
}

func isMD5Sum(_ text: some StringProtocol) -> Bool {
    text.utf8.count == 32 && text.allSatisfy { $0.isASCII && $0.isHexDigit }
}
