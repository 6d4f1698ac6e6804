import Glibc

/// A fixed run of numbers, aligned for the vector units, zeroed at birth, freed with its owner.
///
/// All tensors live in such buffers, allocated once before the first step. The class says nothing about who may write
/// when: whoever passes a buffer to another thread makes sure that the two do not touch it at the same time (hence
/// `@unchecked Sendable`).
package final class AlignedBuffer<Element: BitwiseCopyable>: @unchecked Sendable {
    /// The first element; valid as long as the buffer lives.
    package let pointer: UnsafeMutablePointer<Element>
    package let count: Int

    /// Allocates `count` zero elements at a 64-byte boundary (large buffers at 2 MiB, advised for huge pages). Ends the
    /// process where there is no memory: who may need much asks `demandMemory` before.
    ///
    /// - Precondition: the all-zero bit pattern is a valid `Element`.
    package init(count: Int) {
        precondition(count >= 0, "a buffer cannot have \(count) elements")
        let hugePage = 2 << 20
        let bytes = max(count * MemoryLayout<Element>.stride, 64)
        let alignment = bytes >= hugePage ? hugePage : 64
        var raw: UnsafeMutableRawPointer?
        let rounded = (bytes + alignment - 1) / alignment * alignment
        guard posix_memalign(&raw, alignment, rounded) == 0, let raw else { endOutOfMemory(rounded) }
        if alignment == hugePage { madvise(raw, rounded, MADV_HUGEPAGE) }
        memset(raw, 0, rounded)
        pointer = raw.bindMemory(to: Element.self, capacity: max(count, 1))
        self.count = count
    }

    deinit { free(pointer) }

    /// All elements, for reading and writing.
    package var elements: UnsafeMutableBufferPointer<Element> {
        UnsafeMutableBufferPointer(start: pointer, count: count)
    }

    /// The elements of `range`.
    ///
    /// - Precondition: `range` lies within `0 ..< count`.
    package subscript(range: Range<Int>) -> UnsafeMutableBufferPointer<Element> {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) is outside of a buffer of \(count)")
        return UnsafeMutableBufferPointer(start: pointer + range.lowerBound, count: range.count)
    }
}
