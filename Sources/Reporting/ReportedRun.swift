import Glibc
import ImageData
import Pictures
import Support
import Training

/// What a run folder tells of its run, which may be over, still under way, or of an older program.
package struct ReportedRun {
    /// As given, without slashes at its end.
    let path: String
    /// The folder's own name.
    let name: String
    let configuration: RunConfiguration
    let epochs: [EpochMetrics]
    /// Nil in the run folders of older programs.
    let record: RunRecord?
    /// Whether the result is written.
    let isFinished: Bool
    /// The images of the record's mistakes; or why they cannot be shown.
    let mistakes: Result<[Picture], Failure>

    /// Pictures of a report have this edge at most, in pixels.
    static let largestEdge = 96

    /// Reads a run folder.
    ///
    /// - Parameter test: the run's test images where they are open already; else those that the run names are opened.
    /// - Throws: `Failure(.noInput)` where there is no run or it cannot be read, `Failure(.data)` for a damaged file.
    package init(path given: String, test: ImageSet? = nil) throws {
        var path = given
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        let missing = PathKind(of: path + "/config.json").problem
        if let missing { throw Failure(.noInput, "\(path) holds no run to report on: \(missing)") }
        self.path = path
        name = Self.name(of: path)
        let configuration = try RunConfiguration(path: path + "/config.json")
        let record = try RunRecord.read(from: path)
        self.configuration = configuration
        self.record = record
        epochs = try MetricsLog(path: path + "/metrics.jsonl").epochs().sorted { $0.epoch < $1.epoch }
        isFinished = try FileSystem.exists(path + "/weights.safetensors")
        mistakes = Self.pictures(of: record?.evaluation?.mistakes ?? []) {
            try test ?? configuration.openTestImages()
        }
    }

    /// The epoch whose weights best.safetensors has; nil where there is none.
    var best: EpochMetrics? { epochs.best(by: configuration.bestBy) }

    /// Which epoch that is, and by what.
    func place(ofBest best: EpochMetrics) -> String {
        "epoch \(best.epoch)" + (best.average == nil ? "" : ", average")
            + (configuration.bestBy == .accuracy ? "" : ", by \(configuration.bestBy.words)")
    }

    /// Where the report on this run alone goes.
    package var defaultReport: String { path + "/report.html" }

    /// The name of a class; of an older run its number.
    func className(_ label: Int) -> String { ClassNames(record?.data.classes ?? [])[label] }

    private static func name(of path: String) -> String {
        guard let text = realpath(path, nil) else { return path }
        defer { free(text) }
        return String(cString: text).split(separator: "/").last.map(String.init) ?? path
    }

    private static func pictures(
        of mistakes: [Evaluation.Mistake], from open: () throws -> ImageSet
    ) -> Result<[Picture], Failure> {
        guard !mistakes.isEmpty else { return .success([]) }
        do {
            let images = try open()
            return .success(try mistakes.map { try images.picture(of: $0).shrunk(to: largestEdge) })
        } catch let failure as Failure {
            return .failure(failure)
        } catch {
            return .failure(Failure(.internal, "\(error)"))
        }
    }
}

extension ImageSet {
    /// The image of a mistake.
    ///
    /// - Throws: `Failure(.data)` where the set is not the one that was evaluated; as `image`.
    func picture(of mistake: Evaluation.Mistake) throws -> Picture {
        guard mistake.index < count else {
            throw Failure(
                .data, "the test images are others now: there are \(count), but image \(mistake.index) was one")
        }
        let (pixels, label) = try image(mistake.index)
        guard label == mistake.truth else {
            throw Failure(
                .data,
                "the test images are others now: image \(mistake.index) is of class \(label), was of \(mistake.truth)")
        }
        return Picture(height: height, width: width, planes: pixels)
    }
}

extension Picture {
    /// The picture itself, or a smaller one of the same proportions.
    fileprivate func shrunk(to edge: Int) -> Picture {
        guard max(height, width) > edge else { return self }
        let (newHeight, newWidth) = (
            max(height * edge / max(height, width), 1), max(width * edge / max(height, width), 1)
        )
        let pixels = resized(height: newHeight, width: newWidth)
        return Picture(
            height: newHeight, width: newWidth, planes: pixels.map { UInt8(min(max($0.rounded(), 0), 255)) })
    }
}
