internal import COpenMPI

/// A number that MPI can send and reduce: the one place where Swift's types meet MPI's (MPI 3.1, section 3.2.2).
///
/// The protocol is closed: a conformance has to name an `MPIDatatype`, which only this module can make, and MPI would
/// read any other type's memory as something that it is not.
public protocol MPIElement: BitwiseCopyable, Sendable {
    /// MPI's name for the type.
    static var datatype: MPIDatatype { get }
}

/// MPI's handle of a type (`MPI_Datatype`); constant, and valid before `MPI_Init`.
public struct MPIDatatype {
    let handle: OpaquePointer
}

extension Float: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_float()) } }
extension Double: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_double()) } }
extension Int32: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_int32()) } }
extension Int64: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_int64()) } }
extension UInt8: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_uint8()) } }
extension UInt64: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_uint64()) } }

/// Cuts `count` elements into ranges that fit MPI's 32-bit counts.
func chunks(of count: Int, limit: Int = Int(Int32.max)) -> some Sequence<Range<Int>> {
    stride(from: 0, to: count, by: limit).lazy.map { $0..<Swift.min($0 + limit, count) }
}
