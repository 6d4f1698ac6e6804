#!/usr/bin/env bash
# Installs and builds what is missing and runs densenet over MPI ranks: ./launch.sh --help.
set -euo pipefail

# Without one bash has a PATH of its own, which the programs that it starts do not see.
export PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
# The folder of this script, links followed. densenet itself runs in the caller's directory.
root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
binary=$root/.build/release/densenet
# What the program was built from; Swift's own libraries are linked in, so that other nodes need not have them.
stamp=$root/.build/release/densenet.sources build_options=(-c release --static-swift-stdlib --product densenet)
ranks='' per_node='' threads='' hostfile='' verbose=0 max_restarts=0 min_ranks='' stderr_is_gone=0

usage() {
    cat <<'TEXT'
usage: ./launch.sh [-v] [-n RANKS] [--hostfile FILE] [--] [COMMAND [OPTION …]]
  ./launch.sh                        set up, build, and train on the built-in synthetic set, on all cores
  ./launch.sh -n 2 train OPTION …    any densenet command; scan, train, evaluate, predict, verify, bench and plan run over MPI ranks, others as one process
  ./launch.sh test [OPTION …]        set up and run the tests (options go to swift test)
  ./launch.sh build                  set up and build only

  -n RANKS          number of ranks; default: one an L3 cache or NUMA domain where there are several, else one a physical core, of at
                    least 8 images a step each; the slots of the host file or the tasks of the SLURM allocation
  --ranks-per-node R, --threads T
                    ranks of each node, and threads of each rank; default: the cores, shared out (bench --tune tries what is fastest)
  --hostfile FILE   Open MPI host file (see hostfiles/); every node needs this folder, built, and the data at the same path, the
                    packages openmpi-bin, libopenblas0, libpng16-16 and libturbojpeg0, and ssh without a password
  --max-restarts N  train only: start again from the newest checkpoint, N times at most, when a rank has died or hangs
  --min-ranks M     with --max-restarts and --hostfile: continue without hosts that are gone, with M ranks at least; default: all
  -v                show what apt-get, swift and mpirun say
  --                the rest is densenet's

The program is built only where it is not there or its sources have changed; a node that runs it needs no Swift and no headers.
Files are relative to the directory that launch.sh is called from. The exit code is densenet's; 69 also when set-up or build fails,
and when a rank has died.
On the first SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 or SIGALRM training finishes its step, writes a checkpoint and exits with 75
(resume with: train --resume RUN); a second one stops it at once.
TEXT
}

# Whoever reads our standard error may be gone (a closed terminal, a `tee` that Ctrl-C has ended); then the terminal itself gets the line.
say() {
    printf 'launch.sh: %s\n' "$*" >&2 && return 0 # in a trap a plain return has the code from before it
    stderr_is_gone=1
    { printf 'launch.sh: %s\n' "$*" >/dev/tty; } 2>/dev/null || true
}
fail() { say "$2" && end "$1"; } # CODE MESSAGE
# CODE: a folder that was made for this start and that nobody has used goes again.
end() {
    [[ ${folder_is:-} != new ]] || rmdir -- "$folder" runs 2>/dev/null || true
    exit "$1"
}

# Runs a command and shows its output only when it fails, or with -v.
quietly() {
    local log code=0 watcher
    ((verbose)) && { "$@" >&2; return; }
    log=$(mktemp)
    tell_of_waiting "$log" &
    watcher=$!
    "$@" >"$log" 2>&1 || code=$?
    kill "$watcher" 2>/dev/null || true
    ((code == 0)) || cat -- "$log" >&2
    rm -f -- "$log"
    return "$code"
}

# LOG: tells while SwiftPM waits for another build, which would else look like a build without end.
tell_of_waiting() {
    local seconds=0
    while sleep 1 && kill -0 $$ 2>/dev/null; do
        [[ $(tail -c 25 -- "$1") == *'finished execution...' ]] || continue
        ((seconds++ % 30)) ||
            say "waiting for another build of this folder (process $(sed -n 's/.*PID: \([0-9]*\).*/\1/p' "$1")), for $seconds s so far"
    done
}

