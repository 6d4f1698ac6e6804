import Kernels
import Support
import Testing

@testable import DenseNetModel

private func describe(_ model: String, classes: Int? = nil, image: Int? = nil, batchSize: Int = 32) throws
    -> NetworkDescription
{
    try NetworkDescription(DenseNetConfiguration(model: model, classes: classes, image: image), batchSize: batchSize)
}

/// Networks of all kinds, with odd sizes and odd numbers of channels.
private func variety() throws -> [DenseNetConfiguration] {
    var configurations = try ["densenet121", "densenet264", "densenet-40-12", "densenet-bc-100-12"].map {
        try DenseNetConfiguration(model: $0)
    }
    let shapes = [([1], 1), ([3], 33), ([2, 1], 47), ([1, 4, 2], 32), ([2, 3, 2, 5], 61), ([1, 1, 1, 1, 1], 101)]
    for stem in DenseNetConfiguration.Stem.allCases {
        for bottleneck in [false, true] {
            for compression in [1, 0.5, 0.37] {
                for (blocks, image) in shapes {
                    let configuration = DenseNetConfiguration(
                        stem: stem, blocks: blocks, growthRate: 7, stemChannels: 11, bottleneck: bottleneck,
                        compression: compression, classes: 13, image: image)
                    if (try? configuration.validate()) != nil { configurations.append(configuration) }
                }
            }
        }
    }
    return configurations
}

@Test(arguments: [
    ("densenet121", 1000, 7_978_856), ("densenet121", 10, 6_964_106), ("densenet169", 1000, 14_149_480),
    ("densenet201", 1000, 20_013_928), ("densenet161", 1000, 28_681_000), ("densenet-bc-100-12", 10, 769_162),
    ("densenet-40-12", 10, 1_019_722), ("densenet-bc-250-24", 10, 15_324_406), ("densenet-bc-190-40", 10, 25_624_430),
])
func `a network has the parameters of the papers and of torchvision`(model: String, classes: Int, parameters: Int)
    throws
{
    let description = try describe(model, classes: classes)
    #expect(description.parameters == parameters)
    #expect(description.layers.reduce(0) { $0 + $1.parameters } == parameters)
}

@Test func `densenet-100-24 has the paper's 27.2 million parameters`() throws {
    #expect((27_150_000..<27_250_000).contains(try describe("densenet-100-24").parameters))
}

/// The figures that torchvision publishes with its weights, in units of 10⁹.
@Test(arguments: [("densenet121", 2.834), ("densenet161", 7.728), ("densenet169", 3.360), ("densenet201", 4.291)])
func `multiply-accumulates are torchvision's`(model: String, giga: Double) throws {
    #expect(abs(Double(try describe(model).multiplyAccumulates) / 1e9 - giga) < 0.0006)
}

@Test func `ResNet-101 is torchvision's`() throws {
    let resNet = ResNet.resNet101(classes: 1000, image: 224)
    #expect(resNet.parameters == 44_549_160)
    #expect(abs(Double(resNet.multiplyAccumulates) / 1e9 - 7.801) < 0.0006)
    #expect(ResNet.resNet101(classes: 10, image: 224).parameters == 44_549_160 - 990 * 2049)
    #expect(try describe("densenet121", classes: 10, image: 64).comparison == .resNet101(classes: 10, image: 64))
    #expect(try describe("densenet-bc-100-12").comparison == nil)
}

@Test func `training costs three forwards of two operations, without the gradient of the image`() throws {
    let description = try describe("densenet-bc-100-12")
    let stem = 3 * 9 * 24 * 32 * 32
    #expect((287_000_000...297_000_000).contains(description.multiplyAccumulates))
    #expect(description.trainingOperations == 2 * (3 * description.multiplyAccumulates - stem))
}

@Test func `the layers have the table's names and parameters, in the order of use`() throws {
    for configuration in try variety() {
        let table = ParameterTable(configuration)
        var expected: [(name: String, count: Int)] = []
        for parameter in table.trainable {
            let name = parameter.name.split(separator: ".").dropLast().joined(separator: ".")
            if expected.last?.name != name { expected.append((name, 0)) }
            expected[expected.count - 1].count += parameter.count
        }
        let description = try NetworkDescription(configuration, batchSize: 1)
        let learning = description.layers.filter { $0.parameters > 0 }
        #expect(learning.map(\.name) == expected.map(\.name))
        #expect(learning.map(\.parameters) == expected.map(\.count))
        #expect(description.parameters == table.parameterCount)
        #expect(Set(description.layers.map(\.name)).count == description.layers.count, "a name appears twice")
    }
}

