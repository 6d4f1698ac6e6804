// Counts what a program allocates. Linked into an executable, its functions stand in front of the C library's.
#ifndef ALLOCATION_COUNTER_H
#define ALLOCATION_COUNTER_H

/// Whether allocations are counted in this build; a sanitizer has its own allocator.
int allocation_counter_works(void);

/// Counts from now on, on all threads.
void allocation_counter_start(void);

/// How often memory was allocated since the start. The first few places are written to standard error.
long allocation_counter_stop(void);

#endif
