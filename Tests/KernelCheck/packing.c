// Packed weights and products of operands, for several checks.
#include "check.h"

/// The outputs of a register tile, found by packing one tap of two inputs: the offset of the second input's weights.
static long tile_outputs(void) {
    static long tile;
    if (tile) return tile;
    float source[128], order[128];
    for (int i = 0; i < 128; i++) source[i] = (float)i;
    ck_kernels()->pack_weights(source, 0, 2, 1, 1, 64, 2, 0, order);
    while (order[tile] != 1) tile++;
    return tile;
}

long packed_place(long tap, long output, long input, long taps, long outputs, long inputs) {
    long tile = tile_outputs(), first = output / tile * tile, width = outputs - first < tile ? outputs - first : tile;
    return (first * taps + tap * width) * inputs + input * width + output - first;
}

float *packed(const float *weights, long taps, long outputs, long inputs) {
    float *result = FLOATS(taps * outputs * inputs);
    for (long t = 0; t < taps; t++)
        for (long o = 0; o < outputs; o++)
            for (long i = 0; i < inputs; i++)
                result[packed_place(t, o, i, taps, outputs, inputs)] = weights[(t * outputs + o) * inputs + i];
    return result;
}

float *operands(int paired, long count) {
    float *p = random_floats(count);
    if (paired)
        for (long i = 0; i < count; i++) p[i] = pair(p[i], random_float());
    return p;
}
void multiply(int paired, float x, float w, double *sum, double *magnitude) {
    double a = paired ? (double)part(x, 0) * part(w, 0) : (double)x * w;
    double b = paired ? (double)part(x, 1) * part(w, 1) : 0;
    *sum += a + b;
    *magnitude += fabs(a) + fabs(b);
}
