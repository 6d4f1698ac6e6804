#!/usr/bin/env bash
# Runs the job script hostfiles/slurm.sh under a private SLURM, with this machine as a node of two processors and as two nodes of one:
#
#     Tests/slurm.sh [PROGRAM]
#
# With mpirun and with srun: a killed rank is named in one line, a cancelled job writes a checkpoint and stays away, a job that is
# preempted or at its time limit is started again, and the result is byte for byte that of an undisturbed run. As root, installs
# slurm-wlm and munge. If SLURM cannot run, says so and exits with 0. Takes about ten minutes.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/..
program=${1:-$root/.build/release/densenet}
work='' job='' host=$(uname -n)
host=${host%%.*}
network=(--blocks 1 --growth-rate 4 --stem-channels 4 --image 16 --limit-train 1536 --limit-test 32 --batch-size 32 --epochs 80)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

say() { printf 'slurm: %s\n' "$*"; }
skip() { say "skipped: $*" && exit 0; }
fail() {
    say "FAILED: $*"
    [[ -z $job ]] || grep -vE '^(epoch|Test loss)' "$work/$job.log" || true
    [[ ! -e $work/slurmd.log ]] || tail -n 15 "$work/slurmd.log"
    exit 1
}

# Waits until a command succeeds.
wait_until() { # SECONDS COMMAND…
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

# Only processes started by our SLURM have its configuration in their environment.
our_processes() {
    local process
    for process in /proc/[0-9]*; do
        ! grep -qzsFx "SLURM_CONF=$work/slurm.conf" "$process/environ" || printf '%s\n' "${process#/proc/}"
    done
}

# shellcheck disable=SC2329 # called by the trap
clean_up() {
    local processes
    for _ in {1..50}; do
        mapfile -t processes < <(our_processes)
        ((${#processes[@]})) || break
        kill -KILL "${processes[@]}" 2>/dev/null || true
        sleep 0.2
    done
    [[ -z $work ]] || rm -rf -- "$work"
}

install_slurm() {
    PATH=$PATH:/usr/sbin:/sbin
    ! type munged slurmctld slurmd sbatch srun >/dev/null 2>&1 || return 0
    ((EUID == 0)) || skip "slurm-wlm and munge are missing, and only root can install them"
    { apt-get -qq update || true
      DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends slurm-wlm munge; } >/dev/null 2>&1 ||
        skip "slurm-wlm and munge are missing, and apt-get does not install them"
}

start_slurm() {
    local name port=$((10000 + $$ % 5000 * 4)) user
    user=$(id -un)
    mkdir -m 700 "$work/munge" "$work/state" "$work"/spool-{"$host",densenet-a,densenet-b}
    (umask 077 && head -c 1024 /dev/urandom >"$work/munge/key")
    # A node has its host's name, so that mpirun does not look for another host. SLURM requeues a job only when its
    # credential has expired, by default after two minutes.
    cat >"$work/slurm.conf" <<CONFIGURATION
ClusterName=densenet-$$
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthInfo=socket=$work/munge/socket,cred_expire=15
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=5
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool-%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2
NodeName=densenet-a NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1
NodeName=densenet-b NodeAddr=127.0.0.1 Port=$((port + 3)) CPUs=1
PartitionName=all Nodes=$host Default=YES
PartitionName=urgent Nodes=$host PriorityTier=2
PartitionName=two Nodes=densenet-a,densenet-b
CONFIGURATION
    # Ignore an allocation that this script may be running in.
    for name in "${!SLURM_@}" "${!SBATCH_@}" "${!SRUN_@}"; do unset "$name"; done
    export SLURM_CONF=$work/slurm.conf PATH=$work/bin:$PATH
    munged --force --foreground --socket="$work/munge/socket" --key-file="$work/munge/key" --pid-file="$work/munge/pid" \
        --log-file="$work/munge/log" --seed-file="$work/munge/seed" >"$work/munged.log" 2>&1 &
    wait_until 10 test -S "$work/munge/socket" || skip "munged does not start: $(tail -n 1 "$work/munged.log")"
    slurmctld -D -L "$work/slurmctld.log" >/dev/null 2>&1 &
    slurmd -D -N "$host" -L "$work/slurmd.log" >/dev/null 2>&1 &
    for name in densenet-a densenet-b; do
        unshare --uts sh -c "hostname $name && exec slurmd -D -N $name -L '$work/slurmd-$name.log'" >/dev/null 2>&1 &
    done
    disown -a # bash would tell of their end
    wait_until 30 nodes_are_idle all || skip "SLURM does not start: $(tail -qn 1 "$work"/slurm{ctld,d}.log | tr '\n' ' ')"
}

nodes_are_idle() { [[ $(sinfo -h -p "$1" -o %T) == idle ]]; } # PARTITION

# The job script with our network, and with srun instead of launch.sh.
write_scripts() {
    mkdir -p "$work/bin" "$work/.build/release"
    # The program is already built.
    printf '#!/bin/sh\n' >"$work/bin/swift" && chmod +x "$work/bin/swift"
    ln -s -- "$(readlink -f -- "$program")" "$work/.build/release/densenet"
    cp -- "$root/launch.sh" "$work"
    sed "s/--model densenet-bc-100-12/${network[*]}/" "$root/hostfiles/slurm.sh" >"$work/mpirun.sh"
    sed '/^\.\/launch\.sh /d; s/^# *\(export OPENBLAS\|srun --mpi\)/\1/' "$work/mpirun.sh" >"$work/srun.sh"
    grep -q -- "${network[0]}" "$work/mpirun.sh" || fail "hostfiles/slurm.sh has no model to replace"
    grep -q '^srun --mpi' "$work/srun.sh" || fail "hostfiles/slurm.sh has no srun"
}

# Sets `job`: SCRIPT starts or resumes RUN, with further options for sbatch.
submit() { # SCRIPT RUN OPTIONS…
    job=$(DATA=synthetic RUN=$2 sbatch --parsable --chdir="$work" --nodes=1 --ntasks-per-node=2 --output=%j.log "${@:3}" \
        "$work/$1.sh") || fail "sbatch refuses $1.sh"
}

state() { scontrol -o show job "$job" | grep -o 'JobState=[A-Z_]*' | cut -d= -f2; }
is_over() { [[ ! $(state) =~ ^(PENDING|CONFIGURING|RUNNING|COMPLETING|SUSPENDED)$ ]]; }
has_said() { grep -qE "$1" "$work/$job.log"; }
says_once() { [[ $(grep -cE "$1" "$work/$job.log") == 1 ]] || fail "job $job did not say once: $1"; }
says_never() { ! has_said "$1" || fail "job $job said: $1"; }

ends_with() { # SECONDS STATE EXIT-CODE
    local found
    wait_until "$1" is_over || fail "job $job has not ended after $1 s"
    found="$(state) $(scontrol -o show job "$job" | grep -o 'ExitCode=[0-9:]*')"
    [[ $found == "$2 ExitCode=$3" ]] || fail "job $job ended as $found, expected $2 ExitCode=$3"
}

# Sets `process` to that of a running rank, from its heartbeat.
find_rank() { # RUN RANK
    wait_until 10 test -s "$work/$1/ranks/rank-$2" || fail "rank $2 of $1 keeps no record"
    read -r process _ <"$work/$1/ranks/rank-$2"
}

# The third word of a heartbeat counts the signals; a rank that has stopped has no heartbeat.
is_asked_to_stop() { # RUN
    local signals
    ! read -r _ _ signals _ <"$work/$1/ranks/rank-0" || ((signals))
}

# The sixth word of a heartbeat is the step.
is_within_a_step() { # RUN
    local step
    read -r _ _ _ _ _ step _ <"$work/$1/ranks/rank-1" && ((step))
}

start_training() { # SCRIPT RUN OPTIONS…
    submit "$@"
    wait_until 120 has_said '^epoch ' || fail "job $job did not end an epoch"
    wait_until 10 is_within_a_step "$2" || fail "job $job does not train on"
    find_rank "$2" 1
}

# With a rank suspended until the signal has arrived, so that no machine trains too fast for what is to come.
start_slow_training() { # SCRIPT RUN OPTIONS…
    start_training "$@"
    kill -STOP "$process"
}

await_signal() { # RUN SECONDS
    wait_until "$2" is_asked_to_stop "$1" || fail "job $job was sent no signal"
    kill -CONT "$process" 2>/dev/null || true # SLURM sends it as well, before SIGTERM
}

# As at the limit, on two nodes: mpirun's daemon on the other one hears of it from mpirun alone.
test_two_nodes() { # SCRIPT RUN
    wait_until 10 nodes_are_idle two || { say "two nodes: skipped, this system allows no host names of our own" && return; }
    start_slow_training "$1" "$2" --time=10 --partition=two --nodes=2 --ntasks-per-node=1
    scancel --batch --signal=USR1 "$job"
    await_signal "$2" 20
    starts_again_and_ends "$2"
    say "$1: on two nodes put itself back into the queue; the weights are those of a run on one, byte for byte"
}

starts_again_and_ends() { # RUN
    wait_until 150 is_started_again || fail "job $job is not started again: $(state)"
    wait_until 30 scontrol update JobId="$job" TimeLimit=60 || fail "job $job does not take another limit: $(state)"
    ends_with 600 COMPLETED 0:0
    says_once '^densenet: stopped on request after step '
    cmp "$work/alone/weights.safetensors" "$work/$1/weights.safetensors" ||
        fail "the weights of $1 are not those of a run left alone"
}

test_killed_rank() { # SCRIPT RUN EXIT-CODE
    start_training "$1" "$2" --time=10
    kill -KILL "$process"
    ends_with 60 FAILED "$3"
    says_once "^densenet: rank 1 on [^ ]* died, last seen at step .*; resume with: train --resume $2\$"
    says_once '^densenet: rank '
    say "$1: a killed rank was named on one line"
}

test_cancelled() { # SCRIPT RUN STATE OPTIONS-OF-SCANCEL…
    start_slow_training "$1" "$2" --time=10
    scancel "${@:4}" "$job"
    await_signal "$2" 20
    ends_with 60 "$3" 75:0
    says_once "^densenet: stopped on request after step .*; resume with: train --resume $2\$"
    says_never 'could not run the ranks'
    ! is_started_again || fail "job $job was cancelled, and started again"
    say "$1: scancel${4:+ ${*:4}}: a checkpoint: $(grep -o 'stopped on request after step [0-9]*' "$work/$job.log")"
}

# Another job takes the node.
test_preempted() { # SCRIPT RUN
    start_slow_training "$1" "$2" --time=10
    sbatch --quiet --partition=urgent --chdir="$work" --output=urgent.log --ntasks=2 --wrap='sleep 1' || fail "sbatch refuses the urgent job"
    await_signal "$2" 60
    starts_again_and_ends "$2"
    say "$1: preempted, started again by SLURM; the weights are those of a run left alone, byte for byte"
}

test_limit() { # SCRIPT RUN
    start_slow_training "$1" "$2" --time=2 --signal=B:USR1@60 # SLURM sends it up to half a minute early
    await_signal "$2" 110
    starts_again_and_ends "$2"
    says_never 'could not be put back'
    say "$1: put itself back into the queue before its limit; the weights are those of a run left alone, byte for byte"
}

is_started_again() { [[ $(scontrol -o show job "$job") == *' Restarts=1 '* ]]; }

install_slurm
[[ -x $program ]] || fail "$program is not built"
work=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT TERM HUP
write_scripts
start_slurm
OPENBLAS_NUM_THREADS=1 mpirun -q --oversubscribe -n 2 "$program" train --data synthetic "${network[@]}" --out "$work/alone" \
    >"$work/log" 2>&1 || { cat "$work/log" && fail "the run without SLURM"; }
test_killed_rank mpirun by-mpirun 69:0
test_limit mpirun by-mpirun
test_cancelled mpirun by-mpirun-again CANCELLED
test_cancelled mpirun by-mpirun-stopped FAILED --batch --signal=INT
test_preempted mpirun by-mpirun-again
test_two_nodes mpirun by-mpirun-on-two
test_killed_rank srun by-srun 137:0
test_limit srun by-srun
test_cancelled srun by-srun-again CANCELLED
test_cancelled srun by-srun-stopped FAILED --batch --signal=INT
test_preempted srun by-srun-again
