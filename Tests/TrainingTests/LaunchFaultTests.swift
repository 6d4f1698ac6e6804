import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

/// `launch.sh` if something is missing, full or killed: one line says so, and nothing is left running.
@Suite struct LaunchFaultTests {
    let scratch = ScratchFolder()
    private var path: String { scratch("run") }

    private func launch(_ arguments: [String], environment: [String: String?] = [:]) throws -> ProgramResult {
        try withLaunchedJob(arguments, environment: environment) { try $0.wait(timeout: 60) }
    }

    /// Runs a shell command line in which `$0` is the path of launch.sh.
    private func shell(_ line: String) throws -> ProgramResult {
        try withLaunchScript { try run("bash", ["-c", "cd '\(scratch.path)'; \(line)", $0], timeout: 60) }
    }

    @Test(arguments: [0.02, 0.1, 0.2, 0.3, 0.4, 0.6, 0.9, 1.5])
    func `killing launch.sh ends its ranks`(seconds: Double) throws {
        let options =
            smallNetwork + ["--limit-train", "256", "--limit-test", "32", "--batch-size", "16", "--epochs", "100000"]
        try withLaunchedJob(["-n", "2", "train", "--out", path] + options) { job in
            usleep(UInt32(seconds * 1e6))
            // With its whole process group, as a closed terminal or a batch system does.
            kill(-job.process, SIGKILL)
            let began = monotonicSeconds()
            while !processes(naming: path).isEmpty, monotonicSeconds() < began + 30 { usleep(10_000) }
            #expect(processes(naming: path).isEmpty)
            killAll(naming: path)
        }
    }

    @Test func `a full temporary folder is not used`() throws {
        let full = scratch("full")
        mkdir(full, 0o777)
        guard try run("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", full]).status == 0 else {
            try Test.cancel("only root can mount a small disk")
        }
        defer { _ = try? run("umount", ["-l", full]) }
        let job = try launch(
            ["-n", "2", "train", "--out", path, "--epochs", "1"] + smallRun, environment: ["TMPDIR": full])
        #expect(job.status == 0 && job.errors.isEmpty, "\(job.errors)")
    }

    @Test func `too low a limit of open files is reported before mpirun hangs`() throws {
        let job = try shell("ulimit -n 30; bash \"$0\" -n 2 train --out run; s=$?; ls; exit $s")
        #expect(job.status == 69 && job.output.isEmpty, "\(job.output)")
        #expect(
            job.errors == "launch.sh: mpirun needs 42 open files here, ulimit -n allows 30; raise the limit\n",
            "\(job.errors)")
    }

    @Test func `launch.sh needs no environment variables`() throws {
        guard !isSanitized else { try Test.cancel("a sanitizer needs its options") }
        let job = try shell("env -i \"$0\" -n 2 evaluate --weights /nowhere")
        #expect(job.status == 66 && job.errors == "densenet: cannot read /nowhere: No such file or directory\n")
    }

    @Test func `an error in the command or the environment is reported once, and no folder is created`() throws {
        for (arguments, simd, words) in [
            ("train", "bogus", "DENSENET_SIMD is 'bogus', expected "), ("train --epoch 3", "", "'--epoch'"),
            ("train --model densenet-xl", "", "unknown model 'densenet-xl'"),
        ] {
            let job = try shell("DENSENET_SIMD=\(simd) bash \"$0\" -n 4 \(arguments)")
            #expect(job.status == 64 && job.errors.lines.count == 1, "\(job.errors)")
            #expect(job.errors.hasPrefix("densenet: ") && job.errors.contains(words), "\(job.errors)")
            #expect(scratch.names.isEmpty)
        }
    }

    @Test func `a start that is refused for lack of memory is not retried`() throws {
        let options = ["--model", "densenet121", "--image", "224", "--limit-train", "8", "--batch-size", "1000000"]
        let job = try launch(["-n", "2", "--max-restarts", "3", "train", "--out", path] + options)
        #expect(job.status == 69)
        #expect(
            job.errors.lines.count == 1 && job.errors.hasPrefix("densenet: 2 ranks on this host need "),
            "\(job.errors)")
    }

    @Test func `results that cannot be written are an error with ranks, too, but a closed pipe is not`()
        throws
    {
        try train(smallRun + ["--epochs", "1"], out: path)
        let evaluate = "bash \"$0\" -n 2 evaluate --weights run/weights.safetensors --limit-test 32"
        let full = try shell("\(evaluate) >/dev/full")
        #expect(full.status == 69)
        #expect(full.errors == "launch.sh: standard output cannot be written: the results are lost\n")
        for trap in ["", "trap '' PIPE; "] {
            let job = try shell("\(trap){ \(evaluate); echo $? >status; } | head -n 1; cat status")
            #expect(
                job.output == "run/weights.safetensors: 32 images\n0\n" && job.errors.isEmpty,
                "\(job.output)\(job.errors)")
        }
    }

    @Test func `run folders may have spaces in their names, and options their values after =`() throws {
        let options = (smallRun + ["--epochs", "1"]).joined(separator: " ")
        let job = try shell(
            "bash \"$0\" -n 2 train '--out=a run' \(options) && bash \"$0\" -n 2 train --resume 'a run' --epochs=2 && cat 'a run/metrics.jsonl'"
        )
        #expect(job.status == 0 && job.output.lines.count { $0.hasPrefix("{") } == 2, "\(job.output)\(job.errors)")
        let named = try shell("bash \"$0\" -n 1 train \(options) && ls runs")
        #expect(
            named.output.lines.last?.wholeMatch(of: /\d{4}-\d\d-\d\d-\d{6}-custom/) != nil,
            "\(named.output)\(named.errors)")
    }
}
