import Glibc
import Kernels
import Testing

@Suite struct VectorLevelTests {
    @Test func `levels ascend from one that every CPU has, and have unique names`() {
        let levels = VectorLevel.allCases
        let names = levels.map(\.description)
        #expect(levels == levels.sorted() && Set(names).count == levels.count && names.first == "default", "\(names)")
        #if arch(x86_64)
            #expect(names == ["default", "v3", "v4", "v4-bf16", "v4-amx"])
        #endif
    }

    @Test func `the level in use is the CPU's best, or a lower one that the user names`() {
        let wanted = getenv("DENSENET_SIMD").map { String(cString: $0) }
        let named = VectorLevel.allCases.first { $0.description == wanted }
        #expect(VectorLevel.current == min(named ?? .best, .best))
    }
}
