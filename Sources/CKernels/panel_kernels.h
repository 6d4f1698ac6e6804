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

/// transposed[lane][c] = panel[c][lane]; channels beyond the last, up to `width` (a multiple of 16), become zero.
void CK(ck_transpose)(const float *panel, long stride, long channels, long lanes, float *transposed, long width) {
    for (long c = 0; c < width; c += 16)
        for (long lane = 0; lane < lanes; lane += 16) {
            v16 r[16];
            UNROLL for (int i = 0; i < 16; i++) r[i] = c + i < channels ? load(panel + (c + i) * stride + lane) : (v16){0};
            transpose16(r);
            UNROLL for (int i = 0; i < 16; i++) store(transposed + (lane + i) * width + c, r[i]);
        }
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

// ---- Convolution as a matrix product in register tiles

/// One block of a 3×3 convolution's weights whose inputs lie side by side: from[output·output_stride + input·9 + tap].
INLINE void pack_nine_taps(const float *from, long output_stride, long width, long inputs, int flip, float *packed) {
    for (long column = 0; column < 9 * inputs; column += 16) {
        long count = 9 * inputs - column < 16 ? 9 * inputs - column : 16;
        v16 r[16];
        UNROLL for (int i = 0; i < 16; i++) {
            r[i] = (v16){0};
            if (i < width) memcpy(&r[i], from + i * output_stride + column, (size_t)count * sizeof(float));
        }
        transpose16(r);
        for (long j = 0; j < count; j++) {
            long input = (column + j) / 9, tap = (column + j) % 9;
            memcpy(packed + ((flip ? 8 - tap : tap) * inputs + input) * width, &r[j], (size_t)width * sizeof(float));
        }
    }
}

/// The same where the outputs lie side by side: from[output·9 + input·input_stride + tap].
INLINE void pack_nine_taps_backward(const float *from, long input_stride, long width, long inputs, int flip, float *packed) {
    for (long input = 0; input < inputs; input++, from += input_stride) {
        v16 r[16];
        UNROLL for (int i = 0; i < 16; i++) {
            r[i] = (v16){0};
            if (i < width) memcpy(&r[i], from + i * 9, 9 * sizeof(float));
        }
        transpose16(r);
        for (long tap = 0; tap < 9; tap++)
            memcpy(packed + ((flip ? 8 - tap : tap) * inputs + input) * width, &r[tap], (size_t)width * sizeof(float));
    }
}

/// Weights in the order in which a tile reads them: blocks of TILE_OUTPUTS outputs (the last may be narrower), in each all taps, in
/// each all inputs, in each the block's outputs. `flip` reverses the taps, as the gradient of a convolution needs.
void CK(ck_pack_weights)(const float *source, long tap_stride, long output_stride, long input_stride, long taps, long outputs,
                         long inputs, int flip, float *packed) {
    for (long first = 0; first < outputs; first += TILE_OUTPUTS) {
        long width = outputs - first < TILE_OUTPUTS ? outputs - first : TILE_OUTPUTS;
        if (taps == 9 && tap_stride == 1 && (input_stride == 9 || output_stride == 9)) {
            if (input_stride == 9) pack_nine_taps(source + first * output_stride, output_stride, width, inputs, flip, packed);
            else pack_nine_taps_backward(source + first * 9, input_stride, width, inputs, flip, packed);
            packed += 9 * inputs * width;
            continue;
        }
        for (long tap = 0; tap < taps; tap++, packed += inputs * width) {
            const float *from = source + (flip ? taps - 1 - tap : tap) * tap_stride + first * output_stride;
            if (input_stride == 1) {
                CK(ck_transpose_matrix)(from, width, inputs, output_stride, packed, width);
            } else {
                for (long input = 0; input < inputs; input++)
                    for (long output = 0; output < width; output++)
                        packed[input * width + output] = from[output * output_stride + input * input_stride];
            }
        }
    }
}

/// A tile's sums over the inputs of a tap go to the output before the next tap's begin where there are at least so many: sums of
/// sums lose fewer digits than one long sum, and this often they cost next to nothing.
#define LONG_SUM 7

/// One tile: `vectors`·16 lanes by `outputs` outputs, summed in registers. Prefetches `next` a step at a time meanwhile.
INLINE void convolve_tile(const int vectors, const int outputs, const float *input, long input_stride, const long *tap_offsets,
                          long taps, const float *packed, long inputs, float *output, long output_stride, const char *next,
                          long next_step) {
    v16 sums[TILE_OUTPUTS][TILE_VECTORS];
    UNROLL for (int o = 0; o < outputs; o++) UNROLL for (int v = 0; v < vectors; v++) sums[o][v] = (v16){0};
    for (long tap = 0; tap < taps; tap++) {
        const float *in = input + tap_offsets[tap];
        for (long k = 0; k < inputs; k++) {
            __builtin_prefetch(next, 0, 2);
            next += next_step;
            v16 x[TILE_VECTORS];
            UNROLL for (int v = 0; v < vectors; v++) x[v] = load(in + 16 * v);
            in += input_stride;
            UNROLL for (int o = 0; o < outputs; o++) {
                float w = packed[o];
                UNROLL for (int v = 0; v < vectors; v++) sums[o][v] += x[v] * w;
            }
            packed += outputs;
        }
        if (inputs < LONG_SUM && tap + 1 < taps) continue;
        int isFirst = inputs < LONG_SUM || tap == 0;
        UNROLL for (int o = 0; o < outputs; o++) UNROLL for (int v = 0; v < vectors; v++) {
            float *to = output + o * output_stride + 16 * v;
            store(to, isFirst ? sums[o][v] : load(to) + sums[o][v]);
            sums[o][v] = (v16){0};
        }
    }
}

/// output[o][lane] = Σ over taps and inputs of input[tap offset + i·stride + lane] · weight[tap][o][i].
///
/// `next`, when not null, is memory that will be read soon: about `next_floats` floats of it are prefetched along the way.
void CK(ck_convolve)(const float *input, long input_stride, const long *tap_offsets, long taps, const float *packed, long inputs,
                     long outputs, long lanes, float *output, long output_stride, const float *next, long next_floats) {
    const int step = 16 * TILE_VECTORS;
    long tiles = ((outputs + TILE_OUTPUTS - 1) / TILE_OUTPUTS) * ((lanes + step - 1) / step);
    // A prefetch a k-step; where there are more k-steps than cache lines the stride in bytes is below a line, never above.
    long next_step = next ? next_floats * 4 / (tiles * taps * inputs) : 0;
    if (next_step > 64) next_step = 64;
    const char *ahead = next ? (const char *)next : (const char *)input;
    for (long first = 0; first < outputs; first += TILE_OUTPUTS) {
        long width = outputs - first < TILE_OUTPUTS ? outputs - first : TILE_OUTPUTS;
        const float *block = packed + first * taps * inputs;
        for (long lane = 0; lane < lanes; lane += step) {
            const float *in = input + lane;
            float *out = output + first * output_stride + lane;
            int vectors = lanes - lane >= step ? TILE_VECTORS : 1;
#define TILE(v, n)                                                                                                                \
    case n:                                                                                                                       \
        convolve_tile(v, n, in, input_stride, tap_offsets, taps, block, inputs, out, output_stride, ahead, next_step);            \
        break;
#if TILE_OUTPUTS == 12
#define TILES(v) TILE(v, 1) TILE(v, 2) TILE(v, 3) TILE(v, 4) TILE(v, 5) TILE(v, 6) TILE(v, 7) TILE(v, 8) TILE(v, 9) TILE(v, 10) \
    TILE(v, 11) TILE(v, 12)
#elif TILE_OUTPUTS == 6
#define TILES(v) TILE(v, 1) TILE(v, 2) TILE(v, 3) TILE(v, 4) TILE(v, 5) TILE(v, 6)
#else
#define TILES(v) TILE(v, 1) TILE(v, 2)
#endif
            if (vectors == TILE_VECTORS) {
                switch (width) { TILES(TILE_VECTORS) }
            } else {
                switch (width) { TILES(1) }
            }
            ahead += next_step * taps * inputs;
        }
    }
}

// ---- Winograd's minimal filtering F(4, 3) along the rows: four output rows of a 3-tap filter from six products instead of twelve
//
// Lavin and Gray, arXiv 1509.09308, section 4. Along the rows only: there a transform is a sum of whole rows, vector by vector, while
// along the columns it would have to shuffle lanes; and errors grow less than in two dimensions. The polynomials are evaluated at 0,
// ±1/√2, ±√2 and ∞ in place of the usual 0, ±1, ±2 and ∞: the numbers are of more even size, and errors are about half.

static const float ROOT = 1.41421356237309505f, HALF_ROOT = 0.70710678118654752f;

/// Weights of the six products, each over three taps, from nine taps as ck_pack_weights packs them. There a block of outputs has its
/// taps one behind the other; here a product has its blocks.
void CK(ck_pack_winograd)(const float *nine, long outputs, long inputs, float *packed) {
    long product = 3 * outputs * inputs;
    for (long first = 0; first < outputs; first += TILE_OUTPUTS) {
        long width = outputs - first < TILE_OUTPUTS ? outputs - first : TILE_OUTPUTS;
        const float *row0 = nine + 9 * first * inputs, *row1 = row0 + 3 * width * inputs, *row2 = row1 + 3 * width * inputs;
        float *to = packed + 3 * first * inputs;
        for (long i = 0; i < 3 * width * inputs; i++) {
            float g0 = row0[i], g1 = row1[i], g2 = row2[i];
            float a = (g0 + 0.5f * g2) / -1.5f, b = (HALF_ROOT / -1.5f) * g1, c = (g0 + 2 * g2) / 6, d = (ROOT / 6) * g1;
            to[i] = g0;
            to[product + i] = a + b;
            to[2 * product + i] = a - b;
            to[3 * product + i] = c + d;
            to[4 * product + i] = c - d;
            to[5 * product + i] = g2;
        }
    }
}

/// Six input rows, each of `count` floats (a multiple of 16), as the six products read them: shape [6][count].
void CK(ck_winograd_input)(const float *rows, long row_stride, long count, float *transformed) {
    for (long i = 0; i < count; i += 16) {
        const float *in = rows + i;
        float *out = transformed + i;
        v16 d0 = load(in), d1 = load(in + row_stride), d2 = load(in + 2 * row_stride), d3 = load(in + 3 * row_stride);
        v16 d4 = load(in + 4 * row_stride), d5 = load(in + 5 * row_stride);
        v16 a = d4 - 2 * d2, b = HALF_ROOT * (d3 - 2 * d1), c = d4 - 0.5f * d2, d = ROOT * (d3 - 0.5f * d1);
        store(out, d0 - 2.5f * d2 + d4);
        store(out + count, a + b);
        store(out + 2 * count, a - b);
        store(out + 3 * count, c + d);
        store(out + 4 * count, c - d);
        store(out + 5 * count, d1 - 2.5f * d3 + d5);
    }
}

/// Four output rows, each of `count` floats (a multiple of 16), of the six products, shape [6][count].
void CK(ck_winograd_output)(const float *products, long count, float *rows, long row_stride) {
    for (long i = 0; i < count; i += 16) {
        const float *in = products + i;
        float *out = rows + i;
        v16 m1 = load(in + count), m2 = load(in + 2 * count), m3 = load(in + 3 * count), m4 = load(in + 4 * count);
        v16 s = m1 + m2, d = m1 - m2, t = m3 + m4, e = m3 - m4;
        store(out, load(in) + s + t);
        store(out + row_stride, HALF_ROOT * d + ROOT * e);
        store(out + 2 * row_stride, 0.5f * s + 2 * t);
        store(out + 3 * row_stride, 0.5f * HALF_ROOT * d + 2 * ROOT * e + load(in + 5 * count));
    }
}

// The gradient of the weights is the same bilinear form read another way: the sums over rows of six products of the transformed input
// and the transformed gradient of the output, and only then a transform to three taps.

/// Four rows of an output's gradient, each of `count` floats (a multiple of 16), for the six products: shape [6][count].
void CK(ck_winograd_gradient)(const float *rows, long row_stride, long count, float *transformed) {
    for (long i = 0; i < count; i += 16) {
        const float *in = rows + i;
        float *out = transformed + i;
        v16 d0 = load(in), d1 = load(in + row_stride), d2 = load(in + 2 * row_stride), d3 = load(in + 3 * row_stride);
        v16 a = d0 + 0.5f * d2, b = HALF_ROOT * (d1 + 0.5f * d3), c = d0 + 2 * d2, d = ROOT * (d1 + 2 * d3);
        store(out, d0);
        store(out + count, a + b);
        store(out + 2 * count, a - b);
        store(out + 3 * count, c + d);
        store(out + 4 * count, c - d);
        store(out + 5 * count, d3);
    }
}

/// Adds to the three taps' gradients, shape [3][count], what the sums of the six products, shape [6][count], come to.
void CK(ck_winograd_weight_gradient)(const float *products, long count, float *taps) {
    for (long i = 0; i < count; i += 16) {
        const float *in = products + i;
        float *out = taps + i;
        v16 e1 = load(in + count), e2 = load(in + 2 * count), e3 = load(in + 3 * count), e4 = load(in + 4 * count);
        v16 s = (e1 + e2) / -1.5f, d = (e1 - e2) / -1.5f, t = (e3 + e4) / 6, e = (e3 - e4) / 6;
        store(out, load(out) + (load(in) + s + t));
        store(out + count, load(out + count) + (HALF_ROOT * d + ROOT * e));
        store(out + 2 * count, load(out + 2 * count) + (0.5f * s + 2 * t + load(in + 5 * count)));
    }
}

// ---- Weight gradients

/// One tile of a weight gradient: `vectors`·16 columns of the transposed side by `others` channels of the other.
INLINE void weight_gradient_tile(const int vectors, const int others, const float *transposed, long width, long transposed_row,
                                 const float *other, long other_stride, long other_row, long lanes, long rows, float *gradient,
                                 const char *next, long next_step) {
    v16 sums[TILE_OUTPUTS][3];
    UNROLL for (int o = 0; o < others; o++) UNROLL for (int v = 0; v < vectors; v++) sums[o][v] = (v16){0};
    for (long row = 0; row < rows; row++) {
        const float *t = transposed + row * transposed_row, *b = other + row * other_row;
        for (long lane = 0; lane < lanes; lane++) {
            v16 x[3];
            __builtin_prefetch(next, 1, 2);
            next += next_step;
            UNROLL for (int v = 0; v < vectors; v++) x[v] = load(t + 16 * v);
            t += width;
            UNROLL for (int o = 0; o < others; o++) {
                float w = b[o * other_stride + lane];
                UNROLL for (int v = 0; v < vectors; v++) sums[o][v] += x[v] * w;
            }
        }
    }
    // Summed from zero and added at the end: sums of sums lose fewer digits than one long sum.
    UNROLL for (int o = 0; o < others; o++) UNROLL for (int v = 0; v < vectors; v++) {
        float *to = gradient + o * width + 16 * v;
        store(to, load(to) + sums[o][v]);
    }
}

/// gradient[o][m] += Σ over rows and lanes of transposed[row][lane][m] · other[row][o][lane], for m in 0..<width (a multiple of 16).
///
/// `next`, when not null, is memory that will be written soon: its `next_floats` floats are prefetched along the way.
void CK(ck_weight_gradient)(const float *transposed, long width, long transposed_row, const float *other, long other_stride,
                            long other_row, long others, long lanes, long rows, float *gradient, const float *next,
                            long next_floats) {
    // The tiles of the first columns take the prefetches: as many bytes a lane and channel as there are to fetch.
    const char *ahead = next ? (const char *)next : (const char *)other;
    long step = next ? next_floats * 4 / (lanes * rows * others) : 0;
#define GRADIENT_TILE(v, n)                                                                                                       \
    weight_gradient_tile(v, n, transposed + m, width, transposed_row, other + o * other_stride, other_stride, other_row, lanes,   \
                         rows, gradient + o * width + m, ahead, m ? 0 : step * (n));                                              \
    if (!m) ahead += step * (n) * lanes * rows
    for (long m = 0; m < width;) {
        long left = (width - m) / 16, o = 0;
#if TILE_OUTPUTS == 12
        int vectors = left >= 3 ? 3 : (int)left;
        if (vectors == 3) {
            for (; others - o >= 8; o += 8) {
                GRADIENT_TILE(3, 8);
            }
            for (; others - o >= 4; o += 4) {
                GRADIENT_TILE(3, 4);
            }
            for (; o < others; o++) {
                GRADIENT_TILE(3, 1);
            }
        } else if (vectors == 2) {
            for (; others - o >= 12; o += 12) {
                GRADIENT_TILE(2, 12);
            }
            for (; others - o >= 4; o += 4) {
                GRADIENT_TILE(2, 4);
            }
            for (; o < others; o++) {
                GRADIENT_TILE(2, 1);
            }
        } else {
            for (; others - o >= 12; o += 12) {
                GRADIENT_TILE(1, 12);
            }
            for (; others - o >= 4; o += 4) {
                GRADIENT_TILE(1, 4);
            }
            for (; o < others; o++) {
                GRADIENT_TILE(1, 1);
            }
        }
#else
        int vectors = left >= 1;
        for (; others - o >= TILE_OUTPUTS; o += TILE_OUTPUTS) {
            GRADIENT_TILE(1, TILE_OUTPUTS);
        }
        for (; o < others; o++) {
            GRADIENT_TILE(1, 1);
        }
#endif
        m += 16 * vectors;
    }
}

// ---- Batch norm, ReLU and their gradients, a panel at a time

/// output[c][lane] = max(0, scale[c]·input[c][lane] + shift[c]) for the first `live` lanes, 0 for the others.
void CK(ck_affine_relu)(const float *input, long channels, long lanes, long live, const float *scale, const float *shift,
                        float *output, long output_stride) {
    for (long c = 0; c < channels; c++) {
        const float *in = input + c * lanes;
        float *out = output + c * output_stride, a = scale[c], b = shift[c];
        for (long i = 0; i < lanes; i += 16) {
            v16 y = load(in + i) * a + b;
            store(out + i, relu(y));
        }
        if (live < lanes) memset(out + live, 0, (size_t)(lanes - live) * sizeof(float));
    }
}

typedef double d8 __attribute__((vector_size(64), aligned(8)));
typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4)));

