// Batch norm, ReLU, their gradients and the sums per channel.
#include "check.h"

static double relu(double x) { return x > 0 ? x : 0; }

/// 1 for valid lanes and 0 for padding.
static float *random_mask(long lanes) {
    float *mask = FLOATS(lanes);
    for (long i = 0; i < lanes; i++) mask[i] = random_float() > -0.5f;
    return mask;
}

enum { PLAIN, PAIRS, ROUNDED };

static void check_affine(int kind) {
    EACH_PANEL(channels, lanes) {
        const long valid = lanes - 5, stride = kind == ROUNDED ? lanes : lanes + 16;
        float *input = random_floats(channels * lanes), *scale = random_floats(channels);
        float *shift = random_floats(channels);
        float *output = random_floats((channels + 1) * stride);
        uint16_t *rounded = memory(channels * lanes * 2);
        const uint16_t *numbers = kind == PLAIN ? 0 : stored(1, input, channels * lanes).start;
        if (kind == PLAIN) ck_kernels()->affine_relu(input, channels, lanes, valid, scale, shift, output, stride);
        if (kind == PAIRS)
            ck_kernels()->affine_relu_pairs(numbers, channels, lanes, valid, scale, shift, output, stride);
        if (kind == ROUNDED) ck_kernels()->affine_relu_bfloat16(numbers, channels, lanes, valid, scale, shift, rounded);
        for (long c = 0; c < channels; c++)
            for (long i = 0; i < lanes; i++) {
                double x = input[c * lanes + i], expected = i < valid ? relu(scale[c] * x + shift[c]) : 0;
                double magnitude = fabs(scale[c] * x) + fabs(shift[c]);
                double found = kind == PLAIN   ? output[c * stride + i]
                               : kind == PAIRS ? part(output[c / 2 * stride + i], c % 2)
                                               : number(rounded[c * lanes + i]);
                if (kind == PLAIN) expect_near(found, expected, magnitude, FLOAT);
                else expect_near(found, expected, expected + 1e-3 * magnitude, BFLOAT16);
                if (kind == PAIRS && c == channels - 1 && c % 2 == 0)
                    expect_near(part(output[c / 2 * stride + i], 1), 0, 0, 0);
            }
    }
}
void check_affine_relu(void) { check_affine(PLAIN); }
void check_affine_relu_pairs(void) { check_affine(PAIRS); }
void check_affine_relu_bfloat16(void) { check_affine(ROUNDED); }

static void check_sums(int is_bfloat16) {
    EACH_PANEL(channels, lanes)
        for (int masked = 0; masked < 2; masked++) {
            float *expected = random_floats(channels * lanes);
            const struct ck_numbers panel = stored(is_bfloat16, expected, channels * lanes);
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
                    totals[c][0] += *x, totals[c][1] += fabs(*x), totals[c][2] += (double)*x * *x;
                    totals[c][3] += (double)*x * *x;
                }
            }
            if (is_bfloat16) ck_kernels()->channel_sums_bfloat16(panel.start, channels, lanes, mask, sums, squares);
            else ck_kernels()->channel_sums(panel.start, channels, lanes, mask, sums, squares);
            for (long i = 0; i < channels * lanes; i++) expect_near(stored_number(panel, i), expected[i], 0, 0);
            for (long c = 0; c < channels; c++) {
                double sum = 0, square = 0;
                for (int i = 0; i < 8; i++) sum += sums[8 * c + i], square += squares[8 * c + i];
                expect_near(sum, totals[c][0], totals[c][1], 1e-14);
                expect_near(square, totals[c][2], totals[c][3], 1e-14);
            }
        }
}

void check_channel_sums(void) { check_sums(0); }
void check_channel_sums_bfloat16(void) { check_sums(1); }

void check_flush_double_sums(void) {
    for (int c = 0; c < 6; c++) {
        const long channels = panel_channels[c];
        double *sums = memory(channels * 64), *totals = memory(channels * 8), *expected = memory(channels * 8);
        double *zeros = memory(channels * 64);
        for (long i = 0; i < channels; i++) {
            expected[i] = totals[i] = random_float();
            for (int k = 0; k < 8; k++) expected[i] += sums[8 * i + k] = random_float();
        }
        ck_kernels()->flush_double_sums(sums, channels, totals);
        for (long i = 0; i < channels; i++) expect_near(totals[i], expected[i], 9, 1e-15);
        expect_same(sums, zeros, channels * 64);
    }
}

void check_flush_float_sums(void) {
    for (int c = 0; c < 6; c++) {
        const long channels = panel_channels[c];
        float *sums = random_floats(channels * 16), *zeros = FLOATS(channels * 16);
        double *totals = memory(channels * 8), *expected = memory(channels * 8);
        for (long i = 0; i < channels; i++) {
            expected[i] = totals[i] = random_float();
            for (int k = 0; k < 16; k++) expected[i] += sums[16 * i + k];
        }
        ck_kernels()->flush_float_sums(sums, channels, totals);
        for (long i = 0; i < channels; i++) expect_near(totals[i], expected[i], 17, 1e-15);
        expect_same(sums, zeros, channels * 64);
    }
}

