#!/usr/bin/env python3
"""Holds `densenet plan` against measured steps on this machine:

    Tests/check_plan.py {ranks,delay,link} [ROUNDS]

ranks  two ranks here, four networks; plan measures what the ranks compute, each for itself, and predicts the step.
delay  two ranks with a pause in each MPI_Allreduce, put there by a preloaded library; the plan is told of it as --latency.
link   two hosts, network namespaces of this machine as in Tests/two-hosts.sh, with the link between them slowed by tc tbf. Needs root.

Plan and measurement take turns, ROUNDS times; a line has the median of the pairs' ratios. Each waits up to IDLE_SECONDS (60) for the
machine to be idle, and says how many cores others had meanwhile. NETWORKS (names, separated by ;), DELAYS (us) and RATES (Mbit/s)
narrow it down. delay and link plan two hosts of one rank from what two ranks here take side by side (plan --from), since the two
"hosts" share this machine's memory.
"""
import json, os, pathlib, resource, statistics, subprocess, sys, tempfile, time

program = pathlib.Path(os.environ.get("PROGRAM", pathlib.Path(__file__).resolve().parent.parent / ".build/release/densenet"))
os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OPENBLAS_NUM_THREADS="1")
networks = {
    "DenseNet-121, 32x32": ["--model", "densenet121", "--image", "32", "--classes", "10", "--batch-size", "64"],
    "DenseNet-BC-100": ["--model", "densenet-bc-100-12", "--batch-size", "64"],
    "DenseNet-40": ["--model", "densenet-40-12", "--batch-size", "64"],
    "DenseNet-121, 224x224": ["--model", "densenet121", "--classes", "10", "--batch-size", "16"],
}
quick = os.environ.get("NETWORKS", "DenseNet-121, 32x32;DenseNet-BC-100").split(";")
scratch = pathlib.Path(tempfile.mkdtemp())
others = []  # cores that other processes had during each measurement of a pair


def busy_seconds():
    numbers = [int(word) for word in open("/proc/stat").readline().split()[1:]]
    return (sum(numbers[:3]) + sum(numbers[5:8])) / os.sysconf("SC_CLK_TCK")


def wait_until_idle():
    end = time.time() + float(os.environ.get("IDLE_SECONDS", 60))
    quiet = 0
    while quiet < 2 and time.time() < end:
        before = busy_seconds()
        time.sleep(0.5)
        quiet = quiet + 1 if busy_seconds() - before < 0.2 else 0


def run(*words, launcher=()):
    words = [str(word) for word in (*launcher, program, *words)]
    wait_until_idle()
    began, before, own = time.time(), busy_seconds(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(words)}: {result.returncode}: {result.stderr}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime
    others.append(max(0, busy_seconds() - before - used) / (time.time() - began))
    return json.loads(result.stdout)


def mpirun(ranks, *options):
    return ("mpirun", "-q", "--bind-to", "core", "-n", ranks, *options)


def steps(options):
    return 4 if "16" in options else 8


def measured(launcher, options):
    report = run("bench", "--json", "--scaling", 2, "--steps", steps(options), "--threads", 1, *options, launcher=launcher)
    return statistics.median(report["strong"][0]["stepSeconds"])


def predicted(plan):
    return next(row for row in plan["rows"] if row["ranks"] == 2)["stepSeconds"]


def check(name, what, rounds, plan, measure):
    pairs = []
    for number in range(rounds):
        others.clear()
        pairs.append((predicted(plan()), measure()))
        ratios = sorted(one / other for one, other in pairs)
        print(f"{name}, {what}: {1e3 * pairs[-1][0]:.1f} ms predicted, {1e3 * pairs[-1][1]:.1f} measured, ratio {pairs[-1][0] / pairs[-1][1]:.3f} "
              f"(others had {', '.join(f'{cores:.2f}' for cores in others)} cores); median of {number + 1}: {statistics.median(ratios):.3f}",
              flush=True)


