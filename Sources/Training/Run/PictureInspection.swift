import DataParallel
import ImageData
import Support

/// The facts of all pictures of a run, found by all ranks together; the same on each.
struct PictureInspection {
    private var table = PictureFactTable()
    /// Pictures that a rank opens between two meetings of the ranks, which bounds how long they wait for each other.
    private static let roundSize = 128

    /// Opens every picture whose facts are not known from an earlier run, each rank its share. Collective.
    ///
    /// - Parameters:
    ///   - factFolder: where rank zero finds what was known, and keeps what is; nil for nowhere.
    ///   - warn: called on rank zero.
    init(
        _ listing: PictureListing, factFolder: String?, warn: (String) -> Void, _ communicator: Communicator
    ) throws {
        let pictures = [listing.train, listing.test].flatMap { files in files.files.map { (file: $0, files: files) } }
        let (isZero, ranks) = (communicator.rank == 0, communicator.size)
        let factFile = factFolder.map { "\($0)/.pictures-\(textChecksum(listing.train.root).text)" }
        let kept = isZero ? factFile.map { PictureFactTable(path: $0) } : nil
        let text = try communicator.broadcast(bytes: kept.map { Array($0.text.utf8) } ?? (isZero ? [] : nil), from: 0)
        table = PictureFactTable(String(decoding: text, as: UTF8.self))
        let unknown = pictures.filter { table[$0.file, of: $0.files] == nil }
        guard !unknown.isEmpty else { return }
        for start in stride(from: 0, to: unknown.count, by: Self.roundSize * ranks) {
            communicator.progress.enter("opening pictures", start + 1, of: unknown.count, mayTakeLong: true)
            let round = unknown[start..<min(start + Self.roundSize * ranks, unknown.count)]
            let own = stride(from: start + communicator.rank, to: round.endIndex, by: ranks).map { index in
                PictureFacts(of: unknown[index].file, in: unknown[index].files).text
            }
            let all = try communicator.allGather(bytes: Array(own.joined(separator: "\n").utf8))
                .map { String(decoding: $0, as: UTF8.self).split(separator: "\n") }
            for (offset, picture) in round.enumerated() {
                table[picture.file, of: picture.files] = PictureFacts(text: all[offset % ranks][offset / ranks])
            }
        }
        guard isZero, let factFolder, let factFile else { return }
        do {
            try FileSystem.makeFolderAndParents(factFolder)
            try AtomicFile.write(Array(table.text.utf8), to: factFile)
        } catch {
            warn("\(error); the next run opens all pictures again")
        }
    }

    /// Of each picture of a set.
    func facts(of files: PictureFiles) -> [PictureFacts] {
        files.files.map { file in
            guard let facts = table[file, of: files] else { preconditionFailure("\(file.path) was not opened") }
            return facts
        }
    }

    /// A line on pictures of which a part of the bits is read; nil where there are none.
    func remark(on listing: PictureListing) -> String? {
        let count = [listing.train, listing.test].reduce(0) { $0 + facts(of: $1).count { $0.isDeep } }
        guard count > 0 else { return nil }
        return "\(count) picture\(count == 1 ? " has" : "s have") 16 bits per channel, of which the upper 8 are read"
    }

    /// Lists the pictures that cannot be used. Collective.
    ///
    /// - Parameters:
    ///   - skips: whether they may be left out.
    ///   - warn: called on rank zero, with a line for each.
    /// - Returns: the paths of those to leave out.
    /// - Throws: on all ranks `Failure(.data)` where there are some and they may not be left out.
    func judge(
        _ listing: PictureListing, skips: Bool, warn: (String) -> Void, _ communicator: Communicator
    ) throws -> [String] {
        var bad = listing.problems
        for files in [listing.train, listing.test] {
            for (file, facts) in zip(files.files, facts(of: files)) {
                if let problem = facts.problem { bad.append(PictureProblem(path: file.path, text: problem)) }
            }
        }
        guard !bad.isEmpty else { return [] }
        if communicator.rank == 0 { for problem in bad { warn(problem.text) } }
        let count = bad.count == 1 ? "1 picture" : "\(bad.count) pictures"
        guard skips else {
            throw communicator.markAgreed(
                Failure(
                    .data,
                    "\(listing.train.root): \(count) cannot be used, listed above; mend or remove them, or leave them out with "
                        + "`onBadImage` skip"))
        }
        if communicator.rank == 0 { warn("\(count) left out (`onBadImage` skip)") }
        return bad.map(\.path)
    }
}
