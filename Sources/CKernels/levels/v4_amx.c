// AVX-512 with tiles that multiply bfloat16 pairs (AMX): some ten times as many multiplications a second.
#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,avx512bf16,amx-tile,amx-bf16"),                     \
                                            min_vector_width(512))),                                                   \
                             apply_to = function)
#define TABLE ck_kernels_v4_amx
#define TILE_VECTORS 2
#define TILE_OUTPUTS 12
#define HAS_BFLOAT16
#define HAS_TILES
#include "../kernels/table.inc"
#pragma clang attribute pop
#endif
