// Vector kernels on panels, compiled once per level of vector instructions, and the thread pool that runs them.
//
// A panel is one row of several images side by side: `channels` rows of `lanes` floats, where lane = column *
// interleave + image; the remaining lanes are padding. A pair is two bfloat16 numbers in the 32 bits of a float, the
// first in the lower half: of two channels where a product sums over channels, of two lanes where it sums over lanes.
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stdint.h>

#pragma clang assume_nonnull begin

/// Numbers in memory: float32, or bfloat16 where `is_bfloat16` is 1.
struct ck_numbers {
    void *start;
    int is_bfloat16;
};

/// The kernels of one level.
///
/// Unless noted, `lanes`, `width` (the channels of a transposed panel) and the strides between rows of images are
/// multiples of 16, and outputs must not overlap inputs. Strides count elements of the pointer's type. Pointers need
/// only their type's alignment.
struct ck_kernels {
    // ---- Transposes and bfloat16

    /// transposed[lane][c] = panel[c][lane], rows `stride` and `width` apart. Channels from `channels` up to `width`
    /// are zero.
    void (*transpose_panel)(const float *panel, long stride, long channels, long lanes, float *transposed, long width);

    /// transposed[lane / 2][c] = the pair (panel[c][lane], panel[c][lane + 1]) of a panel in bfloat16, otherwise as
    /// `transpose_panel`.
    void (*transpose_panel_pairs)(const uint16_t *panel, long stride, long channels, long lanes, float *transposed,
                                  long width);

    /// to[column][row] = from[row][column] for any number of rows and columns.
    void (*transpose_matrix)(const float *from, long rows, long columns, long from_stride, float *to, long to_stride);

    /// pairs[c / 2][lane] = the pair (panel[c][lane], panel[c + 1][lane]), with zero beyond the last channel. Any
    /// number of lanes. `pairs` may be `panel` itself.
    void (*pair_channels)(const float *panel, long stride, long channels, long lanes, float *pairs, long pairs_stride);

    /// `pair_channels` of a panel in bfloat16, which `pairs` must not overlap.
    void (*pair_bfloat16_channels)(const uint16_t *panel, long stride, long channels, long lanes, float *pairs,
                                   long pairs_stride);

    /// output[c][lane] = panel[c][lane], rounded to bfloat16.
    void (*to_bfloat16)(const float *panel, long stride, long channels, long lanes, uint16_t *output,
                        long output_stride);

    // ---- Convolution

    /// Packs weights in the order in which `convolve` reads them: blocks of as many outputs as a register tile has (the
    /// last may be narrower), each of shape [taps][inputs][outputs of the block]. Weight (tap, output, input) is
    /// source[tap * tap_stride + output * output_stride + input * input_stride]; `flip` reverses the taps, as the
    /// gradient with respect to the input requires.
    void (*pack_weights)(const float *source, long tap_stride, long output_stride, long input_stride, long taps,
                         long outputs, long inputs, int flip, float *packed);

    /// Converts packed weights, in place, to pairs of the inputs i and i + 1, with zero beyond the last input, in the order
    /// in which `convolve_pairs` reads them.
    void (*pair_packed_weights)(float *packed, long taps, long outputs, long inputs);

    /// output[o][lane] = Σ over taps t and inputs i of weight[first_tap + t][o][i] *
    /// input[tap_offsets[t] + i * input_stride + lane], for t < `taps`.
    ///
    /// With `pitch` 0 the weights are packed, with `packed_taps` taps. Otherwise there is one tap and the weights have
    /// shape [inputs][outputs], rows `pitch` apart. About `next_floats` floats from `next` are prefetched for reading.
    void (*convolve)(const float *input, long input_stride, const long *tap_offsets, long first_tap, long taps,
                     const float *packed, long packed_taps, long pitch, long inputs, long outputs, long lanes,
                     float *output, long output_stride, const float *_Nullable next, long next_floats);

    /// `convolve` of packed weights where inputs and weights are `pairs` pairs of input channels.
    void (*convolve_pairs)(const float *input, long input_stride, const long *tap_offsets, long first_tap, long taps,
                           const float *packed, long packed_taps, long pairs, long outputs, long lanes, float *output,
                           long output_stride, const float *_Nullable next, long next_floats);

    /// gradient[o][m] = Σ over rows and lanes of transposed[row][lane][m] * other[row][o][lane], for m < `width`; with
    /// `accumulate` it is added to what `gradient` holds.
    ///
    /// Rows of the two operands are `transposed_row` and `other_row` apart, channels of the second `other_stride`.
    /// Any number of lanes. About `next_floats` floats from `next` are prefetched for writing.
    void (*weight_gradient)(const float *transposed, long width, long transposed_row, const float *other,
                            long other_stride, long other_row, long others, long lanes, long rows, float *gradient,
                            int accumulate, const float *_Nullable next, long next_floats);

