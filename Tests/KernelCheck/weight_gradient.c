// Weight gradients.
#include "check.h"

static void check_gradient(int paired, long width, long others, long lanes, long rows, int accumulate) {
    const long row = lanes * width + 32, stride = (paired ? 2 * lanes : lanes) + 6, other_row = others * stride + 8;
    float *transposed = operands(paired, rows * row), *other = random_floats(rows * other_row);
    float *gradient = random_floats(others * width), *before = FLOATS(others * width), *next = FLOATS(100);
    uint16_t *rounded = memory(rows * other_row * 2);
    memcpy(before, gradient, (size_t)(others * width) * 4);
    for (long i = 0; i < rows * other_row; i++) rounded[i] = bfloat16(other[i]);
    if (paired)
        ck_kernels()->weight_gradient_pairs(transposed, width, row, rounded, stride, other_row, others, lanes, rows,
                                            gradient, accumulate, next, 100);
    else
        ck_kernels()->weight_gradient(transposed, width, row, other, stride, other_row, others, lanes, rows, gradient,
                                      accumulate, 0, 0);
    for (long o = 0; o < others; o++)
        for (long m = 0; m < width; m++) {
            double sum = accumulate ? before[o * width + m] : 0, magnitude = fabs(sum);
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
    const long lanes[] = {3, 19, 32};
    EACH_SIZE(others)
        for (long width = 16; width <= 80; width += 16)
            for (int i = 0; i < 3; i++) check_gradient(paired, width, others, lanes[i], 3, others % 2);
}
void check_weight_gradient(void) { check_gradients(0); }
void check_weight_gradient_pairs(void) { check_gradients(1); }

void check_add(void) {
    for (long count = 1; count < 70; count++) {
        float *values = random_floats(count), *sums = random_floats(count), *before = copy(sums, count);
        ck_kernels()->add(values, sums, count);
        for (long i = 0; i < count; i++) expect_near(sums[i], (double)before[i] + values[i], 2, FLOAT);
    }
}
