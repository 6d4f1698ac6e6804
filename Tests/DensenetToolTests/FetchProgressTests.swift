import Testing

@testable import DensenetTool

@Suite struct FetchProgressTests {
    @Test(arguments: [
        (80, "cifar-10.tar.gz:  43%|████▎     | 73.1/170.1 MB [00:14<00:27, 3.6 MB/s]"),
        (60, "cifar-10.tar.gz:  43% 73.1/170.1 MB [00:14<00:27]"), (30, " 43% 73.1/170.1 MB [<00:27]"), (7, " 43% 73"),
    ])
    func `the line says how much has come, how fast, and when the rest will have`(columns: Int, expected: String) {
        // 23,100,000 bytes were there before.
        let text = FetchProgress.text(
            name: "cifar-10.tar.gz", done: 73_100_000, total: 170_100_000, new: 50_000_000, seconds: 14,
            columns: columns,
            ascii: false)
        #expect(text == expected)
    }

    @Test func `where the server does not say how much there is, the line says what has come`() {
        let text = FetchProgress.text(
            name: "a", done: 2_000_000, total: nil, new: 2_000_000, seconds: 4, columns: 80, ascii: true)
        #expect(text == "a: 2.0 MB [00:04, 0.5 MB/s]")
    }

    @Test func `numbers beyond all measure are printed too`() {
        for (done, total) in [(0, 0), (5, 3), (0, Int.max), (Int.max / 2, Int.max)] {
            for seconds in [0, 1e-300, 1e300] {
                let text = FetchProgress.text(
                    name: "a", done: done, total: total, new: done, seconds: seconds, columns: 40, ascii: true)
                #expect(text.count <= 40)
            }
        }
    }
}
