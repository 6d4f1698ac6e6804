#ifndef COPENMPI_SHIM_H
#define COPENMPI_SHIM_H

#include <errno.h>
#include <mpi.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

// Swift imports MPI's functions and integer constants, but not the constants that are macros with a cast. Each is a function here.

static inline MPI_Comm _Nonnull cmpi_comm_world(void) { return MPI_COMM_WORLD; }
static inline MPI_Info _Nonnull cmpi_info_null(void) { return MPI_INFO_NULL; }
static inline MPI_Errhandler _Nonnull cmpi_errors_return(void) { return MPI_ERRORS_RETURN; }
static inline MPI_Request _Nonnull cmpi_request_null(void) { return MPI_REQUEST_NULL; }

// An address that is never followed: it tells a collective call that the receive buffer holds the input as well.
static inline const void *_Nonnull cmpi_in_place(void) { return MPI_IN_PLACE; }

// A null pointer in Open MPI, an address in other implementations.
static inline MPI_Status *_Nullable cmpi_status_ignore(void) { return MPI_STATUS_IGNORE; }
static inline MPI_Status *_Nullable cmpi_statuses_ignore(void) { return MPI_STATUSES_IGNORE; }

static inline MPI_Datatype _Nonnull cmpi_float(void) { return MPI_FLOAT; }
static inline MPI_Datatype _Nonnull cmpi_double(void) { return MPI_DOUBLE; }
static inline MPI_Datatype _Nonnull cmpi_int32(void) { return MPI_INT32_T; }
static inline MPI_Datatype _Nonnull cmpi_int64(void) { return MPI_INT64_T; }
static inline MPI_Datatype _Nonnull cmpi_uint8(void) { return MPI_UINT8_T; }
static inline MPI_Datatype _Nonnull cmpi_uint64(void) { return MPI_UINT64_T; }

static inline MPI_Op _Nonnull cmpi_sum(void) { return MPI_SUM; }
static inline MPI_Op _Nonnull cmpi_max(void) { return MPI_MAX; }

// Declared by <sys/uio.h> for GNU sources only.
ssize_t process_vm_readv(
    pid_t process, const struct iovec *own, unsigned long own_count, const struct iovec *other, unsigned long other_count,
    unsigned long flags);

/// Whether two processes with the same parent may read each other's memory, as ranks of a host do. Systems forbid it by filters on
/// system calls, by Yama's ptrace_scope and by namespaces: only an attempt tells.
static inline bool cmpi_siblings_read_memory(void) {
    static int secret;
    secret = 0;
    const pid_t owner = fork();
    if (owner == 0) { // what a forked child of a program with threads may do
        alarm(10);
        for (;;) pause();
    }
    if (owner < 0) return false;
    secret = 1; // the owner has kept its zero
    const pid_t reader = fork();
    if (reader == 0) {
        alarm(10);
        int found = -1;
        struct iovec own = {&found, sizeof found}, other = {&secret, sizeof secret};
        const bool is_read = process_vm_readv(owner, &own, 1, &other, 1, 0) == (ssize_t)sizeof found && found == 0;
        _exit(is_read ? 0 : 1);
    }
    int status = -1;
    if (reader > 0) while (waitpid(reader, &status, 0) < 0 && errno == EINTR) {}
    kill(owner, SIGKILL);
    while (waitpid(owner, 0, 0) < 0 && errno == EINTR) {}
    return status == 0;
}

#endif
