// A pool of threads that share the tasks of one call at a time.
//
// A waiting thread spins for a moment, since most waits are short, and then sleeps: the thread that it waits for may need
// this core. With more threads than cores it does, and nobody spins.
#define _GNU_SOURCE // for sched_getaffinity
#include "include/CKernels.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

enum { SPIN_NANOSECONDS = 200000 };

#if !__has_extension(swiftcc)
#error "ck_pool_run takes a Swift closure, but this compiler does not support Swift's calling convention"
#endif

/// The code of a Swift closure (task, worker) -> Void; `context` holds its captures.
typedef __attribute__((swiftcall)) void ck_task(long task, long worker, __attribute__((swift_context)) void *context);

/// Threads that wait for the same event.
struct waiters {
    pthread_cond_t wake;
    atomic_long asleep;
};

struct ck_pool {
    int workers; // including the calling thread
    long spin;   // nanoseconds
    pthread_t *threads;
    struct ck_worker *arguments;
    pthread_mutex_t mutex;
    struct waiters idle, caller;
    atomic_long left;       // tasks that no worker has taken yet; negative when the pool ends
    atomic_long unfinished; // tasks that are not done
    // The current call. A worker may read these only while a task that it has taken is unfinished.
    long tasks;
    ck_task *body;
    void *context;
};

struct ck_worker {
    ck_pool *pool;
    int index;
};

int ck_allowed_cores(void) {
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) ? 1 : CPU_COUNT(&cores);
}

// ---- Waiting

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static long nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000 + time.tv_nsec;
}

/// Spins until the value is zero (`zero`) or nonzero; false when the pool's time for that is over.
static bool spin_until(const ck_pool *pool, atomic_long *value, bool zero) {
    for (long end = 0; pool->spin > 0;) {
        for (int i = 0; i < 64; i++) {
            if ((atomic_load(value) == 0) == zero) return true;
            pause_briefly();
        }
        const long now = nanoseconds();
        if (!end) end = now + pool->spin;
        if (now >= end) return false;
        sched_yield(); // threads of other processes, such as another rank's, may want the core
    }
    return false;
}

/// Waits until the value is zero (`zero`) or nonzero.
static void wait_until(ck_pool *pool, struct waiters *waiters, atomic_long *value, bool zero) {
    if (spin_until(pool, value, zero)) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&waiters->asleep, 1);
    while ((atomic_load(value) == 0) != zero) pthread_cond_wait(&waiters->wake, &pool->mutex);
    atomic_fetch_sub(&waiters->asleep, 1);
    pthread_mutex_unlock(&pool->mutex);
}

/// Wakes up to `count` sleeping threads. Call it after changing the value that they wait for.
static void wake(ck_pool *pool, struct waiters *waiters, long count) {
    if (!atomic_load(&waiters->asleep)) return;
    pthread_mutex_lock(&pool->mutex);
    const long asleep = atomic_load(&waiters->asleep);
    for (long i = 0; i < count && i < asleep; i++) pthread_cond_signal(&waiters->wake);
    pthread_mutex_unlock(&pool->mutex);
}

// ---- Working

/// Runs tasks until none is left. A worker that wakes late causes no delay: the others take its tasks.
static void work(ck_pool *pool, int worker) {
    for (long left = atomic_load(&pool->left); left > 0;) {
        if (!atomic_compare_exchange_weak(&pool->left, &left, left - 1)) continue;
        pool->body(pool->tasks - left, worker, pool->context);
        if (atomic_fetch_sub(&pool->unfinished, 1) == 1) wake(pool, &pool->caller, 1);
        left = atomic_load(&pool->left);
    }
}

static void *serve(void *argument) {
    const struct ck_worker *self = argument;
    for (;;) {
        wait_until(self->pool, &self->pool->idle, &self->pool->left, false);
        if (atomic_load(&self->pool->left) < 0) return NULL;
        work(self->pool, self->index);
    }
}

/// Calls a closure once per task below `tasks`, each on any worker; returns when all are done. One call at a time.
///
/// WorkerPool.swift declares this function with a non-escaping closure, which Swift passes as two words, code and
/// context.
__attribute__((swiftcall)) void ck_pool_run(ck_pool *pool, long tasks, ck_task *body, void *context);
void ck_pool_run(ck_pool *pool, long tasks, ck_task *body, void *context) {
    if (pool->workers == 1 || tasks <= 1) {
        for (long task = 0; task < tasks; task++) body(task, 0, context);
        return;
    }
    pool->tasks = tasks;
    pool->body = body;
    pool->context = context;
    atomic_store(&pool->unfinished, tasks);
    atomic_store(&pool->left, tasks);
    wake(pool, &pool->idle, tasks - 1);
    work(pool, 0);
    wait_until(pool, &pool->caller, &pool->unfinished, true);
}

// ---- Creating and destroying

ck_pool *ck_pool_create(int workers) {
    ck_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->threads = calloc((size_t)workers, sizeof *pool->threads);
    pool->arguments = calloc((size_t)workers, sizeof *pool->arguments);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->idle.wake, NULL);
    pthread_cond_init(&pool->caller.wake, NULL);
    pool->workers = 1;
    pool->spin = workers > ck_allowed_cores() ? 0 : SPIN_NANOSECONDS;
    for (int i = 1; i < workers && pool->threads && pool->arguments; i++) {
        pool->arguments[i] = (struct ck_worker){pool, i};
        if (pthread_create(&pool->threads[i], NULL, serve, &pool->arguments[i])) break;
        pool->workers++;
    }
    if (pool->workers < workers) {
        ck_pool_destroy(pool);
        return NULL;
    }
    return pool;
}

void ck_pool_destroy(ck_pool *pool) {
    atomic_store(&pool->left, -1);
    wake(pool, &pool->idle, pool->workers);
    for (int i = 1; i < pool->workers; i++) pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->idle.wake);
    pthread_cond_destroy(&pool->caller.wake);
    free(pool->threads);
    free(pool->arguments);
    free(pool);
}
