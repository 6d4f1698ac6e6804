/// Counts the memory that buffers would take instead of allocating it.
///
/// So what a program is about to need is known from the very code that will allocate it.
package final class BufferPlan: @unchecked Sendable {
    @TaskLocal static var current: BufferPlan?

    /// Bytes of all buffers, as they would be allocated.
    package private(set) var bytes = 0
    /// Buffers of whole huge pages: each may take the address space of one more to begin at a page's start.
    package private(set) var hugeBuffers = 0

    /// Runs `body`. An `AlignedBuffer` that is made meanwhile is counted and has no memory: it must not be touched.
    package static func counting<Result>(_ body: () throws -> Result) rethrows -> (result: Result, plan: BufferPlan) {
        let plan = BufferPlan()
        return (try $current.withValue(plan) { try body() }, plan)
    }

    func add(_ bytes: Int, isHuge: Bool) {
        self.bytes += bytes
        if isHuge { hugeBuffers += 1 }
    }
}
