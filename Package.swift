// swift-tools-version: 6.2
import PackageDescription

// What builds the documentation (see CONTRIBUTING.md). No other build fetches it.
let documentation: [Package.Dependency] =
    Context.environment["DENSENET_DOCS"] == nil
    ? [] : [.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0")]

// Imports run one way: DensenetTool → Benchmarking → Training → {DenseNetModel, ImageData, DataParallel}, DenseNetModel
// → {Kernels, Safetensors}, {DensenetTool, Benchmarking} → Planning → DenseNetModel, DensenetTool → Exporting →
// DenseNetModel, DensenetTool → Reporting → {Training, Pictures}, ImageData → Pictures, DensenetTool → Fetching →
// ImageData, and any of them → Support. Only Kernels imports CKernels and COpenBLAS.
//
// Two folders keep short names while their modules do not: a module `Distributed` would shadow the standard library's,
// and a module `Data` could not be qualified beside Foundation's `Data`.
let package = Package(
    name: "densenet",
    products: [
        .executable(name: "densenet", targets: ["DensenetTool"]),
        // `Support` has the type of all errors.
        .library(name: "DenseNet", targets: ["DenseNetModel", "Support"]),
        .library(name: "ImageData", targets: ["ImageData"]),
        .library(name: "DataParallel", targets: ["DataParallel"]),
        .library(name: "Training", targets: ["Training"]),
        .library(name: "Safetensors", targets: ["Safetensors"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ] + documentation,
    targets: [
        .systemLibrary(name: "COpenMPI", pkgConfig: "ompi-c", providers: [.apt(["libopenmpi-dev"])]),
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
        .systemLibrary(name: "CTurboJPEG", pkgConfig: "libturbojpeg", providers: [.apt(["libturbojpeg0-dev"])]),
        .target(name: "CKernels", exclude: ["kernels"]),
        .target(name: "GoldenFiles", resources: [.copy("Golden")]),
        .target(
            name: "Support", dependencies: ["CZlib", .product(name: "SystemPackage", package: "swift-system")],
            swiftSettings: [.strictMemorySafety()]),
        .target(name: "Safetensors", dependencies: ["Support"], swiftSettings: [.strictMemorySafety()]),
        .target(name: "Kernels", dependencies: ["CKernels", "COpenBLAS", "Support"]),
        .target(
            name: "DenseNetModel", dependencies: ["Kernels", "Safetensors", "Support"], path: "Sources/DenseNet"),
        .target(
            name: "ImageData",
            dependencies: ["Pictures", "Support", .product(name: "SystemPackage", package: "swift-system")],
            path: "Sources/Data"),
        .target(name: "Pictures", dependencies: ["CPNG", "CTurboJPEG", "Support"]),
        .target(name: "DataParallel", dependencies: ["COpenMPI", "Support"], path: "Sources/Distributed"),
        .target(
            name: "Training",
            dependencies: [
                "DataParallel", "DenseNetModel", "ImageData", "Kernels", "Safetensors", "Support",
            ]),
        .target(name: "Planning", dependencies: ["DenseNetModel"]),
        .target(
            name: "Benchmarking",
            dependencies: [
                "DataParallel", "DenseNetModel", "GoldenFiles", "ImageData", "Kernels", "Planning", "Safetensors",
                "Support", "Training",
            ]),
        .target(
            name: "Reporting",
            dependencies: ["DenseNetModel", "ImageData", "Pictures", "Support", "Training"],
            resources: [.embedInCode("chart.css"), .embedInCode("page.css")]),
        .target(
            name: "Fetching",
            dependencies: [
                "CZlib", "ImageData", "Support", .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: [.strictMemorySafety()]),
        .target(name: "Exporting", dependencies: ["DenseNetModel", "Safetensors", "Support"]),
        .executableTarget(
            name: "DensenetTool",
            dependencies: [
                "Benchmarking", "DataParallel", "DenseNetModel", "Exporting", "Fetching", "ImageData", "Kernels",
                "Pictures", "Planning", "Reporting", "Safetensors", "Support", "Training",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "SystemPackage", package: "swift-system"), .product(name: "Yams", package: "Yams"),
            ],
            path: "Sources/densenet",
            resources: [
                .embedInCode("Recipes/paper-cifar.yaml"), .embedInCode("Recipes/paper-imagenet.yaml"),
                .embedInCode("Recipes/writeup.yaml"), .embedInCode("Recipes/fast-4.yaml"),
                .embedInCode("Recipes/fast-25.yaml"), .embedInCode("Recipes/finetune.yaml"),
            ]),

        .target(name: "TestSupport", path: "Tests/Support"),
        .executableTarget(
            name: "DistributedTestProgram", dependencies: ["DataParallel", "Support"],
            path: "Tests/DistributedTestProgram"),
        .target(name: "AllocationCounter", path: "Tests/AllocationCounter"),
        .executableTarget(
            name: "NumericsTestProgram", dependencies: ["AllocationCounter", "DenseNetModel", "Kernels", "Support"],
            path: "Tests/NumericsTestProgram"),
        .target(name: "CallLog", dependencies: ["COpenMPI"], path: "Tests/CallLog"),
        .executableTarget(
            name: "ScheduleTestProgram",
            dependencies: [
                "CallLog", "DataParallel", "DenseNetModel", "ImageData", "Planning", "Support", "Training",
            ],
            path: "Tests/ScheduleTestProgram"),
        .executableTarget(
            name: "ImageSizeTestProgram",
            dependencies: [
                "AllocationCounter", "DataParallel", "DenseNetModel", "ImageData", "Pictures", "Support", "Training",
            ],
            path: "Tests/ImageSizeTestProgram"),
        .target(name: "SlowCalls", path: "Tests/SlowCalls"),
        .executableTarget(
            name: "CheckpointTestProgram",
            dependencies: [
                "Safetensors", "SlowCalls", "Support", "Training",
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            path: "Tests/CheckpointTestProgram"),
        .executableTarget(
            name: "FuzzTestProgram",
            dependencies: [
                "DenseNetModel", "Exporting", "Fetching", "ImageData", "Pictures", "Reporting", "Safetensors",
                "Support",
                "Training",
            ],
            path: "Tests/FuzzTestProgram"),
        .executableTarget(
            name: "EventTestProgram", dependencies: ["AllocationCounter", "Reporting", "Support", "Training"],
            path: "Tests/EventTestProgram"),
        .executableTarget(
            name: "ExportTestProgram", dependencies: ["DenseNetModel", "Safetensors", "Support"],
            path: "Tests/ExportTestProgram"),
        .executableTarget(
            name: "PictureTestProgram",
            dependencies: ["DenseNetModel", "ImageData", "Pictures", "Safetensors", "Support"],
            path: "Tests/PictureTestProgram"),
        .testTarget(name: "SupportTests", dependencies: ["Safetensors", "Support", "TestSupport"]),
        .testTarget(name: "SafetensorsTests", dependencies: ["Safetensors", "Support", "TestSupport"]),
        .testTarget(name: "KernelsTests", dependencies: ["Kernels", "Support"]),
        .testTarget(
            name: "DenseNetTests",
            dependencies: [
                "DenseNetModel", "Kernels", "NumericsTestProgram", "Safetensors", "Support", "TestSupport",
            ]),
        .testTarget(name: "DataTests", dependencies: ["ImageData", "Pictures", "Support", "TestSupport"]),
        .testTarget(
            name: "PicturesTests", dependencies: ["Pictures", "Support", "TestSupport"], exclude: ["Fixtures"]),
        .testTarget(
            name: "DistributedTests",
            dependencies: ["DataParallel", "DistributedTestProgram", "Support", "TestSupport"]),
        .testTarget(
            name: "PlanningTests",
            dependencies: [
                "DataParallel", "DenseNetModel", "Planning", "ScheduleTestProgram", "TestSupport",
            ]),
        .testTarget(
            name: "ExportingTests",
            dependencies: ["DenseNetModel", "ExportTestProgram", "Exporting", "Safetensors", "Support", "TestSupport"]),
        .testTarget(
            name: "ReportingTests",
            dependencies: [
                "DenseNetModel", "EventTestProgram", "ImageData", "Pictures", "Reporting", "Support", "TestSupport",
                "Training",
            ]),
        .testTarget(
            name: "FetchingTests", dependencies: ["Fetching", "ImageData", "Support", "TestSupport"]),
        .testTarget(
            name: "DensenetToolTests",
            dependencies: [
                "DensenetTool", "TestSupport", "Training",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        .testTarget(
            name: "TrainingTests",
            dependencies: [
                "CheckpointTestProgram", "DenseNetModel", "FuzzTestProgram", "ImageData", "ImageSizeTestProgram",
                "Kernels", "Pictures", "Safetensors", "Support", "TestSupport", "Training",
            ]),
    ],
    swiftLanguageModes: [.v6]
)
