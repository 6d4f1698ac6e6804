// Any CPU: a tile of 16 lanes by 2 outputs keeps its sums in the 16 registers of SSE2 (and in the 32 of NEON).
#define CK(name) name##_default
#define TILE_VECTORS 1
#define TILE_OUTPUTS 2
#include "vectors.h"
#include "convolution_kernels.h"
#include "panel_kernels.h"
#include "resolution_kernels.h"
