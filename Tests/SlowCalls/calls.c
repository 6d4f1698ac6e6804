#include "include/SlowCalls.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_int is_slow;

void slow_calls_set(int on) { is_slow = on; }

static void wait_a_moment(void) {
    static atomic_uint seed = 1;
    if (!is_slow) return;
    unsigned own = atomic_fetch_add(&seed, 7919) ^ (unsigned)getpid();
    struct timespec pause = {0, rand_r(&own) % 1000000};
    nanosleep(&pause, NULL);
}

// The linker uses these instead of libc's.
#define SLOW(call) (wait_a_moment(), (call))
static long and_wait(long result) { wait_a_moment(); return result; }

ssize_t write(int file, const void *bytes, size_t count) { return and_wait(SLOW(syscall(SYS_write, file, bytes, count))); }
int fsync(int file) { return (int)and_wait(SLOW(syscall(SYS_fsync, file))); }
int rename(const char *from, const char *to) {
    return (int)and_wait(SLOW(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0)));
}
int unlink(const char *path) { return (int)and_wait(SLOW(syscall(SYS_unlinkat, AT_FDCWD, path, 0))); }
