@preconcurrency import Glibc
import Support

/// Feeds thousands of damaged files to one of the program's readers: `FuzzTestProgram TARGET FOLDER FIRST COUNT`.
///
/// Case n of a target is always the same. Each must succeed or throw a `Failure` of a permitted kind. FOLDER/case has
/// the number of the current case, in case the process crashes.
@main
struct Program {
    static func main() {
        do { try run() } catch {
            fputs("\(error)\n", stderr)
            exit(Failure.Kind.internal.rawValue)
        }
    }

    private static func run() throws {
        let words = CommandLine.arguments.dropFirst()
        guard words.count == 4, let first = Int(words[3]), let count = Int(words[4]) else {
            throw Failure(.usage, "expected TARGET FOLDER FIRST COUNT")
        }
        let target = try makeTarget(words[1], folder: words[2])
        var accepted = 0
        var refused = 0
        // Case 0 is undamaged.
        try target.run(Mutator(case: 0))
        let before = peakResidentKibibytes()
        for number in first..<first + count {
            note(number, in: words[2])
            try run(target, words[1], number, &accepted, &refused)
        }
        print("\(words[1]): accepted \(accepted) refused \(refused) grown \(peakResidentKibibytes() - before) KiB")
    }

    private static func run(
        _ target: any Target, _ name: String, _ number: Int, _ accepted: inout Int, _ refused: inout Int
    ) throws {
        do {
            try target.run(Mutator(case: number))
            accepted += 1
        } catch let failure as Failure where target.kinds.contains(failure.kind) {
            guard !failure.message.contains("\n") else {
                throw Failure(.internal, "\(name), case \(number): more than one line: \(failure.message)")
            }
            refused += 1
        } catch {
            throw Failure(.internal, "\(name), case \(number): \(error)")
        }
    }

    private static func note(_ number: Int, in folder: String) {
        let file = open(folder + "/case", O_WRONLY | O_CREAT, 0o600)
        let text = "\(number)\n"
        _ = pwrite(file, text, text.utf8.count, 0)
        close(file)
    }

    private static func peakResidentKibibytes() -> Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss
    }
}

/// A reader and the files that it reads.
protocol Target {
    /// The permitted kinds of failures.
    var kinds: Set<Failure.Kind> { get }
    /// Damages a file, reads it and restores the folder.
    func run(_ mutator: Mutator) throws
}