/// Adds each channel's values and squares to 8 partial sums in float64; with a mask (1 or 0 a lane) first sets the masked lanes to zero.
///
/// In float64 because the variance is a difference, E[x²] − E[x]², that float32 would leave few digits of.
void CK(ck_sums)(float *panel, long channels, long lanes, const float *mask, double *sums, double *squares) {
    for (long c = 0; c < channels; c++) {
        float *y = panel + c * lanes;
        d8 s = *(d8 *)(sums + 8 * c), q = *(d8 *)(squares + 8 * c);
        for (long i = 0; i < lanes; i += 8) {
            v8 v = *(v8 *)(y + i);
            if (mask) *(v8 *)(y + i) = v = (v8)((i8)v & (*(const v8 *)(mask + i) > (v8){0}));
            d8 d = __builtin_convertvector(v, d8);
            s += d;
            q += d * d;
        }
        *(d8 *)(sums + 8 * c) = s;
        *(d8 *)(squares + 8 * c) = q;
    }
}

/// Adds 8 partial sums a channel to its total and sets them to zero.
void CK(ck_flush_doubles)(double *sums, long channels, double *totals) {
    for (long c = 0; c < channels; c++) {
        double total = 0;
        for (int i = 0; i < 8; i++) total += sums[8 * c + i], sums[8 * c + i] = 0;
        totals[c] += total;
    }
}

