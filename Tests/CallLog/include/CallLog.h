// Writes down which collective MPI calls a program makes. Linked into an executable, its functions stand in front of the MPI library's,
// which has each a second time under the name PMPI_… (MPI 3.1, section 14.2).
#ifndef CALL_LOG_H
#define CALL_LOG_H

/// Forgets what was written down, and begins.
void call_log_start(void);

/// Ends; returns the number of calls since the start.
int call_log_stop(void);

/// The name of a call, such as `MPI_Allreduce`.
const char *_Nonnull call_log_name(int index);

/// Its number of elements, and the bytes of each.
long call_log_elements(int index);
int call_log_element_size(int index);

#endif
