// Checks every kernel, at the vector level in use, against plain loops: `DENSENET_SIMD=LEVEL kernel-check`.
//
// With `levels` it prints the levels that this CPU supports.
#include "check.h"
#include <stdio.h>

enum { BUFFERS = 10000, GUARD = 64 };

static const char *kernel;
static int failures;
static uint64_t state = 0x9E3779B97F4A7C15u;
static struct {
    unsigned char *start;
    long bytes;
} buffers[BUFFERS];
static int used;

static void fail(const char *what, double found, double expected) {
    if (failures++ < 20) printf("%s: %s is %.9g, expected %.9g\n", kernel, what, found, expected);
}

/// Frees all memory.
static void release(void) {
    while (used) {
        used--;
        unsigned char *p = buffers[used].start;
        for (int i = 0; i < GUARD; i++)
            if (p[i] != 0xA5 || p[GUARD + buffers[used].bytes + i] != 0xA5) {
                fail("a byte outside of its memory", p[i] != 0xA5 ? p[i] : p[GUARD + buffers[used].bytes + i], 0xA5);
                break;
            }
        free(p);
    }
}

void *memory(long bytes) {
    unsigned char *p = used < BUFFERS ? malloc((size_t)bytes + 2 * GUARD) : 0;
    if (!p) abort();
    memset(p, 0xA5, GUARD);
    memset(p + GUARD, 0, (size_t)bytes);
    memset(p + GUARD + bytes, 0xA5, GUARD);
    buffers[used].start = p;
    buffers[used++].bytes = bytes;
    return p + GUARD;
}

float random_float(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

float *random_floats(long count) {
    float *p = FLOATS(count);
    for (long i = 0; i < count; i++) p[i] = random_float();
    return p;
}

float *copy(const float *from, long count) { return memcpy(FLOATS(count), from, (size_t)count * sizeof(float)); }

void expect_near(double found, double expected, double magnitude, double tolerance) {
    if (!(fabs(found - expected) <= tolerance * magnitude + 1e-30)) fail("a number", found, expected);
}

void expect_same(const void *found, const void *expected, long bytes) {
    const unsigned char *a = found, *b = expected;
    for (long i = 0; i < bytes; i++)
        if (a[i] != b[i]) {
            fail("a byte of numbers moved or rounded", a[i], b[i]);
            return;
        }
}

enum { KERNELS = sizeof(struct ck_kernels) / sizeof(void (*)(void)) };

#define CHECK_ENTRY(name) [offsetof(struct ck_kernels, name) / sizeof(void (*)(void))] = {#name, check_##name},
static const struct {
    const char *name;
    void (*check)(void);
} checks[KERNELS] = {CHECKS(CHECK_ENTRY)};

int main(int count, char **words) {
    if (count > 1 && !strcmp(words[1], "levels")) {
        for (int level = 0; level <= ck_best_level(); level++) puts(ck_level_name(level));
        return 0;
    }
    for (int i = 0; i < KERNELS; i++) {
        if (!checks[i].check) {
            printf("kernel %d of struct ck_kernels has no check\n", i);
            return 1;
        }
        kernel = checks[i].name;
        checks[i].check();
        release();
    }
    printf("level %s: %d kernels, %d failures\n", ck_level_name(ck_level()), KERNELS, failures);
    return failures != 0;
}
