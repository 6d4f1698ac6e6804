// Chooses the level once, at the first call: the best that this CPU has, or a lower one named by DENSENET_SIMD (default, v3, v4).
// Beyond v4 is v4-bf16: the same vectors, and a multiply-add of bfloat16 pairs.
#include "include/CKernels.h"
#include <stdlib.h>
#include <string.h>

#define CK_LEVEL(level)                                                                                                           \
    CK_LIST(CK_DECLARE_##level)
#define CK_DECLARE_default(type, name, parameters, arguments) type name##_default parameters;
#define CK_DECLARE_v3(type, name, parameters, arguments) type name##_v3 parameters;
#define CK_DECLARE_v4(type, name, parameters, arguments) type name##_v4 parameters;
#define CK_DECLARE_v4_bf16(type, name, parameters, arguments) type name##_v4_bf16 parameters;
CK_LEVEL(default)

#if defined(__x86_64__)
CK_LEVEL(v3)
CK_LEVEL(v4)
CK_LEVEL(v4_bf16)

static int level_of_cpu(void) {
    __builtin_cpu_init();
    const char *wanted = getenv("DENSENET_SIMD");
    int most = wanted && !strcmp(wanted, "default") ? 0 : wanted && !strcmp(wanted, "v3") ? 1 : wanted && !strcmp(wanted, "v4") ? 2 : 3;
    int level = __builtin_cpu_supports("x86-64-v4") ? 2 + (__builtin_cpu_supports("avx512bf16") != 0) : __builtin_cpu_supports("x86-64-v3") ? 1 : 0;
    return level < most ? level : most;
}

static int level;
__attribute__((constructor)) static void choose(void) { level = level_of_cpu(); }

#define CK_DEFINE(type, name, parameters, arguments)                                                                              \
    type name parameters {                                                                                                        \
        if (level == 3) name##_v4_bf16 arguments;                                                                                 \
        else if (level == 2) name##_v4 arguments;                                                                                     \
        else if (level == 1) name##_v3 arguments;                                                                                 \
        else name##_default arguments;                                                                                            \
    }
const char *ck_level(void) { return level == 3 ? "v4-bf16" : level == 2 ? "v4" : level == 1 ? "v3" : "default"; }
#else
#define CK_DEFINE(type, name, parameters, arguments)                                                                              \
    type name parameters { name##_default arguments; }
const char *ck_level(void) { return "default"; }
#endif

CK_LIST(CK_DEFINE)
