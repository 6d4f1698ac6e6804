import FoundationEssentials
import Support
import Training

/// What a run keeps for people, beside its metrics: `RUN/record.json`. No run depends on it.
///
///     {
///       "version": 1,
///       "model": "densenet-bc-22-12", "parameters": 100864,
///       "starts": [{"program": "densenet 0.1.0", "command": ["train", "--data", …], "began": "2026-01-31T23:59:59Z",
///                   "machine": {"ranks": 2, "threads": 1, "hosts": ["node1"], …}}, …],
///       "data": {"name": "cifar-10-batches-bin", "train": 50000, "test": 10000, "classes": ["airplane", …]},
///       "evaluation": {"epoch": 3, "loss": 0.8, "accuracy": 0.7, "total": [1000, …],
///                      "confusion": [[truth, guess, images], …], "auroc": [0.97, …],
///                      "mistakes": [{"index": 17, "truth": 3, "guess": 5, "probability": 0.99}, …]}
///     }
///
/// Classes are numbers from 0. `evaluation` is of the newest epoch, and absent before the first; cells of the confusion
/// matrix that no image is in are left out; a loss that is no number is absent, and so are the areas under ROC curves where
/// the evaluation has none, as in the records of older programs. The oldest start is the first, and of
/// more than `startLimit` those behind it are dropped.
package struct RunRecord: Codable, Sendable, Equatable {
    /// One start of the program on the run.
    package struct Start: Codable, Sendable, Equatable {
        package let program: String
        /// The program's arguments on rank zero.
        package let command: [String]
        /// UTC, as ISO 8601 has it.
        package let began: String
        package let machine: RunMachine
    }

    package struct Images: Codable, Sendable, Equatable {
        package let name: String
        /// How many there are.
        package let train, test: Int
        /// The classes' names, of the first classes or of none.
        package let classes: [String]
    }

    package struct Evaluated: Codable, Sendable, Equatable {
        package let epoch: Int
        package let loss: Double?
        package let accuracy: Double
        package let total: [Int]
        /// Each a class, the class it is taken for, and how many images.
        package let confusion: [[Int]]
        package let mistakes: [Evaluation.Mistake]
        package let auroc: [Double?]?
    }

    package static let currentVersion = 1
    package static let startLimit = 20
    /// A thousand classes with 50,000 images have less than one megabyte.
    private static let largestFile = 1 << 26

    package var version = Self.currentVersion
    package let model: String
    package let parameters: Int
    package var starts: [Start]
    package let data: Images
    package var evaluation: Evaluated?

    /// Where the run in a folder has its record.
    package static func path(in folder: String) -> String { folder + "/record.json" }

    /// Reads the record in a run folder; nil where there is none, as in those of older programs.
    ///
    /// - Throws: `Failure(.noInput)` when it cannot be read, `Failure(.data)` when it is damaged or of a newer program.
    package static func read(from folder: String) throws -> RunRecord? {
        let path = path(in: folder)
        guard try FileSystem.exists(path) else { return nil }
        let text = Data(try InputFile.contents(of: path, atMost: largestFile))
        struct Versioned: Decodable { let version: Int }
        let damaged = Failure(
            .data,
            "\(path): is no record of a run; remove it, the report does without, and the next start makes another")
        guard let version = try? JSONDecoder().decode(Versioned.self, from: text).version else { throw damaged }
        guard version <= currentVersion else {
            throw Failure(
                .data,
                "\(path): has format version \(version), this program reads up to \(currentVersion); use the program "
                    + "that wrote it, or a newer one")
        }
        guard let record = try? JSONDecoder().decode(RunRecord.self, from: text), record.isConsistent else {
            throw damaged
        }
        return record
    }

    /// Writes it into a run folder, atomically.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses.
    package func write(to folder: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try AtomicFile.write(Array(try encoder.encode(self)) + [UInt8(ascii: "\n")], to: Self.path(in: folder))
    }

    /// Whether all numbers mean what they should: the file may come from anywhere.
    private var isConsistent: Bool {
        guard let evaluation else { return true }
        let (classes, counts) = (evaluation.total.indices, 0...1 << 36)
        return evaluation.total.allSatisfy(counts.contains)
            && evaluation.confusion.allSatisfy {
                $0.count == 3 && classes.contains($0[0]) && classes.contains($0[1]) && counts.contains($0[2])
            }
            && evaluation.auroc.map { $0.count == classes.count && $0.allSatisfy { $0.map((0...1).contains) ?? true } }
                ?? true
            && evaluation.mistakes.allSatisfy {
                counts.contains($0.index) && classes.contains($0.truth) && classes.contains($0.guess)
            }
    }
}

extension RunRecord.Evaluated {
    init(epoch: Int, _ evaluation: Evaluation) {
        self.epoch = epoch
        loss = evaluation.loss.ifFinite
        accuracy = evaluation.accuracy
        total = evaluation.total
        confusion = evaluation.confusion.map { [$0.truth, $0.guess, $0.images] }
        mistakes = evaluation.mistakes
        auroc = evaluation.auroc.isEmpty ? nil : evaluation.auroc
    }

    /// Images of each class that were recognized.
    var correct: [Int] {
        var correct = [Int](repeating: 0, count: total.count)
        for cell in confusion where cell[0] == cell[1] { correct[cell[0]] = cell[2] }
        return correct
    }

    /// What was evaluated.
    func evaluation() -> Evaluation {
        let cells = confusion.map { Evaluation.Cell(truth: $0[0], guess: $0[1], images: $0[2]) }
        return Evaluation(loss: loss ?? .nan, confusion: cells, total: total, mistakes: mistakes, auroc: auroc ?? [])
    }
}
