import Pictures
import Support
import Testing

@testable import ImageData

@Suite struct AugmentationTests {
    let ramp = TestImage(height: 8, width: 8) { Float(1 + $0 * 64 + $1 * 8 + $2) / 200 }

    @Test func `an augmentation survives conversion to text, and other words are refused`() throws {
        let all = try #require(Augmentation("crop,flip,jitter,cutout"))
        #expect(all.crop && all.flip && all.jitter && all.cutout && all.description == "crop,flip,jitter,cutout")
        let some = try #require(Augmentation("jitter,crop"))
        #expect(some.crop && !some.flip && some.jitter && !some.cutout && some.description == "crop,jitter")
        #expect(Augmentation("none") == Augmentation.none && Augmentation.none.description == "none")
        let other = try #require(Augmentation("alternating-flip,reflect-crop:2"))
        #expect(
            other.crop && other.cropPadding == 2 && other.cropEdge == .reflection && other.flip && other.alternatesFlips
        )
        #expect(other.description == "reflect-crop:2,alternating-flip")
        #expect(Augmentation("crop:4") == Augmentation("crop"))
        let more = "resized-crop:0.25,flip,vertical-flip,erase,mixup:0.4,cutmix"
        let parts = try #require(Augmentation(more))
        #expect(parts.resizedCrop == RandomPart(leastArea: 0.25) && parts.verticalFlip && parts.erasing)
        #expect(parts.mixup == 0.4 && parts.cutmix == 1 && parts.description == more)
        #expect(Augmentation("resized-crop:0.08,flip") == .standardOfPictures)
        for text in [
            "resized-crop:0", "resized-crop:1.1", "resized-crop,resized-crop", "mixup:0", "mixup:3", "cutmix:x",
            "erase:1",
            "crop,flop", "", "none,crop", "crop,", "crop:0", "crop:x", "crop:", "crop,reflect-crop", "flip:2",
            "flip,alternating-flip",
        ] { #expect(Augmentation(text) == nil) }
    }

    @Test func `a random part lies inside the image, and has the shares and proportions that were asked for`() {
        let part = RandomPart(leastArea: 0.2)
        var (areas, tall, wide): ([Double], Int, Int) = ([], 0, 0)
        for sample in 0..<500 {
            var random = CounterRandom(.augmentation, 1, UInt64(sample))
            let box = part.box(height: 90, width: 120, &random)
            #expect(box.top >= 0 && box.left >= 0 && box.top + box.height <= 90 && box.left + box.width <= 120)
            areas.append(Double(box.height * box.width) / (90 * 120))
            let ratio = Double(box.width) / Double(box.height)
            #expect(ratio > 0.72 && ratio < 1.38)
            if ratio < 0.95 { tall += 1 }
            if ratio > 1.05 { wide += 1 }
        }
        #expect(areas.allSatisfy { $0 > 0.19 && $0 <= 1 } && areas.contains { $0 < 0.3 } && areas.contains { $0 > 0.8 })
        #expect(tall > 100 && wide > 100)
        // Where no part has the proportions, the largest middle that has nearly.
        #expect(RandomPart.largestMiddle(height: 10, width: 300) == PixelBox(top: 0, left: 143, height: 10, width: 13))
        #expect(RandomPart.largestMiddle(height: 300, width: 12) == PixelBox(top: 142, left: 0, height: 16, width: 12))
        var random = CounterRandom(.augmentation, 1)
        #expect(part.box(height: 1, width: 1, &random) == PixelBox(top: 0, left: 0, height: 1, width: 1))
    }

    @Test func `a framing resizes the shorter edge and keeps the middle`() {
        let framing = ImageFraming(edge: 256, size: 224)
        #expect(framing.resized(height: 375, width: 500) == (256, 341))
        #expect(framing.resized(height: 500, width: 375) == (341, 256))
        // Half a pixel goes to the even side: 58.5 is 58, 16 is 16.
        #expect(framing.middle(height: 341, width: 256) == PixelBox(top: 58, left: 16, height: 224, width: 224))
        #expect(framing.resized(height: 3, width: 1000) == (256, 85_333))
    }

    @Test func `a vertical flip mirrors half of the images top to bottom, erasing zeroes a rectangle of half`() {
        var (mirrored, erased) = (0, 0)
        let flip = Augmentation("vertical-flip,erase")!
        for sample in 0..<200 {
            let image = TestImage(height: 8, width: 8) { ramp[$0, $1, $2] }
            flip.applyBeforeNormalization(to: image.planes, seed: 1, epoch: 1, sample: sample)
            let isMirrored = image[0, 0, 0] == ramp[0, 7, 0]
            mirrored += isMirrored ? 1 : 0
            let expected = TestImage(height: 8, width: 8) { ramp[$0, isMirrored ? 7 - $1 : $1, $2] }
            #expect(image.values == expected.values)
            flip.applyAfterNormalization(to: image.planes, seed: 1, epoch: 1, sample: sample)
            let zeros = (0..<64).filter { place in (0..<3).allSatisfy { image.values[$0 * 64 + place] == 0 } }
            guard let first = zeros.first, let last = zeros.last else { continue }
            erased += 1
            #expect(zeros.count == (last / 8 - first / 8 + 1) * (last % 8 - first % 8 + 1))
            #expect(image.values.count { $0 == 0 } == 3 * zeros.count && zeros.count <= 24)
        }
        #expect((70...130).contains(mirrored) && (70...130).contains(erased))
    }

