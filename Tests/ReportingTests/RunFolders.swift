import Foundation
import FoundationXML
import TestSupport
import Testing
import Training

/// A network and images so small that a training takes a second.
let tinyRun = [
    "--blocks", "1,1", "--growth-rate", "4", "--stem-channels", "4", "--image", "8", "--limit-train", "64",
    "--limit-test", "32", "--batch-size", "16", "--epochs", "2",
]

/// Runs the built program; on one rank without mpirun.
@discardableResult
func densenet(
    _ arguments: [String], ranks: Int = 1, environment: [String: String?] = [:], status: Int32 = 0,
    sourceLocation: SourceLocation = #_sourceLocation
) throws -> ProgramResult {
    let job =
        ranks == 1
        ? try run(builtExecutable(named: "densenet"), arguments, environment: environment)
        : try mpirun(ranks: ranks, program: "densenet", arguments: arguments, environment: environment)
    try #require(job.status == status, "\(job.output)\(job.errors)", sourceLocation: sourceLocation)
    return job
}

/// The text of a file.
func text(_ path: String) throws -> String {
    String(decoding: try Data(contentsOf: URL(filePath: path)), as: UTF8.self)
}

/// A page, or a drawing, as a tree of elements.
final class Page: NSObject, XMLParserDelegate {
    struct Element {
        let name: String
        let attributes: [String: String]
        var text = ""
    }

    let source: String
    private(set) var elements: [Element] = []
    private var open: [Int] = []

    /// - Throws: an error where the source is no well-formed XML.
    init(_ source: String) throws {
        self.source = source
        super.init()
        let parser = XMLParser(data: Data(source.utf8))
        parser.delegate = self
        guard parser.parse() else { throw parser.parserError ?? CocoaError(.fileReadCorruptFile) }
    }

    /// The texts of all elements of a name, those inside of them included.
    func texts(_ name: String) -> [String] { elements.filter { $0.name == name }.map(\.text) }

    /// All elements of a name and a class.
    func elements(_ name: String, class style: String? = nil) -> [Element] {
        elements.filter {
            $0.name == name
                && style.map(($0.attributes["class"] ?? "").split(separator: " ").map(String.init).contains) ?? true
        }
    }

    func parser(
        _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
        attributes: [String: String]
    ) {
        open.append(elements.count)
        elements.append(Element(name: name, attributes: attributes))
    }

    func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
        open.removeLast()
    }

    func parser(_ parser: XMLParser, foundCharacters text: String) {
        for index in open { elements[index].text += text }
    }
}

/// The metrics of an epoch, made up.
func metrics(
    _ epoch: Int, loss: Double = 1, accuracy: Double = 0.5, rate: Double = 0.1, seconds: Double = 8
) -> EpochMetrics {
    EpochMetrics(
        epoch: epoch, trainLoss: loss, trainAccuracy: accuracy, testLoss: loss, testAccuracy: accuracy,
        imagesPerSecond: 100, learningRate: rate, dataWaitSeconds: seconds / 4, checkpointWaitSeconds: 1,
        epochSeconds: seconds, evaluationSeconds: 3)
}
