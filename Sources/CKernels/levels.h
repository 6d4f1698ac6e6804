// The list of vector levels, from which Swift's `VectorLevel` and the tests derive. levels/SUFFIX.c has each table.
#ifndef LEVELS_H
#define LEVELS_H

#include "include/CKernels.h"

/// Lowest first: X(suffix of the table's name, name for users, whether this CPU supports the level).
#if defined(__x86_64__)
#define CK_LEVELS(X)                                                                                                   \
    X(default, "default", 1)                                                                                           \
    X(v3, "v3", __builtin_cpu_supports("x86-64-v3"))                                                                   \
    X(v4, "v4", __builtin_cpu_supports("x86-64-v4"))                                                                   \
    X(v4_bf16, "v4-bf16", __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16"))               \
    X(v4_amx, "v4-amx",                                                                                               \
      __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16") && ck_may_use_tiles())
#else
#define CK_LEVELS(X) X(default, "default", 1)
#endif

/// Whether this CPU has AMX for bfloat16 and the system lets this process use it from now on.
int ck_may_use_tiles(void);

#define CK_DECLARE_TABLE(suffix, name, supported) extern const struct ck_kernels ck_kernels_##suffix;
CK_LEVELS(CK_DECLARE_TABLE)

#endif
