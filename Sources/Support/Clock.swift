import Glibc

/// Seconds of the monotonic clock; only differences are meaningful.
package func monotonicSeconds() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// The date and time as `strftime` writes them, in local time or UTC.
///
/// - Precondition: the result has fewer than 32 characters.
package func dateAndTime(_ format: String, utc: Bool = false) -> String {
    var now = time(nil)
    var parts = unsafe tm()
    _ = unsafe utc ? gmtime_r(&now, &parts) : localtime_r(&now, &parts)
    return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { text in
        unsafe strftime(text.baseAddress!, text.count, format, &parts)
        return unsafe String(cString: text.baseAddress!)
    }
}
