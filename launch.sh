#!/usr/bin/env bash
# Installs and builds what is missing and runs densenet over MPI ranks: ./launch.sh --help.
set -euo pipefail

# The folder of this script, links followed. densenet itself runs in the caller's directory.
root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
binary=$root/.build/release/densenet
# What the program was built from; Swift's own libraries are linked in, so that other nodes need not have them.
stamp=$root/.build/release/densenet.sources build_options=(-c release --static-swift-stdlib --product densenet)
ranks='' hostfile='' verbose=0 max_restarts=0 min_ranks='' folder='' made_folder='' stderr_is_gone=0

usage() {
    cat <<'TEXT'
usage: ./launch.sh [-v] [-n RANKS] [--hostfile FILE] [--] [COMMAND [OPTION …]]
  ./launch.sh                        set up, build, and train on the built-in synthetic set, one rank a core
  ./launch.sh -n 2 train OPTION …    any densenet command; train, evaluate, verify and bench run over MPI ranks, others as one process
  ./launch.sh test [OPTION …]        set up and run the tests (options go to swift test)
  ./launch.sh build                  set up and build only

  -n RANKS          number of ranks; default: one a physical core, or the slots of the host file or of the SLURM allocation
  --hostfile FILE   Open MPI host file (see hostfiles/); every node needs this folder, built, and the data at the same path, the
                    packages openmpi-bin and libopenblas0, and ssh without a password
  --max-restarts N  train only: start again from the newest checkpoint, N times at most, when a rank has died or hangs
  --min-ranks M     with --max-restarts and --hostfile: go on without hosts that are gone, with M ranks at least; default: all
  -v                show what apt-get, swift and mpirun say
  --                the rest is densenet's

The program is built only where it is not there or its sources have changed; a node that runs it needs no Swift and no headers.
Files are relative to the directory that launch.sh is called from. The exit code is densenet's; 69 also when set-up or build fails,
and when a rank has died.
On the first SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 or SIGALRM training finishes its step, writes a checkpoint and exits with 75
(train --resume RUN goes on); a second one stops it at once.
TEXT
}

# Whoever reads our standard error may be gone (a closed terminal, a `tee` that Ctrl-C has ended); then the terminal itself gets the line.
say() {
    printf 'launch.sh: %s\n' "$*" >&2 && return 0 # in a trap a plain return has the code from before it
    stderr_is_gone=1
    { printf 'launch.sh: %s\n' "$*" >/dev/tty; } 2>/dev/null || true
}
fail() { say "$2" && exit "$1"; } # CODE MESSAGE

# Runs a command and shows its output only when it fails, or with -v.
quietly() {
    local output code=0
    ((verbose)) && { "$@" >&2; return; }
    output=$("$@" 2>&1) || { code=$? && printf '%s\n' "$output" >&2; }
    return "$code"
}

# --- What has to be there ---

# PACKAGE…: installs Debian's packages where root may, and says what to do where not.
install() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
    command -v apt-get >/dev/null || fail 69 "not Debian, and something is missing that it calls $*; install that"
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail 69 "packages are missing; as root: apt-get install $*"
        apt=(sudo "${apt[@]}")
    fi
    say "installing system packages: $*"
    quietly "${apt[@]}" update || say "apt-get update failed, trying with the lists at hand"
    quietly "${apt[@]}" install -y --no-install-recommends "$@" ||
        fail 69 "apt-get could not install the packages; as root: apt-get install $*"
}

