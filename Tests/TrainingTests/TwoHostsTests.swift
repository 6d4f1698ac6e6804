import TestSupport
import Testing

@Suite struct TwoHostsTests {
    /// The script says what it found, or why it could not run.
    @Test func `over TCP two hosts train as one does, and both end when the link between them is cut`() throws {
        let script = #filePath.split(separator: "/").dropLast(2).map { "/\($0)" }.joined() + "/two-hosts.sh"
        let result = try withJobSlot {
            try run("bash", [script, builtExecutable(named: "densenet")], timeout: 240)
        }
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        if result.output.contains("two-hosts: skipped: this system") || result.output.contains("only root") {
            try Test.cancel("\(result.output)")
        }
        #expect(result.output.contains("nothing is left running on either host"), "\(result.output)")
    }
}
