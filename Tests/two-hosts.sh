#!/usr/bin/env bash
# Trains over two hosts, network namespaces of this machine connected by a pair of virtual Ethernet devices:
#
#     Tests/two-hosts.sh [PROGRAM]
#
# Over TCP, even on a slow link, the weights are byte for byte those of the same number of ranks on one host, with messages (one rank a
# host) and with shared memory within hosts (two). When the link is cut during training, both sides end. Needs root and the right to create namespaces; otherwise says so and exits with 0.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/..
program=${1:-$root/.build/release/densenet}
work='' hosts=("densenet-a-$$" "densenet-b-$$")
addresses=(10.213.7.1 10.213.7.2)
patience=30 # seconds for each side to end when the link is cut
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

say() { printf 'two-hosts: %s\n' "$*"; }
skip() { say "skipped: $*" && exit 0; }
fail() { say "FAILED: $*" && exit 1; }
now() { date +%s%N | cut -c1-13; } # milliseconds

# End only processes in our namespaces.
end_processes() {
    local host pids
    for host in "${hosts[@]}"; do
        mapfile -t pids < <(ip netns pids "$host" 2>/dev/null)
        ((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>/dev/null || true
    done
}

# shellcheck disable=SC2329 # called by the trap
clean_up() {
    local host
    end_processes
    for host in "${hosts[@]}"; do ip netns del "$host" 2>/dev/null || true; done
    [[ -z $work ]] || rm -rf -- "$work"
}

make_hosts() {
    local index
    for index in 0 1; do
        ip netns add "${hosts[index]}" 2>/dev/null || skip "this system allows no network namespaces"
    done
    ip link add veth0 netns "${hosts[0]}" type veth peer name veth0 netns "${hosts[1]}" 2>/dev/null ||
        skip "the kernel has no virtual Ethernet devices"
    for index in 0 1; do
        ip -n "${hosts[index]}" address add "${addresses[index]}/24" dev veth0
        ip -n "${hosts[index]}" link set lo up
        ip -n "${hosts[index]}" link set veth0 up
    done
    # Instead of ssh: runs a command on the host with an address, which has its own host name.
    cat >"$work/agent" <<AGENT
#!/usr/bin/env bash
[[ \$1 == ${addresses[0]} ]] && host=${hosts[0]} || host=${hosts[1]}
shift
exec ip netns exec "\$host" unshare --uts sh -c 'hostname "\$0" && eval "\$1"' "\$host" "\$*"
AGENT
    chmod +x "$work/agent"
    "$work/agent" "${addresses[0]}" true 2>/dev/null || skip "this system allows no host names of our own (unshare --uts)"
}

# Runs `densenet train` with RANKS on each host and further options, from the first host. As under launch.sh, mpirun checks
# whether a silent host is still there, but sooner.
train_on_hosts() { # RANKS OPTIONS…
    local ranks=$1
    shift
    printf '%s slots=%d\n' "${addresses[0]}" "$ranks" "${addresses[1]}" "$ranks" >"$work/hosts-$ranks"
    "$work/agent" "${addresses[0]}" TMPDIR="$work" mpirun --hostfile "$work/hosts-$ranks" -n $((2 * ranks)) --bind-to none \
        --mca plm_rsh_agent "$work/agent" --mca btl tcp,self --mca btl_tcp_if_include veth0 --mca oob_tcp_if_include veth0 \
        --mca oob_tcp_keepalive_time 4 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3 \
        --mca mpi_yield_when_idle 1 "$program" train "${network[@]}" "$@"
}

train_on_one_host() { # RANKS OPTIONS…
    local ranks=$1
    shift
    TMPDIR=$work mpirun -q --oversubscribe -n "$ranks" --bind-to none --mca mpi_yield_when_idle 1 \
        "$program" train "${network[@]}" "$@"
}

# Shows a command's output only if it fails.
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" && fail "${*:0:4}"; }; }

same_weights() {
    local file
    for file in weights.safetensors ema.safetensors; do
        cmp "$work/$1/$file" "$work/$2/$file" || fail "the weights of $1 and $2 differ"
    done
}

test_equality() {
    local ranks began middle shared
    for ranks in 1 2; do
        began=$(now)
        quietly train_on_one_host $((2 * ranks)) "${short[@]}" --out "$work/one-host-$ranks"
        middle=$(now)
        quietly train_on_hosts "$ranks" "${short[@]}" --out "$work/two-hosts-$ranks"
        same_weights "one-host-$ranks" "two-hosts-$ranks"
        # With one rank a host there is nothing to share.
        grep -q 'exchange gradients by messages, .*: each host has one rank' "$work/log" && shared=no || shared=yes
        [[ $shared == $( ((ranks > 1)) && echo yes || echo no) ]] || { cat "$work/log" && fail "shared memory within hosts: $shared"; }
        say "2×$ranks ranks over TCP ($(($(now) - middle)) ms) have the weights of $((2 * ranks)) ranks on one host" \
            "($((middle - began)) ms), byte for byte"
    done
}

# A delay if the kernel supports it, else a narrow link, on which each message waits as well.
slow_down() { # HOST
    ip netns exec "$1" tc qdisc add dev veth0 root netem delay 5ms 2>/dev/null && slowness="with 5 ms each way" && return
    ip netns exec "$1" tc qdisc add dev veth0 root tbf rate 400kbit burst 2kb latency 10s 2>/dev/null && slowness="at 400 kbit/s"
}

test_slow_link() {
    local host began plain slow slowness=''
    began=$(now)
    quietly train_on_hosts 1 "${short[@]}" --out "$work/fast-link"
    plain=$(($(now) - began))
    for host in "${hosts[@]}"; do
        slow_down "$host" || { say "skipped: a slow link, the kernel has neither netem nor tbf" && return; }
    done
    began=$(now)
    quietly train_on_hosts 1 "${short[@]}" --out "$work/slow-link"
    slow=$(($(now) - began))
    for host in "${hosts[@]}"; do ip netns exec "$host" tc qdisc del dev veth0 root; done
    same_weights fast-link slow-link
    ((slow > plain)) || fail "a link $slowness took $slow ms, a fast one $plain ms"
    say "$slowness: $slow ms in place of $plain ms, the same weights"
}

test_cut() {
    local began code=0 job left i
    : >"$work/log" # before the job is: the log of the one before it has a second epoch too
    train_on_hosts 1 "${long[@]}" --out "$work/cut" >"$work/log" 2>&1 &
    job=$!
    for ((i = 0; i < 300; i++)); do
        ! grep -q '^epoch 002' "$work/log" && kill -0 "$job" 2>/dev/null || break
        sleep 0.1
    done
    grep -q '^epoch 002' "$work/log" || { cat "$work/log" && fail "the training over two hosts did not come to its second epoch"; }
    ip -n "${hosts[1]}" link set veth0 down
    began=$(now)
    wait_for_end "$job" "$patience" || { cat "$work/log" && fail "mpirun still runs $patience s after the link was cut"; }
    wait "$job" || code=$?
    ((code)) || fail "mpirun ended with 0 although the link was cut"
    grep -aE '^densenet: |lost communication with a remote daemon|Remote daemon:' "$work/log" ||
        { cat "$work/log" && fail "nobody said anything"; }
    say "the link was cut: mpirun ended with $code after $(($(now) - began)) ms"
    for ((i = 0; i < patience * 10; i++)); do
        left=$(ip netns pids "${hosts[0]}" && ip netns pids "${hosts[1]}")
        [[ -n $left ]] || break
        sleep 0.1
    done
    [[ -z $left ]] || fail "processes are left after $patience s more: $(ps -o comm= -p "${left//$'\n'/,}" | tr '\n' ' ')"
    say "nothing is left running on either host after $(($(now) - began)) ms"
}

wait_for_end() { # PROCESS SECONDS
    local i
    for ((i = 0; i < $2 * 10; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}

((EUID == 0)) || skip "only root can make network namespaces"
if ! command -v ip >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends iproute2 >/dev/null 2>&1 ||
        skip "iproute2 is missing"
fi
[[ -x $program ]] || fail "$program is not built"
work=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT TERM HUP
# The agent passes words through a shell, as ssh does, so they may not contain spaces.
ln -s -- "$(readlink -f -- "$program")" "$work/densenet"
program=$work/densenet
network=(--blocks 1,1 --growth-rate 4 --stem-channels 4 --image 8 --limit-test 32 --batch-size 16)
short=(--limit-train 128 --epochs 2 --ema 0.9)
long=(--limit-train 1024 --epochs 10000)
make_hosts
test_equality
test_slow_link
test_cut
