// Vector types and helpers. The kernels are written in vectors of 16 floats, for which the compiler uses several
// registers if they are narrower.
#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>
#include <string.h>

// The warning is about passing wide vectors between functions compiled for different targets; here they are only passed
// to inlined functions.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float f32x16 __attribute__((vector_size(64), aligned(4)));
typedef int32_t i32x16 __attribute__((vector_size(64), aligned(4)));
typedef uint32_t u32x16 __attribute__((vector_size(64), aligned(4)));
typedef float f32x8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t i32x8 __attribute__((vector_size(32), aligned(4)));
typedef double f64x8 __attribute__((vector_size(64), aligned(8)));
typedef uint16_t u16x8 __attribute__((vector_size(16), aligned(2)));
typedef uint32_t u32x8 __attribute__((vector_size(32), aligned(4)));
typedef uint16_t u16x16 __attribute__((vector_size(32), aligned(2)));

#define INLINE static inline __attribute__((always_inline))
/// An unrolled loop: `i` from 0 to `n` - 1.
#define UNROLL(i, n) _Pragma("clang loop unroll(full)") for (int i = 0; i < (n); i++)

INLINE long smaller(long a, long b) { return a < b ? a : b; }

INLINE f32x16 load(const float *p) { return *(const f32x16 *)p; }
INLINE void store(float *p, f32x16 v) { *(f32x16 *)p = v; }
/// The first `count` floats of a vector, the others zero. Inlined with a constant `count` it calls no function.
INLINE f32x16 load_first(const float *p, long count) {
    f32x16 v = {0};
    memcpy(&v, p, (size_t)count * sizeof(float));
    return v;
}
INLINE void store_first(float *p, f32x16 v, long count) { memcpy(p, &v, (size_t)count * sizeof(float)); }
INLINE f32x16 keep_where_positive(f32x16 condition, f32x16 v) {
    return (f32x16)((i32x16)v & (condition > (f32x16){0}));
}
/// Zeroes padding lanes (mask 0), even if they hold NaN, which multiplying by zero would keep.
INLINE f32x16 keep_valid(f32x16 v, const float *mask) { return keep_where_positive(load(mask), v); }
/// max(0, v), but NaN stays NaN, so that the next statistics reveal it.
INLINE f32x16 relu(f32x16 v) { return (f32x16)((i32x16)v & ~(v < (f32x16){0})); }

// ---- Pairs of bfloat16 numbers, the first in the lower half of a float's 32 bits
//
// CPUs without instructions for pairs get the same kind of results, slowly.

#ifdef HAS_BFLOAT16

/// Adds the products of both numbers of each pair to `sums`.
INLINE f32x16 add_pair_products(f32x16 sums, f32x16 x, f32x16 w) {
    return (f32x16)_mm512_dpbf16_ps((__m512)sums, (__m512bh)x, (__m512bh)w);
}
/// Rounds to nearest, ties to even.
INLINE f32x16 pair(f32x16 first, f32x16 second) {
    const i32x16 order = {0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007,
                          0x180008, 0x190009, 0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f};
    const __m512bh rounded = _mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    return (f32x16)_mm512_permutexvar_epi16((__m512i)order, (__m512i)rounded);
}
INLINE void store_bfloat16(uint16_t *p, f32x16 v) {
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)v);
    memcpy(p, &rounded, sizeof rounded);
}

#else

INLINE f32x16 add_pair_products(f32x16 sums, f32x16 x, f32x16 w) {
    const u32x16 upper = (u32x16){0} + 0xFFFF0000u;
    sums += (f32x16)((u32x16)x << 16) * (f32x16)((u32x16)w << 16);
    return sums + (f32x16)((u32x16)x & upper) * (f32x16)((u32x16)w & upper);
}
/// Rounds to nearest, ties to even; NaN stays NaN. The result is in the lower half of each lane.
INLINE u32x16 round_to_bfloat16(f32x16 v) {
    u32x16 bits = (u32x16)v, rounded = bits + 0x7FFFu + ((bits >> 16) & 1);
    u32x16 unordered = (u32x16)(v != v);
    return ((rounded & ~unordered) | ((bits | 0x400000u) & unordered)) >> 16;
}
INLINE f32x16 pair(f32x16 first, f32x16 second) {
    return (f32x16)(round_to_bfloat16(first) | round_to_bfloat16(second) << 16);
}
INLINE void store_bfloat16(uint16_t *p, f32x16 v) {
    *(u16x16 *)p = __builtin_convertvector(round_to_bfloat16(v), u16x16);
}

#endif

/// Sixteen bfloat16 numbers as float32.
INLINE f32x16 load_bfloat16(const uint16_t *p) {
    return (f32x16)(__builtin_convertvector(*(const u16x16 *)p, u32x16) << 16);
}

/// Numbers `i` to `i` + 15 of memory that holds float32 or, with `is_bfloat16`, bfloat16 numbers.
INLINE f32x16 load_numbers(const int is_bfloat16, const void *p, long i) {
    return is_bfloat16 ? load_bfloat16((const uint16_t *)p + i) : load((const float *)p + i);
}
INLINE void store_numbers(const int is_bfloat16, void *p, long i, f32x16 v) {
    if (is_bfloat16) store_bfloat16((uint16_t *)p + i, v);
    else store((float *)p + i, v);
}

/// sums + x * w; with `paired`, plus the products of both numbers of each pair.
INLINE f32x16 add_products(const int paired, f32x16 sums, f32x16 x, float w) {
    return paired ? add_pair_products(sums, x, (f32x16){0} + w) : sums + x * w;
}

// ---- Transposing registers

#define SHUFFLE __builtin_shufflevector

/// Transposes 16 vectors of 16 floats: swaps blocks of 1, 2, 4 and 8 lanes in turn.
INLINE void transpose16(f32x16 r[16]) {
    f32x16 t[16];
    UNROLL(i, 16)
        if (!(i & 1)) {
            t[i] = SHUFFLE(r[i], r[i + 1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
            t[i + 1] = SHUFFLE(r[i], r[i + 1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
        }
    UNROLL(i, 16)
        if (!(i & 2)) {
            r[i] = SHUFFLE(t[i], t[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
            r[i + 2] = SHUFFLE(t[i], t[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
        }
    UNROLL(i, 16)
        if (!(i & 4)) {
            t[i] = SHUFFLE(r[i], r[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
            t[i + 4] = SHUFFLE(r[i], r[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
        }
    UNROLL(i, 8) {
        r[i] = SHUFFLE(t[i], t[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        r[i + 8] = SHUFFLE(t[i], t[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
}

#endif