void check_batch_norm_backward(void) {
    EACH_PANEL(channels, lanes)
        for (int test = 0; test < 6; test++) {
            const int masked = test % 2, is_bfloat16 = test > 1, to_bfloat16 = test > 3;
            const long count = channels * lanes, out_count = channels * (lanes + 16);
            float *gradient = random_floats(count), *values = random_floats(count);
            const struct ck_numbers g = stored(is_bfloat16, gradient, count), v = stored(is_bfloat16, values, count);
            float *a = random_floats(channels), *b = random_floats(channels), *k = random_floats(channels);
            float *mask = masked ? random_mask(lanes) : 0;
            const struct ck_numbers output = stored(to_bfloat16, FLOATS(out_count), out_count);
            ck_kernels()->batch_norm_backward(g, v, channels, lanes, mask, a, b, k, output, lanes + 16);
            for (long c = 0; c < channels; c++)
                for (long i = 0; i < lanes; i++) {
                    const double expected = (double)a[c] * gradient[c * lanes + i] +
                                            (double)b[c] * values[c * lanes + i] + k[c];
                    const int valid = !mask || mask[i] > 0;
                    expect_near(stored_number(output, c * (lanes + 16) + i), valid ? expected : 0, valid ? 3 : 0,
                                to_bfloat16 ? BFLOAT16 : FLOAT);
                }
        }
}

static void check_relu_gradient(int scaled) {
    EACH_PANEL(channels, lanes)
        for (int test = 0; test < 4; test++) {
            const int masked = test % 2, is_bfloat16 = test > 1;
            const long count = channels * lanes;
            float *gradient = random_floats(count), *before = copy(gradient, count), *values = random_floats(count);
            float *mask = masked ? random_mask(lanes) : 0, *scale = random_floats(channels);
            float *shift = random_floats(channels);
            float *inverse = random_floats(channels), *offset = random_floats(channels);
            float *weight = random_floats(channels);
            float *to_before = random_floats(count), *sums = random_floats(channels * 16);
            const struct ck_numbers v = stored(is_bfloat16, values, count), to = stored(is_bfloat16, to_before, count);
            float *products = random_floats(channels * 16);
            float *old_sums = copy(sums, channels * 16), *old_products = copy(products, channels * 16);
            const int accumulate = channels % 2;
            if (scaled)
                ck_kernels()->relu_backward_scaled(gradient, v, channels, lanes, mask, scale, shift, inverse, offset,
                                                   weight, accumulate, to, sums, products);
            else
                ck_kernels()->relu_backward(gradient, v, channels, lanes, mask, scale, shift, inverse, offset, to, sums,
                                            products);
            expect_same(gradient, before, count * 4);
            for (long c = 0; c < channels; c++) {
                double sum = 0, product = 0;
                for (int i = 0; i < 16; i++) sum += old_sums[16 * c + i], product += old_products[16 * c + i];
                for (long i = 0; i < lanes; i++) {
                    const long at = c * lanes + i;
                    const int active = (double)scale[c] * values[at] + shift[c] > 0 && (!mask || mask[i] > 0);
                    double d = active ? before[at] : 0;
                    sum += d;
                    product += d * ((double)inverse[c] * values[at] + offset[c]);
                    const double expected = scaled ? d * weight[c] + (accumulate ? to_before[at] : 0) : d;
                    const double magnitude = scaled ? 2 : fabs(d), rounding = scaled ? FLOAT : 0;
                    expect_near(stored_number(to, at), expected, magnitude, is_bfloat16 ? BFLOAT16 : rounding);
                }
                for (int i = 0; i < 16; i++) sum -= sums[16 * c + i], product -= products[16 * c + i];
                expect_near(sum, 0, (double)(lanes + 16), 1e-6);
                expect_near(product, 0, 2 * (double)(lanes + 16), 1e-6);
            }
        }
}
void check_relu_backward(void) { check_relu_gradient(0); }
void check_relu_backward_scaled(void) { check_relu_gradient(1); }

void check_add_affine_relu(void) {
    EACH_PANEL(channels, lanes) {
        float *input = random_floats(channels * lanes), *scale = random_floats(channels);
        float *shift = random_floats(channels);
        float *sums = random_floats(channels * lanes), *before = copy(sums, channels * lanes);
        const struct ck_numbers numbers = stored(lanes == 32, input, channels * lanes);
        ck_kernels()->add_affine_relu(numbers, channels, lanes, scale, shift, sums);
        for (long at = 0; at < channels * lanes; at++) {
            const long c = at / lanes;
            expect_near(sums[at], before[at] + relu((double)scale[c] * input[at] + shift[c]), 3, FLOAT);
        }
    }
}
