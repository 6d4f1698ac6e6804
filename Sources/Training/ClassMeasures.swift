/// What an evaluation comes to beside loss and accuracy, from 0 to 1. Where classes have unequal numbers of images, means
/// over classes say more than the accuracy.
public struct ClassMeasures: Sendable, Equatable {
    /// Mean recall of the classes that have images, or balanced accuracy. Nil, as all of these, in logs of older programs.
    public var macroRecall: Double?
    /// Mean precision of the classes that have images. A class that no image is taken for has a precision of 0.
    public var macroPrecision: Double?
    /// The share of all images whose class has one of the five largest outputs; nil for five classes or fewer.
    public var topFive: Double?
    /// Mean area under the ROC curve, each class against the rest, of the classes that have images; nil where no class
    /// has an area.
    public var auroc: Double?

    /// Measures of these numbers.
    public init(
        macroRecall: Double? = nil, macroPrecision: Double? = nil, topFive: Double? = nil, auroc: Double? = nil
    ) {
        (self.macroRecall, self.macroPrecision, self.topFive) = (macroRecall, macroPrecision, topFive)
        self.auroc = auroc
    }
}

extension Evaluation {
    /// Of each class that has images: the share of them that was recognized.
    public var recall: [Double?] {
        zip(correct, total).map { $1 > 0 ? Double($0) / Double($1) : nil }
    }

    /// Of each class that has images: the share of the images that are taken for it which are of it; 0 where none is.
    public var precision: [Double?] {
        let taken = confusion.reduce(into: [Int](repeating: 0, count: total.count)) { $0[$1.guess] += $1.images }
        return zip(correct, zip(total, taken)).map { correct, counts in
            counts.0 > 0 ? Double(correct) / Double(max(counts.1, 1)) : nil
        }
    }

    /// The means over classes.
    public var measures: ClassMeasures {
        ClassMeasures(
            macroRecall: mean(recall), macroPrecision: mean(precision), topFive: topFive, auroc: mean(auroc))
    }
}

/// The mean of those that are there.
private func mean(_ values: [Double?]) -> Double? {
    let values = values.compactMap(\.self)
    return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
}