    @Test func `a shift moves the image in place and fills with black`() {
        for rows in -8...8 {
            for columns in [-8, -4, -1, 0, 1, 3, 8] {
                let image = TestImage(height: 8, width: 8) { ramp[$0, $1, $2] }
                image.planes.shift(rows: rows, columns: columns)
                let expected = TestImage(height: 8, width: 8) { channel, y, x in
                    let inside = (0..<8).contains(y + rows) && (0..<8).contains(x + columns)
                    return inside ? ramp[channel, y + rows, x + columns] : 0
                }
                #expect(image.values == expected.values)
            }
        }
    }

    @Test func `a reflecting shift shows the image mirrored at its outermost pixels`() {
        func reflected(_ i: Int) -> Int { i < 0 ? -i : i > 7 ? 14 - i : i }
        for rows in -3...3 {
            for columns in -3...3 {
                let image = TestImage(height: 8, width: 8) { ramp[$0, $1, $2] }
                image.planes.shift(rows: rows, columns: columns)
                image.planes.reflectEdge(rows: rows, columns: columns)
                let expected = TestImage(height: 8, width: 8) {
                    ramp[$0, reflected($1 + rows), reflected($2 + columns)]
                }
                #expect(image.values == expected.values, "\(rows), \(columns)")
            }
        }
    }

    @Test func `an alternating flip shows each image's other side in the next epoch, half of them mirrored at first`() {
        let flip = Augmentation(flip: true, alternatesFlips: true)
        func isMirrored(_ epoch: Int, _ sample: Int) -> Bool {
            let image = TestImage(height: 1, width: 2) { Float($2) + Float($0 + $1) }
            flip.applyBeforeNormalization(to: image.planes, seed: 1, epoch: epoch, sample: sample)
            return image[0, 0, 0] == 1
        }
        for sample in 0..<1000 {
            for epoch in 1...3 { #expect(isMirrored(epoch, sample) != isMirrored(epoch + 1, sample)) }
        }
        #expect((420...580).contains((0..<1000).count { isMirrored(1, $0) }))
    }

    @Test func `a mirrored image has its columns reversed, and mirroring twice restores it`() {
        let image = TestImage(height: 3, width: 5) { ramp[$0, $1, $2] }
        image.planes.mirror()
        #expect(image.values == TestImage(height: 3, width: 5) { ramp[$0, $1, 4 - $2] }.values)
        image.planes.mirror()
        #expect(image.values == TestImage(height: 3, width: 5) { ramp[$0, $1, $2] }.values)
    }

    @Test func `brightness scales and clamps`() {
        let image = TestImage(colours: [[0.2, 0.5, 1]])
        image.planes.adjustBrightness(0.5)
        expectClose(image.values, [0.1, 0.25, 0.5])
        image.planes.adjustBrightness(3)
        expectClose(image.values, [0.3, 0.75, 1])
    }

    @Test func `contrast blends with the mean of the grey image`() {
        // The greys of pure red and green are 0.2989 and 0.587.
        let image = TestImage(colours: [[1, 0, 0], [0, 1, 0]])
        image.planes.adjustContrast(0.5)
        let half: Float = (0.2989 + 0.587) / 4
        expectClose(image.colour(0), [0.5 + half, half, half])
        let flat = TestImage(colours: [[1, 0, 0], [0, 1, 0]])
        flat.planes.adjustContrast(0)
        expectClose(flat.values, [Float](repeating: 2 * half, count: 6))
    }

    @Test func `saturation blends with the grey image`() {
        let image = TestImage(colours: [[1, 0, 0], [0.2, 0.4, 0.6]])
        image.planes.adjustSaturation(0)
        expectClose(image.colour(0), [0.2989, 0.2989, 0.2989])
        let grey: Float = 0.2989 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
        expectClose(image.colour(1), [grey, grey, grey])
        let strong = TestImage(colours: [[0.2, 0.4, 0.6]])
        strong.planes.adjustSaturation(2)
        expectClose(strong.colour(0), [0.4 - grey, 0.8 - grey, 1.2 - grey])
    }

    @Test func `a third of a turn makes red green, green blue and blue red, and keeps greys`() {
        let image = TestImage(colours: [
            [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.3, 0.3, 0.3], [0, 0, 0], [0.6, 0.2, 0.2],
        ])
        image.planes.adjustHue(1 / 3)
        let turned: [[Float]] = [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0.3, 0.3, 0.3], [0, 0, 0], [0.2, 0.6, 0.2]]
        for (column, colour) in turned.enumerated() { expectClose(image.colour(column), colour) }
    }

