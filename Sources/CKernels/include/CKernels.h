// Vector kernels over panels. Sources/Kernels holds the Swift doors; nothing else calls these.
//
// A panel is one image row of V images side by side: `channels` rows of `lanes` floats, lane = column * V + image. `lanes` is always a
// multiple of 16. The kernels are compiled for each level of vector instructions (levels.h); the program chooses one when it starts.
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stdint.h>

#define CK_LIST(X)                                                                                                                \
    X(void, ck_pack_weights,                                                                                                      \
      (const float *source, long tap_stride, long output_stride, long input_stride, long taps, long outputs, long inputs,         \
       int flip, float *packed),                                                                                                  \
      (source, tap_stride, output_stride, input_stride, taps, outputs, inputs, flip, packed))                                     \
    X(void, ck_convolve,                                                                                                          \
      (const float *input, long input_stride, const long *tap_offsets, long first_tap, long taps, const float *packed,            \
       long packed_taps, long pitch, long inputs, long outputs, long lanes, float *output, long output_stride, const float *next, \
       long next_floats),                                                                                                         \
      (input, input_stride, tap_offsets, first_tap, taps, packed, packed_taps, pitch, inputs, outputs, lanes, output,             \
       output_stride, next, next_floats))                                                                                                        \
    X(void, ck_pack_winograd,                                                                                                     \
      (const float *nine, long outputs, long inputs, float *packed), (nine, outputs, inputs, packed))                             \
    X(void, ck_winograd_input, (const float *rows, long row_stride, long count, float *transformed),                              \
      (rows, row_stride, count, transformed))                                                                                     \
    X(void, ck_winograd_output, (const float *products, long count, float *rows, long row_stride),                                \
      (products, count, rows, row_stride))                                                                                        \
    X(void, ck_winograd_gradient, (const float *rows, long row_stride, long count, float *transformed),                           \
      (rows, row_stride, count, transformed))                                                                                     \
    X(void, ck_winograd_weight_gradient, (const float *products, long count, float *taps), (products, count, taps))               \
    X(void, ck_weight_gradient,                                                                                                   \
      (const float *transposed, long width, long transposed_row, const float *other, long other_stride, long other_row,           \
       long others, long lanes, long rows, float *gradient, const float *next, long next_floats),                                 \
      (transposed, width, transposed_row, other, other_stride, other_row, others, lanes, rows, gradient, next, next_floats))      \
    X(void, ck_transpose, (const float *panel, long stride, long channels, long lanes, float *transposed, long width),            \
      (panel, stride, channels, lanes, transposed, width))                                                                        \
    X(void, ck_transpose_matrix, (const float *from, long rows, long columns, long from_stride, float *to, long to_stride),       \
      (from, rows, columns, from_stride, to, to_stride))                                                                          \
    X(void, ck_pair_weights, (float *packed, long taps, long outputs, long inputs), (packed, taps, outputs, inputs))              \
    X(void, ck_convolve_pairs,                                                                                                    \
      (const float *input, long input_stride, const long *tap_offsets, long first_tap, long taps, const float *packed,            \
       long packed_taps, long pitch, long pairs, long outputs, long lanes, float *output, long output_stride, const float *next,  \
       long next_floats),                                                                                                         \
      (input, input_stride, tap_offsets, first_tap, taps, packed, packed_taps, pitch, pairs, outputs, lanes, output,              \
       output_stride, next, next_floats))                                                                                                        \
    X(void, ck_weight_gradient_pairs,                                                                                             \
      (const float *transposed, long width, long transposed_row, const uint16_t *other, long other_stride, long other_row,        \
       long others, long pairs, long rows, float *gradient, const float *next, long next_floats),                                 \
      (transposed, width, transposed_row, other, other_stride, other_row, others, pairs, rows, gradient, next, next_floats))      \
    X(void, ck_transpose_pairs, (const float *panel, long stride, long channels, long lanes, float *transposed, long width),      \
      (panel, stride, channels, lanes, transposed, width))                                                                        \
    X(void, ck_channel_pairs,                                                                                                     \
      (const float *panel, long stride, long channels, long lanes, float *pairs, long pairs_stride),                              \
      (panel, stride, channels, lanes, pairs, pairs_stride))                                                                      \
    X(void, ck_halves,                                                                                                            \
      (const float *panel, long stride, long channels, long lanes, uint16_t *halves, long halves_stride),                         \
      (panel, stride, channels, lanes, halves, halves_stride))                                                                    \
    X(void, ck_affine_relu_pairs,                                                                                                 \
      (const float *input, long channels, long lanes, long live, const float *scale, const float *shift, float *pairs,            \
       long pairs_stride),                                                                                                        \
      (input, channels, lanes, live, scale, shift, pairs, pairs_stride))                                                          \
    X(void, ck_affine_relu_halves,                                                                                                \
      (const float *input, long channels, long lanes, const float *scale, const float *shift, uint16_t *halves),                  \
      (input, channels, lanes, scale, shift, halves))                                                                             \
    X(void, ck_affine_relu,                                                                                                       \
      (const float *input, long channels, long lanes, long live, const float *scale, const float *shift, float *output,           \
       long output_stride),                                                                                                       \
      (input, channels, lanes, live, scale, shift, output, output_stride))                                                        \
    X(void, ck_sums, (float *panel, long channels, long lanes, const float *mask, double *sums, double *squares),                   \
      (panel, channels, lanes, mask, sums, squares))                                                                              \
    X(void, ck_flush_doubles, (double *sums, long channels, double *totals), (sums, channels, totals))                            \
    X(void, ck_flush, (float *sums, long channels, double *totals), (sums, channels, totals))                                     \
    X(void, ck_combine,                                                                                                           \
      (const float *gradient, const float *values, long channels, long lanes, const float *mask, const float *gradient_factor,    \
       const float *value_factor, const float *constant, float *output, long output_stride),                                      \
      (gradient, values, channels, lanes, mask, gradient_factor, value_factor, constant, output, output_stride))                  \
    X(void, ck_relu_backward,                                                                                                     \
      (float *gradient, const float *values, long channels, long lanes, const float *mask, const float *scale,                    \
       const float *shift, const float *inverse, const float *offset, float *sums, float *products),                              \
      (gradient, values, channels, lanes, mask, scale, shift, inverse, offset, sums, products))                                   \
    X(void, ck_relu_backward_into,                                                                                                \
      (const float *gradient, const float *values, long channels, long lanes, const float *mask, const float *scale,              \
       const float *shift, const float *inverse, const float *offset, const float *weight, int accumulate, float *into,           \
       float *sums, float *products),                                                                                             \
      (gradient, values, channels, lanes, mask, scale, shift, inverse, offset, weight, accumulate, into, sums, products))         \
    X(void, ck_add, (const float *values, float *sums, long count), (values, sums, count))                                        \
    X(void, ck_dropout,                                                                                                           \
      (float *panel, long channels, long lanes, long stride, const uint32_t *keys, uint32_t first, uint32_t step,                 \
       uint32_t threshold, float scale),                                                                                          \
      (panel, channels, lanes, stride, keys, first, step, threshold, scale))                                                      \
    X(void, ck_patches,                                                                                                           \
      (const float *images, long image_floats, long count, long channels, long height, long width, long kernel, long stride,      \
       long padding, long y, long output_width, long interleave, long lanes, float *patches),                                     \
      (images, image_floats, count, channels, height, width, kernel, stride, padding, y, output_width, interleave, lanes,         \
       patches))                                                                                                                  \
    X(void, ck_average_pool,                                                                                                      \
      (const float *upper, const float *lower, long channels, long lanes, const float *scale, const float *shift,                 \
       long output_width, long interleave, long count, float *const *outputs, long output_lanes, long output_step,                \
       float *scratch),                                                                                                           \
      (upper, lower, channels, lanes, scale, shift, output_width, interleave, count, outputs, output_lanes, output_step,          \
       scratch))                                                                                                                  \
    X(void, ck_average_pool_backward,                                                                                             \
      (float *const *gradients, long gradient_lanes, long gradient_step, long channels, long lanes, long output_width,            \
       long interleave, long count, float *output),                                                                               \
      (gradients, gradient_lanes, gradient_step, channels, lanes, output_width, interleave, count, output))                       \
    X(void, ck_max_pool,                                                                                                          \
      (const float *const *rows, long channels, long lanes, long width, long interleave, long image, const float *scale,          \
       const float *shift, long output_width, float *output, long output_lanes, long output_step),                                \
      (rows, channels, lanes, width, interleave, image, scale, shift, output_width, output, output_lanes, output_step))           \
    X(void, ck_max_pool_backward,                                                                                                 \
      (const float *const *rows, float *const *gradients, long channels, long lanes, long width, long interleave, long image,     \
       const float *scale, const float *shift, long output_width, const float *output, long output_lanes, long output_step),      \
      (rows, gradients, channels, lanes, width, interleave, image, scale, shift, output_width, output, output_lanes,              \
       output_step))                                                                                                              \
    X(void, ck_add_affine_relu,                                                                                                   \
      (const float *input, long channels, long lanes, const float *scale, const float *shift, float *sums),                       \
      (input, channels, lanes, scale, shift, sums))                                                                               \
    X(void, ck_sgd,                                                                                                               \
      (float *weights, const float *gradients, float *momenta, long count, float rate, float gradient_scale, float momentum,      \
       float decay, int nesterov),                                                                                                \
      (weights, gradients, momenta, count, rate, gradient_scale, momentum, decay, nesterov))

#define CK_DECLARE(type, name, parameters, arguments) type name parameters;
CK_LIST(CK_DECLARE)

/// A pool of threads; null where the system refuses one. `ck_pool_run` is declared in WorkerPool.swift, for it takes a Swift closure.
typedef struct ck_pool ck_pool;
ck_pool *ck_pool_create(int workers);
void ck_pool_destroy(ck_pool *pool);

/// The cores that this process may run on.
int ck_allowed_cores(void);

/// The levels that the kernels are compiled for, numbered from 0, lowest first: how many there are, the name of each, the one in use and
/// the best that this CPU has.
int ck_level_count(void);
const char *ck_level_name(int level);
int ck_level(void);
int ck_best_level(void);

#endif
