import FoundationEssentials
import Glibc

/// What this machine's processor is called.
package func processorName() -> String {
    processorName(inCPUInfo: (try? String(contentsOf: URL(filePath: "/proc/cpuinfo"), encoding: .utf8)) ?? "")
}

/// The model's name as x86-64 has it; an arm64 kernel knows the numbers of designer and part only.
func processorName(inCPUInfo text: String) -> String {
    func value(_ key: String) -> Substring? {
        let line = text.split(separator: "\n").first { $0.hasPrefix(key) && $0.contains(": ") }
        return line.flatMap { $0.split(separator: ":", maxSplits: 1).last?.drop { $0 == " " } }
    }
    if let name = value("model name") { return String(name) }
    guard let designer = value("CPU implementer"), let part = value("CPU part") else { return "a CPU without a name" }
    return "CPU implementer \(designer), part \(part)"
}
