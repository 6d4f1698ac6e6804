// Classifies one image of a CIFAR folder with the weights of a run:
//
//     classify RUN/weights.safetensors CIFAR-FOLDER INDEX
import DenseNetModel
import ImageData
import Safetensors

let arguments = CommandLine.arguments
guard arguments.count == 4, let index = Int(arguments[3]) else {
    fatalError("usage: classify WEIGHTS CIFAR-FOLDER INDEX")
}
let test = try CIFAR.open(arguments[2]).test
let (pixels, label) = try test.image(index)

let network = try WeightsFile.network(from: arguments[1])
let metadata = try SafetensorsFile(path: arguments[1]).metadata
let normalization = try Normalization(metadata: metadata, path: arguments[1]) ?? .none
let input = try normalization.normalized(pixels.span, height: test.height, width: test.width)

func name(_ classIndex: Int) -> String { test.classNames?[classIndex] ?? "class \(classIndex)" }
for (classIndex, probability) in try network.predict(input.span)[0].best(3) {
    print("\(name(classIndex)): \(probability)")
}
print("labelled: \(name(label))")
