// swift-tools-version: 6.1
import PackageDescription

// Arrows run down only: CommandLine → Training → {DenseNet, ImageData, DataParallel} → Kernels → the C doors.
//
// Two folders keep short names while their modules do not: a module `Distributed` would shadow the standard library's,
// and a module `Data` could not be qualified beside Foundation's `Data`.
let package = Package(
    name: "densenet",
    products: [
        .executable(name: "densenet", targets: ["CommandLine"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        .systemLibrary(name: "COpenMPI", pkgConfig: "ompi-c", providers: [.apt(["libopenmpi-dev"])]),
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .target(name: "CKernels", exclude: ["kernels"]),
        .target(name: "GoldenFiles", resources: [.copy("Golden")]),
        .target(name: "Kernels", dependencies: ["CKernels", "COpenBLAS"]),
        .target(name: "DenseNetModel", dependencies: ["Kernels", "CKernels", "COpenBLAS"], path: "Sources/DenseNet"),
        .target(name: "ImageData", dependencies: ["Kernels"], path: "Sources/Data"),
        .target(name: "DataParallel", dependencies: ["Kernels", "COpenMPI"], path: "Sources/Distributed"),
        .target(
            name: "Training",
            dependencies: [
                "DenseNetModel", "ImageData", "DataParallel", "Kernels", "CKernels", "GoldenFiles", "COpenBLAS",
                "CZlib",
            ]),
        .executableTarget(
            name: "CommandLine",
            dependencies: [
                "Training", "DenseNetModel", "ImageData", "DataParallel", "Kernels",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        .target(name: "TestSupport", path: "Tests/Support"),
        .executableTarget(
            name: "DistributedTestProgram", dependencies: ["DataParallel", "Kernels"],
            path: "Tests/DistributedTestProgram"),
        .target(name: "AllocationCounter", path: "Tests/AllocationCounter"),
        .executableTarget(
            name: "NumericsTestProgram", dependencies: ["DenseNetModel", "Kernels", "AllocationCounter"],
            path: "Tests/NumericsTestProgram"),
        .target(name: "SlowCalls", path: "Tests/SlowCalls"),
        .executableTarget(
            name: "CheckpointTestProgram", dependencies: ["Training", "DenseNetModel", "Kernels", "SlowCalls"],
            path: "Tests/CheckpointTestProgram"),
        .executableTarget(
            name: "FuzzTestProgram", dependencies: ["Training", "DenseNetModel", "ImageData", "Kernels"],
            path: "Tests/FuzzTestProgram"),
        .testTarget(name: "KernelsTests", dependencies: ["Kernels", "CKernels"]),
        .testTarget(
            name: "DenseNetTests", dependencies: ["DenseNetModel", "Kernels", "NumericsTestProgram", "TestSupport"]),
        .testTarget(name: "DataTests", dependencies: ["ImageData", "Kernels"]),
        .testTarget(
            name: "DistributedTests",
            dependencies: ["DataParallel", "Kernels", "DistributedTestProgram", "TestSupport"]),
        .testTarget(
            name: "TrainingTests",
            dependencies: [
                "Training", "DenseNetModel", "ImageData", "Kernels", "CheckpointTestProgram", "FuzzTestProgram",
                "TestSupport",
            ]),
    ],
    swiftLanguageModes: [.v6]
)
