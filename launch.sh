#!/usr/bin/env bash
# Installs what is missing, builds densenet and runs it over MPI ranks: ./launch.sh --help.
set -euo pipefail

# The folder of this script, links followed. densenet itself runs in the caller's directory.
root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
binary=$root/.build/release/densenet
ranks='' hostfile='' verbose=0 max_restarts=0 min_ranks='' folder=''

usage() {
    cat <<'EOF'
usage: ./launch.sh [-v] [-n RANKS] [--hostfile FILE] [--] [COMMAND [OPTION …]]
  ./launch.sh                        set up, build, and train on the built-in synthetic set, one rank a core
  ./launch.sh -n 2 train OPTION …    any densenet command; train, evaluate, verify and bench run over MPI ranks, others as one process
  ./launch.sh test [OPTION …]        set up and run the tests (options go to swift test)
  ./launch.sh build                  set up and build only

  -n RANKS          number of ranks; default: one a physical core, or the slots of the host file or of the SLURM allocation
  --hostfile FILE   Open MPI host file (see hostfiles/); every node needs this folder, Swift's runtime libraries and the data at
                    the same path, the packages openmpi-bin and libopenblas0, and ssh without a password; the build happens here
  --max-restarts N  train only: start again from the newest checkpoint, N times at most, when a rank has died or hangs
  --min-ranks M     with --max-restarts and --hostfile: go on without hosts that are gone, with M ranks at least; default: all
  -v                show what apt-get, swift and mpirun say
  --                the rest is densenet's

Files are relative to the directory that launch.sh is called from. The exit code is densenet's; 69 also when set-up or build fails,
and when a rank has died.
On the first SIGINT, SIGTERM or SIGHUP training finishes its step, writes a checkpoint and exits with 75 (train --resume RUN
goes on); a second one stops it at once.
EOF
}

say() { printf 'launch.sh: %s\n' "$*" >&2 || true; } # the terminal may be gone (SIGHUP)
fail() { say "$2" && exit "$1"; } # CODE MESSAGE

# Runs a command and shows its output only when it fails, or with -v.
quietly() {
    local output code=0
    ((verbose)) && { "$@" >&2; return; }
    output=$("$@" 2>&1) || { code=$? && printf '%s\n' "$output" >&2; }
    return "$code"
}

install_packages() {
    local package missing=() apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
    if ! command -v dpkg-query >/dev/null; then
        command -v mpirun >/dev/null || fail 69 "not Debian: install Open MPI, OpenBLAS, zlib (with headers) and pkg-config"
        return
    fi
    for package in libopenmpi-dev openmpi-bin libopenblas-dev zlib1g-dev; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    command -v pkg-config >/dev/null || missing+=(pkg-config) # SwiftPM finds the libraries with it
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail 69 "packages are missing; as root: apt-get install ${missing[*]}"
        apt=(sudo "${apt[@]}")
    fi
    say "installing system packages: ${missing[*]}"
    quietly "${apt[@]}" update || say "apt-get update failed, trying with the lists at hand"
    quietly "${apt[@]}" install -y --no-install-recommends "${missing[@]}" ||
        fail 69 "apt-get could not install the packages; as root: apt-get install ${missing[*]}"
}

find_swift() {
    local folder
    for folder in '' /opt/swift/usr/bin /usr/local/swift/usr/bin "${HOME:-}/.local/share/swiftly/bin"; do
        PATH=${folder:+$folder:}$PATH
        ! command -v swift >/dev/null || return 0
    done
    fail 69 "Swift 6.2 or later is needed: install it from https://www.swift.org/install/linux/ and put its usr/bin into PATH"
}

build() {
    say "building densenet (release)"
    quietly swift build --package-path "$root" -c release --product densenet || fail 69 "the build failed"
}

# Turns a list of processors such as 0-3,8 into one number a line.
expand() { tr ',' '\n' | while IFS=- read -r first last; do seq "$first" "${last:-$first}"; done; }

# Sets `slots` to the number of ranks that this machine has room for, and `bind` to none where binding would go wrong.
look_at_machine() {
    local allowed cpu quota=max period=1
    allowed=$(taskset -cp $$ | sed 's/.*: //' | expand)
    # mpirun binds to the first cores of the machine, also those that taskset has taken away; a container may refuse all binding.
    [[ $allowed == "$(expand </sys/devices/system/cpu/online)" ]] || bind=none
    taskset -c "${allowed%%$'\n'*}" true 2>/dev/null || bind=none
    # Physical cores: a second hardware thread of a core adds little to arithmetic.
    slots=$(for cpu in $allowed; do
        cat "/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list" 2>/dev/null || echo "$cpu"
    done | sort -u | wc -l)
    # A container's quota of processor time; other containers would be bound to the same first cores.
    [[ ! -r /sys/fs/cgroup/cpu.max ]] || read -r quota period </sys/fs/cgroup/cpu.max
    if [[ $quota != max ]] && ((quota / period < slots)); then
        slots=$((quota < period ? 1 : quota / period)) bind=none
    fi
}

