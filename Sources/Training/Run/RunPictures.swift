import DataParallel
import DenseNetModel
import ImageData
import Support

/// The pictures of a run as every rank has listed them, and what opening each of them has told.
struct RunPictures {
    let train: ImageSet
    let test: ImageSet
    /// Over the training pictures; nil where nobody has asked for it.
    let sums: PixelSums?
    /// The pictures that are left out, sorted; nil for none.
    let skipped: [String]?
    let warnings: [String]

    /// What is asked of the pictures.
    struct Request {
        let source: RunConfiguration.DataSource
        /// Of the split.
        let seed: UInt64
        /// Of training images, and of test images.
        let framing: (train: ImageFraming, test: ImageFraming)
        /// Whether all pictures are opened before the first step.
        let inspects: Bool
        /// Where facts of pictures are kept from run to run; nil for nowhere.
        let factFolder: String?
    }

    /// Lists the pictures, compares the ranks' lists, opens all pictures (each rank a share) and decides on bad ones,
    /// and makes the cache. Collective.
    ///
    /// - Throws: on all ranks the failure of the first rank that has one.
    init(_ request: Request, path: String, warn: (String) -> Void, communicator: Communicator) throws {
        communicator.progress.enter("list of pictures", mayTakeLong: true)
        let source = request.source
        var listing = try communicator.throwOnAllRanks { try source.listPictures(seed: request.seed) }
        let known = Set(source.skipped ?? [])
        try communicator.requireSameLists(listing)
        var skipped = known
        if request.inspects {
            let inspection = try PictureInspection(listing, factFolder: request.factFolder, warn: warn, communicator)
            skipped.formUnion(
                try inspection.judge(listing, skips: source.onBadImage == .skip, warn: warn, communicator))
            listing.leaveOut(skipped)
            if communicator.rank == 0, let remark = inspection.remark(on: listing) { warn(remark) }
            try communicator.throwOnAllRanks { try listing.requireUse(of: source.list ?? path) }
            sums = PixelSums(of: inspection.facts(of: listing.train), channels: request.framing.train.channels)
            try listing.openCaches(source.cache, inspection, request.framing, warn: warn, communicator)
        } else {
            sums = nil
        }
        (listing.train.skipsBad, listing.test.skipsBad) = (source.onBadImage == .skip, source.onBadImage == .skip)
        train = ImageSet(pictures: listing.train, classNames: listing.classNames, framing: request.framing.train)
        test = ImageSet(pictures: listing.test, classNames: listing.classNames, framing: request.framing.test)
        self.skipped = skipped.isEmpty ? nil : skipped.sorted()
        warnings = listing.warnings
    }
}

extension Communicator {
    /// Collective: refuses ranks that have listed other pictures. Where copies have other times of change, all their
    /// bytes are compared; elsewhere a sample is, by `requireSameImages`.
    func requireSameLists(_ listing: PictureListing) throws {
        let values = [listing.train, listing.test].map { files in
            let list = files.files.map { "\($0.path)\n\($0.label) \($0.size)\n" }.joined()
            return NamedValue(
                "the list of pictures", textChecksum(list).text,
                shown:
                    "\(files.files.count) pictures, the last \(files.files.last?.path ?? "none"), below \(files.root)")
        }
        try requireSame(values, .data, advice: "give all nodes the same files")
        let times = (listing.train.files + listing.test.files).map { "\($0.modified)\n" }.joined()
        guard try !ranksDiffering(from: UInt64(textChecksum(times).value)).isEmpty else { return }
        progress.enter("comparing all bytes of pictures", mayTakeLong: true)
        let sums = try throwOnAllRanks { try [listing.train, listing.test].map { try $0.wholeChecksum().text } }
        try requireSame(
            sums.map { NamedValue("the pictures", $0, shown: "CRC-32 \($0)") }, .data,
            advice: "give all nodes the same files")
    }
}

func textChecksum(_ text: String) -> CRC32 {
    var sum = CRC32()
    sum.add(text)
    return sum
}
