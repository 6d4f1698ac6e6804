import Glibc
import Pictures

/// One image as floats in red, green and blue planes, or a grey one: shape [channels][height][width]. It borrows its
/// memory.
///
/// Colours are in 0…1 until the image is normalized. The colour operations are torchvision's
/// (`torchvision/transforms/_functional_tensor.py`), including its weights of grey, 0.2989, 0.587 and 0.114, and that
/// saturation and hue leave a grey image as it is.
package struct ImagePlanes {
    package let pointer: UnsafeMutablePointer<Float>
    package let channels: Int
    package let height: Int
    package let width: Int

    /// - Parameter pointer: `channels · height · width` floats, valid as long as the value is used.
    package init(_ pointer: UnsafeMutablePointer<Float>, channels: Int, height: Int, width: Int) {
        self.pointer = pointer
        self.channels = channels
        self.height = height
        self.width = width
    }

    var planeCount: Int { height * width }
    var count: Int { channels * planeCount }

    /// Fills the planes from bytes: 255 becomes 1.
    package func load(_ bytes: UnsafePointer<UInt8>) {
        for i in 0..<count { pointer[i] = Float(bytes[i]) / 255 }
    }

    // MARK: Geometry

    /// Moves the image in place: out[y][x] = in[y + rows][x + columns], black outside of the image.
    func shift(rows: Int, columns: Int) {
        let first = min(max(0, -columns), width)
        let last = max(min(width, width - columns), first)
        for channel in 0..<channels {
            let plane = pointer + channel * planeCount
            // In an order in which each row is read before it is overwritten.
            for i in 0..<height {
                let y = rows >= 0 ? i : height - 1 - i
                let target = plane + y * width
                guard y + rows >= 0 && y + rows < height && first < last else {
                    target.update(repeating: 0, count: width)
                    continue
                }
                memmove(
                    target + first, target + rows * width + first + columns, (last - first) * MemoryLayout<Float>.stride
                )
                target.update(repeating: 0, count: first)
                (target + last).update(repeating: 0, count: width - last)
            }
        }
    }

    /// After a shift by as much, fills what it left black with the image, mirrored at the outermost pixels.
    ///
    /// - Precondition: less than half of the height and of the width.
    func reflectEdge(rows: Int, columns: Int) {
        precondition(
            2 * abs(rows) < height && 2 * abs(columns) < width, "a shift by \(rows), \(columns) of \(height)×\(width)")
        // What the image covers still.
        let (inRows, inColumns) = (
            max(0, -rows)..<min(height, height - rows), max(0, -columns)..<min(width, width - columns)
        )
        for channel in 0..<channels {
            let plane = pointer + channel * planeCount
            for y in inRows {
                let row = plane + y * width
                for x in 0..<inColumns.lowerBound { row[x] = row[2 * inColumns.lowerBound - x] }
                for x in inColumns.upperBound..<width { row[x] = row[2 * (inColumns.upperBound - 1) - x] }
            }
            for y in 0..<inRows.lowerBound {
                (plane + y * width).update(from: plane + (2 * inRows.lowerBound - y) * width, count: width)
            }
            for y in inRows.upperBound..<height {
                (plane + y * width).update(from: plane + (2 * (inRows.upperBound - 1) - y) * width, count: width)
            }
        }
    }

    /// Mirrors the image left to right.
    package func mirror() {
        for row in 0..<channels * height {
            let start = pointer + row * width
            for x in 0..<width / 2 { swap(&start[x], &start[width - 1 - x]) }
        }
    }

    /// Mirrors the image top to bottom.
    func mirrorVertically() {
        for channel in 0..<channels {
            for y in 0..<height / 2 {
                let upper = pointer + channel * planeCount + y * width
                let lower = pointer + channel * planeCount + (height - 1 - y) * width
                for x in 0..<width { swap(&upper[x], &lower[x]) }
            }
        }
    }

    /// Zeroes a part.
    func erase(_ box: PixelBox) {
        for channel in 0..<channels {
            for y in box.top..<box.top + box.height {
                (pointer + channel * planeCount + y * width + box.left).update(repeating: 0, count: box.width)
            }
        }
    }

    /// Zeroes a square, clipped at the border: `edge` rows and columns from `centre − edge / 2` on (DeVries, Taylor,
    /// "Improved regularization of convolutional neural networks with Cutout", 2017).
    func cutOut(centreRow: Int, centreColumn: Int, edge: Int) {
        let rows = max(0, centreRow - edge / 2)..<min(height, centreRow - edge / 2 + edge)
        let columns = max(0, centreColumn - edge / 2)..<min(width, centreColumn - edge / 2 + edge)
        erase(PixelBox(top: rows.lowerBound, left: columns.lowerBound, height: rows.count, width: columns.count))
    }

    // MARK: Colour

    /// Multiplies the image by `factor` and clamps it to 0…1.
    func adjustBrightness(_ factor: Float) { blend(factor, addend: 0) }

    /// Blends with the mean of the grey image: factor 0 gives plain grey, 1 the image itself.
    func adjustContrast(_ factor: Float) {
        var sum = 0.0
        for i in 0..<planeCount { sum += Double(grey(i)) }
        blend(factor, addend: (1 - factor) * Float(sum / Double(planeCount)))
    }

    /// Blends with the grey image: factor 0 gives the grey image, 1 the image itself.
    func adjustSaturation(_ factor: Float) {
        guard channels == 3 else { return }
        let (red, green, blue) = (pointer, pointer + planeCount, pointer + 2 * planeCount)
        for i in 0..<planeCount {
            let addend = (1 - factor) * grey(i)
            red[i] = clamped(factor * red[i] + addend)
            green[i] = clamped(factor * green[i] + addend)
            blue[i] = clamped(factor * blue[i] + addend)
        }
    }

    /// Rotates the hue by `amount` of a full turn: ⅓ makes red green.
    ///
    /// - Precondition: `−½ ≤ amount ≤ ½`.
    func adjustHue(_ amount: Float) {
        precondition(abs(amount) <= 0.5, "a hue shift of \(amount), expected -0.5 to 0.5")
        guard channels == 3 else { return }
        let (red, green, blue) = (pointer, pointer + planeCount, pointer + 2 * planeCount)
        for i in 0..<planeCount {
            (red[i], green[i], blue[i]) = rotated(red[i], green[i], blue[i], by: amount)
        }
    }

    /// A colour with its hue rotated, by way of hue, saturation and value.
    @inline(__always)
    private func rotated(_ r: Float, _ g: Float, _ b: Float, by amount: Float) -> (Float, Float, Float) {
        let value = max(r, g, b)
        let range = value - min(r, g, b)
        guard range > 0 else { return (r, g, b) }
        // The hue in sixths of a turn.
        let hue = value == r ? (g - b) / range : value == g ? 2 + (b - r) / range : 4 + (r - g) / range
        var rotated = hue + 6 * amount
        if rotated < 0 { rotated += 6 }
        if rotated >= 6 { rotated -= 6 }
        let sector = Int(rotated)
        let fraction = rotated - Float(sector)
        let low = value - range
        let falling = clamped(value - range * fraction)
        let rising = clamped(value - range * (1 - fraction))
        switch sector {
        case 0: return (value, rising, low)
        case 1: return (falling, value, low)
        case 2: return (low, value, rising)
        case 3: return (low, falling, value)
        case 4: return (rising, low, value)
        default: return (value, low, falling)
        }
    }

    @inline(__always)
    private func grey(_ i: Int) -> Float {
        guard channels == 3 else { return pointer[i] }
        return 0.2989 * pointer[i] + 0.587 * pointer[i + planeCount] + 0.114 * pointer[i + 2 * planeCount]
    }

    private func blend(_ factor: Float, addend: Float) {
        for i in 0..<count { pointer[i] = clamped(factor * pointer[i] + addend) }
    }
}

@inline(__always)
func clamped(_ x: Float) -> Float { x < 0 ? 0 : x > 1 ? 1 : x }

extension PlaneResizer {
    /// Resizes an image of the size that `init` was given. Allocates nothing.
    ///
    /// - Parameter result: shape [channels][new height][new width].
    package func resize(_ image: ImagePlanes, into result: UnsafeMutablePointer<Float>) {
        resize(into: result) { channel, y in
            UnsafePointer(image.pointer + (channel * image.height + y) * image.width)
        }
    }
}
