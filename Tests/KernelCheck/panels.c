// Transposes, batch norm, ReLU, dropout and the optimizer.
#include "check.h"

static const long channel_counts[] = {1, 2, 15, 16, 17, 40};
#define EACH_SHAPE \
    for (long c_ = 0, channels; c_ < 6 && (channels = channel_counts[c_]); c_++) \
        for (long lanes = 16; lanes <= 64; lanes += 16)

static double relu(double x) { return x > 0 ? x : 0; }

/// Lanes of which some are dead: 1 or 0.
static float *random_mask(long lanes) {
    float *mask = FLOATS(lanes);
    for (long i = 0; i < lanes; i++) mask[i] = random_float() > -0.5f;
    return mask;
}

static float *copy(const float *from, long count) {
    float *to = FLOATS(count);
    return memcpy(to, from, (size_t)count * 4);
}

static void check_transpose(int paired) {
    EACH_SHAPE {
        const long stride = lanes + 16, width = (channels + 15) / 16 * 16, rows = paired ? lanes / 2 : lanes;
        float *panel = random_floats(channels * stride), *found = random_floats(rows * width), *expected = FLOATS(rows * width);
        (paired ? ck_transpose_pairs : ck_transpose)(panel, stride, channels, lanes, found, width);
        for (long row = 0; row < rows; row++)
            for (long c = 0; c < channels; c++) {
                const float *from = panel + c * stride;
                expected[row * width + c] = paired ? pair(from[2 * row], from[2 * row + 1]) : from[row];
            }
        expect_same(found, expected, rows * width * 4);
    }
}
void check_ck_transpose(void) { check_transpose(0); }
void check_ck_transpose_pairs(void) { check_transpose(1); }

void check_ck_transpose_matrix(void) {
    for (long rows = 1; rows <= 40; rows += 3)
        for (long columns = 1; columns <= 40; columns += 3) {
            float *from = random_floats(rows * (columns + 2)), *found = FLOATS(columns * (rows + 5));
            float *expected = FLOATS(columns * (rows + 5));
            ck_transpose_matrix(from, rows, columns, columns + 2, found, rows + 5);
            for (long row = 0; row < rows; row++)
                for (long column = 0; column < columns; column++)
                    expected[column * (rows + 5) + row] = from[row * (columns + 2) + column];
            expect_same(found, expected, columns * (rows + 5) * 4);
        }
}

void check_ck_channel_pairs(void) {
    for (long channels = 1; channels <= 5; channels++)
        for (long lanes = 1; lanes <= 50; lanes += 7) {
            const long pairs = (channels + 1) / 2;
            float *panel = random_floats(channels * lanes), *found = FLOATS(pairs * (lanes + 3));
            float *expected = FLOATS(pairs * (lanes + 3));
            ck_channel_pairs(panel, lanes, channels, lanes, found, lanes + 3);
            for (long c = 0; c < channels; c += 2)
                for (long i = 0; i < lanes; i++) {
                    const float *from = panel + c * lanes + i;
                    expected[c / 2 * (lanes + 3) + i] = pair(from[0], c + 1 < channels ? from[lanes] : 0);
                }
            expect_same(found, expected, pairs * (lanes + 3) * 4);
        }
}

void check_ck_halves(void) {
    EACH_SHAPE {
        float *panel = random_floats(channels * lanes);
        uint16_t *found = memory(channels * (lanes + 2) * 2), *expected = memory(channels * (lanes + 2) * 2);
        ck_halves(panel, lanes, channels, lanes, found, lanes + 2);
        for (long c = 0; c < channels; c++)
            for (long i = 0; i < lanes; i++) expected[c * (lanes + 2) + i] = half(panel[c * lanes + i]);
        expect_same(found, expected, channels * (lanes + 2) * 2);
    }
}

enum { PLAIN, PAIRS, HALVES };

static void check_affine_relu(int kind) {
    EACH_SHAPE {
        const long live = kind == HALVES ? lanes : lanes - 5, stride = kind == HALVES ? lanes : lanes + 16;
        float *input = random_floats(channels * lanes), *scale = random_floats(channels), *shift = random_floats(channels);
        float *output = random_floats((channels + 1) * stride);
        uint16_t *halves = memory(channels * lanes * 2);
        if (kind == PLAIN) ck_affine_relu(input, channels, lanes, live, scale, shift, output, stride);
        if (kind == PAIRS) ck_affine_relu_pairs(input, channels, lanes, live, scale, shift, output, stride);
        if (kind == HALVES) ck_affine_relu_halves(input, channels, lanes, scale, shift, halves);
        for (long c = 0; c < channels; c++)
            for (long i = 0; i < lanes; i++) {
                double x = input[c * lanes + i], expected = i < live ? relu(scale[c] * x + shift[c]) : 0;
                double magnitude = fabs(scale[c] * x) + fabs(shift[c]);
                double found = kind == PLAIN   ? output[c * stride + i]
                               : kind == PAIRS ? part(output[c / 2 * stride + i], c % 2)
                                               : number(halves[c * lanes + i]);
                if (kind == PLAIN) expect_near(found, expected, magnitude, FLOAT);
                else expect_near(found, expected, expected + 1e-3 * magnitude, BFLOAT16);
                if (kind == PAIRS && c == channels - 1 && c % 2 == 0) expect_near(part(output[c / 2 * stride + i], 1), 0, 0, 0);
            }
    }
}
void check_ck_affine_relu(void) { check_affine_relu(PLAIN); }
void check_ck_affine_relu_pairs(void) { check_affine_relu(PAIRS); }
void check_ck_affine_relu_halves(void) { check_affine_relu(HALVES); }

