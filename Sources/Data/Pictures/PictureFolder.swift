import Support

/// Opens a folder of pictures as training and test images, for programs that have no run of their own.
public enum PictureFolder {
    /// Lists `train/CLASS/*` and `test/CLASS/*` (or `val`, `validation`), PNG and JPEG files, or `CLASS/*` with a split.
    /// A picture is opened when it is read.
    ///
    /// - Parameters:
    ///   - path: the folder.
    ///   - framing: how pictures become images of one size.
    ///   - split: the share of pictures to test with, above 0 and below 1, where there are no folders for it.
    ///   - seed: of the split.
    /// - Returns: the two sets, whose classes are in the order of their names, and warnings for the user.
    /// - Throws: `Failure(.noInput)` for what cannot be read, `.data` for a folder without use, `.usage` where it is not
    ///   known what to test with.
    public static func open(
        _ path: String, framing: ImageFraming, split: Double? = nil, seed: UInt64 = 1
    ) throws -> (train: ImageSet, test: ImageSet, warnings: [String]) {
        let listing = try PictureListing(
            folder: path, table: nil, split: split.map { PictureListing.Split(share: $0, seed: seed) })
        func images(_ files: PictureFiles) -> ImageSet {
            ImageSet(pictures: files, classNames: listing.classNames, framing: framing)
        }
        return (images(listing.train), images(listing.test), listing.problems.map(\.text) + listing.warnings)
    }
}
