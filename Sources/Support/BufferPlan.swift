/// Counts the memory of buffers instead of allocating it, so that memory needs are computed by the code that will
/// allocate.
package final class BufferPlan: @unchecked Sendable {
    @TaskLocal static var current: BufferPlan?

    /// Bytes of all buffers, as they would be allocated.
    package private(set) var bytes = 0
    /// Buffers of whole huge pages; aligning one may take the address space of one more page.
    package private(set) var hugeBuffers = 0

    /// Runs `body`. Each `AlignedBuffer` that it creates is counted but has no memory and must not be accessed.
    package static func counting<Result>(_ body: () throws -> Result) rethrows -> (result: Result, plan: BufferPlan) {
        let plan = BufferPlan()
        return (try $current.withValue(plan) { try body() }, plan)
    }

    func add(_ bytes: Int, isHuge: Bool) {
        self.bytes += bytes
        if isHuge { hugeBuffers += 1 }
    }
}
