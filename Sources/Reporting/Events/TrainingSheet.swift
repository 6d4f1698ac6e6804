import ImageData
import Pictures
import Training

extension Picture {
    /// The edge in pixels below which a sheet of training images is, and the images of its rows at most.
    private static let (sheetEdge, sheetColumns) = (768, 8)

    /// The images that a run begins with, as the network sees them but for the normalization: augmented by the same
    /// random numbers as in the first step.
    ///
    /// - Throws: as `BatchLoader`.
    init(
        sheetOf images: ImageSet, _ configuration: RunConfiguration, normalization: Normalization
    ) throws {
        let edge = max(images.height, images.width)
        let columns = min(max(Self.sheetEdge / edge, 1), Self.sheetColumns)
        let count = min(columns * columns, configuration.batchSize, images.count)
        // An epoch's order does not depend on the size of its batches.
        let sampler = try Sampler(
            sampleCount: images.count, globalBatch: count, worldSize: 1, seed: configuration.seed,
            shuffle: configuration.shuffle)
        let loader = try BatchLoader(
            images: images, sampler: sampler, rank: 0, augmentation: configuration.augmentation,
            normalization: normalization, seed: configuration.seed)
        let pictures = try withExtendedLifetime(loader) {
            let batch = try loader.next()
            return (0..<batch.count).map { index in
                Picture(
                    height: images.height, width: images.width,
                    planes: normalization.colours(
                        of: batch.images, image: index, planeCount: images.height * images.width))
            }
        }
        self.init(sheet: pictures, columns: columns, scale: max(64 / edge, 1))
    }
}