/// Adds 16 partial sums a channel to its float64 total and sets them to zero.
void CK(ck_flush)(float *sums, long channels, double *totals) {
    for (long c = 0; c < channels; c++) {
        double total = 0;
        for (int i = 0; i < 16; i++) total += sums[16 * c + i];
        totals[c] += total;
        store(sums + 16 * c, (v16){0});
    }
}

/// output[c][lane] = mask·(gradient_factor[c]·gradient + value_factor[c]·value + constant[c]): batch norm's backward, once a channel.
void CK(ck_combine)(const float *gradient, const float *values, long channels, long lanes, const float *mask,
                    const float *gradient_factor, const float *value_factor, const float *constant, float *output,
                    long output_stride) {
    for (long c = 0; c < channels; c++) {
        const float *g = gradient + c * lanes, *x = values + c * lanes;
        float *out = output + c * output_stride, a = gradient_factor[c], b = value_factor[c], k = constant[c];
        for (long i = 0; i < lanes; i += 16) {
            v16 y = load(g + i) * a + (load(x + i) * b + k);
            store(out + i, mask ? keep_live(y, mask + i) : y);
        }
    }
}

/// Masks a gradient in place where the ReLU was shut and adds up its sum and its products with the normalised value.
void CK(ck_relu_backward)(float *gradient, const float *values, long channels, long lanes, const float *mask, const float *scale,
                          const float *shift, const float *inverse, const float *offset, float *sums, float *products) {
    for (long c = 0; c < channels; c++) {
        float *g = gradient + c * lanes, a = scale[c], b = shift[c], n = inverse[c], o = offset[c];
        const float *x = values + c * lanes;
        v16 s = load(sums + 16 * c), p = load(products + 16 * c);
        for (long i = 0; i < lanes; i += 16) {
            v16 v = load(x + i), d = keep_where_positive(v * a + b, load(g + i));
            if (mask) d = keep_live(d, mask + i);
            store(g + i, d);
            s += d;
            p += d * (v * n + o);
        }
        store(sums + 16 * c, s);
        store(products + 16 * c, p);
    }
}

