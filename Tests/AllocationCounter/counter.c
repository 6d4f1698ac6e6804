#include "include/AllocationCounter.h"
#include <errno.h>
#include <execinfo.h>
#include <stdatomic.h>
#include <stddef.h>

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || !defined(__GLIBC__)
int allocation_counter_works(void) { return 0; }
void allocation_counter_start(void) {}
long allocation_counter_stop(void) { return 0; }
#else

enum { PLACES = 5, DEPTH = 12 };

static atomic_int is_counting;
static atomic_long count;
static void *places[PLACES][DEPTH];
static int depths[PLACES];

// glibc's names for its own allocator, for programs that replace it.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t number, size_t size);
extern void *__libc_realloc(void *pointer, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static void note(void) {
    if (!atomic_load_explicit(&is_counting, memory_order_relaxed)) return;
    long number = atomic_fetch_add(&count, 1);
    if (number < PLACES) depths[number] = backtrace(places[number], DEPTH);
}

void *malloc(size_t size) { note(); return __libc_malloc(size); }
void *calloc(size_t number, size_t size) { note(); return __libc_calloc(number, size); }
void *realloc(void *pointer, size_t size) { note(); return __libc_realloc(pointer, size); }
void *memalign(size_t alignment, size_t size) { note(); return __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { note(); return __libc_memalign(alignment, size); }
int posix_memalign(void **pointer, size_t alignment, size_t size) {
    note();
    *pointer = __libc_memalign(alignment, size);
    return *pointer ? 0 : ENOMEM;
}

int allocation_counter_works(void) { return 1; }

void allocation_counter_start(void) {
    // The first call loads a library, which allocates.
    void *warm[1];
    backtrace(warm, 1);
    atomic_store(&count, 0);
    atomic_store(&is_counting, 1);
}

long allocation_counter_stop(void) {
    atomic_store(&is_counting, 0);
    long found = atomic_load(&count);
    // The first two frames are this file's.
    for (int i = 0; i < found && i < PLACES; i++) backtrace_symbols_fd(places[i] + 2, depths[i] > 2 ? depths[i] - 2 : 0, 2);
    return found;
}
#endif
