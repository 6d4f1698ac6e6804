import Glibc
import ImageData
import Support

extension RunConfiguration {
    /// What the ranks of a job have to agree on. Data may lie at other paths on other hosts; its content is compared.
    /// Where it is cached does not matter; whether it is changes the random parts of pictures.
    var sharedValues: [NamedValue] {
        NamedValue.all(of: self, except: ["path", "list", "cache"])
            + [NamedValue("`cache`", data.cache == nil ? "none" : "used")]
    }

    /// Refuses changes that would make another run of one that is resumed.
    ///
    /// - Parameters:
    ///   - before: what the run has been so far.
    ///   - path: of its folder.
    /// - Throws: `Failure(.usage)` naming the parameters and both values of each.
    package func validateResuming(_ before: RunConfiguration, in path: String) throws {
        let mayChange = ["`epochs`"] + NamedValue.all(of: faults).map(\.name)
        let changes = zip(NamedValue.all(of: before), NamedValue.all(of: self)).filter { old, new in
            old.value != new.value && !mayChange.contains(old.name)
        }
        if let (old, new) = changes.first {
            let others = changes.dropFirst().map { "\($1.name) is \($1.shown), not \($0.shown)" }
            let also = others.isEmpty ? "" : " (also \(others.joined(separator: "; ")))"
            throw Failure(
                .usage,
                "\(new.name) is \(new.shown), but the run in \(path) has \(old.shown), which cannot change when it is "
                    + "resumed\(also); leave \(others.isEmpty ? "it" : "them") out, or begin another run")
        }
        if let steps, epochs != before.epochs {
            throw Failure(
                .usage,
                "`epochs` cannot make a run longer that ends after \(steps) steps (its `steps`); begin another run")
        }
    }

    /// Refuses what cannot be run.
    ///
    /// - Throws: `Failure(.usage)` naming the parameter and what it has to be.
    package func validate(worldSize: Int) throws {
        try network.validate()
        guard (1...1_000_000).contains(epochs) else {
            throw Failure(.usage, "`epochs` is \(epochs), expected 1 to 1,000,000")
        }
        if let steps, steps < 1 { throw Failure(.usage, "`steps` is \(steps), expected 1 or more") }
        if let earlyStop, !(1...1_000_000).contains(earlyStop) {
            throw Failure(.usage, "`earlyStop` is \(earlyStop), expected 1 to 1,000,000 epochs")
        }
        guard (1...1_000_000).contains(batchSize) else {
            throw Failure(.usage, "`batchSize` is \(batchSize), expected 1 to 1,000,000 images over all ranks")
        }
        guard batchSize >= worldSize else {
            throw Failure(
                .usage,
                "`batchSize` \(batchSize) is smaller than the number of ranks, \(worldSize); each rank needs an image in "
                    + "every step")
        }
        try statistics.validate(batchSize: batchSize, worldSize: worldSize)
        guard labelSmoothing >= 0, labelSmoothing < 1 else {
            throw Failure(.usage, "`labelSmoothing` is \(labelSmoothing), expected 0 or above and below 1")
        }
        try classWeights?.validate(classes: network.classes)
        guard normMomentum > 0, normMomentum <= 1 else {
            throw Failure(.usage, "`normMomentum` is \(normMomentum), expected above 0, up to 1")
        }
        if let averageDecay, !(averageDecay > 0 && averageDecay < 1) {
            throw Failure(.usage, "`averageDecay` is \(averageDecay), expected above 0 and below 1, such as 0.999")
        }
        guard optimizer.momentum >= 0, optimizer.momentum < 1 else {
            throw Failure(.usage, "`momentum` is \(optimizer.momentum), expected 0 or above and below 1")
        }
        guard !optimizer.nesterov || optimizer.momentum > 0 else {
            throw Failure(.usage, "Nesterov's momentum needs a `momentum` above 0; switch `nesterov` off")
        }
        guard optimizer.weightDecay >= 0, optimizer.weightDecay.isFinite else {
            throw Failure(.usage, "`weightDecay` is \(optimizer.weightDecay), expected 0 or above")
        }
        if let baseBatch, !(1...1_000_000).contains(baseBatch) {
            throw Failure(.usage, "`baseBatch` is \(baseBatch), expected 1 to 1,000,000 images a step")
        }
        if augmentation.crop, augmentation.cropEdge == .reflection, 2 * augmentation.cropPadding >= network.image {
            throw Failure(
                .usage,
                "`augmentation` \(augmentation) reflects \(augmentation.cropPadding) pixels, expected less than half of "
                    + "the image's \(network.image)")
        }
        try validateImageSchedule()
        if let testImage { try network.withImages(of: testImage).validate() }
        try schedule.validate()
        try fineTuning.validate(network)
        guard !fineTuning.initStrict || initialWeights != nil else {
            throw Failure(
                .usage, "`initStrict` is about the weights that `initialWeights` names; give them, or leave it out")
        }
        guard schedule.warmUpEpochs == 0 || schedule.warmUpEpochs < epochs else {
            throw Failure(
                .usage,
                "`warmUpEpochs` is \(schedule.warmUpEpochs), expected less than `epochs`, which is \(epochs); the learning "
                    + "rate would never be at its height")
        }
        try data.validate()
        try faults.validate()
        if case .explicit(let mean, let std) = normalization { _ = try Normalization(mean: mean, std: std) }
    }

    /// The same with paths that stay right when the program is started elsewhere.
    func withAbsolutePaths() -> RunConfiguration {
        var copy = self
        copy.data.path = data.path.map(absolutePath)
        copy.data.list = data.list.map(absolutePath)
        if data.cache != DataSource.memoryCache { copy.data.cache = data.cache.map(absolutePath) }
        copy.classWeights?.path = classWeights?.path.map(absolutePath)
        copy.initialWeights = initialWeights.map(absolutePath)
        return copy
    }
}

extension RunConfiguration.DataSource {
    /// - Throws: `Failure(.usage)` naming the parameter and what it has to be.
    package func validate() throws {
        for (name, limit) in [("`limitTrain`", limitTrain), ("`limitTest`", limitTest)] {
            guard (1...Int(Int32.max)).contains(limit ?? 1) else {
                throw Failure(.usage, "\(name) is \(limit ?? 1), expected 1 to \(Int32.max)")
            }
        }
        if let split, !(split > 0 && split < 1) {
            throw Failure(.usage, "`split` is \(split), expected above 0 and below 1, such as 0.1")
        }
    }

    /// - Throws: `Failure(.usage)` for what is for pictures alone.
    func requireNothingOfPictures() throws {
        let given = [
            ("`list`", list != nil), ("`split`", split != nil), ("`onBadImage`", onBadImage != nil),
            ("`cache`", cache != nil),
        ]
        if let (name, _) = given.first(where: \.1) {
            throw Failure(
                .usage,
                "\(name) is for pictures, but \(path.map { "\($0) has CIFAR's files" } ?? "the synthetic images are none"); "
                    + "leave it out")
        }
    }
}

/// A path below the current folder as one from the root; unchanged where that folder's name is not UTF-8.
package func absolutePath(_ path: String) -> String {
    guard !path.hasPrefix("/"), let folder = getcwd(nil, 0) else { return path }
    defer { free(folder) }
    return String(validatingCString: folder).map { "\($0)/\(path)" } ?? path
}
