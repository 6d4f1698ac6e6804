import Support
import TestSupport
import Testing

@testable import Reporting

/// Event files byte by byte.
@Suite struct EventBytesTests {
    @Test func `the checksum is CRC-32C, masked`() {
        let digits = Array("123456789".utf8)[...]
        #expect(CRC32C.checksum(digits) == 0xE306_9283 && CRC32C.masked(digits) == 0xC78A_B0E5)
        #expect(CRC32C.table[1] == 0xF26B_8303 && CRC32C.checksum([]) == 0)
    }

    @Test func `a file begins with the version of the format`() {
        let data = EventMessage.version(at: 0).bytes
        #expect(data == bytes("09 0000000000000000 1a 0d 62 72 61 69 6e 2e 45 76 65 6e 74 3a 32"))
        let record = EventRecord.bytes(of: data)
        #expect(record == bytes("1800000000000000 a37f4b22") + data + bytes("eedf28a3"))
    }

    @Test func `a scalar is a step, a tag and a float32`() {
        let data = EventMessage.scalars([("loss", 1.5)], step: 1, at: 0).bytes
        #expect(data == bytes("09 0000000000000000 1001 2a0d 0a0b 0a04 6c6f7373 15 0000c03f"))
        let record = EventRecord.bytes(of: data)
        #expect(record.count == data.count + 16)
        #expect(Array(record[8..<12]) == bytes("129bd82d") && Array(record.suffix(4)) == bytes("22a53114"))
        // What a file has of it, by a reader of the tests' own.
        #expect(eventValues(record) == [EventValue(tag: "loss", step: 1, number: 1.5)])
    }

    @Test func `records come back, up to the first that is torn or damaged`() {
        let messages = [
            EventMessage.version(at: 1).bytes,
            EventMessage.scalars([("step/loss", .nan), ("step/accuracy", 0.5)], step: 300, at: 2).bytes,
            EventMessage.scalars([("epoch/train_loss", 1)], step: 70_000, at: 3).bytes,
        ]
        let records = messages.map(EventRecord.bytes)
        let file = Array(records.joined())
        let ends = records.indices.map { records[...$0].joined().count }
        for length in 0...file.count {
            let found = EventRecord.whole(in: Array(file.prefix(length)))
            #expect(found.map(\.end) == ends.filter { $0 <= length })
        }
        for place in file.indices {
            var damaged = file
            damaged[place] ^= 0x81
            let found = EventRecord.whole(in: damaged)
            #expect(found.map(\.end) == ends.filter { $0 <= place }, "byte \(place)")
        }
        let contents = EventRecord.whole(in: file).map { EventMessage.contents(of: $0.data) }
        #expect(contents.map { $0?.step } == [0, 300, 70_000])
        #expect(contents.map { $0?.tags } == [[], ["step/loss", "step/accuracy"], ["epoch/train_loss"]])
    }

    @Test func `any bytes are a message or are refused`() {
        let message = EventMessage.scalars([("step/loss", 1), ("step/accuracy", 0.5)], step: 300, at: 2).bytes
        var random = CounterRandom(.synthetic, 3)
        for _ in 0..<2_000 {
            var damaged = Array(message.prefix(random.below(message.count + 1)))
            for _ in 0..<random.below(4) where !damaged.isEmpty {
                damaged[random.below(damaged.count)] = UInt8(random.below(256))
            }
            _ = EventMessage.contents(of: damaged[...])
        }
        #expect(EventMessage.contents(of: message.dropLast()[...]) == nil)
    }

    private func bytes(_ hexadecimal: String) -> [UInt8] {
        let digits = hexadecimal.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
