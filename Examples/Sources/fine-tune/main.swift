// Trains a new classifier on the features of given weights, for a folder of pictures, over MPI ranks:
//
//     mpirun -n 2 fine-tune WEIGHTS FOLDER RESULT
import DataParallel
import DenseNetModel
import Glibc
import ImageData
import Safetensors
import Support
import Training

func report(_ failure: some Error) { print("fine-tune: \(failure)") }

let arguments = CommandLine.arguments
guard arguments.count == 4 else {
    print("usage: fine-tune WEIGHTS FOLDER RESULT")
    exit(64)
}

let code = MPIEnvironment.run(report: report) { world in
    let file = try SafetensorsFile(path: arguments[1])
    guard var configuration = try WeightsFile.configuration(in: file) else {
        throw Failure(.usage, "\(file.path) does not say which network it is of")
    }
    let size = configuration.image
    let (train, test, _) = try PictureFolder.open(
        arguments[2], framing: ImageFraming(edge: size, size: size, channels: configuration.imageChannels))
    configuration.classes = train.classes
    // Pictures are to look to the network like those that it knows.
    let normalization = try Normalization(metadata: file.metadata, path: file.path) ?? .none

    let sampler = try Sampler(
        sampleCount: train.count, globalBatch: 32, worldSize: world.size, seed: 1, shuffle: true)
    let loader = try BatchLoader(
        images: train, sampler: sampler, rank: world.rank, augmentation: Augmentation(flip: true),
        normalization: normalization, seed: 1)
    let network = try TrainableDenseNet(configuration, capacity: sampler.maximumLocalBatchSize(rank: world.rank))
    network.initialize(seed: 1)
    try WeightsFile.load(file, into: network, adapting: true)
    try network.freeze([.features], evaluatingNorms: true)
    let step = try TrainingStep(network, seed: 1, communicator: world)
    let evaluator = try Evaluator(
        network, images: test, batchSize: 32, normalization: normalization, communicator: world)

    for epoch in 1...5 {
        for _ in 0..<sampler.stepsPerEpoch { _ = try step(try loader.next(), rate: 0.05) }
        guard let result = try evaluator.run() else { return }
        if world.rank == 0 { print("epoch \(epoch): test accuracy \(result.accuracy)") }
    }
    if world.rank == 0 {
        let metadata = try normalization.metadata.merging(ClassNames(train.classNames ?? []).metadata) { $1 }
        try WeightsFile.write(network, to: arguments[3], metadata: metadata)
    }
}
exit(code)