@Test func `shapes are consistent from the stem to the classifier`() throws {
    for configuration in try variety() {
        let layers = try NetworkDescription(configuration, batchSize: 1).layers
        var channels = 3
        for layer in layers {
            // A norm, ReLU or pool keeps the number of channels; a concatenation follows a convolution to the growth
            // rate.
            switch layer.operation.prefix(4) {
            case "norm": #expect(layer.parameters == 2 * layer.shape[0])
            case "conc": #expect(layer.shape[0] > channels && configuration.growthRates.contains(channels))
            case "conv", "line": break
            default: #expect(layer.shape[0] == channels)
            }
            channels = layer.shape[0]
        }
        let ends = layers.indices.filter {
            layers[$0].operation == "concat" && !layers[$0 + 1].name.contains("denselayer")
        }
        #expect(
            ends.map { layers[$0].shape }
                == zip(configuration.blockChannels, configuration.blockSizes).map { [$0, $1, $1] })
        #expect(layers.last?.shape == [configuration.classes])
    }
}

@Test func `DenseNet-121's first and last layers are those of the write-up's table`() throws {
    let layers = try describe("densenet121").layers
    let names = [
        "conv0", "norm0", "relu0", "pool0", "denseblock1.denselayer1.norm1", "denseblock1.denselayer1.relu1",
        "denseblock1.denselayer1.conv1", "denseblock1.denselayer1.norm2", "denseblock1.denselayer1.relu2",
        "denseblock1.denselayer1.conv2", "denseblock1.denselayer1.concat",
    ]
    #expect(layers.prefix(11).map(\.name) == names.map { "features.\($0)" })
    #expect(layers[0].shape == [64, 112, 112] && layers[3].shape == [64, 56, 56] && layers[10].shape == [96, 56, 56])
    #expect(layers.suffix(4).map(\.shape) == [[1024, 7, 7], [1024, 7, 7], [1024, 1, 1], [1000]])
    #expect(layers.count == 4 + 58 * 7 + 3 * 4 + 4)
}

@Test func `a transition that pools first saves three quarters of its convolution`() throws {
    let description = try describe("densenet-bc-100-12")
    let transitions = description.layers.filter { $0.name.hasPrefix("features.transition") }
    #expect(description.savedMultiplyAccumulates == transitions.reduce(0) { $0 + $1.multiplyAccumulates } * 3 / 4)
}

/// The bytes of all aligned buffers that can be reached from an object.
private func allocatedBytes(_ root: Any) -> Int {
    var seen: Set<ObjectIdentifier> = []
    var sum = 0
    func bytes(_ object: AnyObject) -> Int? {
        switch object {
        case let buffer as AlignedBuffer<Float>: buffer.byteCount
        case let buffer as AlignedBuffer<Double>: buffer.byteCount
        case let buffer as AlignedBuffer<UInt32>: buffer.byteCount
        case let buffer as AlignedBuffer<Int>: buffer.byteCount
        case let buffer as AlignedBuffer<Bool>: buffer.byteCount
        default: nil
        }
    }
    func visit(_ value: Any) {
        if value is ParameterTable || value is NormParameters || value is Parameter { return }
        if type(of: value) is AnyClass {
            let object = value as AnyObject
            guard seen.insert(ObjectIdentifier(object)).inserted else { return }
            if let bytes = bytes(object) {
                sum += bytes
                return
            }
        }
        for child in Mirror(reflecting: value).children { visit(child.value) }
    }
    visit(root)
    return sum
}

@Test(arguments: [
    ("densenet-bc-40-24", 32, 10), ("densenet-22-24", 33, 7), ("densenet121", 56, 5), ("densenet121", 97, 1),
])
func `the described memory is what a network allocates`(model: String, image: Int, batchSize: Int) throws {
    let description = try describe(model, image: image, batchSize: batchSize)
    let network = try TrainableDenseNet(description.configuration, capacity: batchSize)
    #expect(description.trainingBytes - description.memory.momentumBuffer == allocatedBytes(network.parts))
}

@Test func `in groups a batch takes the activations of one group, a sum of gradients and the groups' statistics`()
    throws
{
    let configuration = try DenseNetConfiguration(model: "densenet-bc-40-12")
    let description = try NetworkDescription(configuration, batchSize: 64, statisticsGroup: 16)
    let network = try TrainableDenseNet(configuration, capacity: 16)
    let gradients = network.gradientBuffer.byteCount
    let statistics = description.memory.groups - gradients
    #expect(
        statistics >= 8 * network.runningStatistics.count && statistics < 9 * network.runningStatistics.count + 4096)
    #expect(
        description.trainingBytes - description.memory.momentumBuffer
            == allocatedBytes(network.parts) + description.memory.groups)
    #expect("\(description)".contains("batches of 64 images in groups of 16, in MiB"))
    let whole = try NetworkDescription(configuration, batchSize: 16, statisticsGroup: 16)
    #expect(
        whole.memory == (try NetworkDescription(configuration, batchSize: 16)).memory, "a single group needs no sum")
}

