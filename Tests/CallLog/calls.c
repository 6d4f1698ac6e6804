#include "include/CallLog.h"
#include <mpi.h>

enum { capacity = 4096 };
static struct { const char *name; long elements; int size; } calls[capacity];
static int count, is_on;

void call_log_start(void) { count = 0, is_on = 1; }
int call_log_stop(void) { return is_on = 0, count; }
const char *call_log_name(int index) { return calls[index].name; }
long call_log_elements(int index) { return calls[index].elements; }
int call_log_element_size(int index) { return calls[index].size; }

static void note(const char *name, long elements, MPI_Datatype type) {
    if (!is_on || count == capacity) return;
    calls[count].name = name;
    calls[count].elements = elements;
    calls[count].size = 0;
    if (type != MPI_DATATYPE_NULL) PMPI_Type_size(type, &calls[count].size);
    count++;
}

int MPI_Allreduce(const void *from, void *to, int elements, MPI_Datatype type, MPI_Op operation, MPI_Comm ranks) {
    note("MPI_Allreduce", elements, type);
    return PMPI_Allreduce(from, to, elements, type, operation, ranks);
}

int MPI_Iallreduce(const void *from, void *to, int elements, MPI_Datatype type, MPI_Op operation, MPI_Comm ranks,
                   MPI_Request *request) {
    note("MPI_Iallreduce", elements, type);
    return PMPI_Iallreduce(from, to, elements, type, operation, ranks, request);
}

int MPI_Bcast(void *values, int elements, MPI_Datatype type, int root, MPI_Comm ranks) {
    note("MPI_Bcast", elements, type);
    return PMPI_Bcast(values, elements, type, root, ranks);
}

int MPI_Allgather(const void *from, int sent, MPI_Datatype sent_type, void *to, int elements, MPI_Datatype type, MPI_Comm ranks) {
    note("MPI_Allgather", elements, type);
    return PMPI_Allgather(from, sent, sent_type, to, elements, type, ranks);
}

int MPI_Ibarrier(MPI_Comm ranks, MPI_Request *request) {
    note("MPI_Ibarrier", 0, MPI_DATATYPE_NULL);
    return PMPI_Ibarrier(ranks, request);
}

int MPI_Barrier(MPI_Comm ranks) {
    note("MPI_Barrier", 0, MPI_DATATYPE_NULL);
    return PMPI_Barrier(ranks);
}