# What a built program needs: MPI's launcher and the libraries that it is linked with.
require_to_run() {
    local missing=()
    command -v mpirun >/dev/null || missing+=(openmpi-bin)
    [[ $(ldd "$binary" 2>/dev/null) != *'not found'* ]] || missing=(openmpi-bin libopenblas0 zlib1g)
    ((${#missing[@]} == 0)) || install "${missing[@]}"
}

require_to_build() {
    local package missing=() where
    command -v pkg-config >/dev/null || missing+=(pkg-config) # SwiftPM finds the libraries with it
    if command -v dpkg-query >/dev/null; then
        for package in libopenmpi-dev openmpi-bin libopenblas-dev zlib1g-dev; do
            [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
        done
    fi
    ((${#missing[@]} == 0)) || install "${missing[@]}"
    for where in '' /opt/swift/usr/bin /usr/local/swift/usr/bin "${HOME:-}/.local/share/swiftly/bin"; do
        PATH=${where:+$where:}$PATH
        ! command -v swift >/dev/null || return 0
    done
    fail 69 "Swift 6.2 or later is needed to build: install it from https://www.swift.org/install/linux/ and put its usr/bin into PATH"
}

# --- The program ---

# One line that changes with any byte of what the program is built from.
sources() {
    cd -- "$root" && { echo "${build_options[*]}" && find Package.swift Sources -type f -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum; } | sha256sum
}

# A folder with a built program and no sources is as good.
is_built() { [[ -x $binary ]] && { [[ ! -d $root/Sources ]] || [[ $(cat -- "$stamp" 2>/dev/null) == "$(sources)" ]]; }; }

# SwiftPM needs a home that can be written to, and a folder for temporary files of letters that it knows, with room.
prepare_swift() {
    local where LC_ALL=C
    mkdir -p -- "$root/.build" 2>/dev/null && [[ -w $root/.build ]] ||
        fail 69 "$binary is missing or older than its sources, and $root/.build cannot be written to; its owner has to run: ./launch.sh build"
    [[ -d ${HOME:-} && -w ${HOME:-} ]] || export HOME=$root/.build
    for where in "${TMPDIR:-/tmp}" /tmp /var/tmp "$root/.build/tmp"; do
        [[ $where != "$root"* ]] || mkdir -p -- "$where"
        if [[ -d $where && -w $where && $where != *[!\ -~]* ]] && (($(df -Pk -- "$where" | awk 'END { print $4 }') > 100000)); then
            export TMPDIR=$where
            break
        fi
    done
    # A build folder that was copied, or whose folder was moved, has its former place in all it holds.
    for where in "$root"/.build/{debug,release}.yaml; do
        [[ -e $where ]] && ! grep -qF -- "\"$root/" "$where" || continue
        say "$root/.build is of another folder; building anew"
        rm -rf -- "$root"/.build/* "$root"/.build/.[!.]*
    done
}

# LOG: tells while a build waits for another one, which would else look like a build without end.
tell_of_waiting() {
    local seconds=0
    while sleep 1 && kill -0 $$ 2>/dev/null; do
        [[ $(tail -c 25 -- "$1") == *'finished execution...' ]] || continue
        ((seconds++ % 30)) ||
            say "waiting for another build of this folder (process $(sed -n 's/.*PID: \([0-9]*\).*/\1/p' "$1")), for $seconds s so far"
    done
}

build() {
    local log code=0 now watcher
    ! is_built || return 0
    prepare_swift
    require_to_build
    say "building densenet (release)"
    now=$(sources)
    if ((verbose)); then
        swift build --package-path "$root" "${build_options[@]}" >&2 || code=$?
    else
        log=$(mktemp)
        tell_of_waiting "$log" &
        watcher=$!
        swift build --package-path "$root" "${build_options[@]}" >"$log" 2>&1 || code=$?
        kill "$watcher" 2>/dev/null || true
        ((code == 0)) || cat -- "$log" >&2
        rm -f -- "$log"
    fi
    ((code == 0)) || fail 69 "the build failed"
    printf '%s\n' "$now" >"$stamp"
}

# --- The ranks ---

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
    options=(-x OPENBLAS_NUM_THREADS=1 -x "DENSENET_LAUNCHER=$(uname -n)") # ranks of this host leave their last words to us
    [[ -z ${DENSENET_SIMD:-} ]] || options+=(-x DENSENET_SIMD) # mpirun hands no variable on to other hosts by itself
    # The ranks have pipes, whatever we have; rank zero asks our terminal for its width.
    [[ ! -t 2 ]] || options+=(-x "DENSENET_TERMINAL=$(stty size <&2 | cut -d ' ' -f 2) $(readlink /proc/self/fd/2)")
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
        ((verbose || ${SLURM_JOB_NUM_NODES:-2} > 1)) || options+=(-q)
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

# How many processes the kernel has ended for want of memory: in this control group where it counts them, else on this machine.
memory_kills() {
    local group file
    group=$(sed -n 's/^[0-9]*:\([^:]*,\)\?memory\(,[^:]*\)\?:\(.*\)/\/memory\3\/memory.oom_control/p; s/^0::\(.*\)/\1\/memory.events/p' \
        /proc/self/cgroup | LC_ALL=C sort -r | head -n 1)
    for file in "/sys/fs/cgroup$group" /sys/fs/cgroup/memory.events /proc/vmstat; do
        sed -n 's/^oom_kill //p' "$file" 2>/dev/null | grep . && return
    done
    echo 0
}

# mpirun answers SIGTERM and SIGINT by killing the ranks a second later, and ends with 1. So while it trains it does not see SIGTERM and
# SIGHUP, which SLURM and others send to all processes at once, and has a session of its own, where a Ctrl-C does not reach it. SIGUSR1 it
# hands on to all ranks, on all nodes; they end their step, write a checkpoint, and their exit code is mpirun's.
# Sets `code` to the exit code, and `asked` to the number of signals.
run_over_ranks() {
    local killed='' stop_with=TERM block=() kills memory=()
    kills=$(memory_kills) code=0 asked=0
    [[ $1 != train ]] || stop_with=USR1 block=(env --block-signal=TERM,HUP)
    ! ((verbose)) || say "mpirun ${options[*]} $binary $*"
    # mpirun would die of a SIGUSR1 that comes before or after its own handlers are in place, so it starts with it ignored.
    (trap '' USR1 && exec setsid setpriv --pdeathsig "$stop_with" "${block[@]}" mpirun "${options[@]}" "$binary" "$@" </dev/null) &
    local mpirun=$!

    # shellcheck disable=SC2329 # called by the traps
    stop() {
        if [[ $stop_with == USR1 ]] && ((asked++ == 0)); then
            say "SIG$1: training ends after this step, with a checkpoint; once more stops it at once"
            # Again each second: mpirun drops a signal that comes before its ranks have started.
            while kill -USR1 "$mpirun"; do sleep 1; done >/dev/null 2>&1 &
        else
            killed=$1
            kill -INT "$mpirun" 2>/dev/null || true
            # An mpirun that hangs in its own start hears nothing; the ranks end with it.
            { sleep 5 && kill -KILL "$mpirun"; } >/dev/null 2>&1 &
        fi
    }
    # Ctrl-Z: mpirun stops the ranks, and lets them go on.
    # shellcheck disable=SC2329
    suspend() {
        kill -TSTP "$mpirun" 2>/dev/null || true
        kill -STOP $$
        kill -CONT "$mpirun" 2>/dev/null || true
    }
    local signal
    for signal in INT TERM HUP USR1 USR2 ALRM; do trap "stop $signal" "$signal"; done
    trap suspend TSTP
    trap : PIPE # `say` sees it

    wait "$mpirun" || code=$?
    while ((code > 128)) && kill -0 "$mpirun" 2>/dev/null; do # our signal ended the wait, not mpirun
        code=0
        wait "$mpirun" || code=$?
    done
    [[ -z $killed ]] || end $((128 + $(kill -l "$killed")))
    ((code != 137)) || [[ $(memory_kills) == "$kills" ]] || memory=(--out-of-memory)
    ((code == 0)) || [[ -z $folder ]] || "$binary" post-mortem "${memory[@]}" -- "$folder" "$code" || true
    if ((code > 128 && code <= 192)); then
        say "a rank was killed by signal $((code - 128)) ($(kill -l "$code"))${memory:+: the kernel ended it for want of memory}"
        code=69
    elif ((code > 192)); then # Open MPI's own codes: it has told what it lost
        say "mpirun gave up with $code: it has lost a host, or could not reach one"
        code=69
    elif ((code == 1 && !verbose)) && [[ $1 != verify ]]; then
        say "mpirun could not run the ranks; -v shows what it says"
    elif ((code == 75 && stderr_is_gone)); then
        say "stopped; go on with: train --resume $folder"
    fi
}

# CODE: a folder that we made and nobody has used goes again.
end() {
    [[ -z $made_folder ]] || rmdir -- "$made_folder" runs 2>/dev/null || true
    exit "$1"
}

# Sets `folder` to the run folder, and `arguments` to those of training with the folder named.
name_folder() {
    local model='' name count=1
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
    [[ -z $folder ]] || return 0
    [[ $model != *[!-a-z0-9]* ]] || model=
    name=runs/$(date +%F-%H%M%S)$model folder=$name
    # Whoever makes the folder has the name; of runs that start in the same second the others take another.
    mkdir -p runs 2>/dev/null || true
    until mkdir -- "$folder" 2>/dev/null; do
        [[ -e $folder ]] || fail 69 "cannot make the run folder $PWD/$folder; choose one with --out"
        folder=$name-$((++count))
    done
    made_folder=$folder
    arguments+=(--out "$folder")
}

# Sets `arguments` to those that go on with the run; some options may come along.
resume() {
    [[ -e $folder/config.json ]] || return 0 # nothing is there yet to go on with
    arguments=(train --resume "$folder")
    local kept='^--(threads|collective-timeout)(=|$)'
    # More epochs than the run's folder may know of yet.
    [[ " $* " != *' --resume'* ]] || kept='^--(threads|collective-timeout|epochs)(=|$)'
    while (($#)); do
        if [[ $1 =~ $kept ]]; then
            arguments+=("$1")
            [[ $1 == *=* ]] || arguments+=("${2:-}")
        fi
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
        [[ ! $code =~ ^(0|64|65|66|75|130)$ ]] && ((asked == 0 && restarts < max_restarts)) || end "$code"
        ((++restarts))
        sleep 1 # for the locks and ports of ranks on other hosts
        [[ -z $hostfile ]] || drop_lost_hosts
        ((asked == 0)) || end "$code" # a signal that came meanwhile
        resume "$@"
        say "restart $restarts of $max_restarts: ${arguments[*]}"
    done
}

# Options of ours that stand behind the command, where densenet would not know them.
refuse_misplaced() {
    local word
    for word in "${@:2}"; do
        case $word in
            --) return 0 ;;
            -n | -n[0-9]* | --hostfile | --hostfile=* | --max-restarts | --max-restarts=* | --min-ranks | --min-ranks=*)
                fail 64 "$word goes before the command: ./launch.sh $word … $1 …"
                ;;
        esac
    done
}

# SLURM and mpirun would start as many launch.sh as ranks, each of which would start all ranks.
refuse_copies() {
    local copies=${SLURM_STEP_NUM_TASKS:-${OMPI_COMM_WORLD_SIZE:-1}}
    ((copies > 1)) || return 0
    ((${SLURM_PROCID:-${OMPI_COMM_WORLD_RANK:-0}} == 0)) || exit 64
    fail 64 "started $copies times at once (srun or mpirun in front of it); launch.sh starts the ranks itself: leave that out"
}

# VALUE OPTION
require_number() { [[ $1 =~ ^[1-9][0-9]{0,5}$ ]] || fail 64 "$2 wants a number from 1, found '$1'"; }

require_hostfile() {
    [[ -f $hostfile && -r $hostfile ]] || fail 66 "--hostfile wants a readable file, found '$hostfile'"
    ! grep -q $'\r' -- "$hostfile" || fail 65 "$hostfile: its lines end as in Windows (CR LF); mend it with: sed -i 's/\\r\$//' $hostfile"
    (($(slots_of "$hostfile"))) || fail 65 "$hostfile: names no host; a line is NAME slots=N"
}

while (($#)); do
    case $1 in
        # An option and its value in one word: as if they were two.
        -n[0-9]*) set -- -n "${1#-n}" "${@:2}" && continue ;;
        --hostfile=* | --max-restarts=* | --min-ranks=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
        -h | --help) usage && exit ;;
        -v) verbose=1 ;;
        -n) ranks=${2:-} && require_number "$ranks" -n && shift ;;
        --hostfile) hostfile=${2:-} && require_hostfile && shift ;;
        --max-restarts) max_restarts=${2:-} && require_number "$max_restarts" "$1" && shift ;;
        --min-ranks) min_ranks=${2:-} && require_number "$min_ranks" "$1" && shift ;;
        --) shift && break ;;
        --version) break ;;
        -*) fail 64 "unknown option '$1'; a command's options come after the command: ./launch.sh train $1 …" ;;
        *) break ;;
    esac
    shift
done
(($#)) || set -- train
refuse_copies
refuse_misplaced "$@"
if ((max_restarts)) && [[ $1 != train ]]; then fail 64 "--max-restarts goes with train, found '$1'"; fi
if [[ -n $min_ranks ]] && ! { ((max_restarts)) && [[ -n $hostfile ]]; }; then
    fail 64 "--min-ranks goes with --max-restarts and --hostfile"
fi
# mpirun refuses root unless told twice; in a container root is the usual user.
((EUID)) || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
case $1 in
    build) build ;;
    test)
        prepare_swift
        require_to_build
        cd -- "$root" && exec swift test "${@:2}"
        ;;
    *)
        build
        require_to_run
        wants_ranks "$@" || exec "$binary" "$@"
        [[ $1 != train ]] || train_with_restarts "$@"
        choose_options
        run_over_ranks "$@"
        exit "$code"
        ;;
esac
