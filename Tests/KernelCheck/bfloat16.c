// Rounding to bfloat16.
#include "check.h"

void check_pair_channels(void) {
    for (long channels = 1; channels <= 5; channels++)
        for (long lanes = 1; lanes <= 50; lanes += 7) {
            const long pairs = (channels + 1) / 2;
            float *panel = random_floats(channels * lanes), *found = FLOATS(pairs * (lanes + 3));
            float *expected = FLOATS(pairs * (lanes + 3));
            ck_kernels()->pair_channels(panel, lanes, channels, lanes, found, lanes + 3);
            for (long c = 0; c < channels; c += 2)
                for (long i = 0; i < lanes; i++) {
                    const float *from = panel + c * lanes + i;
                    expected[c / 2 * (lanes + 3) + i] = pair(from[0], c + 1 < channels ? from[lanes] : 0);
                }
            expect_same(found, expected, pairs * (lanes + 3) * 4);
        }
}

void check_pair_bfloat16_channels(void) {
    EACH_PANEL(channels, lanes) {
        const long pairs = (channels + 1) / 2, stride = lanes + 3;
        float *panel = random_floats(channels * stride), *found = FLOATS(pairs * (lanes + 5));
        float *expected = FLOATS(pairs * (lanes + 5));
        const struct ck_numbers numbers = stored(1, panel, channels * stride);
        ck_kernels()->pair_bfloat16_channels(numbers.start, stride, channels, lanes, found, lanes + 5);
        for (long c = 0; c < channels; c += 2)
            for (long i = 0; i < lanes; i++) {
                const float *from = panel + c * stride + i;
                expected[c / 2 * (lanes + 5) + i] = pair(from[0], c + 1 < channels ? from[stride] : 0);
            }
        expect_same(found, expected, pairs * (lanes + 5) * 4);
    }
}

struct ck_numbers stored(int is_bfloat16, float *floats, long count) {
    if (!is_bfloat16) return (struct ck_numbers){copy(floats, count), 0};
    uint16_t *numbers = memory(count * 2);
    for (long i = 0; i < count; i++) floats[i] = number(numbers[i] = bfloat16(floats[i]));
    return (struct ck_numbers){numbers, 1};
}

void check_to_bfloat16(void) {
    EACH_PANEL(channels, lanes) {
        float *panel = random_floats(channels * lanes);
        uint16_t *found = memory(channels * (lanes + 2) * 2), *expected = memory(channels * (lanes + 2) * 2);
        ck_kernels()->to_bfloat16(panel, lanes, channels, lanes, found, lanes + 2);
        for (long c = 0; c < channels; c++)
            for (long i = 0; i < lanes; i++) expected[c * (lanes + 2) + i] = bfloat16(panel[c * lanes + i]);
        expect_same(found, expected, channels * (lanes + 2) * 2);
    }
}
