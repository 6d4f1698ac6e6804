// Dropout.
#include "check.h"

void check_dropout(void) {
    EACH_PANEL(channels, lanes) {
        const long stride = lanes + 16;
        float *panel = random_floats(channels * stride), *expected = copy(panel, channels * stride);
        uint32_t *keys = memory(lanes * 4);
        for (long i = 0; i < lanes; i++) keys[i] = (uint32_t)(int32_t)(random_float() * 0x1p31f);
        ck_kernels()->dropout(panel, channels, lanes, stride, keys, 77, 1024, 0x60000000, 1.6f);
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
