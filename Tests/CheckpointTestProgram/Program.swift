import Safetensors
import SlowCalls
import Support
import SystemPackage
import Training

/// Continues from a folder's newest checkpoint and writes one after the other, with all numbers equal to its step,
/// until it is killed; reports each one once it is written.
@main
struct Program {
    static func main() throws {
        let folder = CheckpointFolder(path: CommandLine.arguments[1], keep: 2)
        var step = try folder.newestValid()?.checkpoint.position.step ?? 0
        let values = AlignedBuffer<Float>(count: 20_000)
        try say("\(step)")
        slow_calls_set(1)
        while true {
            step += 1
            values.elements.update(repeating: Float(step))
            let tensors = (0..<4).map {
                NamedTensor(
                    name: "\($0)", shape: [5000], values: UnsafeBufferPointer(values[5000 * $0..<5000 * ($0 + 1)]))
            }
            try folder.write(
                Checkpoint(position: CheckpointPosition(epoch: 1, step: step), tensors: tensors, metadata: [:]))
            try say("\(step)")
        }
    }

    /// Unbuffered: whoever kills the process has read it.
    private static func say(_ line: String) throws { try FileDescriptor.standardOutput.writeAll("\(line)\n".utf8) }
}
