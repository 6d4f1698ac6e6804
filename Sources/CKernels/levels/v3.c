// AVX2 and FMA: the sums of 16 lanes by 6 outputs take 12 of the 16 registers.
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#define TABLE ck_kernels_v3
#define TILE_VECTORS 1
#define TILE_OUTPUTS 6
#include "../kernels/table.inc"
#pragma clang attribute pop
#endif
