import Support

/// The event files of a run. Each start of the run writes a file of its own; TensorBoard reads them in the order of
/// their names.
struct EventFolder: Sendable {
    let path: String
    /// What the files have something of.
    private(set) var tags: Set<String> = []
    /// The time in the name of the newest file; 0 where there is none.
    private var newest = 0

    private static let prefix = "events.out.tfevents."
    /// Far above what a run writes.
    private static let largestFile = 1 << 30

    /// Where the run in a folder has its event files.
    static func path(ofRun path: String) -> String { path + "/events" }

    /// Opens the folder, or makes it, and cuts from its files what a resumed run will write again, as well as what
    /// follows a record that is damaged or that the end of the process tore: no reader would get past it.
    ///
    /// - Parameters:
    ///   - step: the last one whose numbers stay.
    ///   - epoch: likewise.
    /// - Throws: `Failure(.unavailable)` where the folder cannot be made or a file not be cut, `Failure(.noInput)` where
    ///   one cannot be read, `Failure(.data)` for one that is too large.
    init(path: String, keepingStepsUpTo step: Int, epochsUpTo epoch: Int) throws {
        self.path = path
        try FileSystem.makeFolderAndParents(path)
        for name in try FileSystem.names(inFolder: path) where name.hasPrefix(Self.prefix) {
            let digits = name.dropFirst(Self.prefix.count).prefix { $0 != "." }
            newest = max(newest, Int(digits) ?? 0)
            try cut("\(path)/\(name)", step: step, epoch: epoch)
        }
    }

    private mutating func cut(_ file: String, step: Int, epoch: Int) throws {
        let bytes = try InputFile.contents(of: file, atMost: Self.largestFile)
        var kept = 0
        for record in EventRecord.whole(in: bytes) {
            // A file's records are in the order in which the run went on: behind one to go no other stays.
            guard let event = EventMessage.contents(of: record.data),
                event.tags.allSatisfy({ event.step <= EventTag.limit(of: $0, step: step, epoch: epoch) })
            else { break }
            tags.formUnion(event.tags)
            kept = record.end
        }
        if kept < bytes.count { try LogFile.truncate(file, to: kept) }
    }

    /// The path of the file of another start: its name is above those of all others, also where this host's clock is
    /// behind.
    func newFile(time: Double, host: String, process: Int32) -> String {
        let time = max(Int(time), newest + 1)
        return "\(path)/\(Self.prefix)\(String(time).paddedWithZeros(to: 10)).\(host).\(process).0"
    }
}

/// The tags of a run.
enum EventTag {
    /// Where the steps are those of training.
    static let step = "step/"
    /// Where the steps are epochs.
    static let epoch = "epoch/"
    static let confusion = epoch + "confusion_matrix"
    static let images = "training_images/augmented"

    /// The last step that a tag keeps.
    fileprivate static func limit(of tag: String, step: Int, epoch: Int) -> Int {
        tag.hasPrefix(Self.step) ? step : tag.hasPrefix(Self.epoch) ? epoch : .max
    }
}
