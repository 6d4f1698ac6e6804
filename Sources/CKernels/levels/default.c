// Any CPU: the sums of 16 lanes by 2 outputs take 8 of the 16 registers of SSE2. NEON has 32 registers of the same
// width: the sums of 6 outputs take 24, an input 4, and 4 are left for weights.
#define TABLE ck_kernels_default
#define TILE_VECTORS 1
#if defined(__aarch64__)
#define TILE_OUTPUTS 6
#else
#define TILE_OUTPUTS 2
#endif
#include "../kernels/table.inc"
