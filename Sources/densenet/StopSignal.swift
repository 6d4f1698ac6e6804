import DataParallel
import Glibc
import Support
import Synchronization

/// How often a signal has asked; global, since a signal handler captures nothing.
private let requests = Atomic<Int>(0)
/// Seconds that training has to take note of the first request.
private let patience = Atomic<UInt32>(0)
/// Seconds after that in which this rank speaks. Ranks that are asked together speak once: rank zero, whose end mpirun
/// makes that of all.
private let turn = Atomic<UInt32>(1)
private let isOverdue = Atomic<Bool>(false)

/// Whether this process has been asked to stop: SIGTERM, SIGINT, or SIGUSR1, which SLURM sends before it takes the
/// machine away; SIGUSR2 and SIGALRM alike.
///
/// The request is only noted; training looks at it after each step. A second SIGINT ends the process at once, and so
/// does the clock where no step ends.
enum StopSignal {
    static var isRaised: Bool { count > 0 }

    /// How often this process has been asked.
    static var count: Int { requests.load(ordering: .relaxed) }

    /// From now on the signals are noted.
    ///
    /// - Parameter seconds: from the first of them to the process's end, unless training takes note of it before.
    static func listen(patience seconds: Int) {
        patience.store(UInt32(clamping: seconds), ordering: .relaxed)
        turn.store((MPIEnvironment.launchedRank ?? 0) > 0 ? 4 : 1, ordering: .relaxed)
        _ = isRaised
        var action = sigaction()
        action.__sigaction_handler.sa_sigaction = { signal, information, _ in
            if signal == SIGALRM, let code = information?.pointee.si_code, code > 0 { return timeIsOver() }
            let before = requests.add(1, ordering: .relaxed).oldValue
            if before == 0 { alarm(patience.load(ordering: .relaxed)) }
            if before > 0 && signal == SIGINT { _exit(130) }
        }
        action.sa_flags = SA_RESTART | SA_SIGINFO
        for signal in [SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGALRM] { sigaction(signal, &action, nil) }
    }

    /// Training ends in good order, now or by itself, which may take as long as it takes.
    static func takeNote() {
        patience.store(0, ordering: .relaxed)
        alarm(0)
    }
}

/// The clock's signal: only what a signal handler may do.
private func timeIsOver() {
    guard isOverdue.exchange(true, ordering: .relaxed) else {
        // As a second request: watchdogs tell nobody's death from now on.
        requests.add(1, ordering: .relaxed)
        alarm(turn.load(ordering: .relaxed))
        return
    }
    let line: StaticString =
        "densenet: asked to stop, but no step has ended within --collective-timeout; what the last checkpoint has is safe\n"
    _ = write(STDERR_FILENO, line.utf8Start, line.utf8CodeUnitCount)
    _exit(Failure.Kind.unavailable.rawValue)
}
