extension Picture {
    /// Pictures of one size side by side, row by row, on white.
    ///
    /// - Parameters:
    ///   - pictures: at least one; all as high and wide as the first.
    ///   - columns: how many to a row.
    ///   - gap: white pixels between them and around.
    ///   - scale: how many pixels high and wide each pixel becomes.
    package init(sheet pictures: [Picture], columns: Int, gap: Int = 2, scale: Int = 1) {
        let columns = min(columns, pictures.count)
        let rows = (pictures.count - 1) / columns + 1
        let (cellHeight, cellWidth) = (pictures[0].height * scale + gap, pictures[0].width * scale + gap)
        let (height, width) = (rows * cellHeight + gap, columns * cellWidth + gap)
        var planes = [UInt8](repeating: 255, count: 3 * height * width)
        for (place, picture) in pictures.enumerated() {
            let isGrey = picture.channels == 1
            precondition(picture.height == pictures[0].height && picture.width == pictures[0].width)
            let (top, left) = (gap + place / columns * cellHeight, gap + place % columns * cellWidth)
            for channel in 0..<3 {
                for y in 0..<picture.height * scale {
                    let source = ((isGrey ? 0 : channel) * picture.height + y / scale) * picture.width
                    let target = (channel * height + top + y) * width + left
                    for x in 0..<picture.width * scale {
                        planes[target + x] = picture.planes[source + x / scale]
                    }
                }
            }
        }
        self.init(height: height, width: width, planes: planes)
    }
}
