import CKernels
import Glibc
import Support

/// A level of vector instructions that the kernels are compiled for; a higher level includes all lower ones.
///
/// A process uses the CPU's best level, or a lower one that the environment variable `DENSENET_SIMD` names.
package struct VectorLevel: Sendable, CaseIterable, Comparable, CustomStringConvertible {
    /// The index in `allCases`.
    package let number: Int

    /// All levels of this build, lowest first.
    package static let allCases = (0..<Int(ck_level_count())).map(VectorLevel.init)
    /// The level in use.
    package static var current: VectorLevel { VectorLevel(number: Int(ck_level())) }
    /// The highest level that this CPU supports.
    package static var best: VectorLevel { VectorLevel(number: Int(ck_best_level())) }

    /// The name in `DENSENET_SIMD` and in reports.
    package var description: String { String(cString: ck_level_name(Int32(number))) }

    /// Whether the level has instructions that multiply bfloat16 numbers.
    package var multipliesBFloat16: Bool { description.hasSuffix("-bf16") || description.hasSuffix("-amx") }

    package static func < (one: VectorLevel, other: VectorLevel) -> Bool { one.number < other.number }

    /// - Throws: `Failure(.usage)` if `DENSENET_SIMD` is not the name of a level.
    package static func validateEnvironment() throws {
        guard let value = getenv("DENSENET_SIMD").map({ String(cString: $0) }), !value.isEmpty else { return }
        let names = allCases.map(\.description)
        guard !names.contains(value) else { return }
        throw Failure(
            .usage,
            "DENSENET_SIMD is '\(value)', expected the highest vector level to use "
                + "(\(names.joined(separator: ", "))); if unset, the CPU's best level is used")
    }
}
