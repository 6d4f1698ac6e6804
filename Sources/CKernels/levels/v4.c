// AVX-512: the sums of 32 lanes by 12 outputs take 24 of the 32 registers.
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4"), min_vector_width(512))), apply_to = function)
#define TABLE ck_kernels_v4
#define TILE_VECTORS 2
#define TILE_OUTPUTS 12
#include "../kernels/table.inc"
#pragma clang attribute pop
#endif
