import DataParallel
@preconcurrency import Glibc

/// A watchdog with a timeout of one second; with heartbeats if the environment variable FOLDER names a folder.
func startWatchdog(_ world: Communicator) throws -> Watchdog {
    let watchdog = try Watchdog(world, collectiveTimeout: 1, stopSignals: { 0 }, report: { fputs("\($0)\n", stderr) })
    if let folder = getenv("FOLDER") {
        watchdog.writeHeartbeats(to: String(cString: folder), advice: "do something")
        try world.barrier()
    }
    return watchdog
}

/// Rank zero takes four times the timeout for an activity that may take long.
func slowWriting(_ world: Communicator) throws {
    let watchdog = try startWatchdog(world)
    defer { watchdog.deregister() }
    world.progress.enter("writing", mayTakeLong: true)
    try world.throwOnAllRanks { if world.rank == 0 { usleep(4_500_000) } }
}

/// Rank zero takes as long for any other activity.
func slow(_ world: Communicator) throws {
    let watchdog = try startWatchdog(world)
    defer { watchdog.deregister() }
    world.progress.beginStep(7)
    world.progress.enter("thinking", 2, of: 3)
    try world.throwOnAllRanks { if world.rank == 0 { sleep(20) } }
}

/// Rank zero never arrives, and there are no heartbeats.
func missing(_ world: Communicator) throws {
    _ = try startWatchdog(world)
    while world.rank == 0 { pause() }
    try world.barrier()
}

/// Rank zero never arrives, and the file system hangs: heartbeats are pipes without a reader.
func stuckFolder(_ world: Communicator) throws {
    _ = try startWatchdog(world)
    let file = String(cString: getenv("FOLDER")) + "/rank-\(world.rank)"
    let pipe = file + ".pipe"
    try require(mkfifo(pipe, 0o600) == 0 && rename(pipe, file) == 0, "no pipe in place of \(file)")
    while world.rank == 0 { pause() }
    try world.barrier()
}
