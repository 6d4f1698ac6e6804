// Packing weights, and convolutions.
#include "check.h"

void check_pack_weights(void) {
    EACH_SIZES(outputs, inputs) {
        const struct {
            long taps, tap, out, in;
        } orders[] = {
            {9, 1, 9 * inputs, 9}, {9, 1, 9, 9 * outputs}, {1, 0, inputs, 1}, {1, 0, 1, outputs}, {4, 1, 4 * inputs, 4},
        };
        for (int order = 0; order < 5; order++)
            for (int flip = 0; flip < 2; flip++) {
                const long taps = orders[order].taps, tap_stride = orders[order].tap;
                const long output_stride = orders[order].out, input_stride = orders[order].in;
                const long count = taps * outputs * inputs;
                float *source = random_floats(count), *found = FLOATS(count), *weights = FLOATS(count);
                ck_kernels()->pack_weights(source, tap_stride, output_stride, input_stride, taps, outputs, inputs, flip,
                                           found);
                for (long t = 0; t < taps; t++)
                    for (long o = 0; o < outputs; o++)
                        for (long i = 0; i < inputs; i++)
                            weights[(t * outputs + o) * inputs + i] =
                                source[(flip ? taps - 1 - t : t) * tap_stride + o * output_stride + i * input_stride];
                expect_same(found, packed(weights, taps, outputs, inputs), count * 4);
            }
    }
}

/// Weights of shape [taps][outputs][inputs] in the order in which `convolve_pairs` reads them, and, of the same shape with
/// pairs for inputs, as pairs.
static float *packed_pairs(const float *weights, long taps, long outputs, long inputs, float *paired) {
    const long pairs = (inputs + 1) / 2;
    for (long row = 0; row < taps * outputs; row++)
        for (long i = 0; i < pairs; i++) {
            const float *w = weights + row * inputs + 2 * i;
            paired[row * pairs + i] = pair(w[0], 2 * i + 1 < inputs ? w[1] : 0);
        }
    float *order = packed(weights, taps, outputs, inputs);
    ck_kernels()->pair_packed_weights(order, taps, outputs, inputs);
    return order;
}

/// One input channel after the other is 1, so that the outputs are its weights.
void check_pair_packed_weights(void) {
    EACH_SIZES(outputs, inputs) {
        const long taps = 3, pairs = (inputs + 1) / 2;
        float *weights = random_floats(taps * outputs * inputs), *paired = FLOATS(taps * outputs * pairs);
        float *order = packed_pairs(weights, taps, outputs, inputs, paired);
        float *input = FLOATS(pairs * 16), *found = FLOATS(outputs * 16), *expected = FLOATS(outputs * 16);
        const long offset = 0;
        for (long tap = 0; tap < taps; tap++)
            for (long i = 0; i < inputs; i++) {
                memset(input, 0, (size_t)pairs * 64);
                for (long lane = 0; lane < 16; lane++) input[i / 2 * 16 + lane] = i % 2 ? pair(0, 1) : pair(1, 0);
                for (long at = 0; at < outputs * 16; at++)
                    expected[at] = part(paired[(tap * outputs + at / 16) * pairs + i / 2], i % 2);
                ck_kernels()->convolve_pairs(input, 16, &offset, tap, 1, order, taps, pairs, outputs, 16, found, 16, 0,
                                             0);
                expect_same(found, expected, outputs * 16 * 4);
            }
    }
}

static void check_convolution(int paired, long packed_taps, long first_tap, long taps, int pitched, long outputs,
                              long inputs, long lanes) {
    const long stride = lanes + 24, output_stride = lanes + 16;
    float *input = operands(paired, inputs * stride + 24), *weights = operands(0, packed_taps * outputs * inputs);
    float *out = FLOATS(outputs * output_stride), *order;
    long offsets[9], pitch = pitched ? outputs + 3 : 0;
    if (paired) {
        // An odd number of channels, if the last pair has only one.
        const long channels = 2 * inputs - outputs % 2;
        float *single = random_floats(packed_taps * outputs * channels);
        order = packed_pairs(single, packed_taps, outputs, channels, weights);
    } else {
        order = packed(weights, packed_taps, outputs, inputs);
    }
    for (long t = 0; t < taps; t++) offsets[t] = 2 * t;
    if (pitched) {
        order = FLOATS(inputs * pitch);
        for (long o = 0; o < outputs; o++)
            for (long i = 0; i < inputs; i++) order[i * pitch + o] = weights[o * inputs + i];
    }
    const float *next = outputs % 2 ? input : 0;
    if (paired)
        ck_kernels()->convolve_pairs(input, stride, offsets, first_tap, taps, order, packed_taps, inputs, outputs,
                                     lanes, out, output_stride, next, inputs * stride);
    else
        ck_kernels()->convolve(input, stride, offsets, first_tap, taps, order, packed_taps, pitch, inputs, outputs,
                               lanes, out, output_stride, next, inputs * stride);
    for (long o = 0; o < outputs; o++)
        for (long lane = 0; lane < output_stride; lane++) {
            double sum = 0, magnitude = 0;
            for (long t = 0; t < taps && lane < lanes; t++)
                for (long i = 0; i < inputs; i++)
                    multiply(paired, input[offsets[t] + i * stride + lane],
                             weights[((first_tap + t) * outputs + o) * inputs + i], &sum, &magnitude);
            expect_near(out[o * output_stride + lane], sum, magnitude, FLOAT);
        }
}

static void check_convolutions(int paired) {
    EACH_SIZES(outputs, inputs) {
        check_convolution(paired, 9, 0, 9, 0, outputs, inputs, 48);
        check_convolution(paired, 9, 3, 3, 0, outputs, inputs, 16);
        check_convolution(paired, 1, 0, 1, 0, outputs, inputs, 32);
        if (!paired) check_convolution(paired, 1, 0, 1, 1, outputs, inputs, 48);
    }
}
void check_convolve(void) { check_convolutions(0); }
void check_convolve_pairs(void) { check_convolutions(1); }
