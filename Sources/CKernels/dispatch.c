// Chooses the level once, when the program starts: the best that this CPU has, or a lower one that DENSENET_SIMD names.
#include "levels.h"
#include <stdlib.h>
#include <string.h>

#define CK_NAME(suffix, name, supported) name,
static const char *const names[] = {CK_LEVELS(CK_NAME)};

#define CK_TABLE(suffix, name, supported) &ck_kernels_##suffix,
static const struct ck_kernels *const tables[] = {CK_LEVELS(CK_TABLE)};

static int best, level;
static const struct ck_kernels *kernels;

__attribute__((constructor)) static void choose(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
#define CK_SUPPORTED(suffix, name, supported) (supported) != 0,
    const int supported[] = {CK_LEVELS(CK_SUPPORTED)};
    while (best + 1 < CK_LEVEL_COUNT && supported[best + 1]) best++;
    const char *wanted = getenv("DENSENET_SIMD");
    level = best;
    for (int i = 0; wanted && i < best; i++)
        if (!strcmp(wanted, names[i])) level = i;
    kernels = tables[level];
}

int ck_level_count(void) { return CK_LEVEL_COUNT; }
const char *ck_level_name(int index) { return names[index]; }
int ck_level(void) { return level; }
int ck_best_level(void) { return best; }

#define CK_DEFINE(type, name, parameters, arguments)                                                                              \
    type name parameters { kernels->name arguments; }
CK_LIST(CK_DEFINE)
