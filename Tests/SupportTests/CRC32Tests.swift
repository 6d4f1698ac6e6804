import Support
import Testing

@Suite struct CRC32Tests {
    private func checksum(_ pieces: String...) -> CRC32 {
        var sum = CRC32()
        for piece in pieces { sum.add(piece) }
        return sum
    }

    @Test func `the checksum is the standard CRC-32`() {
        #expect(checksum("123456789").text == "cbf43926")
        #expect(checksum().text == "00000000")
    }

    @Test func `pieces, even empty ones, give the checksum of the whole`() {
        #expect(checksum("1234", "", "56789", "") == checksum("123456789"))
        var sum = checksum("1234")
        sum.add(UnsafeRawBufferPointer(start: nil, count: 0))
        #expect(sum == checksum("1234"))
    }
}
