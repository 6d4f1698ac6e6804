import ArgumentParser
import DenseNetModel
import FoundationEssentials
import ImageData
import Reporting
import Support

/// How `predict` prints.
enum PredictionFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, csv
}

/// Prints predictions one by one, so that they are seen as they come.
struct PredictionOutput {
    let format: PredictionFormat
    /// Classes per picture.
    let top: Int
    let showsLogits: Bool
    let names: ClassNames

    /// A picture as an object of the JSON array.
    private struct Entry: Encodable {
        struct Class: Encodable {
            let name: String
            let label: Int
            let probability: Float
            let logit: Float?
        }

        let file: String
        let record: Int?
        let classes: [Class]
    }

    /// What stands before the first picture.
    func begin() {
        switch format {
        case .text: break
        case .json: Console.say("[")
        case .csv: Console.say("file,record,place,label,class,probability" + (showsLogits ? ",logit" : ""))
        }
    }

    /// What stands behind the last picture.
    func end() { if format == .json { Console.say("]") } }

    /// - Parameter isFirst: whether no other was printed before.
    func add(_ picture: PictureList.Element, _ logits: [Float], isFirst: Bool) throws {
        let prediction = try logits.withUnsafeBufferPointer { try Prediction(logits: $0) }
        let classes = prediction.best(top).map { label, probability in
            Entry.Class(
                name: names[label], label: label, probability: probability, logit: showsLogits ? logits[label] : nil)
        }
        switch format {
        case .text: sayText(picture, classes)
        case .json:
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            let entry = Entry(file: picture.path, record: picture.record, classes: classes)
            Console.say((isFirst ? " " : ",") + String(decoding: try encoder.encode(entry), as: UTF8.self))
        case .csv:
            for (place, one) in classes.enumerated() {
                let fields =
                    [
                        csvField(picture.path), picture.record.map { "\($0)" } ?? "", "\(place + 1)", "\(one.label)",
                        csvField(one.name), "\(one.probability)",
                    ] + (one.logit.map { ["\($0)"] } ?? [])
                Console.say(fields.joined(separator: ","))
            }
        }
    }

    private func sayText(_ picture: PictureList.Element, _ classes: [Entry.Class]) {
        Console.say(picture.path + (picture.record.map { ", record \($0)" } ?? ""))
        for one in classes {
            let percent = (100 * Double(one.probability)).formatted(places: 2, width: 6)
            let logit = one.logit.map { " (logit \(Double($0).formatted(places: 4)))" } ?? ""
            Console.say("\(percent) %  \(one.name)\(logit)")
        }
    }
}
