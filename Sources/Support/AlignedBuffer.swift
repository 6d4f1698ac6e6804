import Glibc

/// A fixed-size, aligned, zero-initialized buffer, freed on deinit.
///
/// All tensors live in such buffers, allocated once before the first step. The class does not synchronize accesses:
/// code that shares a buffer between threads must order them (hence `@unchecked Sendable`).
@safe package final class AlignedBuffer<Element: BitwiseCopyable>: @unchecked Sendable {
    /// The first element; valid as long as the buffer lives.
    package let pointer: UnsafeMutablePointer<Element>
    package let count: Int
    /// The allocated size; buffers of 2 MiB or more consist of whole huge pages.
    package let byteCount: Int
    private let isAllocated: Bool
    /// Keeps memory that is not the buffer's own.
    private let owner: AnyObject?

    /// Allocates `count` zero elements at a 64-byte boundary (large buffers at 2 MiB, advised for huge pages). Ends the
    /// process if there is no memory: call `requireMemory` before large allocations. Allocates nothing within
    /// `BufferPlan.counting`.
    ///
    /// - Precondition: the all-zero bit pattern is a valid `Element`.
    package init(count: Int) {
        precondition(count >= 0, "a buffer cannot have \(count) elements")
        let bytes = count * MemoryLayout<Element>.stride
        let alignment = bytes >= hugePage ? hugePage : 64
        self.count = count
        owner = nil
        byteCount = (bytes + alignment - 1) / alignment * alignment
        let plan = BufferPlan.current
        plan?.add(byteCount, isHuge: alignment == hugePage)
        isAllocated = plan == nil && count > 0
        if !isAllocated, let dangling = unsafe UnsafeMutablePointer<Element>(bitPattern: alignment) {
            unsafe pointer = unsafe dangling
            return
        }
        var raw: UnsafeMutableRawPointer?
        guard unsafe posix_memalign(&raw, alignment, byteCount) == 0, let raw = unsafe raw else {
            exitOutOfMemory(byteCount)
        }
        if alignment == hugePage { unsafe madvise(raw, byteCount, MADV_HUGEPAGE) }
        unsafe memset(raw, 0, byteCount)
        unsafe pointer = unsafe raw.bindMemory(to: Element.self, capacity: count)
    }

    /// A buffer over memory that something else has allocated, such as memory that processes share.
    ///
    /// - Parameters:
    ///   - pointer: `count` elements at a 64-byte boundary.
    ///   - owner: keeps the memory as long as it lives; the buffer keeps it.
    package init(over pointer: UnsafeMutablePointer<Element>, count: Int, keeping owner: AnyObject) {
        precondition(
            UInt(bitPattern: pointer) % 64 == 0 && count >= 0, "\(count) elements are not at a 64-byte boundary")
        self.count = count
        self.owner = owner
        byteCount = count * MemoryLayout<Element>.stride
        isAllocated = false
        unsafe self.pointer = pointer
    }

    deinit { if isAllocated { unsafe free(pointer) } }

    /// All elements, for reading and writing.
    package var elements: UnsafeMutableBufferPointer<Element> {
        unsafe UnsafeMutableBufferPointer(start: pointer, count: count)
    }

    /// The elements of `range`.
    ///
    /// - Precondition: `range` lies within `0..<count`.
    package subscript(range: Range<Int>) -> UnsafeMutableBufferPointer<Element> {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= count, "\(range) is outside of a buffer of \(count) elements")
        return unsafe UnsafeMutableBufferPointer(start: pointer + range.lowerBound, count: range.count)
    }
}

/// The size of a huge page in bytes.
package let hugePage = 2 << 20