    /// `weight_gradient` where `transposed` has `pairs` pairs of lanes and `other` two bfloat16 numbers for each.
    void (*weight_gradient_pairs)(const float *transposed, long width, long transposed_row, const uint16_t *other,
                                  long other_stride, long other_row, long others, long pairs, long rows,
                                  float *gradient, int accumulate, const float *_Nullable next, long next_floats);

    /// sums[i] += values[i] for any `count`.
    void (*add)(const float *values, float *sums, long count);

    // ---- Winograd's filtering F(4, 3) along the rows of a 3×3 convolution; `count` is a multiple of 16

    /// Transforms `nine` taps packed by `pack_weights` to the weights of the six products, each packed with three taps:
    /// shape [6][3 * outputs * inputs].
    void (*winograd_weights)(const float *nine, long outputs, long inputs, float *packed);

    /// Transforms six input rows of `count` floats, `row_stride` apart, to the inputs of the six products: shape
    /// [6][count].
    void (*winograd_input)(const float *rows, long row_stride, long count, float *transformed);

    /// Transforms the six products, shape [6][count], to four output rows, `row_stride` apart.
    void (*winograd_output)(const float *products, long count, float *rows, long row_stride);

    /// Transforms four rows of the output's gradient, `row_stride` apart, for the six products of the weights'
    /// gradient: shape [6][count].
    void (*winograd_output_gradient)(const float *rows, long row_stride, long count, float *transformed);

    /// Transforms the six products of the weights' gradient, shape [6][count], and adds them to the three taps of a
    /// filter column, shape [3][count].
    void (*winograd_weight_gradient)(const float *products, long count, float *taps);

    // ---- Batch norm and ReLU on panels of shape [channels][lanes]; `mask` is 1 for valid lanes and 0 for padding

    /// output[c][lane] = max(0, scale[c] * input[c][lane] + shift[c]); lanes from `valid` on are zero.
    void (*affine_relu)(const float *input, long channels, long lanes, long valid, const float *scale,
                        const float *shift, float *output, long output_stride);

    /// `affine_relu` of a panel in bfloat16, as pairs of the channels c and c + 1, with zero beyond the last: shape
    /// [(channels + 1) / 2][pairs_stride].
    void (*affine_relu_pairs)(const uint16_t *input, long channels, long lanes, long valid, const float *scale,
                              const float *shift, float *pairs, long pairs_stride);

    /// `affine_relu` of a panel in bfloat16, rounded to bfloat16 again: shape [channels][lanes].
    void (*affine_relu_bfloat16)(const uint16_t *input, long channels, long lanes, long valid, const float *scale,
                                 const float *shift, uint16_t *output);

    /// sums[c][lane] += max(0, scale[c] * input[c][lane] + shift[c]): one row of a global average pool.
    void (*add_affine_relu)(struct ck_numbers input, long channels, long lanes, const float *scale, const float *shift,
                            float *sums);

    /// Zeroes padding lanes, then adds each channel's values and squares to partial sums of shape [channels][8].
    void (*channel_sums)(float *panel, long channels, long lanes, const float *_Nullable mask, double *sums,
                         double *squares);

    /// `channel_sums` of a panel in bfloat16.
    void (*channel_sums_bfloat16)(uint16_t *panel, long channels, long lanes, const float *_Nullable mask,
                                  double *sums, double *squares);

    /// Adds partial sums of shape [channels][8] to `totals` and zeroes them.
    void (*flush_double_sums)(double *sums, long channels, double *totals);

    /// Adds partial sums of shape [channels][16] to `totals` and zeroes them.
    void (*flush_float_sums)(float *sums, long channels, double *totals);

    /// output[c][lane] = gradient_factor[c] * gradient[c][lane] + value_factor[c] * values[c][lane] + constant[c], and
    /// zero in padding lanes: the input gradient of a batch norm. `output` may be `gradient`. Gradient and
    /// values are of the same type; if that is float32, so is the output.
    void (*batch_norm_backward)(struct ck_numbers gradient, struct ck_numbers values, long channels, long lanes,
                                const float *_Nullable mask, const float *gradient_factor, const float *value_factor,
                                const float *constant, struct ck_numbers output, long output_stride);

    /// Writes the gradient to `output`, which may be `gradient`, with zeros where the ReLU of scale[c] *
    /// values[c][lane] + shift[c] was inactive and in padding lanes, then adds it to `sums` and its product with the
    /// normalized value, inverse[c] * values[c][lane] + offset[c], to `products`; both are partial sums of shape
    /// [channels][16]. Values and output are of the same type.
    void (*relu_backward)(const float *gradient, struct ck_numbers values, long channels, long lanes,
                          const float *_Nullable mask, const float *scale, const float *shift, const float *inverse,
                          const float *offset, struct ck_numbers output, float *sums, float *products);

