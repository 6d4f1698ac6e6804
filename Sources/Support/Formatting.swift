import Glibc

extension Double {
    /// Nil for what is not finite: JSON has no such numbers, and files have `null` in their place.
    package var ifFinite: Double? { isFinite ? self : nil }

    /// Such as 1.2e-05.
    package var scientific: String {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { text in
            _ = unsafe withVaList([self]) { unsafe vsnprintf(text.baseAddress!, text.count, "%.1e", $0) }
            return unsafe String(cString: text.baseAddress!)
        }
    }

    /// With `places` decimals and at least `width` characters, as C's `%*.*f`.
    package func formatted(places: Int, width: Int = 0) -> String {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 400) { text in
            _ = unsafe withVaList([Int32(width), Int32(places), self]) {
                unsafe vsnprintf(text.baseAddress!, text.count, "%*.*f", $0)
            }
            return unsafe String(cString: text.baseAddress!)
        }
    }
}

extension Int {
    /// Not negative; with a comma between thousands.
    package var grouped: String {
        let digits = String(self)
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text += "," }
            text.append(digit)
        }
        return text
    }
}

extension String {
    /// Padded with leading zeros to a length.
    package func paddedWithZeros(to length: Int) -> String {
        String(repeating: "0", count: max(length - count, 0)) + self
    }
}
