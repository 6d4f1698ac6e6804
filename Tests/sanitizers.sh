#!/usr/bin/env bash
# Runs the tests under a sanitizer: `Tests/sanitizers.sh address` all of them, `Tests/sanitizers.sh thread` those of what has
# threads.
#
# The build has a folder of its own (.build-address, .build-thread). The ranks that tests start by mpirun are built alike.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/..
sanitizer=${1:-}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Tests expect the signals of traps, and Swift's own report of one reads the stack as no program may.
common=exitcode=99:handle_sigill=0:handle_sigtrap=0:handle_abort=0
export SWIFT_BACKTRACE=enable=no
export DENSENET_SANITIZER=$sanitizer # a sanitizer keeps memory that has been given back: none can be measured
case $sanitizer in
    address)
        # Open MPI and the Swift run-time keep some memory to the end, by design; leaks are no part of this check.
        # Tests look at the memory of programs that must not take much: little quarantine.
        export ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16:$common
        filter=()
        ;;
    thread)
        export TSAN_OPTIONS="$common:suppressions=$root/Tests/thread-suppressions.txt"
        filter=(--filter 'BatchLoader|WorkerPool|Watchdog|Checkpoint|RankTests|DistributedTests|SameRunOnRanks|StopAndResume')
        ;;
    *)
        echo "usage: Tests/sanitizers.sh address|thread [OPTIONS OF swift test]" >&2
        exit 64
        ;;
esac
cd -- "$root"
exec swift test --sanitize="$sanitizer" --build-path ".build-$sanitizer" "${filter[@]}" "${@:2}"
