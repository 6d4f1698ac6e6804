import Support

extension ImageSet {
    /// How many images of each class there are in one of `parts` parts of the set, so that the ranks can share the work.
    ///
    /// - Throws: as `read`.
    package func labelCounts(part: Int, of parts: Int) throws -> [Int] {
        let record = AlignedBuffer<UInt8>(count: layout.recordBytes)
        defer { withExtendedLifetime(record) {} }
        var counts = [Int](repeating: 0, count: classes)
        for index in partition(count, into: parts, part: part) { counts[try read(index, into: record.pointer)] += 1 }
        return counts
    }
}
