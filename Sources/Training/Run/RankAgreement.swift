import DataParallel
import FoundationEssentials
import ImageData
import Kernels
import Support

/// Ranks that were started differently would train something that nobody asked for, or wait for each other for ever.
extension Communicator {
    /// Collective, and the first collective call of every command: refuses ranks that run another program or another
    /// command than rank zero, or have other values of what needs no file to be known.
    ///
    /// - Throws: on all ranks `Failure(.usage)` naming the value, or `Failure(.internal)` for another build.
    package func requireSameStart(_ command: String, _ values: [NamedValue]) throws {
        guard size > 1 else { return }
        let program = try throwOnAllRanks { try programFile() }
        try requireSame([program], .internal, advice: "install the same build on all nodes")
        try requireSameOptions([NamedValue("the command", command)] + values)
    }

    /// Collective: refuses ranks whose options differ, as they are once defaults, environment and files are looked at.
    ///
    /// - Throws: on all ranks `Failure(.usage)` naming the first that differs, both values and the ranks.
    package func requireSameOptions(_ values: [NamedValue]) throws {
        try requireSame(values, .usage, advice: "start all ranks with the same options")
    }

    /// Collective: refuses ranks whose kernels use other vector instructions, for their weights would drift apart in
    /// the last bits.
    ///
    /// - Throws: on all ranks `Failure(.unavailable)`.
    func requireSameVectorLevel() throws {
        let own = VectorLevel.current
        let lowest = try allGather(UInt64(own.number)).map { VectorLevel.allCases[Int($0)] }.min() ?? own
        try requireSame(
            [NamedValue("the vector level of their CPUs", "\(own)")], .unavailable,
            advice:
                "use CPUs of one kind, or set DENSENET_SIMD=\(lowest) on all ranks (mpirun -x DENSENET_SIMD=\(lowest))")
    }

    /// Collective: refuses ranks whose copies of the images differ in a byte, and images that are not those a run began
    /// with.
    ///
    /// - Parameter expected: what the files held then; nil where nobody knows.
    /// - Returns: what the files hold.
    /// - Throws: on all ranks `Failure(.data)` naming the file.
    func requireSameImages(
        _ sets: [ImageSet], as expected: [RunConfiguration.DataFile]?
    ) throws -> [RunConfiguration.DataFile] {
        let (files, paths) = try throwOnAllRanks {
            let sums = try sets.flatMap { try $0.checksums() }
            let files = sums.map { path, bytes, sum in
                let name = path[(path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex)...]
                return RunConfiguration.DataFile(name: String(name), bytes: bytes, checksum: sum.text)
            }
            return (files, sums.map(\.path))
        }
        func shown(_ file: RunConfiguration.DataFile) -> String {
            "(\(file.bytes) bytes used, CRC-32 \(file.checksum))"
        }
        let values = zip(files, paths).map { file, path in
            NamedValue(file.name, "\(file.bytes) \(file.checksum)", shown: "\(path) \(shown(file))")
        }
        try requireSame(values, .data, advice: "give all nodes the same files")
        for (file, path) in zip(files, paths) {
            guard let expected, !expected.contains(file) else { continue }
            let before = expected.first { $0.name == file.name }.map(shown) ?? "(other files)"
            throw markAgreed(
                Failure(
                    .data,
                    "\(path): holds other images \(shown(file)) than when the run began \(before); bring them back, or begin "
                        + "another run from the weights of this one (`initialWeights`)"))
        }
        return files
    }

    /// Collective: refuses ranks that have read other weights from their copies of a file.
    ///
    /// - Throws: on all ranks `Failure(.data)`.
    package func requireSameWeights(_ path: String, _ buffers: [UnsafeMutableBufferPointer<Float>]) throws {
        let sum = buffers.reduce(into: CRC32()) { $0.add(UnsafeRawBufferPointer($1)) }.text
        try requireSame(
            [NamedValue("the weights", sum, shown: "\(path) (CRC-32 \(sum))")], .data,
            advice: "give all nodes the same file")
    }

    /// Collective: throws on all ranks when the values of any rank are not those of rank zero, naming the first that
    /// differs.
    package func requireSame(_ own: [NamedValue], _ kind: Failure.Kind, advice: String) throws {
        let hash = UInt64(textChecksum(own.map { "\($0.name)\n\($0.value)\n" }.joined()).value)
        guard let other = try ranksDiffering(from: hash).first else { return }
        let all = try allGather(bytes: Array(JSONEncoder().encode(own)))
            .map { try JSONDecoder().decode([NamedValue].self, from: Data($0)) }
        func find(_ name: String, on rank: Int) -> NamedValue {
            all[rank].first { $0.name == name } ?? NamedValue(name, "", shown: "none")
        }
        let names = (all[0] + all[other]).map(\.name)
        guard let name = names.first(where: { find($0, on: 0).value != find($0, on: other).value }) else {
            throw markAgreed(Failure(.internal, "ranks 0 and \(other) have the same start in different words"))
        }
        let ranks = all.indices.filter { find(name, on: $0).value == find(name, on: other).value }
        throw markAgreed(
            Failure(
                kind,
                "ranks disagree on \(name): \(find(name, on: 0).shown) on rank 0, \(find(name, on: other).shown) on "
                    + "rank\(ranks.count > 1 ? "s" : "") \(ranks.map(String.init).joined(separator: ", ")); \(advice)"))
    }
}

/// The file that this process runs, by its content.
private func programFile() throws -> NamedValue {
    let path = "/proc/self/exe"
    let file = try InputFile(path: path)
    let chunk = AlignedBuffer<UInt8>(count: 1 << 20)
    var sum = CRC32()
    for start in stride(from: 0, to: file.size, by: chunk.count) {
        let part = UnsafeMutableRawBufferPointer(chunk[0..<min(chunk.count, file.size - start)])
        try file.read(into: part, at: start)
        sum.add(UnsafeRawBufferPointer(part))
    }
    let name = (try? FileSystem.programFile()) ?? path
    return NamedValue("the program", sum.text, shown: "\(name) (CRC-32 \(sum.text))")
}
