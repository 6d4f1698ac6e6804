// swift-tools-version: 6.2
import PackageDescription

// Programs that use this project as a library. In a package of your own, name its repository in place of the path.
let package = Package(
    name: "examples",
    dependencies: [.package(name: "densenet", path: "..")],
    targets: [
        .executableTarget(
            name: "classify",
            dependencies: [
                .product(name: "DenseNet", package: "densenet"), .product(name: "ImageData", package: "densenet"),
                .product(name: "Safetensors", package: "densenet"),
            ]),
        .executableTarget(
            name: "fine-tune",
            dependencies: [
                .product(name: "DataParallel", package: "densenet"), .product(name: "DenseNet", package: "densenet"),
                .product(name: "ImageData", package: "densenet"), .product(name: "Safetensors", package: "densenet"),
                .product(name: "Training", package: "densenet"),
            ]),
        .executableTarget(
            name: "own-loop",
            dependencies: [
                .product(name: "DataParallel", package: "densenet"), .product(name: "DenseNet", package: "densenet"),
                .product(name: "ImageData", package: "densenet"), .product(name: "Training", package: "densenet"),
            ]),
    ],
    swiftLanguageModes: [.v6]
)
