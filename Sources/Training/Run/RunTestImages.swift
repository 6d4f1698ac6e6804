import ImageData

extension RunConfiguration {
    /// The test images of a run, opened again: for one process that looks at a few of them.
    ///
    /// - Throws: as `CIFAR.open`; `Failure(.unavailable)` where memory is short for the synthetic set.
    package func openTestImages() throws -> ImageSet {
        if let path = data.path {
            return try CIFAR.open(path, limitTrain: data.limitTrain, limitTest: data.limitTest).test
        }
        let count = data.limitTest ?? DataSource.syntheticTest
        try ImageSet.requireMemory(
            synthetic: count, imageSize: network.image, ranks: 1, advice: "free memory on this machine")
        return ImageSet.synthetic(count: count, seed: seed, split: .test, imageSize: network.image)
    }
}