/// The same, but adds weight[c] times the masked gradient to `into` (or puts it there) and leaves the gradient as it is.
void CK(ck_relu_backward_into)(const float *gradient, const float *values, long channels, long lanes, const float *mask,
                               const float *scale, const float *shift, const float *inverse, const float *offset,
                               const float *weight, int accumulate, float *into, float *sums, float *products) {
    for (long c = 0; c < channels; c++) {
        const float *g = gradient + c * lanes, *x = values + c * lanes;
        float *out = into + c * lanes, a = scale[c], b = shift[c], n = inverse[c], o = offset[c], w = weight[c];
        v16 s = load(sums + 16 * c), p = load(products + 16 * c);
        for (long i = 0; i < lanes; i += 16) {
            v16 v = load(x + i), d = keep_where_positive(v * a + b, load(g + i));
            if (mask) d = keep_live(d, mask + i);
            store(out + i, accumulate ? load(out + i) + d * w : d * w);
            s += d;
            p += d * (v * n + o);
        }
        store(sums + 16 * c, s);
        store(products + 16 * c, p);
    }
}

// ---- Between resolutions: the stem's patches and the pools. Images change places between panels, so these go image by image.

/// The stem's input rows as a panel of kernel·kernel·channels rows, ordered as a weight [output][channel][y][x] is.
void CK(ck_patches)(const float *images, long image_floats, long count, long channels, long height, long width, long kernel,
                    long stride, long padding, long y, long output_width, long interleave, long lanes, float *patches) {
    for (long c = 0; c < channels; c++)
        for (long ky = 0; ky < kernel; ky++)
            for (long kx = 0; kx < kernel; kx++, patches += lanes) {
                long from = y * stride + ky - padding;
                memset(patches, 0, (size_t)lanes * sizeof(float));
                if (from < 0 || from >= height) continue;
                for (long n = 0; n < count; n++) {
                    const float *row = images + n * image_floats + (c * height + from) * width;
                    for (long x = 0; x < output_width; x++) {
                        long column = x * stride + kx - padding;
                        if (column >= 0 && column < width) patches[x * interleave + n] = row[column];
                    }
                }
            }
}

