// What the checks of the kernels share. Each kernel of CK_LIST has one, `check_` and its name, or the program does not link.
#ifndef CHECK_H
#define CHECK_H

#include "../../Sources/CKernels/include/CKernels.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_DECLARE(type, name, parameters, arguments) void check_##name(void);
CK_LIST(CHECK_DECLARE)

/// Memory for the kernel under check; it is given back behind the check, which fails where something was written beyond an end.
void *memory(long bytes);
/// Numbers from -1 to 1, others each time.
float *random_floats(long count);
float random_float(void);

/// Fails unless |found − expected| ≤ tolerance·magnitude, the magnitude being the sum of the absolute values of what was added.
void expect_near(double found, double expected, double magnitude, double tolerance);
/// Fails unless the bytes are the same.
void expect_same(const void *found, const void *expected, long bytes);

/// In float32 a sum of some hundred numbers, in any order, with multiply-adds or without.
#define FLOAT 2e-6
/// Half a unit in the last place of bfloat16, and a border that float32 may round across.
#define BFLOAT16 0.00392

#define FLOATS(count) ((float *)memory((count) * (long)sizeof(float)))

/// The nearest bfloat16 number, of two equally near the even one.
static inline uint16_t half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
static inline float number(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
/// Two bfloat16 numbers as the kernels of pairs have them.
static inline float pair(float first, float second) {
    uint32_t bits = half(first) | (uint32_t)half(second) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
/// A half of a pair: 0 the first, 1 the second.
static inline float part(float pair, int which) {
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return number((uint16_t)(bits >> 16 * which));
}

#endif
