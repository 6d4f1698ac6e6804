// The kernels, written once in vectors of 16 floats and compiled for each level (see level_*.c). The file that includes this one
// defines CK(name), TILE_VECTORS (vectors of lanes in a tile) and TILE_OUTPUTS (outputs in a tile).
#include "include/CKernels.h"
#include <string.h>

// The warning is about passing wide vectors between functions compiled differently; here they are only passed to inlined ones.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float v16 __attribute__((vector_size(64), aligned(4)));
typedef int32_t i16 __attribute__((vector_size(64), aligned(4)));
typedef uint32_t u16 __attribute__((vector_size(64), aligned(4)));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

INLINE v16 load(const float *p) { return *(const v16 *)p; }
INLINE void store(float *p, v16 v) { *(v16 *)p = v; }
INLINE v16 keep_where_positive(v16 condition, v16 v) { return (v16)((i16)v & (condition > (v16){0})); }
/// Zero in the lanes that a mask (1 or 0 a lane) has dead, whatever is there: not-a-number times zero would not be zero.
INLINE v16 keep_live(v16 v, const float *mask) { return keep_where_positive(load(mask), v); }
/// max(0, v), but not-a-number stays what it is, so that it shows in the next statistics.
INLINE v16 relu(v16 v) { return (v16)((i16)v & ~(v < (v16){0})); }

// ---- Pairs of bfloat16 numbers, the first in the lower half of a float's 32 bits
//
// Where the CPU cannot multiply them, the kernels of pairs are correct and slow.