/// 2×2 average pool of max(0, scale·x + shift): two rows of a panel into one row of each image's place in the next resolution.
void CK(ck_average_pool)(const float *upper, const float *lower, long channels, long lanes, const float *scale, const float *shift,
                         long output_width, long interleave, long count, float *const *outputs, long output_lanes,
                         long output_step, float *scratch) {
    for (long c = 0; c < channels; c++) {
        float a = scale[c], b = shift[c];
        for (long i = 0; i < lanes; i += 16) {
            v16 u = load(upper + c * lanes + i) * a + b, l = load(lower + c * lanes + i) * a + b;
            store(scratch + i, (relu(u) + relu(l)) * 0.25f);
        }
        for (long n = 0; n < count; n++) {
            const float *in = scratch + n;
            float *out = outputs[n] + c * output_lanes;
            for (long x = 0; x < output_width; x++)
                out[x * output_step] = in[2 * x * interleave] + in[(2 * x + 1) * interleave];
        }
    }
}

/// The gradient of the pool's input row: a quarter of the output's, twice in each direction; zero where the pool does not reach.
void CK(ck_average_pool_backward)(float *const *gradients, long gradient_lanes, long gradient_step, long channels, long lanes,
                                  long output_width, long interleave, long count, float *output) {
    for (long c = 0; c < channels; c++) {
        float *out = output + c * lanes;
        memset(out, 0, (size_t)lanes * sizeof(float));
        for (long n = 0; n < count; n++) {
            const float *in = gradients[n] + c * gradient_lanes;
            for (long x = 0; x < output_width; x++)
                out[2 * x * interleave + n] = out[(2 * x + 1) * interleave + n] = in[x * gradient_step] * 0.25f;
        }
    }
}

