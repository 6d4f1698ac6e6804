// Shared by the checks of the kernels.
#ifndef CHECK_H
#define CHECK_H

#include "../../Sources/CKernels/include/CKernels.h"
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/// The kernels, each with a check of its name.
// clang-format off
#define CHECKS(X)                                                                                                      \
    X(transpose_panel) X(transpose_panel_pairs) X(transpose_matrix) X(pair_channels) X(pair_bfloat16_channels)         \
    X(to_bfloat16)                                                                                                     \
    X(pack_weights) X(pair_packed_weights) X(convolve) X(convolve_pairs)                                               \
    X(weight_gradient) X(weight_gradient_pairs) X(add)                                                                 \
    X(winograd_weights) X(winograd_input) X(winograd_output) X(winograd_output_gradient) X(winograd_weight_gradient)   \
    X(affine_relu) X(affine_relu_pairs) X(affine_relu_bfloat16) X(add_affine_relu)                                     \
    X(channel_sums) X(channel_sums_bfloat16) X(flush_double_sums) X(flush_float_sums)                                  \
    X(batch_norm_backward) X(relu_backward) X(relu_backward_scaled)                                                    \
    X(dropout) X(sgd_step) X(move_average)                                                                             \
    X(extract_patches) X(average_pool) X(average_pool_backward) X(max_pool) X(max_pool_backward)
// clang-format on

#define CHECK_DECLARE(name) void check_##name(void);
CHECKS(CHECK_DECLARE)

/// Zeroed memory, freed after the check, which fails if anything was written beyond either end.
void *memory(long bytes);
/// Random numbers from -1 to 1.
float *random_floats(long count);
float random_float(void);
float *copy(const float *from, long count);

/// Fails unless |found − expected| ≤ tolerance * magnitude, where the magnitude is the sum of all terms' absolute
/// values.
void expect_near(double found, double expected, double magnitude, double tolerance);
/// Fails unless the bytes are the same.
void expect_same(const void *found, const void *expected, long bytes);

/// A float32 sum of a few hundred terms, in any order, with or without fused multiply-adds.
#define FLOAT 2e-6
/// Half a unit in the last place of bfloat16, plus what float32 may add by rounding to the other side of a tie.
#define BFLOAT16 0.00392

#define FLOATS(count) ((float *)memory((count) * (long)sizeof(float)))

/// Rounds to the nearest bfloat16 number, ties to even.
static inline uint16_t bfloat16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
static inline float number(uint16_t upper) {
    uint32_t bits = (uint32_t)upper << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
/// Two bfloat16 numbers as a pair in the bits of a float.
static inline float pair(float first, float second) {
    uint32_t bits = bfloat16(first) | (uint32_t)bfloat16(second) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
/// The first number of a pair (`which` 0) or the second (1).
static inline float part(float pair, int which) {
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return number((uint16_t)(bits >> 16 * which));
}

/// Copies numbers to memory of their own, rounded to bfloat16 if that is asked for; `floats` is rounded likewise.
struct ck_numbers stored(int is_bfloat16, float *floats, long count);
/// The i-th number in memory.
static inline float stored_number(struct ck_numbers from, long i) {
    return from.is_bfloat16 ? number(((const uint16_t *)from.start)[i]) : ((const float *)from.start)[i];
}

// ---- Shapes

static const long panel_channels[] = {1, 2, 15, 16, 17, 40};
/// Runs a statement for panels of several shapes.
#define EACH_PANEL(channels, lanes)                                                                                    \
    for (long channels##_ = 0, channels; channels##_ < 6 && (channels = panel_channels[channels##_]); channels##_++)   \
        for (long lanes = 16; lanes <= 64; lanes += 16)

static const long sizes[] = {1, 2, 5, 6, 7, 12, 13, 16, 17, 29, 70};
/// Runs a statement for several numbers of outputs, or of outputs and inputs, with and without full tiles.
#define EACH_SIZE(size) for (long size##_ = 0, size; size##_ < 11 && (size = sizes[size##_]); size##_++)
#define EACH_SIZES(outputs, inputs)                                                                                    \
    EACH_SIZE(outputs)                                                                                                 \
        EACH_SIZE(inputs)

// ---- Packed weights, and products of numbers or of pairs

/// The index of a weight in packed weights.
long packed_place(long tap, long output, long input, long taps, long outputs, long inputs);
/// Packs weights of shape [taps][outputs][inputs].
float *packed(const float *weights, long taps, long outputs, long inputs);
/// Random numbers, or pairs of them.
float *operands(int paired, long count);
/// Adds the product of two numbers, or the products of two pairs, and its absolute value.
void multiply(int paired, float x, float w, double *sum, double *magnitude);

#endif
