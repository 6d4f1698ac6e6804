import Glibc
import Support

/// One direction of a chart: what it spans, and where its ticks stand.
struct Axis {
    enum Scale {
        /// Ticks at whole numbers only.
        case whole
        case linear
        /// Linear, from 0 on.
        case fromZero
        case logarithmic
    }

    let ticks: [(value: Double, label: String)]
    private let lower, upper: Double
    private let isLogarithmic: Bool

    /// An axis that spans the finite ones of some values, of a logarithmic axis the positive ones; with none of them,
    /// 0 to 1.
    init(_ scale: Scale, of values: [Double], ticks wanted: Double = 5) {
        let isLogarithmic = scale == .logarithmic
        self.isLogarithmic = isLogarithmic
        let values = values.filter { $0.isFinite && abs($0) < 1e300 && (!isLogarithmic || $0 > 0) }
        let (least, most) = (values.min() ?? (isLogarithmic ? 0.1 : 0), values.max() ?? 1)
        switch scale {
        case .logarithmic:
            // Whole decades; a rate that never changes stands between two.
            var (first, last) = (floor(log10(least) + 1e-9), ceil(log10(most) - 1e-9))
            if first == last { (first, last) = (first - 1, last + 1) }
            let step = max(1, ceil((last - first) / wanted))
            (lower, upper) = (first, last)
            ticks = stride(from: first, through: last, by: step).map { (pow(10, $0), Self.decade($0)) }
        case .whole:
            let step = max(1, Self.niceStep(most - least, wanted))
            (lower, upper) = least < most ? (least, most) : (least - 0.5, most + 0.5)
            ticks = stride(from: ceil(lower / step) * step, through: upper, by: step).map { ($0, Self.text($0, step)) }
        case .linear, .fromZero:
            var low = scale == .fromZero ? min(0, least) : least
            var high = max(most, low)
            if low == high { (low, high) = (low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2) }
            let step = Self.niceStep(high - low, wanted)
            let (first, last) = (floor(low / step), ceil(high / step))
            (lower, upper) = (first * step, last * step)
            ticks = stride(from: first, through: last, by: 1).map { ($0 * step, Self.text($0 * step, step)) }
        }
    }

    /// Where a value stands, from 0 to 1; nil for what this axis cannot show.
    func position(_ value: Double) -> Double? {
        guard value.isFinite, !isLogarithmic || value > 0 else { return nil }
        let place = ((isLogarithmic ? log10(value) : value) - lower) / (upper - lower)
        return place.isFinite ? place : nil
    }

    /// 1, 2 or 5 times a power of ten, so that a span has about as many ticks as wanted.
    private static func niceStep(_ span: Double, _ wanted: Double) -> Double {
        guard span > 0 else { return 1 }
        let power = pow(10, floor(log10(span / wanted)))
        return power * ([1, 2, 5].first { $0 * power >= span / wanted * 0.999 } ?? 10)
    }

    private static func text(_ value: Double, _ step: Double) -> String {
        guard abs(value) < 1e6, step >= 1e-5 else { return value == 0 ? "0" : value.scientific }
        let text = value.formatted(places: max(0, Int(-floor(log10(step) + 1e-9))))
        return text.hasPrefix("-") && value == 0 ? String(text.dropFirst()) : text
    }

    private static func decade(_ exponent: Double) -> String {
        (-5...5).contains(exponent)
            ? pow(10, exponent).formatted(places: max(0, Int(-exponent))) : "1e\(Int(exponent))"
    }
}
