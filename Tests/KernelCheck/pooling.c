// Pooling.
#include "check.h"

static double activation(float scale, float x, float shift) {
    double y = (double)scale * x + shift;
    return y > 0 ? y : 0;
}

enum { CHANNELS = 7, IMAGES = 3 };

void check_average_pool(void) {
    for (long test = 4; test < 20; test++) {
        const int is_bfloat16 = test % 2;
        const long width = test / 2;
        const long lanes = (width * IMAGES + 15) / 16 * 16, out = width / 2, step = 2, out_lanes = out * step;
        float *upper = random_floats(CHANNELS * lanes), *lower = random_floats(CHANNELS * lanes);
        float *scale = random_floats(CHANNELS), *shift = random_floats(CHANNELS), *scratch = FLOATS(lanes);
        float *outputs[IMAGES];
        for (int n = 0; n < IMAGES; n++) outputs[n] = FLOATS(CHANNELS * out_lanes);
        ck_kernels()->average_pool(stored(is_bfloat16, upper, CHANNELS * lanes),
                                   stored(is_bfloat16, lower, CHANNELS * lanes), CHANNELS, lanes, scale, shift, out,
                                   IMAGES, IMAGES, outputs, out_lanes, step, scratch);
        for (long c = 0; c < CHANNELS; c++)
            for (int n = 0; n < IMAGES; n++)
                for (long x = 0; x < out; x++) {
                    double sum = 0;
                    for (int k = 0; k < 4; k++)
                        sum += activation(scale[c], (k / 2 ? lower : upper)[c * lanes + (2 * x + k % 2) * IMAGES + n],
                                          shift[c]);
                    expect_near(outputs[n][c * out_lanes + x * step], sum / 4, 2, FLOAT);
                }
    }
}

void check_average_pool_backward(void) {
    for (long width = 2; width <= 9; width++) {
        const long lanes = (width * IMAGES + 15) / 16 * 16, out = width / 2, step = 2, out_lanes = out * step;
        float *gradients[IMAGES], *found = random_floats(CHANNELS * lanes), *expected = FLOATS(CHANNELS * lanes);
        for (int n = 0; n < IMAGES; n++) gradients[n] = random_floats(CHANNELS * out_lanes);
        ck_kernels()->average_pool_backward(gradients, out_lanes, step, CHANNELS, lanes, out, IMAGES, IMAGES, found);
        for (long c = 0; c < CHANNELS; c++)
            for (int n = 0; n < IMAGES; n++)
                for (long x = 0; x < 2 * out; x++)
                    expected[c * lanes + x * IMAGES + n] = gradients[n][c * out_lanes + x / 2 * step] * 0.25f;
        expect_same(found, expected, CHANNELS * lanes * 4);
    }
}

/// Both directions of the max pool of `images` images; the first, the last or none of three rows is outside.
static void check_max_pools(int backward, int is_bfloat16, int images, long width, int outside) {
    const long lanes = (width * images + 15) / 16 * 16, out = (width - 1) / 2 + 1, step = 2, out_lanes = out * step;
    float *scale = random_floats(CHANNELS), *shift = random_floats(CHANNELS);
    float *scratch = FLOATS(6 * lanes + 20 * images + 512);
    float *gradients[3] = {0}, *expected[3] = {0};
    struct ck_numbers outputs[16];
    const float *rows[3] = {0};
    for (int n = 0; n < images; n++)
        outputs[n] = stored(is_bfloat16, random_floats(CHANNELS * out_lanes), CHANNELS * out_lanes);
    for (int r = 0; r < 3; r++) {
        if (r == outside) continue;
        rows[r] = random_floats(CHANNELS * lanes);
        gradients[r] = random_floats(CHANNELS * lanes);
        // Backward adds to the first row and overwrites the others.
        expected[r] = r == 0 || !backward ? copy(gradients[r], CHANNELS * lanes) : FLOATS(CHANNELS * lanes);
    }
    if (backward)
        ck_kernels()->max_pool_backward(rows, gradients, CHANNELS, lanes, width, images, images, scale, shift, out,
                                        outputs, out_lanes, step, scratch);
    else
        ck_kernels()->max_pool(rows, CHANNELS, lanes, width, images, images, scale, shift, out, outputs, out_lanes,
                               step, scratch);
    for (long c = 0; c < CHANNELS; c++)
        for (int n = 0; n < images; n++)
            for (long x = 0; x < out; x++) {
                double largest = 0;
                float *target = 0;
                for (int r = 0; r < 3; r++)
                    for (long k = 2 * x - 1; k <= 2 * x + 1; k++) {
                        if (!rows[r] || k < 0 || k >= width) continue;
                        const long at = c * lanes + k * images + n;
                        double y = activation(scale[c], rows[r][at], shift[c]);
                        if (y > largest) largest = y, target = expected[r] + at;
                    }
                const float value = stored_number(outputs[n], c * out_lanes + x * step);
                if (!backward) expect_near(value, largest, 2, is_bfloat16 ? BFLOAT16 : FLOAT);
                else if (target) *target += value;
            }
    for (int r = 0; r < 3; r++)
        for (long i = 0; rows[r] && i < CHANNELS * lanes; i++) expect_near(gradients[r][i], expected[r][i], 5, FLOAT);
}
static void check_all_max_pools(int backward) {
    static const int images[] = {1, 2, 3, 4, 8, 16};
    for (int i = 0; i < 12; i++)
        for (long width = 1; width <= 40; width += width < 9 ? 1 : 31)
            for (int outside = -1; outside <= 2; outside += 1 + (outside == 0))
                check_max_pools(backward, i % 2, images[i / 2], width, outside);
}
void check_max_pool(void) { check_all_max_pools(0); }
void check_max_pool_backward(void) { check_all_max_pools(1); }
