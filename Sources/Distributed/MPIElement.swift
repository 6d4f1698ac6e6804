internal import COpenMPI

/// A number that MPI can carry and reduce: the one place where Swift's types meet MPI's (MPI 3.1, section 3.2.2).
///
/// Callers pass typed buffers and never a count or a datatype.
package protocol MPIElement: BitwiseCopyable, Sendable {
    /// MPI's handle of the type (an `MPI_Datatype`); constant, and valid before `MPI_Init`.
    static var datatype: OpaquePointer { get }
}

extension Float: MPIElement { package static var datatype: OpaquePointer { cmpi_float() } }
extension Double: MPIElement { package static var datatype: OpaquePointer { cmpi_double() } }
extension Int32: MPIElement { package static var datatype: OpaquePointer { cmpi_int32() } }
extension Int64: MPIElement { package static var datatype: OpaquePointer { cmpi_int64() } }
extension UInt8: MPIElement { package static var datatype: OpaquePointer { cmpi_uint8() } }
extension UInt64: MPIElement { package static var datatype: OpaquePointer { cmpi_uint64() } }

/// The parts of a buffer of `count` elements that fit MPI's 32-bit counts.
func chunks(of count: Int, limit: Int = Int(Int32.max)) -> some Sequence<Range<Int>> {
    stride(from: 0, to: count, by: limit).lazy.map { $0..<Swift.min($0 + limit, count) }
}
