import Training

extension RunMachine {
    /// Such as `2 ranks × 1 thread on 1 host (node07), vector level v3, bound to cores`.
    var summary: String {
        let named = hosts.prefix(4).joined(separator: ", ")
        let names = hosts.count > 4 ? "\(named) and \(hosts.count - 4) more" : named
        return
            "\(counted(ranks, "rank")) × \(counted(threads, "thread")) on \(counted(hosts.count, "host")) (\(names)), "
            + "vector level \(vectorLevel), \(isBound ? "bound to cores" : "not bound to cores")"
    }

    /// The CPU, and a line for each rank.
    var details: [String] {
        ["CPU: \(processor)"] + places.enumerated().map { rank, place in "rank \(rank): \(place)" }
    }
}

/// Such as `1 rank` or `2 ranks`.
func counted(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
