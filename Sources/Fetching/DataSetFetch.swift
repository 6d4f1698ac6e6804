import FoundationEssentials
import Glibc
import ImageData
import Support

/// The official archive of a data set.
package struct DataSetArchive: Sendable {
    package let variant: CIFAR.Variant
    package let url: String
    /// In hexadecimal digits.
    package let md5: String

    package static let cifar10 = DataSetArchive(
        variant: CIFAR.cifar10, url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        md5: "c32a1d4ab5d03f1284b67883e8d87530")
    package static let cifar100 = DataSetArchive(
        variant: CIFAR.cifar100, url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        md5: "03b5dce01913d631647c71ecec9e9cb8")

    /// - Throws: `Failure(.usage)` for a URL or a sum that is none.
    package func with(url: String?, md5: String?) throws -> DataSetArchive {
        if let url, url.wholeMatch(of: /(?i)https?:\/\/[^\/\s]\S*/) == nil {
            throw Failure(
                .usage, "`url` is '\(url)', expected http:// or https://; a file of this machine is given as `from`")
        }
        if let md5, !isMD5Sum(md5) {
            throw Failure(.usage, "`md5` is '\(md5)', expected 32 hexadecimal digits, as md5sum prints them")
        }
        return DataSetArchive(variant: variant, url: url ?? self.url, md5: md5?.lowercased() ?? self.md5)
    }

    /// The last part of the official URL.
    package var name: String { url.split(separator: "/").last.map(String.init) ?? url }
}

/// Brings a data set into a folder: once, whole or not at all.
package struct DataSetFetch {
    /// The data set that is there now.
    package struct Result {
        /// False where it was there before.
        package let isNew: Bool
        package let path: String
        package let trainImages, testImages: Int
        /// Lines for the user, as `CIFAR.open` has them.
        package let warnings: [String]
    }

    let archive: DataSetArchive
    /// Where the folder of the data set is made.
    let folder: String
    /// See `Download`.
    var patience: Int
    let progress: (_ done: Int, _ total: Int?) -> Void

    package init(
        _ archive: DataSetArchive, into folder: String, patience: Int = 30,
        progress: @escaping (_ done: Int, _ total: Int?) -> Void = { _, _ in }
    ) {
        self.archive = archive
        self.folder = folder
        self.patience = patience
        self.progress = progress
    }

    private var target: String { "\(folder)/\(archive.variant.folder)" }
    private var part: String { "\(folder)/\(archive.variant.folder).tar.gz.part" }

    /// Downloads the archive, or takes that in a file, compares its MD5 sum and unpacks it. Does nothing where the data
    /// set is there already.
    ///
    /// What was downloaded stays when that is cut off, and the next call goes on from there. It is removed when it is
    /// unpacked, or is not what it should be.
    ///
    /// - Parameter file: the archive on this machine; nil to download it.
    /// - Throws: `Failure(.data)` if the archive is not what it should be, or what is there is no whole data set;
    ///   `.noInput` if the file cannot be read; `.unavailable` if the network or the system refuses, or another process
    ///   fetches the same.
    package func run(from file: String? = nil) throws -> Result {
        guard !folder.isEmpty else { throw Failure(.usage, "the path of the folder to fetch into is empty") }
        if let result = try present(isNew: false) { return result }
        try FileSystem.makeFolderAndParents(folder)
        let lock = try lock()
        defer { withExtendedLifetime(lock) {} }
        if let result = try present(isNew: false) { return result }
        if let file {
            let input = try InputFile(path: file)
            let sum = try md5Sum(of: input)
            guard sum == archive.md5 else { throw wrongSum(sum, file, "it is damaged or another file") }
            try unpack(input)
        } else {
            let input = try download()
            do { try unpack(input) } catch let failure as Failure where failure.kind == .data {
                FileSystem.remove(part)
                throw failure
            }
            FileSystem.remove(part)
        }
        guard let result = try present(isNew: true) else { throw Failure(.internal, "\(target) is gone") }
        return result
    }

    /// What is in the data set's folder; nil where there is none.
    private func present(isNew: Bool) throws -> Result? {
        switch PathKind(of: target) {
        case .missing: return nil
        case .unusable(let failure): throw failure
        case .folder, .other: break
        }
        do {
            let (train, test, warnings) = try CIFAR.open(target)
            return Result(
                isNew: isNew, path: target, trainImages: train.count, testImages: test.count, warnings: warnings)
        } catch let failure as Failure {
            throw Failure(failure.kind, "\(failure); to fetch it anew remove \(target)")
        }
    }

    private func lock() throws -> FileLock {
        do {
            return try FileLock(
                path: "\(folder)/.\(archive.variant.folder).lock",
                owner: "process \(getpid()) on \(ProcessInfo.processInfo.hostName)")
        } catch let lock as FileLock.AlreadyLocked {
            throw Failure(.unavailable, "\(target) is being fetched by \(lock.owner); wait for its end")
        }
    }

    /// The downloaded archive, its sum compared.
    private func download() throws -> InputFile {
        if let whole = try? InputFile(path: part), try md5Sum(of: whole) == archive.md5 { return whole }
        let largest = archive.variant.largestFiles.values.reduce(1 << 20, +)
        try Download(url: archive.url, path: part, largest: largest, patience: patience, progress: progress).run()
        let input = try InputFile(path: part)
        let sum = try md5Sum(of: input)
        guard sum == archive.md5 else {
            FileSystem.remove(part)
            throw wrongSum(sum, archive.url, "what was downloaded has been removed")
        }
        return input
    }

    private func wrongSum(_ sum: String, _ source: String, _ consequence: String) -> Failure {
        Failure(
            .data,
            "\(source): has the MD5 sum \(sum), expected \(archive.md5) (`md5`); \(consequence); fetch it again")
    }

    private func unpack(_ input: InputFile) throws {
        let temporary = "\(target).unpacking"
        // Of a process that was killed; others are kept out by the lock.
        FileSystem.removeFolder(temporary)
        guard try FileSystem.makeFolder(temporary) else {
            throw Failure(.unavailable, "\(temporary) is in the way; remove it")
        }
        do {
            try Fetching.unpack(input, of: archive.variant, into: temporary)
            do { _ = try CIFAR.open(temporary) } catch let failure as Failure {
                let words = failure.message.replacing("\(temporary)/", with: "").replacing(temporary, with: "it")
                throw Failure(.data, "\(input.path): unpacked, \(words)")
            }
            try explainingErrors("cannot write", target) {
                try FileSystem.rename(temporary, to: target)
                try AtomicFile.synchronizeFolder(of: target)
            }
        } catch {
            FileSystem.removeFolder(temporary)
            throw error
        }
    }
}