@Test(arguments: ["densenet-bc-40-24", "densenet-22-24", "densenet121"])
func `bfloat16 halves what a dense block keeps, and the plan of memory is what is allocated`(model: String) throws {
    let configuration = try describe(model, image: 64, batchSize: 8).configuration
    func memory(_ precision: Precision) -> TrainingMemory {
        TrainingMemory(configuration, images: 8, training: true, threads: 1, precision: precision)
    }
    let network = try TrainableDenseNet(configuration, capacity: 8, precision: .bfloat16)
    let (exact, rounded) = (memory(.float32), memory(.bfloat16))
    #expect(rounded.total - rounded.momentumBuffer == allocatedBytes(network.parts))
    let blocks = (exact: exact.features + exact.bottlenecks, rounded: rounded.features + rounded.bottlenecks)
    // Large buffers, of either type, are rounded up to whole huge pages.
    let ratio = Double(blocks.rounded) / Double(blocks.exact)
    #expect((0.45...0.55).contains(ratio), "\(ratio)")
    #expect((rounded.pooled, rounded.stem, rounded.parameters) == (exact.pooled, exact.stem, exact.parameters))
}

@Test func `a larger batch takes more activations and no more parameters`() throws {
    let small = try describe("densenet-bc-100-12", batchSize: 16).memory
    let large = try describe("densenet-bc-100-12", batchSize: 64).memory
    let ratio = Double(large.activations) / Double(small.activations)
    #expect((3.5...4.5).contains(ratio))
    #expect(
        large.parameters == small.parameters && small.parameters == small.gradients
            && small.gradients == small.momentumBuffer)
}

@Test func `impossible batches and configurations are refused`() throws {
    for batchSize in [0, -1, 65_537] {
        #expect(throws: Failure.self) { try describe("densenet-40-12", batchSize: batchSize) }
    }
    var configuration = try DenseNetConfiguration(model: "densenet121")
    configuration.image = 8
    #expect(throws: Failure.self) { try NetworkDescription(configuration, batchSize: 1) }
}

@Test(arguments: [
    "densenet121", "densenet161", "densenet169", "densenet201", "densenet264", "densenet-40-12", "densenet-100-24",
    "densenet-bc-100-12", "densenet-bc-250-24", "densenet-bc-190-40",
])
func `the printed table is aligned and fits 100 columns`(model: String) throws {
    let description = try describe(model)
    let lines = description.description.split(separator: "\n", omittingEmptySubsequences: false)
    for line in lines { #expect(line.count <= 100 && line.last != " ", "\(line)") }
    let rule = try #require(lines.firstIndex { $0.hasPrefix("---") })
    let gaps = lines[rule].enumerated().filter { $0.element == " " }.map(\.offset)
    let rows = lines[(rule + 1)...].prefix { !$0.isEmpty }
    #expect(rows.count == description.layers.count)
    for (row, layer) in zip(rows, description.layers) {
        let characters = Array(row)
        #expect(
            row.hasPrefix(layer.name) && gaps.allSatisfy { $0 >= characters.count || characters[$0] == " " }, "\(row)")
        #expect(layer.multiplyAccumulates == 0 || characters.count == lines[rule].count, "\(row)")
    }
}

@Test(arguments: ["121", "161", "169", "201", "264"])
func `a network of the paper for ImageNet is printed by the paper's name`(number: String) throws {
    let description = try describe("densenet" + number, classes: 10, image: 64)
    #expect(description.description.hasPrefix("DenseNet-\(number): "))
    // The paper's name of its deepest network is one less than what its table has.
    #expect(description.depth == (number == "264" ? 265 : Int(number)))
    var other = description.configuration
    other.bottleneck = false
    let layers = other.blocks.reduce(0, +)
    #expect(try NetworkDescription(other, batchSize: 1).name == "DenseNet-\(layers + 5)")
}

@Test func `numbers are printed with thousands separators`() throws {
    let text = try describe("densenet121").description
    let parts = [
        "DenseNet-121", "7,978,856", "2,834,161,664   2.83 G", "16,768,942,080  16.77 G", "44,549,160   0.18",
        "7,801,405,440   0.36", "1,025,000",
    ]
    for part in parts {
        #expect(text.contains(part), "\(part) is missing")
    }
    #expect(
        try describe("densenet-bc-100-12").description.contains("DenseNet-BC-100: dense blocks of 16, 16, 16 layers"))
}
