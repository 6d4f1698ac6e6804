import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

/// `launch.sh` around a run: signals, terminals, options.
@Suite struct LaunchTests {
    let scratch = ScratchFolder()
    private var path: String { scratch("run") }
    private static let endless =
        smallNetwork + ["--limit-train", "256", "--limit-test", "32", "--batch-size", "16", "--epochs", "100000"]

    private func train(_ options: [String], _ body: (RunningProgram) throws -> Void) throws {
        try withLaunchedJob(["-n", "2", "train", "--out", path] + options, body)
    }

    /// What launch.sh says if it does not even start.
    private func refusal(_ arguments: [String], environment: [String: String?] = [:]) throws -> (
        status: Int32, line: String
    ) {
        try withLaunchedJob(arguments, environment: environment) { job in
            let result = try job.wait(timeout: 60)
            #expect(result.errors.lines.count == 1, "\(result.errors)")
            return (result.status, result.errors)
        }
    }

    // MARK: - Signals

    @Test(arguments: [SIGUSR1, SIGUSR2, SIGALRM, SIGHUP])
    func `a signal that asks launch.sh to stop ends training with a checkpoint`(signal: Int32) throws {
        try train(Self.endless) { job in
            try job.wait(for: "training") { job.output.contains("epoch 001") }
            kill(job.process, signal)
            let result = try job.wait(timeout: 60)
            #expect(result.status == 75, "\(result.errors)")
            #expect(result.errors.contains("; resume with: train --resume \(path)"), "\(result.errors)")
        }
    }

    /// As SLURM does when a job is cancelled or requeued, or has no time left.
    @Test func `SIGTERM to all processes at once lets a long step finish, and ends with a checkpoint`() throws {
        let slow = [
            "--blocks", "4,4", "--growth-rate", "12", "--image", "8", "--limit-train", "768", "--limit-test", "32",
            "--batch-size", "768", "--epochs", "1000",
        ]
        try train(slow) { job in
            try job.wait(for: "the first step", timeout: 60) { job.output.contains("run folder: ") }
            usleep(300_000)
            let began = monotonicSeconds()
            for process in processes(naming: path) { kill(process, SIGTERM) }
            let result = try job.wait(timeout: 60)
            print("SIGTERM to all: ended after \(monotonicSeconds() - began) s")
            #expect(result.status == 75, "\(result.output)\(result.errors)")
            #expect(result.errors.contains("densenet: stopped on request after step "), "\(result.errors)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: path + "/checkpoints").count == 1)
    }

    @Test func `a closed reader of the output neither ends a run nor hides its exit code`() throws {
        let command =
            "bash \"$0\" -n 2 train --out '\(path)' \(Self.endless.joined(separator: " ")) 2>&1; echo $? >'\(scratch("code"))'"
        try withLaunchScript { script in
            let job = try RunningProgram("bash", ["-c", "{ \(command); } | head -n 1", script])
            try job.wait(for: "training", timeout: 60) {
                access(path + "/checkpoints/checkpoint-00002-00000032.safetensors", F_OK) == 0
            }
            let launcher = try #require(
                processes(naming: path).first { process in
                    (try? String(contentsOf: URL(filePath: "/proc/\(process)/cmdline"), encoding: .utf8))?.contains(
                        "launch.sh\0-n") == true
                })
            kill(launcher, SIGPIPE)
            kill(launcher, SIGTERM)
            #expect(try job.wait(timeout: 60).status == 0)
        }
        #expect(try String(decoding: scratch.read("code"), as: UTF8.self) == "75\n")
    }