void check_ck_sums(void) {
    EACH_SHAPE for (int masked = 0; masked < 2; masked++) {
        float *panel = random_floats(channels * lanes), *expected = copy(panel, channels * lanes);
        float *mask = masked ? random_mask(lanes) : 0;
        double *sums = memory(channels * 64), *squares = memory(channels * 64);
        for (long i = 0; i < channels * 8; i++) sums[i] = random_float(), squares[i] = random_float();
        double totals[40][4] = {{0}}; // sum, its magnitude, sum of squares, its magnitude
        for (long c = 0; c < channels; c++) {
            for (int i = 0; i < 8; i++) {
                totals[c][0] += sums[8 * c + i], totals[c][1] += fabs(sums[8 * c + i]);
                totals[c][2] += squares[8 * c + i], totals[c][3] += fabs(squares[8 * c + i]);
            }
            for (long i = 0; i < lanes; i++) {
                float *x = expected + c * lanes + i;
                if (mask && !mask[i]) *x = 0;
                totals[c][0] += *x, totals[c][1] += fabs(*x), totals[c][2] += (double)*x * *x, totals[c][3] += (double)*x * *x;
            }
        }
        ck_sums(panel, channels, lanes, mask, sums, squares);
        expect_same(panel, expected, channels * lanes * 4);
        for (long c = 0; c < channels; c++) {
            double sum = 0, square = 0;
            for (int i = 0; i < 8; i++) sum += sums[8 * c + i], square += squares[8 * c + i];
            expect_near(sum, totals[c][0], totals[c][1], 1e-14);
            expect_near(square, totals[c][2], totals[c][3], 1e-14);
        }
    }
}

void check_ck_flush_doubles(void) {
    for (int c = 0; c < 6; c++) {
        const long channels = channel_counts[c];
        double *sums = memory(channels * 64), *totals = memory(channels * 8), *expected = memory(channels * 8);
        double *zeros = memory(channels * 64);
        for (long i = 0; i < channels; i++) {
            expected[i] = totals[i] = random_float();
            for (int k = 0; k < 8; k++) expected[i] += sums[8 * i + k] = random_float();
        }
        ck_flush_doubles(sums, channels, totals);
        for (long i = 0; i < channels; i++) expect_near(totals[i], expected[i], 9, 1e-15);
        expect_same(sums, zeros, channels * 64);
    }
}

void check_ck_flush(void) {
    for (int c = 0; c < 6; c++) {
        const long channels = channel_counts[c];
        float *sums = random_floats(channels * 16), *zeros = FLOATS(channels * 16);
        double *totals = memory(channels * 8), *expected = memory(channels * 8);
        for (long i = 0; i < channels; i++) {
            expected[i] = totals[i] = random_float();
            for (int k = 0; k < 16; k++) expected[i] += sums[16 * i + k];
        }
        ck_flush(sums, channels, totals);
        for (long i = 0; i < channels; i++) expect_near(totals[i], expected[i], 17, 1e-15);
        expect_same(sums, zeros, channels * 64);
    }
}

void check_ck_combine(void) {
    EACH_SHAPE for (int masked = 0; masked < 2; masked++) {
        float *gradient = random_floats(channels * lanes), *values = random_floats(channels * lanes);
        float *a = random_floats(channels), *b = random_floats(channels), *k = random_floats(channels);
        float *mask = masked ? random_mask(lanes) : 0;
        float *output = FLOATS(channels * (lanes + 16));
        ck_combine(gradient, values, channels, lanes, mask, a, b, k, output, lanes + 16);
        for (long c = 0; c < channels; c++)
            for (long i = 0; i < lanes; i++) {
                double g = (double)a[c] * gradient[c * lanes + i], x = (double)b[c] * values[c * lanes + i];
                const int live = !mask || mask[i] > 0;
                expect_near(output[c * (lanes + 16) + i], live ? g + x + k[c] : 0, live ? 3 : 0, FLOAT);
            }
    }
}

