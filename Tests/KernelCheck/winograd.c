// Winograd's filtering. The transforms are checked together, by the convolution that they compute.
#include "check.h"

static void check_winograd(void) {
    EACH_SIZES(outputs, inputs) {
        const long lanes = 16, wide = 32, in_count = inputs * wide, out_count = outputs * lanes;
        const long block = 3 * outputs * inputs;
        float *rows = random_floats(6 * in_count + 5 * 16), *weights = random_floats(9 * outputs * inputs);
        float *transformed = FLOATS(6 * in_count), *filters = FLOATS(6 * block), *products = FLOATS(6 * out_count);
        float *found = FLOATS(4 * (out_count + 16));
        ck_kernels()->winograd_input(rows, in_count + 16, in_count, transformed);
        ck_kernels()->winograd_weights(packed(weights, 9, outputs, inputs), outputs, inputs, filters);
        for (long p = 0; p < 6; p++)
            for (long o = 0; o < outputs; o++)
                for (long lane = 0; lane < lanes; lane++) {
                    double sum = 0;
                    for (long column = 0; column < 3; column++)
                        for (long i = 0; i < inputs; i++)
                            sum += (double)transformed[p * in_count + i * wide + lane + column] *
                                   filters[p * block + packed_place(column, o, i, 3, outputs, inputs)];
                    products[p * out_count + o * lanes + lane] = (float)sum;
                }
        ck_kernels()->winograd_output(products, out_count, found, out_count + 16);
        for (long y = 0; y < 4; y++)
            for (long o = 0; o < outputs; o++)
                for (long lane = 0; lane < lanes; lane++) {
                    double sum = 0, magnitude = 0;
                    for (long tap = 0; tap < 9; tap++)
                        for (long i = 0; i < inputs; i++)
                            multiply(0, rows[(y + tap / 3) * (in_count + 16) + i * wide + lane + tap % 3],
                                     weights[(tap * outputs + o) * inputs + i], &sum, &magnitude);
                    // The transforms sum neighbours: the tolerance is relative to the numbers' size, not to that of
                    // this sum.
                    expect_near(found[y * (out_count + 16) + o * lanes + lane], sum, magnitude + 1, FLOAT);
                }
    }
}
void check_winograd_weights(void) { check_winograd(); }
void check_winograd_input(void) { check_winograd(); }
void check_winograd_output(void) { check_winograd(); }

static void check_winograd_gradient(void) {
    for (long count = 16; count <= 80; count += 16) {
        const long stride = count + 16;
        float *rows = random_floats(6 * stride), *gradient = random_floats(4 * stride), *input = FLOATS(6 * count);
        float *output = FLOATS(6 * count), *taps = random_floats(3 * count), *before = FLOATS(3 * count);
        memcpy(before, taps, (size_t)(3 * count) * 4);
        ck_kernels()->winograd_input(rows, stride, count, input);
        ck_kernels()->winograd_output_gradient(gradient, stride, count, output);
        for (long i = 0; i < 6 * count; i++) output[i] *= input[i];
        ck_kernels()->winograd_weight_gradient(output, count, taps);
        for (long tap = 0; tap < 3; tap++)
            for (long i = 0; i < count; i++) {
                double sum = before[tap * count + i], magnitude = fabs(sum) + 1;
                for (long y = 0; y < 4; y++)
                    multiply(0, rows[(y + tap) * stride + i], gradient[y * stride + i], &sum, &magnitude);
                expect_near(taps[tap * count + i], sum, magnitude, FLOAT);
            }
    }
}
void check_winograd_output_gradient(void) { check_winograd_gradient(); }
void check_winograd_weight_gradient(void) { check_winograd_gradient(); }
