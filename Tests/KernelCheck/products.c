// Convolutions, Winograd's filtering, gradients of weights.
#include "check.h"

/// Outputs in a tile, which no header tells: of one tap and two inputs the second input's weights begin there.
static long tile_outputs(void) {
    static long tile;
    if (tile) return tile;
    float source[128], packed[128];
    for (int i = 0; i < 128; i++) source[i] = (float)i;
    ck_pack_weights(source, 0, 2, 1, 1, 64, 2, 0, packed);
    while (packed[tile] != 1) tile++;
    return tile;
}

/// Where a weight lies among packed ones.
static long place(long tap, long output, long input, long taps, long outputs, long inputs) {
    long tile = tile_outputs(), first = output / tile * tile, width = outputs - first < tile ? outputs - first : tile;
    return (first * taps + tap * width) * inputs + input * width + output - first;
}

static float *packed(const float *weights, long taps, long outputs, long inputs) { // weights[tap][output][input]
    float *result = FLOATS(taps * outputs * inputs);
    for (long t = 0; t < taps; t++)
        for (long o = 0; o < outputs; o++)
            for (long i = 0; i < inputs; i++)
                result[place(t, o, i, taps, outputs, inputs)] = weights[(t * outputs + o) * inputs + i];
    return result;
}

static const long sizes[] = {1, 2, 5, 6, 7, 12, 13, 16, 17, 29};
#define EACH(variable) \
    for (long variable##_ = 0, variable; variable##_ < 10 && (variable = sizes[variable##_]); variable##_++)

void check_ck_pack_weights(void) {
    EACH(outputs) EACH(inputs) {
        const struct {
            long taps, tap, out, in;
        } orders[] = {
            {9, 1, 9 * inputs, 9}, {9, 1, 9, 9 * outputs}, {1, 0, inputs, 1}, {1, 0, 1, outputs}, {4, 1, 4 * inputs, 4},
        };
        for (int order = 0; order < 5; order++)
            for (int flip = 0; flip < 2; flip++) {
                const long taps = orders[order].taps, tap_stride = orders[order].tap, output_stride = orders[order].out;
                const long input_stride = orders[order].in, count = taps * outputs * inputs;
                float *source = random_floats(count), *found = FLOATS(count), *weights = FLOATS(count);
                ck_pack_weights(source, tap_stride, output_stride, input_stride, taps, outputs, inputs, flip, found);
                for (long t = 0; t < taps; t++)
                    for (long o = 0; o < outputs; o++)
                        for (long i = 0; i < inputs; i++)
                            weights[(t * outputs + o) * inputs + i] =
                                source[(flip ? taps - 1 - t : t) * tap_stride + o * output_stride + i * input_stride];
                expect_same(found, packed(weights, taps, outputs, inputs), count * 4);
            }
    }
}

void check_ck_pair_weights(void) {
    EACH(outputs) EACH(inputs) {
        const long taps = 3, pairs = (inputs + 1) / 2;
        float *weights = random_floats(taps * outputs * inputs), *found = packed(weights, taps, outputs, inputs);
        float *paired = FLOATS(taps * outputs * pairs);
        for (long row = 0; row < taps * outputs; row++)
            for (long i = 0; i < pairs; i++) {
                const float *w = weights + row * inputs + 2 * i;
                paired[row * pairs + i] = pair(w[0], 2 * i + 1 < inputs ? w[1] : 0);
            }
        ck_pair_weights(found, taps, outputs, inputs);
        expect_same(found, packed(paired, taps, outputs, pairs), taps * outputs * pairs * 4);
    }
}

/// Numbers, or pairs of numbers, and the product of two of them.
static float *operands(int paired, long count) {
    float *p = random_floats(count);
    if (paired)
        for (long i = 0; i < count; i++) p[i] = pair(p[i], random_float());
    return p;
}
static void multiply(int paired, float x, float w, double *sum, double *magnitude) {
    double a = paired ? (double)part(x, 0) * part(w, 0) : (double)x * w, b = paired ? (double)part(x, 1) * part(w, 1) : 0;
    *sum += a + b;
    *magnitude += fabs(a) + fabs(b);
}

static void check_convolution(int paired, long packed_taps, long first_tap, long taps, int pitched, long outputs, long inputs,
                              long lanes) {
    const long stride = lanes + 24, output_stride = lanes + 16;
    float *input = operands(paired, inputs * stride + 24), *weights = operands(paired, packed_taps * outputs * inputs);
    float *out = FLOATS(outputs * output_stride), *order = packed(weights, packed_taps, outputs, inputs);
    long offsets[9], pitch = pitched ? outputs + 3 : 0;
    for (long t = 0; t < taps; t++) offsets[t] = 2 * t;
    if (pitched) {
        order = FLOATS(inputs * pitch);
        for (long o = 0; o < outputs; o++)
            for (long i = 0; i < inputs; i++) order[i * pitch + o] = weights[o * inputs + i];
    }
    const float *next = outputs % 2 ? input : 0;
    (paired ? ck_convolve_pairs : ck_convolve)(input, stride, offsets, first_tap, taps, order, packed_taps, pitch, inputs,
                                               outputs, lanes, out, output_stride, next, inputs * stride);
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
    EACH(outputs) EACH(inputs) {
        check_convolution(paired, 9, 0, 9, 0, outputs, inputs, 48);
        check_convolution(paired, 9, 3, 3, 0, outputs, inputs, 16);
        check_convolution(paired, 1, 0, 1, 0, outputs, inputs, 32);
        check_convolution(paired, 1, 0, 1, 1, outputs, inputs, 48);
    }
}
void check_ck_convolve(void) { check_convolutions(0); }
void check_ck_convolve_pairs(void) { check_convolutions(1); }

static void check_gradient(int paired, long width, long others, long lanes, long rows) {
    const long row = lanes * width + 32, stride = (paired ? 2 * lanes : lanes) + 6, other_row = others * stride + 8;
    float *transposed = operands(paired, rows * row), *other = random_floats(rows * other_row);
    float *gradient = random_floats(others * width), *before = FLOATS(others * width), *next = FLOATS(100);
    uint16_t *halves = memory(rows * other_row * 2);
    memcpy(before, gradient, (size_t)(others * width) * 4);
    for (long i = 0; i < rows * other_row; i++) halves[i] = half(other[i]);
    if (paired)
        ck_weight_gradient_pairs(transposed, width, row, halves, stride, other_row, others, lanes, rows, gradient, next, 100);
    else
        ck_weight_gradient(transposed, width, row, other, stride, other_row, others, lanes, rows, gradient, 0, 0);
    for (long o = 0; o < others; o++)
        for (long m = 0; m < width; m++) {
            double sum = before[o * width + m], magnitude = fabs(sum);
            for (long r = 0; r < rows; r++)
                for (long lane = 0; lane < lanes; lane++) {
                    const long at = r * other_row + o * stride + (paired ? 2 * lane : lane);
                    const float w = paired ? pair(other[at], other[at + 1]) : other[at];
                    multiply(paired, transposed[r * row + lane * width + m], w, &sum, &magnitude);
                }
            expect_near(gradient[o * width + m], sum, magnitude, FLOAT);
        }
}

static void check_gradients(int paired) {
    EACH(others) for (long width = 16; width <= 80; width += 16) check_gradient(paired, width, others, 32, 3);
}
void check_ck_weight_gradient(void) { check_gradients(0); }
void check_ck_weight_gradient_pairs(void) { check_gradients(1); }

// ---- Winograd's filtering: what its transforms are is told by what they come to together

static void check_winograd(void) {
    EACH(outputs) EACH(inputs) {
        const long lanes = 16, wide = 32, in_count = inputs * wide, out_count = outputs * lanes, block = 3 * outputs * inputs;
        float *rows = random_floats(6 * in_count + 5 * 16), *weights = random_floats(9 * outputs * inputs);
        float *transformed = FLOATS(6 * in_count), *filters = FLOATS(6 * block), *products = FLOATS(6 * out_count);
        float *found = FLOATS(4 * (out_count + 16));
        ck_winograd_input(rows, in_count + 16, in_count, transformed);
        ck_pack_winograd(packed(weights, 9, outputs, inputs), outputs, inputs, filters);
        for (long p = 0; p < 6; p++)
            for (long o = 0; o < outputs; o++)
                for (long lane = 0; lane < lanes; lane++) {
                    double sum = 0;
                    for (long column = 0; column < 3; column++)
                        for (long i = 0; i < inputs; i++)
                            sum += (double)transformed[p * in_count + i * wide + lane + column]
                                   * filters[p * block + place(column, o, i, 3, outputs, inputs)];
                    products[p * out_count + o * lanes + lane] = (float)sum;
                }
        ck_winograd_output(products, out_count, found, out_count + 16);
        for (long y = 0; y < 4; y++)
            for (long o = 0; o < outputs; o++)
                for (long lane = 0; lane < lanes; lane++) {
                    double sum = 0, magnitude = 0;
                    for (long tap = 0; tap < 9; tap++)
                        for (long i = 0; i < inputs; i++)
                            multiply(0, rows[(y + tap / 3) * (in_count + 16) + i * wide + lane + tap % 3],
                                     weights[(tap * outputs + o) * inputs + i], &sum, &magnitude);
                    // The transforms add up neighbours: the tolerance is of the numbers' size, not of this sum's.
                    expect_near(found[y * (out_count + 16) + o * lanes + lane], sum, magnitude + 1, FLOAT);
                }
    }
}
void check_ck_pack_winograd(void) { check_winograd(); }
void check_ck_winograd_input(void) { check_winograd(); }
void check_ck_winograd_output(void) { check_winograd(); }

static void check_winograd_gradient(void) {
    for (long count = 16; count <= 80; count += 16) {
        const long stride = count + 16;
        float *rows = random_floats(6 * stride), *gradient = random_floats(4 * stride), *input = FLOATS(6 * count);
        float *output = FLOATS(6 * count), *taps = random_floats(3 * count), *before = FLOATS(3 * count);
        memcpy(before, taps, (size_t)(3 * count) * 4);
        ck_winograd_input(rows, stride, count, input);
        ck_winograd_gradient(gradient, stride, count, output);
        for (long i = 0; i < 6 * count; i++) output[i] *= input[i];
        ck_winograd_weight_gradient(output, count, taps);
        for (long tap = 0; tap < 3; tap++)
            for (long i = 0; i < count; i++) {
                double sum = before[tap * count + i], magnitude = fabs(sum) + 1;
                for (long y = 0; y < 4; y++)
                    multiply(0, rows[(y + tap) * stride + i], gradient[y * stride + i], &sum, &magnitude);
                expect_near(taps[tap * count + i], sum, magnitude, FLOAT);
            }
    }
}
void check_ck_winograd_gradient(void) { check_winograd_gradient(); }
void check_ck_winograd_weight_gradient(void) { check_winograd_gradient(); }