# True for the commands that share their work over ranks, unless only their help is wanted.
wants_ranks() {
    [[ " $* " != *' --help '* && " $* " != *' -h '* ]] || return 1
    [[ $1 == train || $1 == evaluate || $1 == verify || $1 == bench || -n $ranks$hostfile ]]
}

# Sets `options` to what mpirun needs here.
choose_options() {
    local slots=0 bind=core:if-supported,overload-allowed
    options=(-x OPENBLAS_NUM_THREADS=1)
    [[ -z ${DENSENET_SIMD:-} ]] || options+=(-x DENSENET_SIMD) # mpirun hands no variable on to other hosts by itself
    [[ ! -t 2 ]] || options+=(-x DENSENET_TERMINAL=1) # the ranks have pipes, whatever we have
    # A filter on system calls (in containers) may forbid ranks to read each other's memory, which Open MPI would try.
    ! grep -q '^Seccomp:\s*2' /proc/self/status || options+=(--mca btl_vader_single_copy_mechanism none)

    # A host that falls silent (power, network) is given up after a minute; by default mpirun waits for eight.
    [[ -z $hostfile${SLURM_JOB_ID:-} ]] ||
        options+=(--mca oob_tcp_keepalive_time 30 --mca oob_tcp_keepalive_intvl 10 --mca oob_tcp_keepalive_probes 3)

    if [[ -n $hostfile ]]; then
        options+=(--hostfile "$hostfile")
        slots=$(sed 's/#.*//' "$hostfile" | awk -F 'slots *= *' 'NF > 1 { sum += $2 } END { print sum + 0 }')
    elif [[ -n ${SLURM_JOB_ID:-} ]]; then
        slots=${SLURM_NTASKS:-0}
    else
        look_at_machine
        ranks=${ranks:-$slots}
        ((verbose)) || options+=(-q) # the error is densenet's one line; on several nodes mpirun adds which one failed
        # Fewer ranks than cores: each gets its share for its threads.
        ((ranks * 2 > slots)) || [[ $bind == none ]] || options+=(--map-by "slot:PE=$((slots / ranks))")
    fi
    if ((${ranks:-0} > slots && slots > 0)); then
        options+=(--oversubscribe --mca mpi_yield_when_idle 1)
        bind=none
    fi
    options+=(--bind-to "$bind" ${ranks:+-n "$ranks"})
}

# mpirun answers SIGTERM and SIGINT by killing the ranks a second later and always ends with 1, but hands SIGUSR1 on to all ranks,
# on all nodes. So the ranks run in a session of their own, where a Ctrl-C at the terminal does not reach mpirun.
# Sets `code` to the exit code, and `asked` to the number of signals.
run_over_ranks() {
    local killed='' stop_with=TERM
    code=0 asked=0
    [[ $1 != train ]] || stop_with=USR1
    ! ((verbose)) || say "mpirun ${options[*]} $binary $*"
    # mpirun would die of a SIGUSR1 that comes before or after its own handlers are in place, so it starts with it ignored.
    (trap '' USR1 && exec setsid setpriv --pdeathsig "$stop_with" mpirun "${options[@]}" "$binary" "$@" </dev/null) &
    local mpirun=$!

    # shellcheck disable=SC2329 # called by the traps
    stop() {
        if [[ $stop_with == USR1 ]] && ((asked++ == 0)); then
            say "SIG$1: training ends after this step, with a checkpoint; once more stops it at once"
            # Again each second: mpirun drops a signal that comes before its ranks have started.
            while kill -USR1 "$mpirun"; do sleep 1; done >/dev/null 2>&1 &
        else
            killed=$1
            kill -TERM "$mpirun" 2>/dev/null || true
        fi
    }
    trap 'stop INT' INT && trap 'stop TERM' TERM && trap 'stop HUP' HUP

    wait "$mpirun" || code=$?
    while ((code > 128)) && kill -0 "$mpirun" 2>/dev/null; do # our signal ended the wait, not mpirun
        code=0
        wait "$mpirun" || code=$?
    done
    [[ -z $killed ]] || exit $((128 + $(kill -l "$killed")))
    if ((code > 128 && code <= 192)); then
        [[ -z $folder ]] || "$binary" last-words "$folder" || true
        say "a rank was killed by signal $((code - 128)) ($(kill -l "$code"))"
        code=69
    elif ((code > 192)); then # Open MPI's own codes: it has told what it lost
        say "mpirun gave up with $code: it has lost a host, or could not reach one"
        code=69
    elif ((code == 1 && !verbose)) && [[ $1 != verify ]]; then
        say "mpirun could not run the ranks; -v shows what it says"
    fi
}