    @Test func `hue shifts agree with the definition by HSV in float64`() {
        let colours = (0..<216).map { i in [i % 6, i / 6 % 6, i / 36].map { Float($0) / 5 } }
        for amount in [-0.5, -0.1, -0.03, 0, 0.07, 0.25, 0.5] as [Float] {
            let image = TestImage(colours: colours)
            image.planes.adjustHue(amount)
            for (column, colour) in colours.enumerated() {
                expectClose(image.colour(column), hueShifted(colour, by: Double(amount)), within: 2e-6)
            }
        }
    }

    /// Smith's HSV in its closed form: channel n of hue h is `v − v·s·max(0, min(k, 4 − k, 1))` with `k = (n + 6h) mod
    /// 6`.
    private func hueShifted(_ colour: [Float], by amount: Double) -> [Float] {
        let rgb = colour.map(Double.init)
        let (value, low) = (rgb.max()!, rgb.min()!)
        guard value > low else { return colour }
        let range = value - low
        let sixths =
            value == rgb[0]
            ? (rgb[1] - rgb[2]) / range
            : value == rgb[1] ? 2 + (rgb[2] - rgb[0]) / range : 4 + (rgb[0] - rgb[1]) / range
        return [5.0, 3, 1].map { n in
            let k = (n + sixths + 6 * amount + 12).truncatingRemainder(dividingBy: 6)
            return Float(value - range * max(0, min(k, 4 - k, 1)))
        }
    }

    @Test func `cutout zeroes one square, clipped at the border`() {
        for (row, column, zeros) in [(4, 4, 16), (0, 0, 4), (7, 7, 9), (0, 4, 8)] {
            let image = TestImage(height: 8, width: 8) { ramp[$0, $1, $2] }
            image.planes.cutOut(centreRow: row, centreColumn: column, edge: 4)
            #expect(image.values.filter { $0 == 0 }.count == 3 * zeros)
            #expect(image[2, row, column] == 0)
        }
    }

    @Test func `crop reaches all 81 positions and flip half of the images`() throws {
        let (crop, flip) = (Augmentation(crop: true), Augmentation(flip: true))
        var places: Set<[Float]> = []
        var flips = 0
        for sample in 0..<1000 {
            let cropped = TestImage(height: 8, width: 8) { ramp[$0, $1, $2] }
            crop.applyBeforeNormalization(to: cropped.planes, seed: 1, epoch: 1, sample: sample)
            places.insert([cropped[0, 3, 3], cropped[0, 4, 4], cropped[0, 3, 4], cropped[0, 4, 3]])
            let flipped = TestImage(height: 1, width: 2) { Float($2) + Float($0 + $1) }
            flip.applyBeforeNormalization(to: flipped.planes, seed: 1, epoch: 1, sample: sample)
            if flipped[0, 0, 0] == 1 { flips += 1 }
        }
        #expect(places.count == 81)
        #expect((420...580).contains(flips))
    }

    @Test func `jitter stays within its strengths and keeps colours in 0 to 1`() throws {
        let jitter = Augmentation(jitter: true)
        var greys: [Float] = []
        for sample in 0..<500 {
            // On a plain grey image contrast, saturation and hue have next to no effect, so brightness remains.
            let image = TestImage(colours: [[0.5, 0.5, 0.5]])
            jitter.applyBeforeNormalization(to: image.planes, seed: 1, epoch: 2, sample: sample)
            greys.append(image.values[0])
            let vivid = TestImage(colours: [[1, 0, 0.4], [0, 0.9, 1]])
            jitter.applyBeforeNormalization(to: vivid.planes, seed: 1, epoch: 2, sample: sample)
            #expect(vivid.values.allSatisfy { (0...1).contains($0) })
            #expect(vivid.values != [1, 0, 0.4, 0, 0.9, 1])
        }
        #expect(greys.min()! > 0.3998 && greys.min()! < 0.405 && greys.max()! < 0.6002 && greys.max()! > 0.595)
    }

    @Test func `augmentation depends on seed, epoch and sample alone`() throws {
        let all = Augmentation(crop: true, flip: true, jitter: true, cutout: true)
        func augmented(_ seed: UInt64, _ epoch: Int, _ sample: Int) -> [Float] {
            let image = TestImage(height: 8, width: 8) { ramp[$0, $1, $2] }
            all.applyBeforeNormalization(to: image.planes, seed: seed, epoch: epoch, sample: sample)
            all.applyAfterNormalization(to: image.planes, seed: seed, epoch: epoch, sample: sample)
            return image.values
        }
        #expect(augmented(1, 2, 3) == augmented(1, 2, 3))
        #expect(Set([augmented(1, 2, 3), augmented(2, 2, 3), augmented(1, 3, 3), augmented(1, 2, 4)]).count == 4)
    }
}
