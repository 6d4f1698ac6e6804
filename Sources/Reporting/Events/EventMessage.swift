import Pictures
import Support

/// What a record of an event file holds: TensorBoard's `Event` (its `event.proto` and `summary.proto`). Times are in
/// seconds since 1970.
enum EventMessage {
    /// A file's first: the version of the format.
    static func version(at time: Double) -> ProtobufMessage {
        var event = ProtobufMessage()
        event.add(1, time)
        event.add(3, "brain.Event:2")
        return event
    }

    /// Numbers of the same step. They are stored as float32; one that is not finite stays so.
    static func scalars(_ values: [(tag: String, value: Double)], step: Int, at time: Double) -> ProtobufMessage {
        summary(step: step, at: time) { summary in
            for (tag, value) in values {
                summary.add(1) {
                    $0.add(1, tag)
                    $0.add(2, Float(value))
                }
            }
        }
    }

    /// - Throws: as `Picture.png`.
    static func picture(
        _ tag: String, _ picture: Picture, step: Int, at time: Double
    ) throws -> ProtobufMessage {
        let png = try picture.png
        return summary(step: step, at: time) { summary in
            summary.add(1) {
                $0.add(1, tag)
                $0.add(4) {
                    $0.add(1, picture.height)
                    $0.add(2, picture.width)
                    // Red, green, blue.
                    $0.add(3, 3)
                    $0.add(4, bytes: png)
                }
            }
        }
    }

    /// What a plugin of TensorBoard reads from the description of a tag alone.
    static func plugin(_ name: String, _ tag: String, content: ProtobufMessage, at time: Double) -> ProtobufMessage {
        summary(step: 0, at: time) { summary in
            summary.add(1) {
                $0.add(1, tag)
                $0.add(9) {
                    $0.add(1) {
                        $0.add(1, name)
                        $0.add(2, content)
                    }
                }
            }
        }
    }

    private static func summary(
        step: Int, at time: Double, _ fill: (inout ProtobufMessage) -> Void
    ) -> ProtobufMessage {
        var event = ProtobufMessage()
        event.add(1, time)
        event.add(2, step)
        event.add(5, fill)
        return event
    }

    /// The step and the tags of a message; nil where it is damaged.
    static func contents(of data: ArraySlice<UInt8>) -> (step: Int, tags: [String])? {
        var step = 0
        var tags: [String] = []
        var event = ProtobufFields(data)
        while let (field, value) = event.next() {
            switch (field, value) {
            case (2, .number(let number)): step = Int(Int64(bitPattern: number))
            case (5, .bytes(let bytes)):
                guard let found = self.tags(ofSummary: bytes) else { return nil }
                tags += found
            default: break
            }
        }
        return event.isSound ? (step, tags) : nil
    }

    private static func tags(ofSummary data: ArraySlice<UInt8>) -> [String]? {
        var tags: [String] = []
        var summary = ProtobufFields(data)
        while let field = summary.next() {
            guard case (1, .bytes(let bytes)) = field else { continue }
            var value = ProtobufFields(bytes)
            while let field = value.next() {
                if case (1, .bytes(let tag)) = field { tags.append(String(decoding: tag, as: UTF8.self)) }
            }
            guard value.isSound else { return nil }
        }
        return summary.isSound ? tags : nil
    }
}
