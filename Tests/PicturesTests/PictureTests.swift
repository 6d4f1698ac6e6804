import FoundationEssentials
import Support
import TestSupport
import Testing

@testable import Pictures

private let fixtures = #filePath.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/Fixtures"

private func bytes(of name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(filePath: "\(fixtures)/\(name)")))
}

private let readable = [
    "rgb.png", "rgb-gamma.png", "rgb-interlaced.png", "rgba.png", "grey.png", "grey-1-bit.png", "grey-4-bit.png",
    "grey-alpha.png", "palette.png", "palette-transparent.png", "444.jpeg", "422.jpeg", "420.jpeg",
    "progressive.jpeg", "grey.jpeg", "rgb-16-bit.png", "grey-16-bit.png",
]

@Suite struct PictureTests {
    @Test(arguments: readable)
    func `a picture has the pixels that Pillow reads`(name: String) throws {
        let picture = try Picture(path: "\(fixtures)/\(name)")
        let expected = Picture(
            height: 9, width: 13, interleaved: try bytes(of: name + ".rgb"), stride: 3, channels: 3)
        #expect(picture == expected)
    }

    @Test(arguments: readable)
    func `a picture has the grey that Pillow makes of it`(name: String) throws {
        let expected = Picture(height: 9, width: 13, planes: try bytes(of: name + ".grey"))
        #expect(try Picture(path: "\(fixtures)/\(name)", channels: 1) == expected)
        #expect(try Picture(path: "\(fixtures)/\(name)").grey == expected)
    }

    /// A plain picture stays plain, a slope stays a slope: with blocks of 8 pixels as one, four or sixteen pixels.
    @Test(arguments: [2, 4, 8])
    func `a JPEG file is decoded in a fraction of its size`(shrinkage: Int) throws {
        let file = try bytes(of: "444.jpeg")
        var asked: [Int] = []
        let picture = try Picture(file, path: "f") { height, width in
            asked = [height, width]
            return shrinkage
        }
        #expect(asked == [9, 13])
        #expect([picture.height, picture.width] == [(8 + shrinkage) / shrinkage, (12 + shrinkage) / shrinkage])
        let whole = try Picture(file, path: "f")
        for channel in 0..<3 {
            let (mean, own) = (whole.mean(channel, edge: 8), picture.mean(channel, edge: 8 / shrinkage))
            #expect(abs(mean - own) < 3, "channel \(channel): \(mean), \(own)")
        }
    }

    @Test func `a PNG file is decoded as it is`() throws {
        var isAsked = false
        let picture = try Picture(bytes(of: "rgb.png"), path: "f") { _, _ in
            isAsked = true
            return 2
        }
        #expect(!isAsked && picture.height == 9)
    }

    @Test(arguments: [
        ("rgba-16-bit.png", "has 16 bits per channel and an alpha channel; take that away, or convert it to 8"),
        ("cmyk.jpeg", "is in CMYK, expected grey or RGB; convert it to RGB"),
        ("README.md", "neither PNG nor JPEG by its first bytes; convert it to one of them"),
    ])
    func `what is not read is refused by name`(name: String, problem: String) {
        let path = "\(fixtures)/\(name)"
        #expect(throws: Failure(.data, "\(path): \(problem)")) { try Picture(path: path) }
    }

    @Test func `a file that is missing or empty is refused`() throws {
        let scratch = ScratchFolder()
        #expect(throws: Failure.self) { try Picture(path: scratch("missing.png")) }
        let empty = try scratch.write([], to: "empty.png")
        #expect(throws: Failure(.data, "\(empty): empty file, expected a PNG or JPEG picture; fetch it again")) {
            try Picture(path: empty)
        }
    }

    /// The last chunk of a PNG and the end marker of a JPEG have no pixels.
    @Test(arguments: readable)
    func `a file that is cut anywhere before its last pixel is refused`(name: String) throws {
        let whole = try bytes(of: name)
        for count in 0..<whole.count - 16 {
            #expect(throws: Failure.self, "\(count) bytes") { try Picture(Array(whole[..<count]), path: "f") }
        }
    }

    @Test(arguments: readable)
    func `a damaged file gives a picture or one line that names it`(name: String) throws {
        let whole = try bytes(of: name)
        var random = CounterRandom(.synthetic, 7)
        for _ in 0..<300 {
            var damaged = whole
            for _ in 0...random.below(3) { damaged[Int(random.below(whole.count))] = UInt8(random.below(256)) }
            do { _ = try Picture(damaged, path: "a name") } catch let failure as Failure {
                #expect(failure.kind == .data && failure.message.hasPrefix("a name: "), "\(failure)")
                #expect(!failure.message.contains("\n"))
            }
        }
    }

    @Test(arguments: [(60_000, 60_000), (65_536, 1), (1, 65_536), (8193, 8192)])
    func `a PNG that claims to be huge is refused by its header`(width: Int, height: Int) throws {
        var file = try bytes(of: "rgb.png")
        file.replaceSubrange(16..<24, with: bigEndian(width) + bigEndian(height))
        var sum = CRC32()
        file[12..<29].withUnsafeBytes { sum.add($0) }
        file.replaceSubrange(29..<33, with: bigEndian(Int(sum.value)))
        #expect(throws: Picture.tooLarge(height: height, width: width, path: "f")) { try Picture(file, path: "f") }
    }

    @Test func `a JPEG that claims to be huge is refused by its header`() throws {
        var file = try bytes(of: "444.jpeg")
        let frame = try #require(file.indices.first { file[$0...].starts(with: [0xFF, 0xC0]) })
        file.replaceSubrange(frame + 5..<frame + 9, with: [0xEA, 0x60, 0xEA, 0x60])
        #expect(throws: Picture.tooLarge(height: 60_000, width: 60_000, path: "f")) { try Picture(file, path: "f") }
    }

    private func bigEndian(_ number: Int) -> [UInt8] { (0..<4).reversed().map { UInt8(number >> (8 * $0) & 0xFF) } }
}

