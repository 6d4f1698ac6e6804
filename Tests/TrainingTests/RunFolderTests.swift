import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing
import Training

@Suite struct RunFolderTests {
    let scratch = ScratchFolder()

    struct Options: Codable, Equatable {
        var model = "densenet-bc-40-12"
        var batch = 64
        var rate = 0.1
    }

    @Test func `a new run has its folders and returns its configuration when resumed`() throws {
        let path = scratch("runs/today")
        do {
            let run = try RunFolder(path: path, resuming: false)
            #expect(FileManager.default.fileExists(atPath: run.checkpoints))
            try run.writeConfiguration(Options())
        }
        let text = String(decoding: try scratch.read("runs/today/config.json"), as: UTF8.self)
        #expect(text == "{\n  \"batch\" : 64,\n  \"model\" : \"densenet-bc-40-12\",\n  \"rate\" : 0.1\n}\n")
        #expect(try RunFolder(path: path, resuming: true).readConfiguration(as: Options.self) == Options())
    }

    @Test func `a folder with a run is not used for a new one`() throws {
        let path = scratch("run")
        try RunFolder(path: path, resuming: false).writeConfiguration(Options())
        #expect(
            throws: Failure(
                .usage, "\(path) already holds a run; resume with: `resuming` \(path), or choose another folder")
        ) { try RunFolder(path: path, resuming: false) }
        // The refusal has released the lock.
        _ = try RunFolder(path: path, resuming: true)
    }

    @Test func `a run that does not exist cannot be resumed, and no folder is created for it`() throws {
        let failure = #expect(throws: Failure.self) { try RunFolder(path: scratch("none"), resuming: true) }
        #expect(
            failure?.kind == .noInput && failure?.message.hasPrefix("\(scratch("none")) holds no run to resume") == true
        )
        #expect(scratch.names == [])
    }

    @Test func `a folder in use by another process is refused, and available once it ends`() async throws {
        let path = scratch("run")
        do {
            let run = try RunFolder(path: path, resuming: false)
            let owner = "process \(getpid()) on "
            await #expect(processExitsWith: .success) { [path = path as String, owner = owner as String] in
                let failure = #expect(throws: Failure.self) { try RunFolder(path: path, resuming: false) }
                #expect(failure?.kind == .unavailable)
                #expect(failure?.message.hasPrefix("run folder \(path) is in use by \(owner)") == true, "\(failure!)")
            }
            _ = run
        }
        // A killed process releases the lock, too.
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String] in
            let run = try RunFolder(path: path, resuming: false)
            kill(getpid(), SIGKILL)
            _ = run
        }
        _ = try RunFolder(path: path, resuming: false)
    }

    @Test func `files that a killed process left half-written are removed, and no others`() throws {
        _ = try RunFolder(path: scratch.path, resuming: false)
        let temporary = ["config.json.tmp-123", "checkpoints/checkpoint-00001-00000010.safetensors.tmp-9"]
        let others = ["config.tmp", "notes.tmp-old", "checkpoints/x"]
        for name in temporary + others { _ = try scratch.write([1], to: name) }
        _ = try RunFolder(path: scratch.path, resuming: false)
        for name in temporary { #expect(!FileManager.default.fileExists(atPath: scratch(name))) }
        for name in others { #expect(FileManager.default.fileExists(atPath: scratch(name))) }
    }

    @Test func `a folder that cannot be made is named with the reason`() throws {
        let file = try scratch.write([], to: "file")
        for path in [file, file + "/run", "/proc/run"] {
            let failure = #expect(throws: Failure.self) { try RunFolder(path: path, resuming: false) }
            #expect(failure?.kind == .unavailable && failure?.message.contains(path) == true, "\(failure!)")
        }
        #expect(throws: Failure(.usage, "the path of the run folder is empty")) {
            try RunFolder(path: "", resuming: false)
        }
    }

    @Test(arguments: [
        ("{\"model\": \"m\", \"rate\": 1}", "key batch is missing"),
        ("{\"model\": \"m\", \"batch\": \"many\", \"rate\": 1}", "key batch is not of type Int"),
        ("{\"model\": \"m\", \"ba", "the content is no valid JSON"),
        ("", "the content is no valid JSON"),
        (String(repeating: "[", count: 100_000), "the content is no"),
    ])
    func `a configuration that was tampered with is refused by key`(_ text: String, _ words: String) throws {
        let run = try RunFolder(path: scratch.path, resuming: false)
        _ = try scratch.write(Array(text.utf8), to: "config.json")
        let failure = #expect(throws: Failure.self) { try run.readConfiguration(as: Options.self) }
        #expect(failure?.kind == .data)
        #expect(failure?.message.contains(words) == true && failure?.message.contains("\n") == false, "\(failure!)")
    }
}
