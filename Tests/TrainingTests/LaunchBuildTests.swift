import FoundationEssentials
import Glibc
import TestSupport
import Testing

/// When `launch.sh` builds, with real builds of a package that has one small program.
@Suite(.serialized) struct LaunchBuildTests {
    let scratch = ScratchFolder()
    private var root: String { scratch("a") }

    private func makePackage(says word: String) throws {
        try FileManager.default.createDirectory(atPath: root + "/Sources/densenet", withIntermediateDirectories: true)
        let manifest = """
            // swift-tools-version: 6.1
            import PackageDescription
            let package = Package(
                name: "densenet", products: [.executable(name: "densenet", targets: ["densenet"])],
                targets: [.executableTarget(name: "densenet")])

            """
        _ = try scratch.write(Array(manifest.utf8), to: "a/Package.swift")
        try write(word)
        try FileManager.default.copyItem(atPath: launchScript, toPath: root + "/launch.sh")
    }

    private func write(_ word: String, in folder: String = "a") throws {
        _ = try scratch.write(Array("print(\"\(word)\")\n".utf8), to: folder + "/Sources/densenet/main.swift")
    }

    private func launch(_ folder: String = "a", _ environment: [String: String?] = [:], timeout: Double = 120) throws
        -> ProgramResult
    {
        try run("bash", [scratch(folder + "/launch.sh"), "describe"], environment: environment, timeout: timeout)
    }

    /// A PATH without Swift, as on a compute node.
    private var withoutSwift: [String: String?] {
        let folders = String(cString: getenv("PATH")).split(separator: ":").filter { access("\($0)/swift", X_OK) != 0 }
        return ["PATH": folders.joined(separator: ":"), "HOME": "/nonexistent"]
    }

    @Test func `it builds what has changed, even with an odd home or in a moved folder, and otherwise needs no Swift`()
        throws
    {
        try makePackage(says: "one")
        // The home of a service account; a temporary folder that SwiftPM cannot name.
        mkdir(scratch("tmp é"), 0o777)
        let first = try launch("a", ["HOME": "/nonexistent", "TMPDIR": scratch("tmp é")])
        #expect(
            first.status == 0 && first.output == "one\n" && first.errors.contains("building densenet"),
            "\(first.errors)")
        let again = try launch("a", withoutSwift)
        #expect(again.status == 0 && again.output == "one\n" && again.errors.isEmpty, "\(again.errors)")

        try write("two")
        // launch.sh may find Swift in the folders that it searches itself.
        if access("/opt/swift/usr/bin/swift", X_OK) != 0 && access("/usr/local/swift/usr/bin/swift", X_OK) != 0 {
            let stale = try launch("a", withoutSwift)
            #expect(
                stale.status == 69 && stale.errors.contains("Swift 6.2 or later is needed to build"), "\(stale.errors)")
        }
        // What was built elsewhere still runs, and is rebuilt when necessary.
        try write("one")
        #expect(try run("cp", ["-a", root, scratch("b")]).status == 0)
        let copy = try launch("b", withoutSwift)
        #expect(copy.status == 0 && copy.output == "one\n" && copy.errors.isEmpty, "\(copy.errors)")
        try write("three", in: "b")
        let rebuilt = try launch("b")
        #expect(
            rebuilt.status == 0 && rebuilt.output == "three\n" && rebuilt.errors.contains("building anew"),
            "\(rebuilt.errors)")
    }

    @Test func `a build that fails leaves the program of a copied folder unchanged`() throws {
        try makePackage(says: "one")
        #expect(try launch().output == "one\n")
        #expect(try run("cp", ["-a", root, scratch("b")]).status == 0)
        _ = try scratch.write(Array("no Swift\n".utf8), to: "b/Sources/densenet/main.swift")
        let broken = try launch("b")
        #expect(broken.status == 69 && broken.errors.contains("building anew"), "\(broken.errors)")
        try write("one", in: "b")
        let again = try launch("b", withoutSwift)
        #expect(again.status == 0 && again.output == "one\n" && again.errors.isEmpty, "\(again.errors)")
    }

    @Test func `a folder that cannot be written to is named`() throws {
        try makePackage(says: "one")
        _ = try scratch.write([], to: "a/.build")
        let refused = try launch()
        #expect(refused.status == 69 && refused.errors.lines.count == 1, "\(refused.errors)")
        #expect(refused.errors.contains("\(root)/.build cannot be written to"), "\(refused.errors)")
    }

    @Test func `it says that it waits for another build`() throws {
        try makePackage(says: "one")
        let arguments = [root + "/launch.sh", "describe"]
        let first = try RunningProgram("bash", arguments)
        var builder: [pid_t] = []
        try first.wait(for: "its build", timeout: 60) {
            builder = access(root + "/.build/.lock", F_OK) == 0 ? processes(naming: root, program: "swift-build") : []
            return !builder.isEmpty
        }
        for process in builder { kill(process, SIGSTOP) }
        let second = try RunningProgram("bash", arguments)
        defer { for process in builder { kill(process, SIGCONT) } }
        try second.wait(for: "its words") {
            second.errors.contains("waiting for another build of this folder (process ")
        }
        for process in builder { kill(process, SIGCONT) }
        for job in [first, second] { #expect(try job.wait(timeout: 120).output == "one\n", "\(job.errors)") }
    }
}
