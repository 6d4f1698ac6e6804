// A pool of threads that share the work of one call at a time. Idle threads spin for a moment, since the next call is
// usually near, then sleep.
#define _GNU_SOURCE // for sched_getaffinity
#include "include/CKernels.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SPINS = 20000 };

/// The code of a Swift closure of a task and a worker; what it captured comes in the register where Swift looks for it.
typedef __attribute__((swiftcall)) void ck_task(long task, long worker, __attribute__((swift_context)) void *context);

struct ck_pool {
    int workers; // with the caller
    pthread_t *threads;
    struct ck_worker *arguments;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    atomic_uint generation; // counts calls; a change starts the workers
    atomic_int sleeping, running, ending;
    atomic_long next;
    long tasks;
    ck_task *body;
    void *context;
};

struct ck_worker {
    struct ck_pool *pool;
    int index;
};

int ck_allowed_cores(void) {
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) ? 1 : CPU_COUNT(&cores);
}

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void work(ck_pool *pool, int worker) {
    for (long task; (task = atomic_fetch_add(&pool->next, 1)) < pool->tasks;) pool->body(task, worker, pool->context);
}

static void await_call(ck_pool *pool, unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->generation) != seen) return;
        pause_briefly();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleeping, 1);
    while (atomic_load(&pool->generation) == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *serve(void *argument) {
    struct ck_worker *self = argument;
    ck_pool *pool = self->pool;
    for (unsigned seen = 0;; seen++) {
        await_call(pool, seen);
        if (atomic_load(&pool->ending)) return NULL;
        work(pool, self->index);
        atomic_fetch_sub(&pool->running, 1);
    }
}

static void start(ck_pool *pool) {
    atomic_fetch_add(&pool->generation, 1);
    if (!atomic_load(&pool->sleeping)) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

ck_pool *ck_pool_create(int workers) {
    ck_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->threads = calloc((size_t)workers, sizeof *pool->threads);
    pool->arguments = calloc((size_t)workers, sizeof *pool->arguments);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->workers = 1;
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

/// Calls a closure once for each task below `tasks`, on any worker; returns when all are done. One call at a time.
///
/// Swift passes the two halves of a closure, code and context, one after the other. `WorkerPool` declares this function
/// with a closure that does not escape; by C's types it could not pass one without allocating.
__attribute__((swiftcall)) void ck_pool_run(ck_pool *pool, long tasks, ck_task *body, void *context);
void ck_pool_run(ck_pool *pool, long tasks, ck_task *body, void *context) {
    if (pool->workers == 1 || tasks <= 1) {
        for (long task = 0; task < tasks; task++) body(task, 0, context);
        return;
    }
    pool->tasks = tasks;
    pool->body = body;
    pool->context = context;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->running, pool->workers - 1);
    start(pool);
    work(pool, 0);
    while (atomic_load(&pool->running)) pause_briefly();
}

void ck_pool_destroy(ck_pool *pool) {
    atomic_store(&pool->ending, 1);
    start(pool);
    for (int i = 1; i < pool->workers; i++) pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    free(pool->threads);
    free(pool->arguments);
    free(pool);
}
