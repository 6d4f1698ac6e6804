// The stem's patches and the pools. After vectors.h; compiled for each level.

// ---- Between resolutions: the stem's patches and the pools. Images change places between panels, so these go image by image.

/// The stem's input rows as a panel of kernel·kernel·channels rows, ordered as a weight [output][channel][y][x] is.
void CK(ck_patches)(const float *images, long image_floats, long count, long channels, long height, long width, long kernel,
                    long stride, long padding, long y, long output_width, long interleave, long lanes, float *patches) {
    for (long c = 0; c < channels; c++)
        for (long ky = 0; ky < kernel; ky++)
            for (long kx = 0; kx < kernel; kx++, patches += lanes) {
                long from = y * stride + ky - padding;
                memset(patches, 0, (size_t)lanes * sizeof(float));
                if (from < 0 || from >= height) continue;
                // The output columns whose input column, x·stride + kx − padding, is within the image.
                long first = kx < padding ? (padding - kx + stride - 1) / stride : 0;
                long reach = width - 1 - kx + padding, end = reach < 0 ? 0 : reach / stride + 1;
                if (end > output_width) end = output_width;
                for (long n = 0; n < count; n++) {
                    const float *row = images + n * image_floats + (c * height + from) * width + kx - padding;
                    for (long x = first; x < end; x++) patches[x * interleave + n] = row[x * stride];
                }
            }
}

/// 2×2 average pool of max(0, scale·x + shift): two rows of a panel into one row of each image's place in the next resolution.
void CK(ck_average_pool)(const float *upper, const float *lower, long channels, long lanes, const float *scale, const float *shift,
                         long output_width, long interleave, long count, float *const *outputs, long output_lanes,
                         long output_step, float *scratch) {
    for (long c = 0; c < channels; c++) {
        float a = scale[c], b = shift[c];
        for (long i = 0; i < lanes; i += 16) {
            v16 u = load(upper + c * lanes + i) * a + b, l = load(lower + c * lanes + i) * a + b;
            store(scratch + i, (relu(u) + relu(l)) * 0.25f);
        }
        for (long n = 0; n < count; n++) {
            const float *in = scratch + n;
            float *out = outputs[n] + c * output_lanes;
            for (long x = 0; x < output_width; x++)
                out[x * output_step] = in[2 * x * interleave] + in[(2 * x + 1) * interleave];
        }
    }
}

/// The gradient of the pool's input row: a quarter of the output's, twice in each direction; zero where the pool does not reach.
void CK(ck_average_pool_backward)(float *const *gradients, long gradient_lanes, long gradient_step, long channels, long lanes,
                                  long output_width, long interleave, long count, float *output) {
    for (long c = 0; c < channels; c++) {
        float *out = output + c * lanes;
        memset(out, 0, (size_t)lanes * sizeof(float));
        for (long n = 0; n < count; n++) {
            const float *in = gradients[n] + c * gradient_lanes;
            for (long x = 0; x < output_width; x++)
                out[2 * x * interleave + n] = out[(2 * x + 1) * interleave + n] = in[x * gradient_step] * 0.25f;
        }
    }
}

/// 3×3 max-pool, stride 2, padding 1, of max(0, scale·x + shift): one output row of one image. `rows` are the three input rows, null
/// where they are outside.
void CK(ck_max_pool)(const float *const *rows, long channels, long lanes, long width, long interleave, long image,
                     const float *scale, const float *shift, long output_width, float *output, long output_lanes,
                     long output_step) {
    for (long c = 0; c < channels; c++) {
        float a = scale[c], b = shift[c];
        const float *in[3];
        int count = 0;
        for (int r = 0; r < 3; r++)
            if (rows[r]) in[count++] = rows[r] + c * lanes + image;
        for (long x = 0; x < output_width; x++) {
            float most = 0;
            long first = x > 0 ? 2 * x - 1 : 0, end = 2 * x + 2 < width ? 2 * x + 2 : width;
            for (int r = 0; r < count; r++)
                for (long k = first; k < end; k++) {
                    float y = a * in[r][k * interleave] + b;
                    most = y > most || y != y ? y : most;
                }
            output[c * output_lanes + x * output_step] = most;
        }
    }
}

/// Adds each output's gradient to the input that was the largest, the first of equals. Where none was above zero the ReLU is shut.
void CK(ck_max_pool_backward)(const float *const *rows, float *const *gradients, long channels, long lanes, long width,
                              long interleave, long image, const float *scale, const float *shift, long output_width,
                              const float *output, long output_lanes, long output_step) {
    for (long c = 0; c < channels; c++) {
        float a = scale[c], b = shift[c];
        const float *in[3];
        float *to[3];
        int count = 0;
        for (int r = 0; r < 3; r++)
            if (rows[r]) in[count] = rows[r] + c * lanes + image, to[count++] = gradients[r] + c * lanes + image;
        for (long x = 0; x < output_width; x++) {
            float most = 0, *target = 0;
            long first = x > 0 ? 2 * x - 1 : 0, end = 2 * x + 2 < width ? 2 * x + 2 : width;
            for (int r = 0; r < count; r++)
                for (long k = first; k < end; k++) {
                    float y = a * in[r][k * interleave] + b;
                    if (y > most) most = y, target = to[r] + k * interleave;
                }
            if (target) *target += output[c * output_lanes + x * output_step];
        }
    }
}

/// sums[c][lane] += max(0, scale[c]·input[c][lane] + shift[c]): the rows of a global average pool.
void CK(ck_add_affine_relu)(const float *input, long channels, long lanes, const float *scale, const float *shift, float *sums) {
    for (long c = 0; c < channels; c++)
        for (long i = c * lanes; i < (c + 1) * lanes; i += 16) {
            v16 y = load(input + i) * scale[c] + shift[c];
            store(sums + i, load(sums + i) + relu(y));
        }
}

/// sums[i] += values[i].
void CK(ck_add)(const float *values, float *sums, long count) {
    for (long i = 0; i < count; i++) sums[i] += values[i];
}
