import ArgumentParser
import DenseNetModel

/// A recipe that comes with the program, as a file of options.
enum Recipe: String, ExpressibleByArgument, CaseIterable {
    case paper, writeup
    case fast4 = "fast-4"
    case fast25 = "fast-25"
    case finetune

    /// The file's text.
    ///
    /// - Parameter value: of an option, where it is given: the paper has a recipe for each kind of network.
    func text(given value: (String) -> String?) -> String {
        let bytes =
            switch self {
            case .writeup: PackageResources.writeup_yaml
            case .fast4: PackageResources.fast_4_yaml
            case .fast25: PackageResources.fast_25_yaml
            case .finetune: PackageResources.finetune_yaml
            case .paper where Self.isForImageNet(value): PackageResources.paper_imagenet_yaml
            case .paper: PackageResources.paper_cifar_yaml
            }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func isForImageNet(_ value: (String) -> String?) -> Bool {
        let stem = value("model").flatMap { try? DenseNetConfiguration(model: $0).stem }
        return (stem?.rawValue ?? value("stem")) == DenseNetConfiguration.Stem.imagenet.rawValue
    }
}