def check_ranks(rounds):
    for name, options in networks.items():
        if name not in os.environ.get("NETWORKS", name).split(";"):
            continue
        check(name, "2 ranks", rounds,
              lambda: run("plan", "--json", "--ranks", "1,2", "--steps", steps(options), "--threads", 1, *options, launcher=mpirun(2)),
              lambda: measured(mpirun(2), options))


def plan_two_hosts(options, latency, bandwidth):
    file = scratch / "bench.json"
    file.write_text(json.dumps(run("bench", "--json", "--steps", steps(options), "--threads", 1, *options, launcher=mpirun(2))))
    return run("plan", "--json", "--from", file, "--ranks", "1,2", "--per-node", 1, "--batch-size", options[-1],
               "--latency", latency, "--bandwidth", bandwidth)


def check_delay(rounds):
    source, library = scratch / "delay.c", scratch / "delay.so"
    source.write_text("""
        #include <mpi.h>
        #include <stdlib.h>
        #include <unistd.h>
        int MPI_Allreduce(const void *from, void *to, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm ranks) {
            usleep(atoi(getenv("DELAY")));
            return PMPI_Allreduce(from, to, count, type, operation, ranks);
        }
    """)
    subprocess.run(["mpicc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    for name in quick:
        for delay in map(int, os.environ.get("DELAYS", "1000 5000").split()):
            launcher = mpirun(2, "-x", f"LD_PRELOAD={library}", "-x", f"DELAY={delay}")
            check(name, f"{delay} us in each all-reduce", rounds,
                  lambda: plan_two_hosts(networks[name], f"{delay}us", "2GB/s"), lambda: measured(launcher, networks[name]))


def check_link(rounds):
    hosts, addresses = [f"plan-a-{os.getpid()}", f"plan-b-{os.getpid()}"], ["10.213.8.1", "10.213.8.2"]

    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    agent = scratch / "agent"
    agent.write_text(f"""#!/usr/bin/env bash
[[ $1 == {addresses[0]} ]] && host={hosts[0]} || host={hosts[1]}
shift
exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0" && eval "$1"' "$host" "$*"
""")
    agent.chmod(0o755)
    (scratch / "hosts").write_text("".join(f"{address} slots=1\n" for address in addresses))
    launcher = (agent, addresses[0], f"TMPDIR={scratch}", "mpirun", "-q", "--hostfile", scratch / "hosts", "-n", 2, "--bind-to", "none",
                "--mca", "plm_rsh_agent", agent, "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "veth0",
                "--mca", "oob_tcp_if_include", "veth0")
    try:
        for host in hosts:
            ip("netns", "add", host)
        ip("link", "add", "veth0", "netns", hosts[0], "type", "veth", "peer", "name", "veth0", "netns", hosts[1])
        for host, address in zip(hosts, addresses):
            ip("-n", host, "address", "add", f"{address}/24", "dev", "veth0")
            ip("-n", host, "link", "set", "lo", "up")
            ip("-n", host, "link", "set", "veth0", "up")
        for rate in os.environ.get("RATES", "1000 200").split():
            given = f"{rate}Mbit/s"
            for host in hosts:
                shape = ["tc", "qdisc", "replace", "dev", "veth0", "root", "tbf", "rate", f"{rate}mbit", "burst", "128kb", "latency", "1s"]
                ip("netns", "exec", host, *shape)
            for name in quick:
                check(name, f"two hosts at {given}", rounds, lambda: plan_two_hosts(networks[name], latency, given),
                      lambda: measured(launcher, networks[name]))
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host])


latency = os.environ.get("LATENCY", "25us")  # of a message from namespace to namespace, over TCP

if __name__ == "__main__":
    checks = {"ranks": check_ranks, "delay": check_delay, "link": check_link}
    if len(sys.argv) < 2 or sys.argv[1] not in checks:
        sys.exit(__doc__)
    checks[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 5)
