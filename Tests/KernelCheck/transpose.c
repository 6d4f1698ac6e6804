// Transposes.
#include "check.h"

static void check_transpose(int paired) {
    EACH_PANEL(channels, lanes) {
        const long stride = lanes + 16, width = (channels + 15) / 16 * 16, rows = paired ? lanes / 2 : lanes;
        float *panel = random_floats(channels * stride), *found = random_floats(rows * width);
        float *expected = FLOATS(rows * width);
        const struct ck_numbers numbers = stored(paired, panel, channels * stride);
        if (paired) ck_kernels()->transpose_panel_pairs(numbers.start, stride, channels, lanes, found, width);
        else ck_kernels()->transpose_panel(numbers.start, stride, channels, lanes, found, width);
        for (long row = 0; row < rows; row++)
            for (long c = 0; c < channels; c++) {
                const float *from = panel + c * stride;
                expected[row * width + c] = paired ? pair(from[2 * row], from[2 * row + 1]) : from[row];
            }
        expect_same(found, expected, rows * width * 4);
    }
}
void check_transpose_panel(void) { check_transpose(0); }
void check_transpose_panel_pairs(void) { check_transpose(1); }

void check_transpose_matrix(void) {
    for (long rows = 1; rows <= 40; rows += 3)
        for (long columns = 1; columns <= 40; columns += 3) {
            float *from = random_floats(rows * (columns + 2)), *found = FLOATS(columns * (rows + 5));
            float *expected = FLOATS(columns * (rows + 5));
            ck_kernels()->transpose_matrix(from, rows, columns, columns + 2, found, rows + 5);
            for (long row = 0; row < rows; row++)
                for (long column = 0; column < columns; column++)
                    expected[column * (rows + 5) + row] = from[row * (columns + 2) + column];
            expect_same(found, expected, columns * (rows + 5) * 4);
        }
}
