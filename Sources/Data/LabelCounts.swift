import Support

extension ImageSet {
    /// How many images of each class there are in one of `parts` parts of the set, so that the ranks can share the work.
    ///
    /// - Throws: as `ImageReader.read`, for records.
    package func labelCounts(part: Int, of parts: Int) throws -> [Int] {
        var counts = [Int](repeating: 0, count: classes)
        let own = partition(count, into: parts, part: part)
        switch storage {
        case .records(let records):
            let record = AlignedBuffer<UInt8>(count: records.layout.recordBytes)
            defer { withExtendedLifetime(record) {} }
            for index in own { counts[try records.read(index, into: record.pointer)] += 1 }
        case .pictures(let pictures):
            for index in own { counts[pictures.files[index].label] += 1 }
        }
        return counts
    }
}
