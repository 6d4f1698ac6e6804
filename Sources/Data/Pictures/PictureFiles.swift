import Pictures
import Support

/// A picture in a file, and the class that it shows.
package struct PictureFile: Sendable, Equatable {
    /// Below the folder of the set.
    package let path: String
    package let label: Int
    /// In bytes.
    package let size: Int
    /// When it was changed last, in nanoseconds since 1970.
    package let modified: Int
}

/// Labelled pictures of any sizes, each in a file.
package struct PictureFiles: Sendable {
    /// The folder that the paths of the files begin at.
    package let root: String
    package internal(set) var files: [PictureFile]
    /// As messages call the set, such as `train`.
    let name: String
    /// Whether a batch leaves out pictures that cannot be read; else they are failures.
    package var skipsBad = false
    /// The same pictures decoded; nil where each is decoded when it is read.
    package var cache: PictureCache?

    /// Decodes a picture, whether there is a cache or not.
    ///
    /// - Parameters:
    ///   - channels: 3 for red, green and blue, 1 for grey.
    ///   - shrinkage: as `Picture.init` has it.
    /// - Throws: `Failure(.noInput)` if it cannot be read, `Failure(.data)` if it has changed since it was listed, or is
    ///   none.
    func picture(
        _ index: Int, channels: Int, shrinkage: (_ height: Int, _ width: Int) -> Int = { _, _ in 1 }
    ) throws(Failure) -> Picture {
        let path = "\(root)/\(files[index].path)"
        return try explainingErrors("cannot decode", path, .data) {
            try Picture(bytes(of: files[index]), path: path, channels: channels, shrinkage: shrinkage)
        }
    }

    /// The contents of a file.
    ///
    /// - Throws: `Failure(.noInput)` if it cannot be read, `Failure(.data)` if it has changed since it was listed.
    package func bytes(of file: PictureFile) throws(Failure) -> [UInt8] {
        let path = "\(root)/\(file.path)"
        let input = try explainingErrors("cannot read", path, .noInput) { try InputFile(path: path) }
        guard input.size == file.size, input.modified == file.modified else {
            throw Failure(
                .data,
                "\(path): has changed since the pictures were listed, \(input.size) bytes now and \(file.size) then; "
                    + "start again when nothing writes to it")
        }
        guard input.size <= Picture.largestFile else {
            throw Failure(
                .data, "\(path): has \(input.size) bytes, expected at most \(Picture.largestFile); it is no picture")
        }
        return try input.contents()
    }

    /// What stands for all bytes: paths, labels and sizes of the files, and the ends of some of them.
    ///
    /// Reading every byte of a large set on every rank would take longer than an epoch.
    ///
    /// - Throws: `Failure(.noInput)` if the system refuses to read.
    func checksum() throws -> (path: String, bytes: Int, checksum: CRC32) {
        var sum = CRC32()
        for file in files { sum.add("\(file.path)\n\(file.label) \(file.size)\n") }
        for index in 0..<min(files.count, Self.sampledFiles) {
            let file = files[index * files.count / min(files.count, Self.sampledFiles)]
            let bytes = try bytes(of: file)
            for end in [bytes.prefix(Self.sampledBytes), bytes.suffix(Self.sampledBytes)] {
                end.withUnsafeBytes { sum.add($0) }
            }
        }
        return ("\(root)/\(name)", files.reduce(0) { $0 + $1.size }, sum)
    }

    /// Of all bytes of all files.
    ///
    /// - Throws: `Failure(.noInput)` if the system refuses to read.
    package func wholeChecksum() throws -> CRC32 {
        var sum = CRC32()
        for file in files { try bytes(of: file).withUnsafeBytes { sum.add($0) } }
        return sum
    }

    /// Files whose ends `checksum` looks at, and how much of each end.
    private static let sampledFiles = 64
    private static let sampledBytes = 4096
}
