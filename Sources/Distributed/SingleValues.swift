extension Communicator {
    /// The sum of a number over all ranks. Collective.
    package func sum(_ value: Double) throws -> Double {
        var value = value
        try withUnsafeMutablePointer(to: &value) { try allReduceSum(UnsafeMutableBufferPointer(start: $0, count: 1)) }
        return value
    }

    /// The largest of a number over all ranks. Collective.
    package func largest<T: MPIElement>(_ value: T) throws -> T {
        var value = value
        try withUnsafeMutablePointer(to: &value) { try allReduceMax(UnsafeMutableBufferPointer(start: $0, count: 1)) }
        return value
    }
}
