// Selects the kernels once, before `main`: those of this CPU's best level, or of a lower one named by DENSENET_SIMD.
#include "levels.h"

#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>

int ck_may_use_tiles(void) {
    if (!__builtin_cpu_supports("amx-tile") || !__builtin_cpu_supports("amx-bf16")) return 0;
#ifdef SYS_arch_prctl
    // A process has to ask Linux for the 8 KiB of tiles that each thread's state then has; later threads inherit them.
    const int request_permission = 0x1023, tile_data = 18; // ARCH_REQ_XCOMP_PERM, of 5.16 and later
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return 0;
#endif
}
#endif

#define CK_NAME(suffix, name, supported) name,
static const char *const names[] = {CK_LEVELS(CK_NAME)};

#define CK_TABLE(suffix, name, supported) &ck_kernels_##suffix,
static const struct ck_kernels *const tables[] = {CK_LEVELS(CK_TABLE)};

enum { LEVEL_COUNT = sizeof tables / sizeof *tables };

static int best, level;
const struct ck_kernels *ck_selected_kernels = &ck_kernels_default;

__attribute__((constructor)) static void select_kernels(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
#define CK_SUPPORTED(suffix, name, supported) (supported) != 0,
    const int supported[] = {CK_LEVELS(CK_SUPPORTED)};
    while (best + 1 < LEVEL_COUNT && supported[best + 1]) best++;
    const char *wanted = getenv("DENSENET_SIMD");
    level = best;
    for (int i = 0; wanted && i < best; i++)
        if (!strcmp(wanted, names[i])) level = i;
    ck_selected_kernels = tables[level];
}

int ck_level_count(void) { return LEVEL_COUNT; }
const char *ck_level_name(int index) { return names[index]; }
int ck_level(void) { return level; }
int ck_best_level(void) { return best; }
