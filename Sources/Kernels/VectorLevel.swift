import CKernels
import Glibc
import Support

/// A set of vector instructions that the kernels are compiled for; a higher one has all of a lower one's.
///
/// `DENSENET_SIMD` names the highest that a process may use; by itself, and where the CPU has less, it uses the CPU's
/// best.
package struct VectorLevel: Sendable, CaseIterable, Comparable, CustomStringConvertible {
    /// The place in the list of levels, from 0.
    package let number: Int

    /// All levels of this build, lowest first.
    package static let allCases = (0..<Int(ck_level_count())).map(VectorLevel.init)
    /// The one in use.
    package static var current: VectorLevel { VectorLevel(number: Int(ck_level())) }
    /// The highest that this CPU has.
    package static var best: VectorLevel { VectorLevel(number: Int(ck_best_level())) }

    /// As users name it.
    package var description: String { String(cString: ck_level_name(Int32(number))) }

    package static func < (one: VectorLevel, other: VectorLevel) -> Bool { one.number < other.number }

    /// - Throws: `Failure(.usage)` when `DENSENET_SIMD` names no level.
    package static func demandValidChoice() throws {
        guard let value = getenv("DENSENET_SIMD").map({ String(cString: $0) }), !value.isEmpty else { return }
        let names = allCases.map(\.description)
        guard !names.contains(value) else { return }
        throw Failure(
            .usage,
            "DENSENET_SIMD is '\(value)', expected the highest vector level to use "
                + "(\(names.joined(separator: ", "))); without it that is the best of the CPU")
    }
}