/// 3×3 max-pool, stride 2, padding 1, of max(0, scale·x + shift): one output row of one image. `rows` are the three input rows, null
/// where they are outside.
void CK(ck_max_pool)(const float *const *rows, long channels, long lanes, long width, long interleave, long image,
                     const float *scale, const float *shift, long output_width, float *output, long output_lanes,
                     long output_step) {
    for (long c = 0; c < channels; c++) {
        float a = scale[c], b = shift[c];
        for (long x = 0; x < output_width; x++) {
            float most = 0;
            for (int r = 0; r < 3; r++) {
                if (!rows[r]) continue;
                for (long k = 2 * x > 0 ? 2 * x - 1 : 0; k <= 2 * x + 1 && k < width; k++) {
                    float y = a * rows[r][c * lanes + k * interleave + image] + b;
                    if (y > most || y != y) most = y;
                }
            }
            output[c * output_lanes + x * output_step] = most;
        }
    }
}

/// Adds each output's gradient to the input that was the largest, the first of equals. Where none was above zero the ReLU is shut.
void CK(ck_max_pool_backward)(const float *const *rows, float *const *gradients, long channels, long lanes, long width,
                              long interleave, long image, const float *scale, const float *shift, long output_width,
                              const float *output, long output_lanes, long output_step) {
    for (long c = 0; c < channels; c++) {
        float a = scale[c], b = shift[c];
        for (long x = 0; x < output_width; x++) {
            float most = 0, *target = 0;
            for (int r = 0; r < 3; r++) {
                if (!rows[r]) continue;
                for (long k = 2 * x > 0 ? 2 * x - 1 : 0; k <= 2 * x + 1 && k < width; k++) {
                    long at = c * lanes + k * interleave + image;
                    float y = a * rows[r][at] + b;
                    if (y > most) most = y, target = gradients[r] + at;
                }
            }
            if (target) *target += output[c * output_lanes + x * output_step];
        }
    }
}