    @Test func `Ctrl-Z suspends launch.sh and the ranks, and all continue`() throws {
        func state(_ process: pid_t) -> Character? {
            let text = try? String(contentsOf: URL(filePath: "/proc/\(process)/stat"), encoding: .utf8)
            return text.flatMap { text in text.lastIndex(of: ")").flatMap { text[$0...].dropFirst(2).first } }
        }
        try train(Self.endless) { job in
            try job.wait(for: "training") { job.output.contains("epoch 002") }
            let ranks = processes(naming: path, program: "densenet")
            #expect(ranks.count == 2)
            kill(job.process, SIGTSTP)
            try job.wait(for: "the ranks' stop") { (ranks + [job.process]).allSatisfy { state($0) == "T" } }
            kill(job.process, SIGCONT)
            let epochs = try readMetrics(path).count
            try job.wait(for: "more epochs") { (try? readMetrics(path).count > epochs + 1) == true }
            kill(job.process, SIGTERM)
            #expect(try job.wait(timeout: 60).status == 75)
        }
    }

    // MARK: - The terminal

    @Test(arguments: [40, 80]) func `on a terminal of any width one line is redrawn`(columns: Int) throws {
        let options =
            smallNetwork.joined(separator: " ") + " --limit-train 3000 --limit-test 32 --batch-size 16 --epochs 1"
        try withLaunchScript { script in
            // mpirun may bring lines of the two streams in another order, so one of them stays away.
            let command = "stty cols \(columns); bash '\(script)' -n 2 train --out '\(path)' \(options) >/dev/null"
            let job = try run(
                "script", ["-qec", command, "/dev/null"], environment: ["LC_ALL": "C.UTF-8", "TERM": "xterm"],
                timeout: 240)
            #expect(job.status == 0, "\(job.output)")
            let drawn = job.output.split { $0 == "\r" || $0 == "\n" || $0 == "\r\n" }.filter { $0.hasPrefix("[") }
            #expect(drawn.count > 3 && drawn.allSatisfy { $0.count <= columns }, "\(drawn)")
            #expect(
                drawn.contains { $0.hasPrefix("[Training] 100%") || $0.contains(": 100%|██████████| ") }, "\(drawn)")
        }
    }

    @Test func `in a locale with ASCII only, only ASCII is printed`() throws {
        try withLaunchScript { script in
            let command =
                "stty cols 120; bash '\(script)' -n 1 train --out '\(path)' \(smallRun.joined(separator: " ")) --epochs 1"
            let job = try run(
                "script", ["-qec", command, "/dev/null"], environment: ["LC_ALL": "C", "TERM": "xterm"], timeout: 240)
            #expect(job.status == 0 && job.output.contains(": 100%|##########| 4/4"), "\(job.output)")
            #expect(job.output.utf8.allSatisfy { $0 < 128 }, "\(job.output)")
        }
    }

    // MARK: - Options

    @Test func `an option and its value may be one word`() throws {
        let hosts = try scratch.write(Array("localhost slots=2\n".utf8), to: "hosts")
        for options in [["-n2"], ["--hostfile=\(hosts)"]] {
            try withLaunchedJob(options + ["evaluate", "--weights", "/nowhere"]) { job in
                let result = try job.wait(timeout: 60)
                #expect(result.status == 66, "\(options): \(result.errors)")
            }
        }
        let version = try withLaunchedJob(["--version"]) { try $0.wait(timeout: 60) }
        #expect(version.output.hasPrefix("densenet "), "\(version.errors)")
    }

    @Test func `a host on several lines of a host file has a slot a line, as PBS and LSF write it`() throws {
        let hosts = try scratch.write(Array("localhost\nlocalhost\n".utf8), to: "nodes")
        // More ranks than slots are refused by mpirun unless launch.sh has counted them.
        try withLaunchedJob(["-n", "3", "--hostfile", hosts, "evaluate", "--weights", "/nowhere"]) { job in
            let result = try job.wait(timeout: 60)
            #expect(result.status == 66, "\(result.errors)")
        }
    }

    @Test func `launch.sh lays out ranks and threads as asked, or says what it has chosen and why`() throws {
        struct Report: Decodable { let ranks, threads: Int }
        let cores = try physicalCores
        let bench = ["bench", "--steps", "1", "--batch-size", "16", "--json"] + smallNetwork
        for (options, ranks, threads) in [
            (["--ranks-per-node", "1", "--threads", "2"], 1, 2), (["--threads=1", "-n2"], 2, 1),
            (["--ranks-per-node=2"], 2, max(1, cores / 2)),
        ] {
            try withLaunchedJob(options + bench) { job in
                let result = try job.wait(timeout: 60)
                #expect(result.status == 0 && result.errors.isEmpty, "\(options): \(result.errors)")
                let report = try JSONDecoder().decode(Report.self, from: Data(result.output.utf8))
                #expect(report.ranks == ranks && report.threads == threads, "\(options): \(report)")
            }
        }
        try withLaunchedJob(["evaluate", "--weights", "/nowhere", "--batch-size", "8"]) { job in
            let result = try job.wait(timeout: 60)
            let line = "# 1 rank × \(cores) thread\(cores == 1 ? "" : "s"), because "
            #expect(result.status == 66 && result.errors.lines.first?.hasPrefix(line) == true, "\(result.errors)")
        }
        let contradiction = try refusal(["-n", "2", "--ranks-per-node", "2", "train"])
        #expect(contradiction.status == 64 && contradiction.line.contains("leave one out"), "\(contradiction.line)")
    }

    @Test func `bench --tune times layouts and prints the command for the fastest`() throws {
        let tune = ["bench", "--tune", "--steps", "1", "--batch-size", "2", "--precision", "f32"] + smallNetwork
        try withLaunchedJob(tune) { job in
            let result = try job.wait(timeout: 60)
            #expect(result.status == 0 && result.errors.isEmpty, "\(result.output)\(result.errors)")
            let lines = result.output.lines.map { $0.split(separator: " ") }
            // Whole numbers of ranks, threads and images, then what was measured.
            let layouts = lines.dropFirst().dropLast()
            #expect(
                layouts.count >= 2 && layouts.allSatisfy { $0.count == 6 && $0.compactMap { Double($0) }.count == 6 })
            let command = result.output.lines.last.map(String.init) ?? ""
            let words = ["--precision", "f32"] + smallNetwork + ["--batch-size", "2"]
            #expect(command.hasPrefix("fastest with 2 images a step: ./launch.sh --ranks-per-node "), "\(command)")
            #expect(command.hasSuffix(" train " + words.joined(separator: " ")), "\(command)")
        }
        let refused = try refusal(["-n", "2"] + tune)
        #expect(refused.status == 64 && refused.line.contains("--tune"), "\(refused.line)")
    }

    @Test
    func `misplaced options, empty host files and copies of launch.sh are reported as such`()
        throws
    {
        let misplaced = try refusal(["train", "-n", "2"])
        #expect(misplaced.status == 64 && misplaced.line.contains("-n goes before the command"), "\(misplaced.line)")
        let windows = try scratch.write(Array("localhost slots=2\r\n".utf8), to: "windows")
        let crlf = try refusal(["--hostfile", windows, "train"])
        #expect(
            crlf.status == 65 && crlf.line.contains("CR LF") && crlf.line.contains(#"sed -i 's/\r$//'"#), "\(crlf.line)"
        )
        let empty = try refusal(["--hostfile", try scratch.write(Array("# nobody\n".utf8), to: "empty"), "train"])
        #expect(empty.status == 65 && empty.line.contains("names no host"), "\(empty.line)")
        let copies = try refusal(["train"], environment: ["SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"])
        #expect(copies.status == 64 && copies.line.contains("started 2 times at once"), "\(copies.line)")
    }

    @Test func `a folder that launch.sh has made for an impossible run is removed`() throws {
        try withLaunchScript { script in
            let result = try run(
                "sh", ["-c", "cd '\(scratch.path)' && bash '\(script)' -n 1 train --model densenet-xl"])
            #expect(result.status == 64 && scratch.names.isEmpty, "\(result.errors) \(scratch.names)")
        }
    }
}

/// As `densenet env` counts them.
private var physicalCores: Int {
    get throws {
        let environment = try densenet(["env"]).output.lines
        let words = environment.first { $0.hasPrefix("cores ") }?.split(separator: " ")
        return try #require(words?.dropFirst().first.flatMap { Int($0) })
    }
}