@Suite struct ResizeTests {
    @Test(arguments: [(5, 4), (13, 3), (32, 32), (1, 1), (20, 7)])
    func `a resized picture has Pillow's numbers`(width: Int, height: Int) throws {
        let expected = try bytes(of: "resized-\(width)x\(height).f32").withUnsafeBytes { bytes in
            (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
        }
        let resized = try Picture(path: "\(fixtures)/rgb.png").resized(height: height, width: width)
        #expect(resized.count == expected.count && expected.count == 3 * width * height)
        #expect(zip(resized, expected).allSatisfy { abs($0 - $1) < 1e-4 })
    }

    @Test func `the size that a picture has keeps its pixels`() throws {
        let picture = try Picture(path: "\(fixtures)/rgb.png")
        #expect(picture.resized(height: 9, width: 13) == picture.planes.map { Float($0) })
    }

    @Test func `a picture of one colour keeps it in every size`() {
        let picture = Picture(height: 5, width: 3, planes: [UInt8](repeating: 200, count: 45))
        for (height, width) in [(1, 1), (7, 2), (2, 9), (50, 40)] {
            #expect(picture.resized(height: height, width: width).allSatisfy { abs($0 - 200) < 1e-3 })
        }
    }

    @Test(arguments: [(5, 4), (13, 9), (40, 30), (8, 9), (13, 5)])
    func `a picture resized as bytes has Pillow's bytes, and so has each part of it`(width: Int, height: Int) throws {
        let expected = try bytes(of: "resized-\(width)x\(height).rgb")
        let picture = try Picture(path: "\(fixtures)/rgb.png")
        let resizer = PictureResizer()
        for kept in [
            PixelBox(top: 0, left: 0, height: height, width: width),
            PixelBox(top: 1, left: 2, height: height - 2, width: width - 3),
            PixelBox(top: height - 1, left: width - 1, height: 1, width: 1),
        ] {
            let whole = PixelBox(top: 0, left: 0, height: 9, width: 13)
            let part = resizer.resized(whole, of: picture, toHeight: height, width: width, keeping: kept)
            #expect(part == cut(kept, from: expected, height: height, width: width), "\(kept)")
        }
    }

    @Test func `a part of a picture is resized as if there were nothing around it`() throws {
        let picture = try Picture(path: "\(fixtures)/rgb.png")
        let box = PixelBox(top: 2, left: 3, height: 5, width: 7)
        let alone = Picture(height: 5, width: 7, planes: cut(box, from: picture.planes, height: 9, width: 13))
        let whole = PixelBox(top: 0, left: 0, height: 11, width: 4)
        let resizer = PictureResizer()
        #expect(
            resizer.resized(box, of: picture, toHeight: 11, width: 4, keeping: whole)
                == resizer.resized(
                    PixelBox(top: 0, left: 0, height: 5, width: 7), of: alone, toHeight: 11, width: 4, keeping: whole))
    }
}

/// A part of planes of bytes, shape [3][height][width].
private func cut(_ box: PixelBox, from planes: [UInt8], height: Int, width: Int) -> [UInt8] {
    var part: [UInt8] = []
    for channel in 0..<3 {
        for y in box.top..<box.top + box.height {
            let start = (channel * height + y) * width + box.left
            part += planes[start..<start + box.width]
        }
    }
    return part
}

extension Picture {
    /// Of the square of so many pixels at the top left.
    fileprivate func mean(_ channel: Int, edge: Int) -> Double {
        var sum = 0.0
        for y in 0..<edge {
            for x in 0..<edge { sum += Double(planes[(channel * height + y) * width + x]) }
        }
        return sum / Double(edge * edge)
    }
}

extension PictureResizer {
    fileprivate func resized(
        _ box: PixelBox, of picture: Picture, toHeight height: Int, width: Int, keeping kept: PixelBox
    ) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: 3 * kept.height * kept.width)
        picture.planes.withUnsafeBufferPointer { planes in
            resize(
                box,
                of: PixelPlanes(
                    planes.baseAddress!, channels: picture.channels, height: picture.height, width: picture.width),
                toHeight: height, width: width, keeping: kept, into: &result)
        }
        return result
    }
}
