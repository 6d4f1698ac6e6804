import DataParallel
import GoldenFiles
import Support
import Training

extension GoldenVerification {
    /// The golden files that the build put beside the program, sorted by name. Collective.
    ///
    /// - Throws: on all ranks `Failure(.noInput)` if there are none, `Failure(.internal)` if the ranks have different
    ///   ones.
    package static func shippedFiles(_ communicator: Communicator) throws -> [String] {
        let (folder, names) = try communicator.throwOnAllRanks {
            let programFolder = try FileSystem.programFile().split(separator: "/").dropLast().map { "/" + $0 }.joined()
            let path = programFolder + "/" + String(cString: golden_folder)
            let names = ((try? FileSystem.names(inFolder: path)) ?? []).filter { $0.hasSuffix(".safetensors") }.sorted()
            guard !names.isEmpty else {
                throw Failure(
                    .noInput,
                    "\(path) has no golden files, which the build puts there; name some: densenet verify FILE")
            }
            return (path, names)
        }
        try communicator.requireSame(
            [NamedValue("the golden files beside the program", names.joined(separator: ", "))], .internal,
            advice: "install the same build on all nodes")
        return names.map { "\(folder)/\($0)" }
    }
}
