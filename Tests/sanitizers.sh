#!/usr/bin/env bash
# Runs tests under a sanitizer: `Tests/sanitizers.sh address` all tests, `Tests/sanitizers.sh thread` those of code with
# threads.
#
# Builds in a separate folder (.build-address, .build-thread). The programs that tests start with mpirun are sanitized, too.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/..
sanitizer=${1:-}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Tests expect the signals of traps, and Swift's own backtraces read the stack in ways that a sanitizer rejects.
common=exitcode=99:handle_sigill=0:handle_sigtrap=0:handle_abort=0
export SWIFT_BACKTRACE=enable=no
export DENSENET_SANITIZER=$sanitizer # a sanitizer keeps memory that has been given back: none can be measured
case $sanitizer in
    address)
        # Open MPI and the Swift runtime keep some memory until exit by design, so leaks are not checked.
        # Some tests limit the memory of programs: keep the quarantine small.
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
