#!/usr/bin/env python3
"""Holds `densenet plan` against measured steps on this machine: Tests/check_plan.py {ranks,delay,link,all} [ROUNDS]

ranks  two ranks here, four networks: plan and bench in turn, ROUNDS times; the median of the pairs' ratios.
delay  the same with a pause in each MPI_Allreduce, as a preloaded library puts it there; the plan is told so as --latency.
link   two hosts, network namespaces of this machine (as Tests/two-hosts.sh makes them), with the link between them slowed by tc tbf.
       Needs root.

delay and link plan two hosts of one rank from what two ranks here have been timed to take side by side (plan --from), since the two
"hosts" share this machine's memory.
"""
import json, os, pathlib, statistics, subprocess, sys, tempfile

program = pathlib.Path(__file__).resolve().parent.parent / ".build/release/densenet"
os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OPENBLAS_NUM_THREADS="1")
networks = {
    "DenseNet-BC-100": ["--model", "densenet-bc-100-12", "--batch-size", "64"],
    "DenseNet-40": ["--model", "densenet-40-12", "--batch-size", "64"],
    "DenseNet-121, 32x32": ["--model", "densenet121", "--image", "32", "--classes", "10", "--batch-size", "64"],
    "DenseNet-121, 224x224": ["--model", "densenet121", "--classes", "10", "--batch-size", "16"],
}
scratch = pathlib.Path(tempfile.mkdtemp())


def run(*words, launcher=()):
    words = [str(word) for word in (*launcher, program, *words)]
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(words)}: {result.returncode}: {result.stderr}")
    return result.stdout


def mpirun(ranks, *options):
    return ("mpirun", "-q", "--bind-to", "core", "-n", ranks, *options)


def median(report):
    return statistics.median(report["stepSeconds"])


def bench(launcher, options, steps):
    return json.loads(run("bench", "--json", "--steps", steps, "--threads", 1, *options, launcher=launcher))


def predicted(plan, ranks=2):
    return next(row for row in plan["rows"] if row["ranks"] == ranks)["stepSeconds"]


def tell(name, what, pairs):
    ratios = [one / other for one, other in pairs]
    shown = ", ".join(f"{1e3 * one:.1f}/{1e3 * other:.1f}" for one, other in pairs)
    print(f"{name}: {what}: predicted/measured {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); ms: {shown}",
          flush=True)


def check_ranks(rounds):
    for name, options in networks.items():
        pairs = []
        for _ in range(rounds):
            plan = json.loads(run("plan", "--json", "--ranks", "1,2", "--steps", 8, "--threads", 1, *options, launcher=mpirun(2)))
            pairs.append((predicted(plan), median(bench(mpirun(2), options, 8))))
        tell(name, "2 ranks", pairs)


def plan_two_hosts(options, file, latency, bandwidth):
    size = options[options.index("--batch-size") + 1]
    return json.loads(run("plan", "--json", "--from", file, "--ranks", "1,2", "--per-node", 1, "--batch-size", size,
                          "--latency", latency, "--bandwidth", bandwidth))


def timed_here(options, steps):
    file = scratch / "bench.json"
    file.write_text(json.dumps(bench(mpirun(2), options, steps)))
    return file


def check_delay(rounds):
    source, library = scratch / "delay.c", scratch / "delay.so"
    source.write_text("""
        #include <mpi.h>
        #include <stdlib.h>
        int MPI_Allreduce(const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c) {
            double end = PMPI_Wtime() + atof(getenv("DELAY")) * 1e-6;
            while (PMPI_Wtime() < end) { }
            return PMPI_Allreduce(a, b, n, t, o, c);
        }
    """)
    subprocess.run(["mpicc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    for name in ["DenseNet-BC-100", "DenseNet-121, 32x32"]:
        for delay in [200, 1000]:
            pairs = []
            for _ in range(rounds):
                file = timed_here(networks[name], 8)
                plan = plan_two_hosts(networks[name], file, f"{delay + 3}us", "2GB/s")
                launcher = mpirun(2, "-x", f"LD_PRELOAD={library}", "-x", f"DELAY={delay}")
                pairs.append((predicted(plan), median(bench(launcher, networks[name], 8))))
            tell(name, f"{delay} us in each all-reduce", pairs)


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
        for rate in ["", "1gbit", "200mbit"]:
            for host in hosts if rate else []:
                words = ["ip", "netns", "exec", host, "tc", "qdisc", "replace", "dev", "veth0", "root", "tbf", "rate", rate]
                subprocess.run([*words, "burst", "128kb", "latency", "1s"], check=True)
            given = {"": "10Gbit/s", "1gbit": "1Gbit/s", "200mbit": "200Mbit/s"}[rate]
            for name in ["DenseNet-BC-100", "DenseNet-121, 32x32"]:
                pairs = []
                for _ in range(rounds):
                    file = timed_here(networks[name], 8)
                    plan = plan_two_hosts(networks[name], file, link_latency, given)
                    pairs.append((predicted(plan), median(bench(launcher, networks[name], 8))))
                tell(name, f"two hosts, {rate or 'the link as it is'}", pairs)
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host])


# A message from namespace to namespace and its answer, over TCP, take twice this long here.
link_latency = os.environ.get("LINK_LATENCY", "25us")

if __name__ == "__main__":
    what, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    for name, check in {"ranks": check_ranks, "delay": check_delay, "link": check_link}.items():
        if what in (name, "all"):
            check(rounds)