# Sets `folder` to the run folder, and `arguments` to those of training with the folder named.
name_folder() {
    local model=''
    arguments=("$@")
    while (($#)); do
        case $1 in
            --out | --resume) folder=${2:-} ;;
            --out=* | --resume=*) folder=${1#*=} ;;
            --model) model=-${2:-} ;;
            --model=*) model=-${1#*=} ;;
        esac
        shift
    done
    [[ -n $folder ]] || { folder=runs/$(date +%F-%H%M%S)$model && arguments+=(--out "$folder"); }
}

# Sets `arguments` to those that go on with the run; some options may come along.
resume() {
    [[ -e $folder/config.json ]] || return 0 # nothing is there yet to go on with
    arguments=(train --resume "$folder")
    while (($#)); do
        case $1 in
            --threads | --collective-timeout) arguments+=("$1" "${2:-}") ;;
            --threads=* | --collective-timeout=*) arguments+=("$1") ;;
        esac
        shift
    done
}

# The slots of a host file; a line that names none has one.
slots_of() {
    sed 's/#.*//' "$1" | awk 'NF { sum += match($0, /slots *= */) ? substr($0, RSTART + RLENGTH) : 1 } END { print sum + 0 }'
}

# Leaves out the hosts of the host file that do not answer, as long as enough ranks are left.
drop_lost_hosts() {
    local line host lost=() kept=() wanted=${ranks:-$(slots_of "$hostfile")} left
    while IFS= read -r line; do
        read -r host _ <<<"${line%%#*}" || true
        [[ -n $host ]] || continue
        # The launch agent of the run itself (ssh, or what OMPI_MCA_plm_rsh_agent names) has to reach it.
        if timeout -k 5 30 mpirun --host "$host" -n 1 true </dev/null >/dev/null 2>&1; then
            kept+=("$line")
        else
            lost+=("$host")
        fi
    done <"$hostfile"
    ((${#lost[@]})) || return 0
    left=$(slots_of <(printf '%s\n' "${kept[@]}"))
    left=$((left < wanted ? left : wanted))
    ((left >= ${min_ranks:-$wanted})) ||
        fail 69 "no answer from ${lost[*]}; $left of $wanted ranks are left; give a --min-ranks of $left or less, or mend the host"
    mkdir -p -- "$folder" && printf '%s\n' "${kept[@]}" >"$folder/hosts"
    hostfile=$folder/hosts ranks=$left
    say "no answer from ${lost[*]}; going on with $ranks ranks (the result is as good, not bit for bit the same)"
}

# Trains, and starts again after a rank has died or hung. Exit codes that another try would not change end it.
train_with_restarts() {
    local restarts=0
    name_folder "$@"
    while true; do
        choose_options
        run_over_ranks "${arguments[@]}"
        [[ ! $code =~ ^(0|64|65|66|75|130)$ ]] && ((asked == 0 && restarts < max_restarts)) || exit "$code"
        ((++restarts))
        sleep 1 # for the locks and ports of ranks on other hosts
        [[ -z $hostfile ]] || drop_lost_hosts
        ((asked == 0)) || exit "$code" # a signal that came meanwhile
        resume "$@"
        say "restart $restarts of $max_restarts: ${arguments[*]}"
    done
}

while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        -v) verbose=1 ;;
        -n)
            [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || fail 64 "-n wants a number of ranks, found '${2:-}'"
            ranks=$2 && shift
            ;;
        --hostfile)
            [[ -f ${2:-} && -r $2 ]] || fail 66 "--hostfile wants a readable file, found '${2:-}'"
            hostfile=$2 && shift
            ;;
        --max-restarts | --min-ranks)
            [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || fail 64 "$1 wants a number from 1, found '${2:-}'"
            [[ $1 == --min-ranks ]] && min_ranks=$2 || max_restarts=$2
            shift
            ;;
        --) shift && break ;;
        -*) fail 64 "unknown option '$1'; a command's options come after the command: ./launch.sh train $1 …" ;;
        *) break ;;
    esac
    shift
done
(($#)) || set -- train
if ((max_restarts)) && [[ $1 != train ]]; then fail 64 "--max-restarts goes with train, found '$1'"; fi
if [[ -n $min_ranks ]] && ! { ((max_restarts)) && [[ -n $hostfile ]]; }; then
    fail 64 "--min-ranks goes with --max-restarts and --hostfile"
fi
install_packages
find_swift
# mpirun refuses root unless told twice; in a container root is the usual user.
((EUID)) || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
case $1 in
    build) build ;;
    test) cd -- "$root" && exec swift test "${@:2}" ;;
    *)
        build
        wants_ranks "$@" || exec "$binary" "$@"
        [[ $1 != train ]] || train_with_restarts "$@"
        choose_options
        run_over_ranks "$@"
        exit "$code"
        ;;
esac
