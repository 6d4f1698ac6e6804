import Support

/// Checks a condition.
///
/// - Throws: `.internal`, which ends the job, if it does not hold.
func require(_ condition: @autoclosure () throws -> Bool, _ message: @autoclosure () -> String, line: Int = #line)
    throws
{
    guard try condition() else { throw Failure(.internal, "line \(line): \(message())") }
}

/// The error of that type that `body` throws; nil if it throws none.
func catching<E: Error>(_ type: E.Type, _ body: () throws -> Void) -> E? {
    do { try body() } catch { return error as? E }
    return nil
}
