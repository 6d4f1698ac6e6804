#!/usr/bin/env bash
# Checks every C kernel against plain loops (Tests/KernelCheck): natively at each vector level of this CPU, and compiled
# for arm64 under qemu:
#
#     Tests/arm64.sh
#
# As root, installs qemu and Debian's C library for arm64 if they are missing. Without them it says what it skips and
# exits with 0. If a check fails it exits with 1.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/..
packages=(qemu-user-static libc6-dev-arm64-cross libgcc-12-dev-arm64-cross)
PATH=$PATH:/opt/swift/usr/bin:/usr/local/swift/usr/bin

say() { printf 'arm64: %s\n' "$*"; }
skip() { say "skipped: $*" && exit 0; }
fail() { say "FAILED: $*" && exit 1; }

# The kernels need clang for its pragmas that select targets and unroll loops. Swift's toolchain includes it.
compile() { # NAME OPTIONS…
    local file folder=$work/$1
    shift
    mkdir -p -- "$folder"
    for file in "$root"/Sources/CKernels/{,levels/}*.c "$root"/Tests/KernelCheck/*.c; do
        printf '%s\0' "$file"
    done | (cd -- "$folder" && xargs -0 -n 1 -P "$(nproc)" clang "$@" -O2 -Wall -Wextra -Werror -c) || fail "clang $* -c"
    clang "$@" -fuse-ld=lld -static -pthread "$folder"/*.o -lm -o "$folder/check" ||
        fail "the check does not link (${folder##*/})"
}

# Prints what the check printed.
run() { # WHERE COMMAND…
    local output
    output=$("${@:2}") || { printf '%s\n' "$output" && fail "$1"; }
    say "$1: $output"
}

check_here() {
    local level
    compile here
    for level in $("$work/here/check" levels); do
        run "on this CPU" env DENSENET_SIMD="$level" "$work/here/check"
    done
}

check_arm64() {
    local package missing=()
    [[ $(uname -m) != aarch64 ]] || return 0 # check_here has done it
    command -v dpkg-query >/dev/null || skip "under qemu: this is not Debian, which has the packages ${packages[*]}"
    for package in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    if ((${#missing[@]})); then
        ((EUID == 0)) || skip "under qemu: packages are missing; as root: apt-get install ${missing[*]}"
        say "installing ${missing[*]}"
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends \
            "${missing[@]}" >/dev/null 2>&1 || skip "under qemu: apt-get cannot install ${missing[*]}"
    fi
    compile arm64 --target=aarch64-linux-gnu
    run "under qemu" qemu-aarch64-static "$work/arm64/check"
}

command -v clang >/dev/null || skip "there is no clang; Swift's toolchain has one beside swift"
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
check_here
check_arm64
