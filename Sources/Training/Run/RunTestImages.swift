import ImageData
import Support

extension RunConfiguration {
    /// The test images of a run, opened again: for one process that looks at a few of them.
    ///
    /// - Throws: as `CIFAR.open` or `PictureListing`; `Failure(.unavailable)` where memory is short for the synthetic set.
    package func openTestImages() throws -> ImageSet {
        let testNetwork = network.withImages(of: testImage ?? network.image)
        if data.hasPictures {
            let listing = try data.listPictures(seed: seed)
            return ImageSet(
                pictures: listing.test, classNames: listing.classNames, framing: testNetwork.framing(ofPictures: true))
        }
        if let path = data.path {
            return try CIFAR.open(path, limitTrain: data.limitTrain, limitTest: data.limitTest).test
                .framed(testNetwork.framing(ofPictures: false))
        }
        let count = data.limitTest ?? DataSource.syntheticTest
        try ImageSet.requireMemory(
            synthetic: count, imageSize: network.image, ranks: 1, advice: "free memory on this machine")
        return ImageSet.synthetic(count: count, seed: seed, split: .test, imageSize: network.image)
            .framed(testNetwork.framing(ofPictures: false))
    }
}

extension RunConfiguration.DataSource {
    /// The pictures in use, but for those that turn out to be bad. Opens none.
    ///
    /// - Parameter seed: of the split.
    /// - Throws: as `PictureListing`.
    package func listPictures(seed: UInt64) throws -> PictureListing {
        guard let path else { throw Failure(.usage, "`list` needs the folder that its paths begin at, `path`") }
        var listing = try PictureListing(
            folder: path, table: list, split: split.map { PictureListing.Split(share: $0, seed: seed) })
        listing.train = listing.train.limited(to: limitTrain)
        listing.test = listing.test.limited(to: limitTest)
        listing.leaveOut(Set(skipped ?? []))
        return listing
    }
}