/// sums[c][lane] += max(0, scale[c]·input[c][lane] + shift[c]): the rows of a global average pool.
void CK(ck_add_affine_relu)(const float *input, long channels, long lanes, const float *scale, const float *shift, float *sums) {
    for (long c = 0; c < channels; c++)
        for (long i = c * lanes; i < (c + 1) * lanes; i += 16) {
            v16 y = load(input + i) * scale[c] + shift[c];
            store(sums + i, load(sums + i) + relu(y));
        }
}

/// sums[i] += values[i].
void CK(ck_add)(const float *values, float *sums, long count) {
    for (long i = 0; i < count; i++) sums[i] += values[i];
}

// ---- Dropout and the optimizer

/// Multiplies by `scale` or by zero. What is dropped is a hash (murmur3's finaliser) of the lane's key and the element's number,
/// first + c·step, so that forward and backward, and any number of ranks, drop the same.
void CK(ck_dropout)(float *panel, long channels, long lanes, long stride, const uint32_t *keys, uint32_t first, uint32_t step,
                    uint32_t threshold, float scale) {
    for (long c = 0; c < channels; c++) {
        uint32_t element = (first + (uint32_t)c * step) * 0x9E3779B1u;
        float *y = panel + c * stride;
        for (long i = 0; i < lanes; i += 16) {
            u16 h = *(const u16 *)(keys + i) + element;
            h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
            h = (h ^ (h >> 13)) * 0xC2B2AE35u;
            h ^= h >> 16;
            store(y + i, (v16)((i16)(load(y + i) * scale) & (i16)(h >= threshold)));
        }
    }
}

/// Stochastic gradient descent with momentum as PyTorch defines it: d = scale·gradient + decay·weight; m = momentum·m + d;
/// weight −= rate·(nesterov ? d + momentum·m : m).
void CK(ck_sgd)(float *weights, const float *gradients, float *momenta, long count, float rate, float gradient_scale,
                float momentum, float decay, int nesterov) {
    for (long i = 0; i < count; i++) {
        float d = gradients[i] * gradient_scale + decay * weights[i];
        float m = momentum * momenta[i] + d;
        momenta[i] = m;
        weights[i] -= rate * (nesterov ? d + momentum * m : m);
    }
}
