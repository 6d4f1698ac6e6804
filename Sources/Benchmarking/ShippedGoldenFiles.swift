import DataParallel
import GoldenFiles
import Support
import Training

extension GoldenVerification {
    /// The golden files that the build has put beside the program, sorted by name. Collective: all ranks have the same
    /// ones.
    ///
    /// - Throws: on all ranks `Failure(.noInput)` where there are none, `Failure(.internal)` where the ranks' builds
    ///   have others.
    package static func shippedFiles(_ communicator: Communicator) throws -> [String] {
        let (folder, names) = try communicator.throwOnAllRanks {
            let place = try FileSystem.programFile().split(separator: "/").dropLast().map { "/" + $0 }.joined()
            let path = place + "/" + String(cString: golden_folder)
            let names = ((try? FileSystem.names(inFolder: path)) ?? []).filter { $0.hasSuffix(".safetensors") }.sorted()
            guard !names.isEmpty else {
                throw Failure(
                    .noInput,
                    "\(path) has no golden files, as it has where densenet was built; name some: densenet verify FILE")
            }
            return (path, names)
        }
        try communicator.requireSame(
            [NamedValue("the golden files beside the program", names.joined(separator: ", "))], .internal,
            advice: "install the same build on all nodes")
        return names.map { "\(folder)/\($0)" }
    }
}