static void check_relu_backward(int into) {
    EACH_SHAPE for (int masked = 0; masked < 2; masked++) {
        const long count = channels * lanes;
        float *gradient = random_floats(count), *before = copy(gradient, count), *values = random_floats(count);
        float *mask = masked ? random_mask(lanes) : 0, *scale = random_floats(channels), *shift = random_floats(channels);
        float *inverse = random_floats(channels), *offset = random_floats(channels), *weight = random_floats(channels);
        float *to = random_floats(count), *to_before = copy(to, count), *sums = random_floats(channels * 16);
        float *products = random_floats(channels * 16);
        float *old_sums = copy(sums, channels * 16), *old_products = copy(products, channels * 16);
        const int accumulate = channels % 2;
        if (into)
            ck_relu_backward_into(gradient, values, channels, lanes, mask, scale, shift, inverse, offset, weight, accumulate, to,
                                  sums, products);
        else
            ck_relu_backward(gradient, values, channels, lanes, mask, scale, shift, inverse, offset, sums, products);
        if (into) expect_same(gradient, before, count * 4);
        for (long c = 0; c < channels; c++) {
            double sum = 0, product = 0;
            for (int i = 0; i < 16; i++) sum += old_sums[16 * c + i], product += old_products[16 * c + i];
            for (long i = 0; i < lanes; i++) {
                const long at = c * lanes + i;
                int open = (double)scale[c] * values[at] + shift[c] > 0 && (!mask || mask[i] > 0);
                double d = open ? before[at] : 0;
                sum += d;
                product += d * ((double)inverse[c] * values[at] + offset[c]);
                if (into) expect_near(to[at], d * weight[c] + (accumulate ? to_before[at] : 0), 2, FLOAT);
                else expect_near(gradient[at], d, 1, 0);
            }
            for (int i = 0; i < 16; i++) sum -= sums[16 * c + i], product -= products[16 * c + i];
            expect_near(sum, 0, (double)(lanes + 16), 1e-6);
            expect_near(product, 0, 2 * (double)(lanes + 16), 1e-6);
        }
    }
}
void check_ck_relu_backward(void) { check_relu_backward(0); }
void check_ck_relu_backward_into(void) { check_relu_backward(1); }

void check_ck_add_affine_relu(void) {
    EACH_SHAPE {
        float *input = random_floats(channels * lanes), *scale = random_floats(channels), *shift = random_floats(channels);
        float *sums = random_floats(channels * lanes), *before = copy(sums, channels * lanes);
        ck_add_affine_relu(input, channels, lanes, scale, shift, sums);
        for (long at = 0; at < channels * lanes; at++) {
            const long c = at / lanes;
            expect_near(sums[at], before[at] + relu((double)scale[c] * input[at] + shift[c]), 3, FLOAT);
        }
    }
}

void check_ck_add(void) {
    for (long count = 1; count < 70; count++) {
        float *values = random_floats(count), *sums = random_floats(count), *before = copy(sums, count);
        ck_add(values, sums, count);
        for (long i = 0; i < count; i++) expect_near(sums[i], (double)before[i] + values[i], 2, FLOAT);
    }
}

void check_ck_dropout(void) {
    EACH_SHAPE {
        const long stride = lanes + 16;
        float *panel = random_floats(channels * stride), *expected = copy(panel, channels * stride);
        uint32_t *keys = memory(lanes * 4);
        for (long i = 0; i < lanes; i++) keys[i] = (uint32_t)(int32_t)(random_float() * 0x1p31f);
        ck_dropout(panel, channels, lanes, stride, keys, 77, 1024, 0x60000000, 1.6f);
        for (long c = 0; c < channels; c++)
            for (long i = 0; i < lanes; i++) {
                uint32_t h = keys[i] + (77 + (uint32_t)c * 1024) * 0x9E3779B1u;
                h = (h ^ h >> 16) * 0x85EBCA6Bu;
                h = (h ^ h >> 13) * 0xC2B2AE35u;
                h ^= h >> 16;
                expected[c * stride + i] = h >= 0x60000000 ? expected[c * stride + i] * 1.6f : 0;
            }
        expect_same(panel, expected, channels * stride * 4);
    }
}

void check_ck_sgd(void) {
    for (long count = 1; count < 70; count++)
        for (int nesterov = 0; nesterov < 2; nesterov++) {
            float *weights = random_floats(count), *gradients = random_floats(count), *momenta = random_floats(count);
            float *w = copy(weights, count), *m = copy(momenta, count);
            ck_sgd(weights, gradients, momenta, count, 0.1f, 0.25f, 0.9f, 0.01f, nesterov);
            for (long i = 0; i < count; i++) {
                double d = gradients[i] * 0.25 + (double)0.01f * w[i], momentum = (double)0.9f * m[i] + d;
                expect_near(momenta[i], momentum, 2, FLOAT);
                expect_near(weights[i], w[i] - (double)0.1f * (nesterov ? d + (double)0.9f * momentum : momentum), 2, FLOAT);
            }
        }
}
