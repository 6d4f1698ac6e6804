// A program that links this waits up to a millisecond before and after each call of the file system, so that a kill at a random
// moment hits each place between two of them.
#ifndef SLOW_CALLS_H
#define SLOW_CALLS_H

/// Whether the calls are slow from now on; they are not when the program starts.
void slow_calls_set(int on);

#endif
