// Batch norm, ReLU, dropout and the optimizer. After vectors.h; compiled for each level.

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

/// The same, as pairs of the channels c and c + 1 (zero beyond the last): output[c / 2][lane].
void CK(ck_affine_relu_pairs)(const float *input, long channels, long lanes, long live, const float *scale, const float *shift,
                              float *pairs, long pairs_stride) {
    for (long c = 0; c < channels; c += 2, pairs += pairs_stride) {
        const float *first = input + c * lanes, *second = first + lanes;
        float a = scale[c], b = shift[c];
        if (c + 1 < channels) {
            float a2 = scale[c + 1], b2 = shift[c + 1];
            for (long i = 0; i < lanes; i += 16)
                store(pairs + i, pair(relu(load(first + i) * a + b), relu(load(second + i) * a2 + b2)));
        } else {
            for (long i = 0; i < lanes; i += 16) store(pairs + i, pair(relu(load(first + i) * a + b), (v16){0}));
        }
        if (live < lanes) memset(pairs + live, 0, (size_t)(lanes - live) * sizeof(float));
    }
}

/// The same of all lanes, as one bfloat16 number a lane.
void CK(ck_affine_relu_halves)(const float *input, long channels, long lanes, const float *scale, const float *shift,
                               uint16_t *halves) {
    for (long c = 0; c < channels; c++) {
        float a = scale[c], b = shift[c];
        for (long i = 0; i < lanes; i += 16) store_halves(halves + c * lanes + i, relu(load(input + c * lanes + i) * a + b));
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
