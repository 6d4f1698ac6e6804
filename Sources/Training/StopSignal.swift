import Glibc
import Synchronization

/// How often a signal has asked; global, since a signal handler captures nothing.
private let requests = Atomic<Int>(0)

/// Whether this process has been asked to stop: SIGTERM, SIGINT, or SIGUSR1, which SLURM sends before it takes the machine away.
///
/// The request is only noted; training looks at it after each step. A second SIGINT ends the process at once.
public enum StopSignal {
    static var isRaised: Bool { count > 0 }

    /// How often this process has been asked.
    public static var count: Int { requests.load(ordering: .relaxed) }

    /// From now on the signals are noted.
    public static func listen() {
        _ = isRaised
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { signal in
            let before = requests.add(1, ordering: .relaxed).oldValue
            if before > 0 && signal == SIGINT { _exit(130) }
        }
        action.sa_flags = SA_RESTART
        for signal in [SIGTERM, SIGINT, SIGUSR1] { sigaction(signal, &action, nil) }
    }
}
