import DataParallel
import Glibc
import Support
import SystemPackage

/// The terminal that a line is redrawn on: what this process writes to, or what launch.sh writes to for it, since
/// mpirun gives its processes pipes.
struct Terminal: Sendable {
    /// Where to ask for the width, at each line: it may change.
    private let descriptor: Int32
    /// The width where the terminal cannot be asked: it is on another host.
    private let fallback: Int

    /// Nil where there is none.
    init?(_ descriptor: Int32) {
        if isatty(descriptor) == 1 {
            (self.descriptor, fallback) = (descriptor, Int.max)
        } else if let launcher = Self.launcher {
            self = launcher
        } else {
            return nil
        }
    }

    /// launch.sh gives width and device in DENSENET_TERMINAL, as `80 /dev/pts/3`.
    private static let launcher: Terminal? = getenv("DENSENET_TERMINAL").flatMap { value in
        let words = String(cString: value).split(separator: " ", maxSplits: 1)
        guard let columns = words.first.flatMap({ Int($0) }), columns > 0 else { return nil }
        let device =
            words.count > 1
            ? try? FileDescriptor.open(
                String(words[1]), .readOnly, options: [.noControllingTerminal, .nonBlocking, .closeOnExec]) : nil
        return Terminal(descriptor: device?.rawValue ?? -1, fallback: columns)
    }

    private init(descriptor: Int32, fallback: Int) { (self.descriptor, self.fallback) = (descriptor, fallback) }

    /// Some terminals give a width of 0: unknown.
    var columns: Int {
        var size = winsize()
        return ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : fallback
    }

    /// Whether standard output ends on a terminal. mpirun gives its processes a terminal of its own, whatever it has
    /// itself; launch.sh knows.
    static let hasOutput =
        MPIEnvironment.launchedRank == nil
        ? isatty(STDOUT_FILENO) == 1 : environment("DENSENET_OUTPUT") == "terminal"

    /// Whether lines on standard output may have colours (https://no-color.org).
    static let showsColour = hasOutput && environment("NO_COLOR") == nil && environment("TERM") != "dumb"

    /// The variable's value; nil where it is empty.
    private static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// Whether letters beyond ASCII can be shown: as the locale says, and not on a dumb terminal.
    static let showsUnicode: Bool = {
        let locale = (environment("LC_ALL") ?? environment("LC_CTYPE") ?? environment("LANG") ?? "").lowercased()
        return (locale.contains("utf-8") || locale.contains("utf8")) && environment("TERM") != "dumb"
    }()
}