#ifdef HAS_BFLOAT16
/// sums + the products of both numbers of each pair.
INLINE v16 add_pair_products(v16 sums, v16 x, v16 w) {
    return (v16)_mm512_dpbf16_ps((__m512)sums, (__m512bh)x, (__m512bh)w);
}
/// Rounds to nearest, ties to even.
INLINE v16 pair(v16 first, v16 second) {
    const i16 places = {0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007,
                        0x180008, 0x190009, 0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f};
    return (v16)_mm512_permutexvar_epi16((__m512i)places, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
}
INLINE void store_halves(uint16_t *p, v16 v) {
    __m256bh halves = _mm512_cvtneps_pbh((__m512)v);
    memcpy(p, &halves, sizeof halves);
}
#else
INLINE v16 add_pair_products(v16 sums, v16 x, v16 w) {
    const u16 upper = (u16){0} + 0xFFFF0000u;
    sums += (v16)((u16)x << 16) * (v16)((u16)w << 16);
    return sums + (v16)((u16)x & upper) * (v16)((u16)w & upper);
}
/// Rounds to nearest, ties to even; not-a-number stays one.
INLINE u16 upper_halves(v16 v) {
    u16 bits = (u16)v, rounded = bits + 0x7FFFu + ((bits >> 16) & 1);
    u16 unordered = (u16)(v != v);
    return ((rounded & ~unordered) | ((bits | 0x400000u) & unordered)) >> 16;
}
INLINE v16 pair(v16 first, v16 second) { return (v16)(upper_halves(first) | upper_halves(second) << 16); }
INLINE void store_halves(uint16_t *p, v16 v) {
    typedef uint16_t h16 __attribute__((vector_size(32), aligned(2)));
    *(h16 *)p = __builtin_convertvector(upper_halves(v), h16);
}
#endif

// ---- Transposes

#define SHUFFLE __builtin_shufflevector

/// Transposes 16 vectors of 16 floats: pairs of 1, 2, 4 and 8 lanes change places in turn.
INLINE void transpose16(v16 r[16]) {
    v16 t[16];
    UNROLL for (int i = 0; i < 16; i += 2) {
        t[i] = SHUFFLE(r[i], r[i + 1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
        t[i + 1] = SHUFFLE(r[i], r[i + 1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    }
    UNROLL for (int i = 0; i < 16; i++) if (!(i & 2)) {
        r[i] = SHUFFLE(t[i], t[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
        r[i + 2] = SHUFFLE(t[i], t[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
    UNROLL for (int i = 0; i < 16; i++) if (!(i & 4)) {
        t[i] = SHUFFLE(r[i], r[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
        t[i + 4] = SHUFFLE(r[i], r[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
    UNROLL for (int i = 0; i < 8; i++) {
        r[i] = SHUFFLE(t[i], t[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        r[i + 8] = SHUFFLE(t[i], t[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
}

/// Transposes a panel; see ck_transpose and ck_transpose_pairs.
INLINE void transpose(const int paired, const float *panel, long stride, long channels, long lanes, float *transposed, long width) {
    for (long c = 0; c < width; c += 16)
        for (long lane = 0; lane < lanes; lane += 16) {
            v16 r[16];
            UNROLL for (int i = 0; i < 16; i++) r[i] = c + i < channels ? load(panel + (c + i) * stride + lane) : (v16){0};
            transpose16(r);
            if (paired) {
                UNROLL for (int i = 0; i < 16; i += 2) store(transposed + (lane + i) / 2 * width + c, pair(r[i], r[i + 1]));
            } else {
                UNROLL for (int i = 0; i < 16; i++) store(transposed + (lane + i) * width + c, r[i]);
            }
        }
}

/// transposed[lane][c] = panel[c][lane]; channels beyond the last, up to `width` (a multiple of 16), become zero.
void CK(ck_transpose)(const float *panel, long stride, long channels, long lanes, float *transposed, long width) {
    transpose(0, panel, stride, channels, lanes, transposed, width);
}

/// transposed[lane / 2][c] = the pair panel[c][lane], panel[c][lane + 1]; channels beyond the last, up to `width`, become zero.
void CK(ck_transpose_pairs)(const float *panel, long stride, long channels, long lanes, float *transposed, long width) {
    transpose(1, panel, stride, channels, lanes, transposed, width);
}

/// pairs[c / 2][lane] = the pair panel[c][lane], panel[c + 1][lane] (zero beyond the last channel), for any number of lanes. The pairs
/// may take the panel's own place.
void CK(ck_channel_pairs)(const float *panel, long stride, long channels, long lanes, float *pairs, long pairs_stride) {
    for (long c = 0; c < channels; c += 2, pairs += pairs_stride) {
        const float *first = panel + c * stride, *second = first + stride;
        long i = 0;
        for (; i + 16 <= lanes; i += 16) store(pairs + i, pair(load(first + i), c + 1 < channels ? load(second + i) : (v16){0}));
        if (i == lanes) continue;
        v16 a = {0}, b = {0};
        memcpy(&a, first + i, (size_t)(lanes - i) * sizeof(float));
        if (c + 1 < channels) memcpy(&b, second + i, (size_t)(lanes - i) * sizeof(float));
        a = pair(a, b);
        memcpy(pairs + i, &a, (size_t)(lanes - i) * sizeof(float));
    }
}

/// halves[c][lane] = panel[c][lane].
void CK(ck_halves)(const float *panel, long stride, long channels, long lanes, uint16_t *halves, long halves_stride) {
    for (long c = 0; c < channels; c++)
        for (long i = 0; i < lanes; i += 16) store_halves(halves + c * halves_stride + i, load(panel + c * stride + i));
}

/// to[column][row] = from[row][column] for a matrix of any size, with rows so many floats apart.
void CK(ck_transpose_matrix)(const float *from, long rows, long columns, long from_stride, float *to, long to_stride) {
    for (long row = 0; row < rows; row += 16)
        for (long column = 0; column < columns; column += 16) {
            const float *in = from + row * from_stride + column;
            float *out = to + column * to_stride + row;
            if (columns - column >= 16) {
                long height = rows - row < 16 ? rows - row : 16;
                v16 r[16];
                UNROLL for (int i = 0; i < 16; i++) r[i] = i < height ? load(in + i * from_stride) : (v16){0};
                transpose16(r);
                if (height == 16) {
                    UNROLL for (int i = 0; i < 16; i++) store(out + i * to_stride, r[i]);
                } else {
                    for (int i = 0; i < 16; i++) memcpy(out + i * to_stride, &r[i], (size_t)height * sizeof(float));
                }
            } else {
                for (long i = 0; i < rows - row && i < 16; i++)
                    for (long j = 0; j < columns - column && j < 16; j++) out[j * to_stride + i] = in[i * from_stride + j];
            }
        }
}
