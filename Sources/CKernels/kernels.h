// All kernels of one level, and the table by which dispatch.c calls them. See vectors.h for what the including file defines.
#include "vectors.h"
#include "convolution_kernels.h"
#include "panel_kernels.h"
#include "resolution_kernels.h"
#include "levels.h"

_Static_assert(CK(CK_NUMBER) < CK_LEVEL_COUNT, "a level is in the list");

#define CK_ENTRY(type, name, parameters, arguments) CK(name),
const struct ck_kernels CK(ck_kernels) = {CK_LIST(CK_ENTRY)};