    /// `relu_backward` that writes weight[c] times the masked gradient, or adds it with `accumulate`.
    void (*relu_backward_scaled)(const float *gradient, struct ck_numbers values, long channels, long lanes,
                                 const float *_Nullable mask, const float *scale, const float *shift,
                                 const float *inverse, const float *offset, const float *weight, int accumulate,
                                 struct ck_numbers output, float *sums, float *products);

    // ---- Dropout and the optimizer

    /// Multiplies each element by `scale`, or zeroes it if a hash of keys[lane] and the element's index, first + c *
    /// step, is below `threshold`.
    void (*dropout)(float *panel, long channels, long lanes, long stride, const uint32_t *keys, uint32_t first,
                    uint32_t step, uint32_t threshold, float scale);

    /// A step of stochastic gradient descent as PyTorch defines it: d = gradient_scale * gradient + weight_decay *
    /// weight; m = momentum * m + d; weight -= learning_rate * (nesterov ? d + momentum * m : m). Any `count`.
    void (*sgd_step)(float *weights, const float *gradients, float *momentum_buffer, long count, float learning_rate,
                     float gradient_scale, float momentum, float weight_decay, int nesterov);

    /// Moves an exponential moving average: average += share * (value - average). Any `count`.
    void (*move_average)(float *average, const float *values, long count, float share);

    // ---- The stem's patches and pooling, image by image: panels of different resolutions interleave differently

    /// Writes the pixels under the kernel for each pixel of row `y` of a convolution's output (im2col), as a panel of
    /// shape [channels * kernel * kernel][lanes] in the order of a weight [channel][y][x], from `count` images of shape
    /// [channels][height][width], `image_floats` apart. `stride` is 1 or 2. `scratch` has
    /// 4 * (lanes + kernel * interleave + 32) floats.
    void (*extract_patches)(const float *images, long image_floats, long count, long channels, long height, long width,
                            long kernel, long stride, long padding, long y, long output_width, long interleave,
                            long lanes, float *patches, float *scratch);

    /// 2×2 average pool of max(0, scale[c] * x + shift[c]), from two rows of a panel to one row of each of `count`
    /// images. Pixel x of image n is outputs[n][c * output_lanes + x * output_step]. `scratch` has `lanes` floats.
    void (*average_pool)(struct ck_numbers upper, struct ck_numbers lower, long channels, long lanes,
                         const float *scale, const float *shift, long output_width, long interleave, long count,
                         float *_Nonnull const *_Nonnull outputs, long output_lanes, long output_step, float *scratch);

    /// The gradient of either input row of `average_pool`: a quarter of the output's gradient, and zero in a dropped
    /// last column.
    void (*average_pool_backward)(float *_Nonnull const *_Nonnull gradients, long gradient_lanes, long gradient_step,
                                  long channels, long lanes, long output_width, long interleave, long count,
                                  float *output);

    /// 3×3 max pool with stride 2 and padding 1 of max(0, scale[c] * x + shift[c]), from three rows of a panel, null
    /// where outside the image, to one row of each of `count` images, as in `average_pool`. `scratch` has
    /// 6 * lanes + 20 * interleave + 512 floats.
    void (*max_pool)(const float *_Nullable const *_Nonnull rows, long channels, long lanes, long width,
                     long interleave, long count, const float *scale, const float *shift, long output_width,
                     const struct ck_numbers *outputs, long output_lanes, long output_step, float *scratch);

    /// The gradients of `max_pool`'s rows from those of its outputs: each goes to the largest input, the first among
    /// equals, and to none if no activation is above zero. Adds to the gradient of the first row, which is the last of
    /// the windows above it, and overwrites the others.
    void (*max_pool_backward)(const float *_Nullable const *_Nonnull rows, float *_Nullable const *_Nonnull gradients,
                              long channels, long lanes, long width, long interleave, long count, const float *scale,
                              const float *shift, long output_width, const struct ck_numbers *outputs,
                              long output_lanes, long output_step, float *scratch);
};

/// Use `ck_kernels()`: Swift refuses to read a global variable that C may change.
extern const struct ck_kernels *ck_selected_kernels;

/// The kernels of the level in use; `kernels` in Swift.
static inline const struct ck_kernels *ck_kernels(void) __attribute__((swift_name("getter:kernels()")));
static inline const struct ck_kernels *ck_kernels(void) { return ck_selected_kernels; }

/// Levels are numbered from 0, lowest first.
int ck_level_count(void);
const char *ck_level_name(int level);
/// The level in use.
int ck_level(void);
/// The highest level that this CPU has.
int ck_best_level(void);

/// A pool of threads. WorkerPool.swift declares `ck_pool_run`, which takes a Swift closure.
typedef struct ck_pool ck_pool;
/// A pool of `workers` threads, including the calling one; null if the system refuses them.
ck_pool *_Nullable ck_pool_create(int workers);
void ck_pool_destroy(ck_pool *pool);

/// The number of cores that this process may run on.
int ck_allowed_cores(void);

#pragma clang assume_nonnull end

#endif
