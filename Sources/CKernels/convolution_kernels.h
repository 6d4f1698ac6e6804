// Convolutions as matrix products in register tiles, Winograd's filtering, and the gradients of weights. After vectors.h; compiled for each level.

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

/// Weights that ck_pack_weights packed, in place, as pairs of the inputs i and i + 1 (zero beyond the last).
void CK(ck_pair_weights)(float *packed, long taps, long outputs, long inputs) {
    const float *from = packed;
    for (long first = 0; first < outputs; first += TILE_OUTPUTS) {
        long width = outputs - first < TILE_OUTPUTS ? outputs - first : TILE_OUTPUTS;
        for (long tap = 0; tap < taps; tap++, from += inputs * width, packed += (inputs + 1) / 2 * width)
            CK(ck_channel_pairs)(from, width, inputs, width, packed, width);
    }
}

/// One tile: `vectors`·16 lanes by `outputs` outputs, summed in registers. Prefetches `next` a step at a time meanwhile.
///
/// With `paired` an element of the input and of the weights is a pair of bfloat16 numbers.
INLINE void convolve_tile(const int paired, const int vectors, const int outputs, const float *input, long input_stride,
                          const long *tap_offsets, long taps, const float *packed, long pitch, long inputs, float *output,
                          long output_stride, const char *next, long next_step) {
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
                UNROLL for (int v = 0; v < vectors; v++)
                    sums[o][v] = paired ? add_pair_products(sums[o][v], x[v], (v16){0} + w) : sums[o][v] + x[v] * w;
            }
            packed += pitch;
        }
        // Pairs have rounded more than a long sum loses.
        int isLong = !paired && inputs >= LONG_SUM;
        if (!isLong && tap + 1 < taps) continue;
        int isFirst = !isLong || tap == 0;
        UNROLL for (int o = 0; o < outputs; o++) UNROLL for (int v = 0; v < vectors; v++) {
            float *to = output + o * output_stride + 16 * v;
            store(to, isFirst ? sums[o][v] : load(to) + sums[o][v]);
            sums[o][v] = (v16){0};
        }
    }
}

