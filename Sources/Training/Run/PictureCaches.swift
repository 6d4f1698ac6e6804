import DataParallel
import Glibc
import ImageData
import Support

extension PictureListing {
    /// Keeps the pictures of both sets decoded, for the ranks of each host together. Collective.
    ///
    /// - Parameters:
    ///   - place: a folder, where a cache stays for later runs; `ram` for memory, which is free again when the ranks
    ///     have ended; nil for no cache.
    ///   - framing: what the sets are to be, of which the shorter edge matters.
    ///   - warn: called on rank zero.
    /// - Throws: on all ranks the failure of the first rank that has one.
    mutating func openCaches(
        _ place: String?, _ inspection: PictureInspection, _ framing: (train: ImageFraming, test: ImageFraming),
        warn: (String) -> Void, _ communicator: Communicator
    ) throws {
        guard let place else { return }
        let caches = try [(train, framing.train), (test, framing.test)].map { files, framing in
            let plan = PictureCache.Plan(inspection.facts(of: files), framing: framing)
            let name = PictureCache.name(of: files, framing: framing)
            return try PictureCacheMaker(place: place, name: name, plan, communicator).cache(of: files, warn: warn)
        }
        (train.cache, test.cache) = (caches[0], caches[1])
    }
}

/// Opens or makes the cache of one set on every host.
private struct PictureCacheMaker {
    private let plan: PictureCache.Plan
    private let communicator: Communicator
    /// Where it is in the end; nil where it has no name in the end.
    private let path: String?
    /// Where it is written.
    private let temporary: String
    /// Of shared memory as a folder.
    private static let memory = "/dev/shm"
    /// Pictures that a rank decodes between two meetings of the ranks, which bounds how long they wait for each other.
    private static let roundSize = 64

    /// Collective.
    init(place: String, name: String, _ plan: PictureCache.Plan, _ communicator: Communicator) throws {
        (self.plan, self.communicator) = (plan, communicator)
        let job = try communicator.broadcast(Int64(getpid()), from: 0)
        let isInMemory = place == RunConfiguration.DataSource.memoryCache
        path = isInMemory ? nil : "\(place)/\(name)"
        // Hosts may share the folder.
        temporary = "\(isInMemory ? Self.memory : place)/\(name).tmp-\(job)-\(communicator.hostName)"
        if !isInMemory {
            try communicator.throwOnAllRanks { try FileSystem.makeFolderAndParents(place) }
        }
    }

    /// Collective.
    func cache(of files: PictureFiles, warn: (String) -> Void) throws -> PictureCache {
        let isThere = try communicator.throwOnAllRanks { try path.map { try FileSystem.exists($0) } ?? false }
        do {
            // The first rank takes the space before any other opens the file.
            let first = try communicator.throwOnAllRanks {
                !isThere && communicator.localRank == 0 ? try reserved() : nil
            }
            let cache = try communicator.throwOnAllRanks {
                try first ?? PictureCache(path: isThere ? path ?? temporary : temporary, plan, isNew: !isThere)
            }
            // Without a name it ends with the last process that has it open, whatever ends that.
            if path == nil, communicator.localRank == 0 { FileSystem.remove(temporary) }
            if communicator.rank == 0, !isThere {
                warn("decoding \(files.files.count) pictures into \(path ?? "memory")")
            }
            try fill(isThere ? nil : cache, files)
            try communicator.throwOnAllRanks {
                guard let path, !isThere, communicator.localRank == 0 else { return }
                try explainingErrors("cannot write", path) { try FileSystem.rename(temporary, to: path) }
            }
            return cache
        } catch {
            if communicator.localRank == 0 { FileSystem.remove(temporary) }
            throw error
        }
    }

    private func reserved() throws -> PictureCache {
        if path == nil {
            try requireMemory(
                Double(plan.size), addressSpace: nil, who: "the decoded pictures take",
                advice: "use a folder as `cache`, or none")
        }
        let cache = try PictureCache(path: temporary, plan, isNew: true)
        try cache.reserve()
        return cache
    }

    /// Writes the pictures, each rank of a host a share. Collective, also where a host has its cache already.
    private func fill(_ cache: PictureCache?, _ files: PictureFiles) throws {
        let count = files.files.count
        let shares = communicator.localSize
        // Hosts have ranks in different numbers.
        let own = cache == nil ? 0 : (count - 1) / shares + 1
        let rounds = try communicator.allReduceMax(Int64((own + Self.roundSize - 1) / Self.roundSize))
        for round in 0..<Int(rounds) {
            communicator.progress.enter("decoding pictures", round + 1, of: Int(rounds), mayTakeLong: true)
            try communicator.throwOnAllRanks {
                guard let cache else { return }
                let first = round * Self.roundSize * shares + communicator.localRank
                let end = min((round + 1) * Self.roundSize * shares, count)
                try cache.write(stride(from: min(first, end), to: end, by: shares), of: files)
            }
        }
        communicator.progress.enter("writing the decoded pictures", mayTakeLong: true)
        try communicator.throwOnAllRanks { if path != nil { try cache?.synchronize() } }
    }
}
