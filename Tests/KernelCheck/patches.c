// The stem's patches.
#include "check.h"

void check_extract_patches(void) {
    const struct {
        long kernel, stride, padding, size, images;
    } stems[] = {{3, 1, 1, 8, 5}, {7, 2, 3, 15, 2}, {3, 1, 1, 1, 16}, {7, 2, 3, 2, 3},
                  {7, 2, 3, 37, 1}, {3, 1, 1, 16, 1}, {7, 2, 3, 8, 4}, {7, 2, 3, 5, 8}};
    for (int s = 0; s < 8; s++) {
        const long kernel = stems[s].kernel, stride = stems[s].stride, padding = stems[s].padding, size = stems[s].size;
        const long images = stems[s].images, width = (size + 2 * padding - kernel) / stride + 1;
        const long lanes = (width * images + 15) / 16 * 16;
        const long area = size * size, rows = 3 * kernel * kernel;
        float *input = random_floats(images * 3 * area), *scratch = FLOATS(4 * (lanes + kernel * images + 32));
        for (long y = 0; y < width; y++) {
            float *found = random_floats(rows * lanes), *expected = FLOATS(rows * lanes);
            ck_kernels()->extract_patches(input, 3 * area, images, 3, size, size, kernel, stride, padding, y, width,
                                          images, lanes, found, scratch);
            for (long row = 0; row < rows; row++)
                for (long x = 0; x < width; x++)
                    for (long n = 0; n < images; n++) {
                        const long c = row / (kernel * kernel), from_y = y * stride + row / kernel % kernel - padding;
                        const long from_x = x * stride + row % kernel - padding;
                        if (from_y >= 0 && from_y < size && from_x >= 0 && from_x < size)
                            expected[row * lanes + x * images + n] = input[(n * 3 + c) * area + from_y * size + from_x];
                    }
            expect_same(found, expected, rows * lanes * 4);
        }
    }
}
