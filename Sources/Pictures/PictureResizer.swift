import Support

/// A rectangle of a picture's pixels.
package struct PixelBox: Sendable, Equatable {
    package let top, left, height, width: Int

    package init(top: Int, left: Int, height: Int, width: Int) {
        (self.top, self.left, self.height, self.width) = (top, left, height, width)
    }
}

/// Planes of bytes that somebody else owns: shape [channels][height][width].
package struct PixelPlanes {
    package let pointer: UnsafePointer<UInt8>
    package let channels, height, width: Int

    package init(_ pointer: UnsafePointer<UInt8>, channels: Int, height: Int, width: Int) {
        (self.pointer, self.channels, self.height, self.width) = (pointer, channels, height, width)
    }

    /// The grey of red, green and blue planes, as Pillow has it: by the weights of ITU-R 601, of 16 binary places. That
    /// of grey is itself.
    ///
    /// - Parameter result: shape [height][width]; may be the first of the planes.
    package func writeGrey(into result: UnsafeMutablePointer<UInt8>) {
        let area = height * width
        let (green, blue) = (pointer + area, pointer + 2 * area)
        for i in 0..<area {
            let sum = UInt32(pointer[i]) * 19595 + UInt32(green[i]) * 38470 + UInt32(blue[i]) * 7471 + 0x8000
            result[i] = UInt8(truncatingIfNeeded: sum >> 16)
        }
    }
}

/// Resizes parts of pictures by Pillow's antialiased `BILINEAR`, to the byte: first each row, then each column, rounded
/// to bytes in between, with weights of 22 binary places (Pillow's `Resample.c`; version 13 takes the columns of some
/// pictures first, which differs by one in some bytes).
///
/// It keeps its memory from picture to picture. One thread at a time may use it.
package final class PictureResizer {
    private var horizontal = FixedPointFilter()
    private var vertical = FixedPointFilter()
    /// The rows of one channel in their new width, those that the result needs.
    private var rows: [UInt8] = []
    private var sums: [Int32] = []

    package init() {}

    /// Resizes `box`, and writes what `kept` holds of the result.
    ///
    /// - Parameters:
    ///   - height: of the whole box in its new size, and `width`.
    ///   - kept: a part of the box in its new size.
    ///   - result: shape [channels][kept.height][kept.width].
    /// - Precondition: the boxes are inside, and not empty.
    package func resize(
        _ box: PixelBox, of picture: PixelPlanes, toHeight height: Int, width: Int, keeping kept: PixelBox,
        into result: UnsafeMutablePointer<UInt8>
    ) {
        precondition(
            box.top >= 0 && box.left >= 0 && box.top + box.height <= picture.height
                && box.left + box.width <= picture.width && kept.top >= 0 && kept.left >= 0
                && kept.top + kept.height <= height && kept.left + kept.width <= width,
            "\(box) of \(picture.height) × \(picture.width), \(kept) of \(height) × \(width)")
        horizontal.set(from: box.width, to: width, keeping: kept.left..<kept.left + kept.width)
        vertical.set(from: box.height, to: height, keeping: kept.top..<kept.top + kept.height)
        let needed = vertical.sources
        if rows.count < needed.count * kept.width {
            rows = [UInt8](repeating: 0, count: needed.count * kept.width)
        }
        if sums.count < kept.width { sums = [Int32](repeating: 0, count: kept.width) }
        for channel in 0..<picture.channels {
            let plane = picture.pointer + channel * picture.height * picture.width
            rows.withUnsafeMutableBufferPointer { rows in
                for (index, y) in needed.enumerated() {
                    horizontal.resizeRow(
                        plane + (box.top + y) * picture.width + box.left,
                        into: rows.baseAddress! + index * kept.width)
                }
                sums.withUnsafeMutableBufferPointer { sums in
                    vertical.resizeColumns(
                        UnsafePointer(rows.baseAddress!), width: kept.width, sums: sums.baseAddress!,
                        into: result + channel * kept.height * kept.width)
                }
            }
        }
    }
}

/// How each element of a resized line is made of the line's, in fixed point.
private struct FixedPointFilter {
    /// The first source of each element, and how many there are.
    private var taps: [(first: Int, count: Int)] = []
    /// `stride` numbers for each element.
    private var weights: [Int32] = []
    private var stride = 0
    /// The sources of all elements.
    private(set) var sources = 0..<0

    private static let binaryPlaces: Int32 = 22

    /// - Parameter kept: the elements of the result that are wanted.
    mutating func set(from count: Int, to newCount: Int, keeping kept: Range<Int>) {
        let scale = Double(count) / Double(newCount)
        let radius = max(scale, 1)
        stride = Int(radius.rounded(.up)) * 2 + 1
        taps.removeAll(keepingCapacity: true)
        weights.removeAll(keepingCapacity: true)
        for index in kept {
            let centre = (Double(index) + 0.5) * scale
            let first = max(0, Int(centre - radius + 0.5))
            let end = min(count, Int(centre + radius + 0.5))
            let start = weights.count
            var sum = 0.0
            func height(_ source: Int) -> Double { max(0, 1 - abs((Double(source) + 0.5 - centre) / radius)) }
            for source in first..<end { sum += height(source) }
            for source in first..<end {
                weights.append(Int32(0.5 + height(source) / sum * Double(1 << Self.binaryPlaces)))
            }
            weights.append(contentsOf: repeatElement(0, count: start + stride - weights.count))
            taps.append((first, end - first))
        }
        sources = taps[0].first..<taps[taps.count - 1].first + taps[taps.count - 1].count
    }

    func resizeRow(_ source: UnsafePointer<UInt8>, into result: UnsafeMutablePointer<UInt8>) {
        weights.withUnsafeBufferPointer { weights in
            for index in taps.indices {
                let (first, count) = taps[index]
                var sum = Int32(1) << (Self.binaryPlaces - 1)
                let own = weights.baseAddress! + index * stride
                for tap in 0..<count { sum &+= Int32(source[first + tap]) &* own[tap] }
                result[index] = Self.byte(sum)
            }
        }
    }

    /// - Parameters:
    ///   - rows: of `sources`, each `width` bytes.
    ///   - sums: memory for `width` numbers.
    func resizeColumns(
        _ rows: UnsafePointer<UInt8>, width: Int, sums: UnsafeMutablePointer<Int32>,
        into result: UnsafeMutablePointer<UInt8>
    ) {
        for index in taps.indices {
            let (first, count) = taps[index]
            sums.update(repeating: Int32(1) << (Self.binaryPlaces - 1), count: width)
            for tap in 0..<count {
                let weight = weights[index * stride + tap]
                let row = rows + (first + tap - sources.lowerBound) * width
                for x in 0..<width { sums[x] &+= Int32(row[x]) &* weight }
            }
            for x in 0..<width { result[index * width + x] = Self.byte(sums[x]) }
        }
    }

    @inline(__always)
    private static func byte(_ sum: Int32) -> UInt8 { UInt8(clamping: sum >> binaryPlaces) }
}
