extension Picture {
    /// The whole picture in another size, proportions not kept, by an antialiased bilinear filter.
    ///
    /// - Returns: shape [channels][height][width], of 0…255; not rounded, and the pixels themselves where the size is theirs.
    /// - Precondition: both edges are above zero.
    package func resized(height newHeight: Int, width newWidth: Int) -> [Float] {
        guard (newHeight, newWidth) != (height, width) else { return planes.map { Float($0) } }
        let resizer = PlaneResizer(
            channels: channels, fromHeight: height, width: width, toHeight: newHeight, width: newWidth)
        var result = [Float](repeating: 0, count: channels * newHeight * newWidth)
        planes.withUnsafeBufferPointer { planes in
            result.withUnsafeMutableBufferPointer { result in
                withUnsafeTemporaryAllocation(of: Float.self, capacity: width) { row in
                    resizer.resize(into: result.baseAddress!) { channel, y in
                        let start = (channel * height + y) * width
                        for x in 0..<width { row[x] = Float(planes[start + x]) }
                        return UnsafePointer(row.baseAddress!)
                    }
                }
            }
        }
        return result
    }
}