/// Goes through the tiles of a product; see ck_convolve.
INLINE void convolve(const int paired, const float *input, long input_stride, const long *tap_offsets, long first_tap, long taps,
                     const float *packed, long packed_taps, long pitch, long inputs, long outputs, long lanes, float *output,
                     long output_stride, const float *next, long next_floats) {
    const int step = 16 * TILE_VECTORS;
    long tiles = ((outputs + TILE_OUTPUTS - 1) / TILE_OUTPUTS) * ((lanes + step - 1) / step);
    // A prefetch a k-step; where there are more k-steps than cache lines the stride in bytes is below a line, never above.
    long next_step = next ? next_floats * 4 / (tiles * taps * inputs) : 0;
    if (next_step > 64) next_step = 64;
    const char *ahead = next ? (const char *)next : (const char *)input;
    for (long first = 0; first < outputs; first += TILE_OUTPUTS) {
        long width = outputs - first < TILE_OUTPUTS ? outputs - first : TILE_OUTPUTS;
        const float *block = packed + (pitch ? first : (first * packed_taps + first_tap * width) * inputs);
        long row = pitch ? pitch : width;
        for (long lane = 0; lane < lanes; lane += step) {
            const float *in = input + lane;
            float *out = output + first * output_stride + lane;
            int vectors = lanes - lane >= step ? TILE_VECTORS : 1;
#define TILE(v, n)                                                                                                                \
    case n:                                                                                                                       \
        convolve_tile(paired, v, n, in, input_stride, tap_offsets, taps, block, row, inputs, out, output_stride, ahead,           \
                      next_step);                                                                                                 \
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

/// output[o][lane] = Σ over taps and inputs of input[tap offset + i·stride + lane] · weight[tap][o][i], for `taps` taps from `first_tap` on;
/// `tap_offsets` starts with the first one's.
///
/// The weights are packed, with `packed_taps` taps, or, of one tap, they lie [input][output] with `pitch` floats from input to input.
///
/// `next`, when not null, is memory that will be read soon: about `next_floats` floats of it are prefetched along the way.
void CK(ck_convolve)(const float *input, long input_stride, const long *tap_offsets, long first_tap, long taps,
                     const float *packed, long packed_taps, long pitch, long inputs, long outputs, long lanes, float *output,
                     long output_stride, const float *next, long next_floats) {
    convolve(0, input, input_stride, tap_offsets, first_tap, taps, packed, packed_taps, pitch, inputs, outputs, lanes, output,
             output_stride, next, next_floats);
}

/// The same where each of `pairs` elements of the input, and of the weights, is a pair of bfloat16 numbers of two channels.
void CK(ck_convolve_pairs)(const float *input, long input_stride, const long *tap_offsets, long first_tap, long taps,
                           const float *packed, long packed_taps, long pitch, long pairs, long outputs, long lanes, float *output,
                           long output_stride, const float *next, long next_floats) {
    convolve(1, input, input_stride, tap_offsets, first_tap, taps, packed, packed_taps, pitch, pairs, outputs, lanes, output,
             output_stride, next, next_floats);
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

/// One tile of a weight gradient: `vectors`·16 columns of the transposed side by `others` channels of the other, whose strides are in
/// bytes.
///
/// With `paired` an element of either side is a pair of bfloat16 numbers, of two lanes.
INLINE void weight_gradient_tile(const int paired, const int vectors, const int others, const float *transposed, long width,
                                 long transposed_row, const char *other, long other_stride, long other_row, long lanes, long rows,
                                 float *gradient, const char *next, long next_step) {
    v16 sums[TILE_OUTPUTS][3];
    UNROLL for (int o = 0; o < others; o++) UNROLL for (int v = 0; v < vectors; v++) sums[o][v] = (v16){0};
    for (long row = 0; row < rows; row++) {
        const float *t = transposed + row * transposed_row;
        const char *b = other + row * other_row;
        for (long lane = 0; lane < lanes; lane++) {
            v16 x[3];
            __builtin_prefetch(next, 1, 2);
            next += next_step;
            UNROLL for (int v = 0; v < vectors; v++) x[v] = load(t + 16 * v);
            t += width;
            UNROLL for (int o = 0; o < others; o++) {
                float w;
                memcpy(&w, b + o * other_stride, sizeof w);
                UNROLL for (int v = 0; v < vectors; v++)
                    sums[o][v] = paired ? add_pair_products(sums[o][v], x[v], (v16){0} + w) : sums[o][v] + x[v] * w;
            }
            b += sizeof(float);
        }
    }
    // Summed from zero and added at the end: sums of sums lose fewer digits than one long sum.
    UNROLL for (int o = 0; o < others; o++) UNROLL for (int v = 0; v < vectors; v++) {
        float *to = gradient + o * width + 16 * v;
        store(to, load(to) + sums[o][v]);
    }
}

/// Goes through the tiles of a weight gradient; see ck_weight_gradient.
INLINE void weight_gradient(const int paired, const float *transposed, long width, long transposed_row, const char *other,
                            long other_stride, long other_row, long others, long lanes, long rows, float *gradient,
                            const float *next, long next_floats) {
    // The tiles of the first columns take the prefetches: as many bytes a lane and channel as there are to fetch.
    const char *ahead = next ? (const char *)next : (const char *)other;
    long step = next ? next_floats * 4 / (lanes * rows * others) : 0;
#define GRADIENT_TILE(v, n)                                                                                                       \
    weight_gradient_tile(paired, v, n, transposed + m, width, transposed_row, other + o * other_stride, other_stride, other_row, lanes,   \
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

/// gradient[o][m] += Σ over rows and lanes of transposed[row][lane][m] · other[row][o][lane], for m in 0..<width (a multiple of 16).
///
/// `next`, when not null, is memory that will be written soon: its `next_floats` floats are prefetched along the way.
void CK(ck_weight_gradient)(const float *transposed, long width, long transposed_row, const float *other, long other_stride,
                            long other_row, long others, long lanes, long rows, float *gradient, const float *next,
                            long next_floats) {
    weight_gradient(0, transposed, width, transposed_row, (const char *)other, 4 * other_stride, 4 * other_row, others, lanes, rows,
                    gradient, next, next_floats);
}

/// The same where an element of the transposed side is a pair of bfloat16 numbers of two lanes, and the other side has one a lane;
/// `pairs` is half the lanes, and the other's strides count numbers.
void CK(ck_weight_gradient_pairs)(const float *transposed, long width, long transposed_row, const uint16_t *other,
                                  long other_stride, long other_row, long others, long pairs, long rows, float *gradient,
                                  const float *next, long next_floats) {
    weight_gradient(1, transposed, width, transposed_row, (const char *)other, 2 * other_stride, 2 * other_row, others, pairs, rows,
                    gradient, next, next_floats);
}
