import Glibc
import Support
import Training

extension RunEstimate {
    /// Lines that are comments to `--config`.
    ///
    /// - Parameters:
    ///   - batchSize: images per step over all ranks.
    ///   - folder: the run folder, which need not be there.
    func report(batchSize: Int, folder: String) -> String {
        let free = freeBytes(near: folder).map { ", \(mebibytes($0)) MiB are free" } ?? ""
        let speeds = phases.map { phase in
            let rate = (Double(batchSize) / phase.stepSeconds).formatted(places: 1)
            let size = phases.count > 1 ? ", \(counted(phase.steps, "step")) at \(phase.imageSize) pixels" : ""
            return "# speed: \(rate) images/s, \(phase.stepSeconds.formatted(places: 3)) s a step\(size)"
        }
        let epoch = phases.count > 1 ? "the last epoch" : "an epoch"
        return
            (["# steps: \(stepsPerEpoch) an epoch, \(steps) in all"] + speeds + [
                "# time: \(duration(epochSeconds)) \(epoch) (\(duration(evaluationSeconds)) of it evaluation), "
                    + "\(duration(seconds)) in all",
                "# memory: \(mebibytes(rankMemory)) MiB a rank, \(mebibytes(rankMemory * ranksOnHost)) MiB of "
                    + "\(mebibytes(hostMemory)) MiB for the \(ranksOnHost) on this host",
                "# disk: \(mebibytes(diskBytes)) MiB for checkpoints and weights\(free)",
            ]).joined(separator: "\n")
    }
}

private func mebibytes(_ bytes: Int) -> String { (Double(bytes) / 0x1p20).formatted(places: bytes < 10 << 20 ? 1 : 0) }

/// As `3 d 4 h`, `5 min 6 s` or `7.8 s`.
func duration(_ seconds: Double) -> String {
    guard seconds >= 60 else { return "\(seconds.formatted(places: 1)) s" }
    let units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    let whole = Int(min(seconds, 1e15).rounded())
    let first = units.firstIndex { whole >= $0.1 }!
    let rest = whole % units[first].1
    let head = "\(whole / units[first].1) \(units[first].0)"
    guard first + 1 < units.count, rest >= units[first + 1].1 else { return head }
    return "\(head) \(rest / units[first + 1].1) \(units[first + 1].0)"
}

/// Bytes that are free where a folder is, or will be; nil where the system does not say.
func freeBytes(near path: String) -> Int? {
    var (folder, status) = (absolutePath(path), statvfs())
    while statvfs(folder, &status) != 0 {
        guard let slash = folder.lastIndex(of: "/"), folder.count > 1 else { return nil }
        folder = slash == folder.startIndex ? "/" : String(folder[..<slash])
    }
    return Int(status.f_bavail) * Int(status.f_frsize)
}
