import DenseNetModel
import Support

/// Whose mean and variance batch norm normalizes an image by, in training.
public enum BatchStatistics: Codable, Sendable, Equatable {
    /// Those of the global batch, as if one process had it: the same at any number of ranks.
    case globalBatch
    /// Those of each `images` images of the global batch, in its order: ghost batch norm (Hoffer et al., arXiv
    /// 1705.08741). A rank has whole groups, so this is the same at any number of ranks too. The last group of an epoch
    /// may be smaller.
    case group(images: Int)
    /// Those of each rank's part of the batch, so that the result depends on the number of ranks: what PyTorch's
    /// DistributedDataParallel does without SyncBatchNorm, which broadcasts rank zero's running statistics, however,
    /// where these are the mean over ranks.
    case rank

    /// Images that stay together on a rank.
    package var unit: Int { if case .group(let images) = self { images } else { 1 } }

    /// Images of a forward pass of a rank that has up to `images` of the batch.
    package func passSize(images: Int) -> Int { if case .group(let size) = self { min(size, images) } else { images } }

    /// Refuses groups that a batch, or its ranks, cannot have.
    ///
    /// - Throws: `Failure(.usage)` naming the parameter and what it has to be.
    package func validate(batchSize: Int, worldSize: Int) throws {
        guard case .group(let images) = self else { return }
        guard (1...1_000_000).contains(images) else {
            throw Failure(.usage, "`statisticsGroup` is \(images), expected 1 to 1,000,000 images")
        }
        guard batchSize % images == 0 else {
            let below = batchSize / images * images
            let sizes = below > 0 ? "\(below) or \(below + images)" : "\(images)"
            throw Failure(
                .usage,
                "`batchSize` \(batchSize) is not in groups of `statisticsGroup` \(images); a multiple is, such as \(sizes)"
            )
        }
        guard batchSize / images >= worldSize else {
            let fitting = (1...batchSize / worldSize).last { batchSize % $0 == 0 }!
            throw Failure(
                .usage,
                "`batchSize` \(batchSize) has fewer groups of `statisticsGroup` \(images), \(batchSize / images), than there are "
                    + "ranks, \(worldSize); each rank needs a group in every step: use groups of \(fitting) at most, or a "
                    + "`batchSize` of \(images * worldSize) or more")
        }
    }

    /// The groups of a rank that has up to `images` of the batch; nil for the global batch.
    package func groups(of network: TrainableDenseNet, images: Int) -> ImageGroups? {
        self == .globalBatch ? nil : ImageGroups(of: network, size: passSize(images: images), most: images)
    }
}

extension BatchStatistics: CustomStringConvertible {
    /// As messages call it.
    public var description: String {
        switch self {
        case .globalBatch: "global batch"
        case .group(let images): "groups of \(images)"
        case .rank: "each rank"
        }
    }
}
