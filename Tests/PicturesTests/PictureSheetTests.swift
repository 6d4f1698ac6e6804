import Testing

@testable import Pictures

@Suite struct PictureSheetTests {
    private func plain(_ value: UInt8) -> Picture {
        Picture(height: 1, width: 2, planes: [UInt8](repeating: value, count: 6))
    }

    @Test func `a sheet has its pictures row by row on white`() {
        let sheet = Picture(sheet: [plain(1), plain(2), plain(3)], columns: 2, gap: 1, scale: 1)
        #expect(sheet.height == 5 && sheet.width == 7)
        let rows = (0..<5).map { Array(sheet.planes[$0 * 7..<$0 * 7 + 7]) }
        let white = [UInt8](repeating: 255, count: 7)
        #expect(rows == [white, [255, 1, 1, 255, 2, 2, 255], white, [255, 3, 3, 255, 255, 255, 255], white])
    }

    @Test func `a picture that was written as PNG is read as it was`() throws {
        let planes = (0..<3 * 5 * 7).map { UInt8(truncatingIfNeeded: $0 * 37) }
        let picture = Picture(height: 5, width: 7, planes: planes)
        #expect(try Picture(try picture.png, path: "memory") == picture)
        let large = Picture(sheet: [picture], columns: 1, gap: 0, scale: 3)
        #expect(try Picture(try large.png, path: "memory") == large)
    }
}
