// The one list of vector levels. What C, Swift and the tests know of levels derives from it.
#ifndef LEVELS_H
#define LEVELS_H

#include "include/CKernels.h"

/// Lowest first: X(suffix of its functions, its name, whether this CPU has it). A level's kernels are in level_SUFFIX.c.
#if defined(__x86_64__)
#define CK_LEVELS(X)                                                                                                              \
    X(default, "default", 1)                                                                                                      \
    X(v3, "v3", __builtin_cpu_supports("x86-64-v3"))                                                                              \
    X(v4, "v4", __builtin_cpu_supports("x86-64-v4"))                                                                              \
    X(v4_bf16, "v4-bf16", __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16"))
#else
#define CK_LEVELS(X) X(default, "default", 1)
#endif

#define CK_NUMBER(suffix, name, supported) CK_NUMBER_##suffix,
enum { CK_LEVELS(CK_NUMBER) CK_LEVEL_COUNT };

/// The kernels of a level.
#define CK_MEMBER(type, name, parameters, arguments) type(*name) parameters;
struct ck_kernels {
    CK_LIST(CK_MEMBER)
};

#define CK_DECLARE_LEVEL(suffix, name, supported) extern const struct ck_kernels ck_kernels_##suffix;
CK_LEVELS(CK_DECLARE_LEVEL)

#endif
