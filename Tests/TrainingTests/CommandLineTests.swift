import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

/// A command's environment: its arguments, its output, the system's limits.
@Suite struct CommandLineTests {
    let scratch = ScratchFolder()

    /// Runs a shell command line with `densenet` in the scratch folder.
    private func shell(_ line: String, ranks: Int = 1) throws -> ProgramResult {
        let program = try builtExecutable(named: "densenet")
        let launcher = "mpirun -q --allow-run-as-root --oversubscribe --bind-to none -n \(ranks) "
        return try withJobSlot {
            try run(
                "bash",
                [
                    "-c",
                    "cd '\(scratch.path)'; densenet() { \(ranks == 1 ? "" : launcher)'\(program)' \"$@\"; }; \(line)",
                ])
        }
    }

    @Test(arguments: [
        ("train --out \"$bad\"", "the value of --out"), ("train --out=$bad --epochs 1", "the value of --out"),
        ("train --data \"$bad\"", "the value of --data"), ("train --init \"$bad\"", "the value of --init"),
        ("train --resume \"$bad\"", "the value of --resume"), ("evaluate --weights \"$bad\"", "the value of --weights"),
        ("synthesize \"$bad\"", "an argument"), ("verify \"$bad\"", "an argument"),
    ])
    func `a path that is not UTF-8 is refused before anything is created`(arguments: String, words: String) throws {
        for ranks in [1, 2] {
            let job = try shell("bad=$(printf 'r\\377n'); densenet \(arguments)", ranks: ranks)
            #expect(job.status == Failure.Kind.usage.rawValue)
            #expect(
                job.errors.lines.count == 1 && job.errors.hasPrefix("densenet: \(words) is not UTF-8: "),
                "\(job.errors)")
        }
        #expect(scratch.names == [])
    }

    @Test func `a working folder whose name is not UTF-8 is accepted`() throws {
        let job = try shell(
            "d=$(printf 'r\\377n'); mkdir $d; cd $d; densenet synthesize images --train 5 --test 2; "
                + "densenet train \(smallNetwork.dropLast(2).joined(separator: " ")) --data images --batch-size 5 --epochs 1 --out run"
        )
        #expect(job.status == 0 && job.errors == "", "\(job.errors)")
    }

    @Test func `results that cannot be written are an error, but a closed pipe is not`() throws {
        try train(smallRun + ["--epochs", "1"], out: scratch("run"))
        for command in [
            "describe densenet-bc-22-12", "synthesize images --train 5 --test 2",
            "bench --model densenet-bc-10-4 --steps 1 --batch-size 2",
            "evaluate --weights run/weights.safetensors --limit-train 16 --limit-test 16",
        ] {
            let job = try shell("densenet \(command) > /dev/full")
            #expect(job.status == Failure.Kind.unavailable.rawValue, "\(command)")
            #expect(
                job.errors == "densenet: standard output cannot be written: No space left on device\n", "\(command)")
        }
        let job = try shell(
            "trap '' PIPE; { densenet describe densenet121; echo $? > status; } | true; sleep 0.2; cat status")
        #expect(job.output == "0\n" && job.errors == "", "\(job.errors)")
    }

    @Test func `training continues if its lines cannot be written, and says so once`() throws {
        let job = try shell("densenet train --out run --epochs 2 \(smallRun.joined(separator: " ")) > /dev/full")
        #expect(job.status == 0)
        #expect(
            job.errors
                == "densenet: standard output cannot be written: No space left on device; the run went on without\n",
            "\(job.errors)")
        #expect(try FinishedRun(path: scratch("run")).epochs.count == 2)
    }

    @Test func `too many open files are reported as such`() throws {
        try #require(densenet(["synthesize", scratch("images"), "--train", "5", "--test", "2"]).status == 0)
        let command =
            "densenet train --data images --epochs 1 --batch-size 4 \(smallNetwork.dropLast(2).joined(separator: " "))"
        var places: Set<String> = []
        // With fewer, Open MPI itself does not start; files that the tests have open would count, too.
        let close = "for file in {3..60}; do eval \"exec $file>&-\"; done"
        for limit in 12...24 {
            let job = try shell("\(close); ulimit -n \(limit); \(command) --out run\(limit)")
            guard job.status != 0, let line = job.errors.lines.first(where: { $0.hasPrefix("densenet: cannot ") })
            else { continue }
            #expect(line.hasSuffix(": Too many open files; raise the limit of open files (ulimit -n)"), "\(line)")
            places.insert(String(line.split(separator: " ")[2]) + (line.contains("/images/") ? " images" : " run"))
        }
        #expect(places == ["read images", "write run", "read run"])
        // With so few, Open MPI would hang.
        let few = try shell("\(close); ulimit -n 9; \(command) --out few")
        #expect(
            few.status == 69 && few.errors.hasSuffix("need 12 open files, ulimit -n allows 9; raise the limit\n"),
            "\(few.errors)")
    }

    @Test func `a limit of file sizes is an error with a message`() throws {
        let job = try shell("ulimit -f 4; densenet train --out run --epochs 1 \(smallRun.joined(separator: " "))")
        #expect(
            job.status == 69 && job.errors.contains("File too large; raise the limit of file sizes (ulimit -f)"),
            "\(job.errors)")
    }
}
