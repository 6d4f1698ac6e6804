internal import COpenMPI

/// A number type that MPI can send and reduce (MPI 3.1, section 3.2.2).
///
/// Other modules cannot conform to it: only this module can create an `MPIDatatype`, and a wrong one would make MPI
/// misread memory.
public protocol MPIElement: BitwiseCopyable, Sendable {
    /// MPI's name for the type.
    static var datatype: MPIDatatype { get }
}

/// A handle of a type (`MPI_Datatype`); constant, and valid before `MPI_Init`.
public struct MPIDatatype {
    let handle: OpaquePointer
}

extension Float: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_float()) } }
extension Double: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_double()) } }
extension Int32: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_int32()) } }
extension Int64: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_int64()) } }
extension UInt8: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_uint8()) } }
extension UInt64: MPIElement { public static var datatype: MPIDatatype { MPIDatatype(handle: cmpi_uint64()) } }

/// Divides `count` elements into ranges that fit MPI's 32-bit counts.
func chunks(of count: Int, limit: Int = Int(Int32.max)) -> some Sequence<Range<Int>> {
    stride(from: 0, to: count, by: limit).lazy.map { $0..<Swift.min($0 + limit, count) }
}