# --- What has to be there ---

# PACKAGE…: installs Debian's packages where root may, and says what to do where not.
install() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
    command -v apt-get >/dev/null || fail 69 "not Debian, and something is missing that it calls $*; install it or load its module"
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail 69 "packages are missing; as root: apt-get install $*; or load modules that have them"
        apt=(sudo "${apt[@]}")
    fi
    choose_tmpdir 1000 || true
    say "installing system packages: $*"
    quietly "${apt[@]}" update || say "apt-get update failed, trying with the lists at hand"
    quietly "${apt[@]}" install -y --no-install-recommends "$@" ||
        fail 69 "apt-get could not install the packages; as root: apt-get install $*"
}

# What a built program needs: MPI's launcher and the libraries that it is linked with.
require_to_run() {
    [[ $(ldd "$binary" 2>/dev/null) != *'not found'* ]] || install openmpi-bin libopenblas0 libpng16-16 libturbojpeg0 zlib1g
    command -v mpirun >/dev/null || install openmpi-bin
}

require_to_build() {
    local library missing=() where
    type mpirun pkg-config >/dev/null 2>&1 || missing+=(openmpi-bin pkg-config)
    # SwiftPM finds the libraries with pkg-config, Debian's and those of modules.
    for library in ompi-c=libopenmpi-dev openblas=libopenblas-dev libpng=libpng-dev libturbojpeg=libturbojpeg0-dev zlib=zlib1g-dev; do
        pkg-config --exists "${library%=*}" 2>/dev/null || ! command -v apt-get >/dev/null || missing+=("${library#*=}")
    done
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

# KIB: sets TMPDIR to a folder with that much room, of letters that SwiftPM knows; false where there is none.
choose_tmpdir() {
    local where room LC_ALL=C
    for where in "${TMPDIR:-/tmp}" /tmp /var/tmp "$root/.build/tmp"; do
        [[ $where != "$root"* ]] || mkdir -p -- "$where" 2>/dev/null || true
        [[ -d $where && -w $where && $where != *[!\ -~]* ]] || continue
        room=$(df -Pk -- "$where" 2>/dev/null | awk 'END { print $4 }') || true
        [[ $room =~ ^[0-9]+$ ]] && ((room < $1)) && continue # a file system that does not say is taken to have room
        export TMPDIR=$where && return
    done
    return 1
}

# SwiftPM needs a home that can be written to, and room for temporary files.
prepare_swift() {
    local where
    mkdir -p -- "$root/.build" 2>/dev/null && [[ -w $root/.build ]] ||
        fail 69 "$binary is missing or older than its sources, and $root/.build cannot be written to; its owner has to run: ./launch.sh build"
    [[ -d ${HOME:-} && -w ${HOME:-} ]] || export HOME=$root/.build
    choose_tmpdir 100000 || true
    # A build folder that was copied, or whose folder was moved, has its former place in all it holds. The program stays until a new
    # one takes its place.
    for where in "$root"/.build/{debug,release}.yaml; do
        [[ -e $where ]] && ! grep -qF -- "\"$root/" "$where" || continue
        say "$root/.build is of another folder; building anew"
        find "$root/.build" -depth -mindepth 1 ! -name release ! -path '*/release/densenet' ! -path '*/release/densenet.sources' \
            ! -path '*/release/*.resources*' -delete 2>/dev/null || true
    done
}

build() {
    local now
    ! is_built || return 0
    prepare_swift
    require_to_build
    say "building densenet (release)"
    now=$(sources)
    quietly swift build --package-path "$root" "${build_options[@]}" || fail 69 "the build failed"
    printf '%s\n' "$now" >"$stamp"
}

# --- The ranks ---

# Asks densenet what its command line means. Sets `start` to `ranks` for a command that shares its work over MPI ranks; `count` to their
# number (0: the scheduler's); `layout` to mpirun's options for them; `kills` to the number of processes that the kernel has ended as
# memory ran out; and for training `folder` to the run folder, `folder_is` to `new` where it was made for this start.
make_plan() {
    local plan slots=none && folder=''
    [[ -z $hostfile ]] || slots=$(slots_of "$hostfile" 0)
    plan=$("$binary" launch-plan "${ranks:-0}" "${per_node:-0}" "$slots" "$@") || end "$?"
    { read -r start count kills folder_is && read -ra layout && IFS= read -rd '' folder; } <<<"$plan" || true
    folder=${folder%$'\n'}
}

# Sets `options` to what mpirun needs here.
choose_options() {
    local name
    options=(-x OPENBLAS_NUM_THREADS=1 -x "DENSENET_LAUNCHER=$(uname -n)") # ranks of this host leave their last words to us
    # mpirun hands no variable on to other hosts by itself.
    for name in DENSENET_SIMD NO_COLOR; do [[ -z ${!name:-} ]] || options+=(-x "$name"); done
    # The ranks have pipes, whatever we have; rank zero asks our terminal for its width.
    [[ ! -t 2 ]] || options+=(-x "DENSENET_TERMINAL=$(stty size <&2 | cut -d ' ' -f 2) $(readlink /proc/self/fd/2)")
    [[ ! -t 1 ]] || options+=(-x DENSENET_OUTPUT=terminal)
    # A host that falls silent (power, network) is given up after a minute; by default mpirun waits for eight.
    [[ -z $hostfile${SLURM_JOB_ID:-} ]] ||
        options+=(--mca oob_tcp_keepalive_time 30 --mca oob_tcp_keepalive_intvl 10 --mca oob_tcp_keepalive_probes 3)
    [[ -z $hostfile ]] || options+=(--hostfile "$hostfile")
    # The error is densenet's one line; on several nodes mpirun adds which one failed.
    [[ -n $hostfile ]] || ((verbose || ${SLURM_JOB_ID:+${SLURM_JOB_NUM_NODES:-2}} + 0 > 1)) || options+=(-q)
    options+=("${layout[@]}")
}

# mpirun hangs at its start where it lacks room for its shared memory (8 MiB), or open files (four a rank).
require_room() {
    local files=$((32 + 5 * (count ? count : 2)))
    choose_tmpdir 10000 ||
        fail 69 "no folder for temporary files has the 10 MB of room that mpirun needs (TMPDIR, /tmp, /var/tmp); free some space or set TMPDIR"
    [[ -z $hostfile${SLURM_JOB_ID:-} ]] || files=42 # the ranks are not all on this host
    [[ $(ulimit -n) == unlimited ]] || (($(ulimit -n) >= files)) ||
        fail 69 "mpirun needs $files open files here, ulimit -n allows $(ulimit -n); raise the limit"
}

# Becomes a process of its own, in a session of its own, with the numbers of launch.sh and of mpirun and a signal: sends mpirun the signal
# until it ends once launch.sh is gone, however that was ended.
watcher='
    runs() { kill -0 "$1" && [[ $(</proc/$1/stat) != *") Z "* ]]; }
    while runs "$1" && runs "$2"; do sleep 1; done
    while runs "$2"; do kill -s "$3" "$2"; sleep 1; done'

# SIGNAL COMMAND …: becomes mpirun, in a session of its own. The watcher is there before it.
become_mpirun() {
    local mpirun=$BASHPID ready
    # mpirun would die of a SIGUSR1 that comes before or after its own handlers are in place, so it starts with it ignored.
    trap '' USR1
    # The watcher leaves our process group first: what kills the group must not kill it alone.
    exec {ready}< <(
        ((results == 1)) || exec {results}>&-
        exec setsid bash -c "echo; exec >/dev/null; $watcher" watcher $$ "$mpirun" "$1" </dev/null 2>/dev/null
    )
    read -r -u "$ready" || true
    exec {ready}<&-
    exec setsid "${@:2}" </dev/null >&"$results"
}

# mpirun answers SIGTERM and SIGINT by killing the ranks a second later, and ends with 1. So while it trains it does not see SIGTERM and
# SIGHUP, which SLURM and others send to all processes at once, and is in another session, where a Ctrl-C does not reach it. SIGUSR1 it
# hands on to all ranks, on all nodes; they end their step, write a checkpoint, and their exit code is mpirun's.
# Sets `code` to the exit code, and `asked` to the number of signals.
run_over_ranks() {
    local killed='' stop_with=TERM block=() cause='' results=1 writer='' mpirun signal
    code=0 asked=0 refused=0
    [[ $1 != train ]] || stop_with=USR1 block=(env --block-signal=TERM,HUP)
    ! ((verbose)) || say "mpirun ${options[*]} $binary $*"
    # mpirun keeps it to itself when what it prints cannot be written. Training has its results in files; a reader may have enough.
    [[ $1 == train || -t 1 ]] || { exec {results}> >({ { LC_ALL=C cat 2>&1 >&3 || :; } | grep -qv 'Broken pipe'; } 3>&1) && writer=$!; }
    become_mpirun "$stop_with" "${block[@]}" mpirun "${options[@]}" "$binary" "$@" &
    mpirun=$!
    [[ -z $writer ]] || exec {results}>&-

    # shellcheck disable=SC2329 # called by the traps
    stop() {
        if [[ $stop_with == USR1 ]] && ((asked++ == 0)); then
            say "SIG$1: training ends after this step, with a checkpoint; once more stops it at once"
            # Again each second: mpirun drops a signal that comes before its ranks have started.
            while kill -0 $$ && kill -USR1 "$mpirun"; do sleep 1; done >/dev/null 2>&1 &
        else
            killed=$1
            kill -INT "$mpirun" 2>/dev/null || true
            # An mpirun that hangs in its own start hears nothing; the ranks end with it.
            { sleep 5 && kill -0 $$ && kill -KILL "$mpirun"; } >/dev/null 2>&1 &
        fi
    }
    # Ctrl-Z: mpirun stops the ranks, and continues them.
    # shellcheck disable=SC2329
    suspend() { { kill -TSTP "$mpirun" && kill -STOP $$ && kill -CONT "$mpirun"; } 2>/dev/null || true; }
    for signal in INT TERM HUP USR1 USR2 ALRM; do trap "stop $signal" "$signal"; done
    trap suspend TSTP
    trap : PIPE # `say` sees it

    while code=0 && { wait "$mpirun" || code=$?; } && ((code > 128)) && kill -0 "$mpirun" 2>/dev/null; do
        : # our signal ended the wait, not mpirun
    done
    [[ -z $killed ]] || end $((128 + $(kill -l "$killed")))
    ((code == 0)) || cause=$("$binary" post-mortem --memory-kills "$kills" -- "$code" ${folder:+"$folder"}) || true
    if ((code == 71)); then # refused before its first step, as it would be again
        code=69 refused=1
    elif ((code > 128 && code <= 192)); then
        say "a rank was killed by signal $((code - 128)) ($(kill -l "$code"))$cause"
        code=69
    elif ((code > 192)); then # Open MPI's own codes: it has told what it lost
        say "mpirun gave up with $code: it has lost a host, or could not reach one"
        code=69
    elif ((code == 1 && !verbose)) && [[ $1 != verify && $1 != bench ]]; then
        say "mpirun could not run the ranks; -v shows what it says"
    elif ((code == 75 && stderr_is_gone)); then
        say "stopped; resume with: train --resume $folder"
    elif [[ -n $writer ]] && wait "$writer" && ((code == 0)); then
        say "standard output cannot be written: the results are lost"
        code=69
    fi
}

# FILE SLOTS: a host file's slots, as a sum over hosts. A host on several lines without slots has one a line (PBS, LSF), on one SLOTS.
slots_of() {
    sed 's/#.*//' "$1" | awk -v none="$2" 'NF { if (match($0, /slots *= */)) named[$1] += substr($0, RSTART + RLENGTH); else ++lines[$1] }
        END { for (host in lines) named[host] += lines[host] > 1 ? lines[host] : none
              for (host in named) sum = sum "+" named[host]; print substr(sum, 2) }'
}

# Leaves out the hosts of the host file that do not answer. Sets `lost` to them, and `kept` to the lines of the others.
drop_lost_hosts() {
    local line host left
    while IFS= read -r line; do
        read -r host _ <<<"${line%%#*}" || true
        [[ -n $host ]] || continue
        # The launch agent of the run itself (ssh, or what OMPI_MCA_plm_rsh_agent names) has to reach it.
        timeout -k 5 30 mpirun --host "$host" -n 1 true </dev/null >/dev/null 2>&1 && kept+=("$line") || lost+=("$host")
    done <"$hostfile"
    ((${#lost[@]} && ${#kept[@]})) || return 0
    mkdir -p -- "$folder" && printf '%s\n' "${kept[@]}" >"$folder/hosts"
    hostfile=$folder/hosts left=$(($(slots_of "$folder/hosts" 1)))
    [[ -z $ranks ]] || ranks=$((left < ranks ? left : ranks))
}

# Trains, and starts again after a rank has died or hung. What another try would not change ends it.
train_with_restarts() {
    local restarts=0 arguments=("$@") lost kept wanted made=$folder_is
    [[ $folder_is != new ]] || arguments+=(--out "$folder")
    while true; do
        choose_options
        require_room
        run_over_ranks "${arguments[@]}"
        [[ ! $code =~ ^(0|64|65|66|75|130)$ ]] && ((asked + refused == 0 && restarts < max_restarts)) || end "$code"
        ((++restarts))
        sleep 1 # for the locks and ports of ranks on other hosts
        lost=() kept=() wanted=$((count ? count : ${hostfile:+$(slots_of "$hostfile" 1)} + 0))
        [[ -z $hostfile ]] || drop_lost_hosts
        ((asked == 0)) || end "$code" # a signal that came meanwhile
        [[ ! -e $folder/config.json ]] || arguments=("$@" --resume "$folder") # a run takes its own options again
        make_plan "${arguments[@]}"
        folder_is=$made
        ((${#lost[@]} == 0)) || continue_without "$wanted" "${lost[@]}"
        say "restart $restarts of $max_restarts, in $folder"
    done
}

# RANKS HOST…: ends where there are fewer ranks than the user allows, now that hosts are lost.
continue_without() {
    local left=$((count ? count : $(slots_of "$hostfile" 1)))
    ((${#kept[@]})) || left=0
    ((left >= ${min_ranks:-$1})) ||
        fail 69 "no answer from ${*:2}; $left of $1 ranks are left; give a --min-ranks of $left or less, or mend the host"
    say "no answer from ${*:2}; continuing with $left ranks (the result is as good, not bit for bit the same)"
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
    (($(slots_of "$hostfile" 1))) || fail 65 "$hostfile: names no host; a line is NAME slots=N"
}

while (($#)); do
    case $1 in
        # An option and its value in one word: as if they were two.
        -n[0-9]*) set -- -n "${1#-n}" "${@:2}" && continue ;;
        --hostfile=* | --ranks-per-node=* | --threads=* | --max-restarts=* | --min-ranks=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
        -h | --help) usage && exit ;;
        -v) verbose=1 ;;
        -n) ranks=${2:-} && require_number "$ranks" -n && shift ;;
        --ranks-per-node) per_node=${2:-} && require_number "$per_node" "$1" && shift ;;
        --threads) threads=${2:-} && require_number "$threads" "$1" && shift ;;
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
[[ -z $threads ]] || set -- "$1" --threads "$threads" "${@:2}" # which every command for ranks has
refuse_copies
((max_restarts == 0)) || [[ $1 == train ]] || fail 64 "--max-restarts goes with train, found '$1'"
[[ -z $min_ranks ]] || { ((max_restarts)) && [[ -n $hostfile ]]; } || fail 64 "--min-ranks goes with --max-restarts and --hostfile"
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
        make_plan "$@"
        export DENSENET_LAUNCH=$root/launch.sh # for bench --tune
        [[ $start == ranks || ($start == process && -n $ranks$per_node$hostfile) ]] || exec "$binary" "$@"
        [[ $1 != train ]] || train_with_restarts "$@"
        choose_options
        require_room
        run_over_ranks "$@"
        exit "$code"
        ;;
esac
