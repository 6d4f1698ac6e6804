import DenseNetModel
import FoundationEssentials
import Safetensors
import Support
import TestSupport
import Testing

/// A tensor of a file that another program may have written.
private struct StoredTensor {
    var name: String
    var shape: [Int]
    /// Of float32 or int64 numbers.
    var bytes: [UInt8]
    var dtype = "F32"
}

@Suite struct WeightsFileTests {
    private let folder = ScratchFolder()
    private let tiny = TinyNetwork(
        "small", [1, 1], growth: 2, channels: 3, bottleneck: true, compression: 0.7, classes: 3, image: 4, count: 2)

    private func network(seed: UInt64 = 4) throws -> DenseNet {
        let network = try DenseNet(tiny.configuration, capacity: 2)
        network.initialize(seed: seed)
        for i in network.runningStatistics.indices { network.runningStatistics[i] = Float(seed) + Float(i) / 64 }
        return network
    }

    private func stored(_ network: DenseNet) -> [StoredTensor] {
        WeightsFile.tensors(of: network).map {
            StoredTensor(name: $0.name, shape: $0.shape, bytes: $0.withUnsafeBytes { Array($0) })
        }
    }

    private func write(_ tensors: [StoredTensor]) throws -> String {
        var entries: [String] = []
        var data: [UInt8] = []
        for tensor in tensors {
            entries.append(
                #""\#(tensor.name)":{"dtype":"\#(tensor.dtype)","shape":\#(tensor.shape),"#
                    + #""data_offsets":[\#(data.count),\#(data.count + tensor.bytes.count)]}"#)
            data += tensor.bytes
        }
        return try folder.write(safetensors("{\(entries.joined(separator: ","))}") + data, to: "foreign.safetensors")
    }

    /// Loads a foreign file into a network with different weights and compares all weights with the expected ones.
    private func loads(_ tensors: [StoredTensor], as expected: DenseNet) throws -> Bool {
        let loaded = try network(seed: 9)
        try WeightsFile.load(SafetensorsFile(path: write(tensors)), into: loaded)
        return loaded.parameters.elementsEqual(expected.parameters)
            && loaded.runningStatistics.elementsEqual(expected.runningStatistics)
    }

    private func refusal(_ tensors: [StoredTensor]) throws -> String {
        let loaded = try network()
        let path = try write(tensors)
        do { try WeightsFile.load(SafetensorsFile(path: path), into: loaded) } catch let failure as Failure {
            #expect(failure.kind == .data && failure.message.hasPrefix(path + ": ") && !failure.message.contains("\n"))
            return String(failure.message.dropFirst(path.count + 2))
        }
        return "loaded"
    }

    @Test func `a network is read back to the bit, with its configuration`() throws {
        for tiny in [TinyNetwork.plain, .bottleneck, .imageNet] + TinyNetwork.dropout {
            let network = try tiny.network()
            let loaded = try tiny.evaluatingNetwork()
            let path = folder("w.safetensors")
            network.parameters[0] = -0.0
            network.parameters[1] = .leastNonzeroMagnitude
            network.runningStatistics[0] = 1e30
            loaded.parameters.update(repeating: 1)
            try WeightsFile.write(network, to: path, metadata: ["note": "of mine"])
            try WeightsFile.load(SafetensorsFile(path: path), into: loaded)
            #expect(loaded.parameters.map(\.bitPattern) == network.parameters.map(\.bitPattern))
            #expect(loaded.runningStatistics.map(\.bitPattern) == network.runningStatistics.map(\.bitPattern))
            let file = try SafetensorsFile(path: path)
            #expect(try WeightsFile.configuration(in: file) == tiny.configuration)
            #expect(file.metadata["note"] == "of mine" && file.metadata["format"] == "pt")
            #expect(try network.evaluate(tiny).logits == loaded.evaluate(tiny).logits)
        }
    }

    @Test func `tensors are in the file as in PyTorch`() throws {
        let network = try network()
        let path = folder("w.safetensors")
        try WeightsFile.write(network, to: path)
        let file = try SafetensorsFile(path: path)
        #expect(Set(file.tensors.keys) == Set((network.table.trainable + network.table.runningStatistics).map(\.name)))
        let weight = try #require(network.table.convolutions.first { $0.kind == .pointwise }).weight
        #expect(
            try file.floats(named: "features.denseblock1.denselayer1.conv1.weight", shape: [8, 3, 1, 1])
                == Array(network.parameters[weight.range]))
    }

    @Test func `older names, a wrapper's prefix and batch counters are accepted`() throws {
        let network = try network()
        let tensors = stored(network)
        func renamed(_ change: (String) -> String) -> [StoredTensor] {
            tensors.map { StoredTensor(name: change($0.name), shape: $0.shape, bytes: $0.bytes) }
        }
        func legacy(_ name: String) -> String {
            var name = name
            for word in ["norm1", "norm2", "conv1", "conv2"] {
                name = name.replacing("denselayer1.\(word).", with: "denselayer1.\(word.dropLast()).\(word.last!).")
            }
            return name
        }
        #expect(legacy("features.denseblock1.denselayer1.norm2.bias") == "features.denseblock1.denselayer1.norm.2.bias")
        #expect(try loads(renamed(legacy), as: network))
        #expect(try loads(renamed { "module.\($0)" }, as: network))
        #expect(try loads(renamed { "module.\(legacy($0))" }.reversed(), as: network))
        let counters = tensors.filter { $0.name.hasSuffix("running_mean") }.map {
            StoredTensor(
                name: $0.name.replacing("running_mean", with: "num_batches_tracked"), shape: [],
                bytes: [17, 0, 0, 0, 0, 0, 0, 0], dtype: "I64")
        }
        #expect(counters.count == 6)
        #expect(try loads(counters + tensors, as: network))
        #expect(try loads(tensors + counters.prefix(1), as: network))
    }

    @Test func `a tensor that is missing, extra or of the wrong shape or type is refused by name`() throws {
        let tensors = stored(try network())
        for (i, tensor) in tensors.enumerated() {
            var fewer = tensors
            fewer.remove(at: i)
            #expect(try refusal(fewer) == "has no tensor '\(tensor.name)'; it belongs to a different network")
        }
        let extra = StoredTensor(
            name: "features.denseblock1.denselayer2.norm1.weight", shape: [1], bytes: [0, 0, 0, 0])
        #expect(try refusal(tensors + [extra]).hasPrefix("has the tensor '\(extra.name)', unknown to this network"))
        var misshapen = tensors
        misshapen[0].shape = [3, 3, 9]
        #expect(
            try refusal(misshapen).hasPrefix(
                "tensor 'features.conv0.weight' has shape [3, 3, 9], expected [3, 3, 3, 3]"))
        var whole = tensors
        whole[0].dtype = "I32"
        #expect(try refusal(whole).hasPrefix("tensor 'features.conv0.weight' is I32, expected F32, F16, BF16, F64"))
        let twice = StoredTensor(name: "module.features.conv0.weight", shape: tensors[0].shape, bytes: tensors[0].bytes)
        #expect(
            try refusal(tensors + [twice])
                == "'features.conv0.weight' and 'module.features.conv0.weight' name the same tensor; remove one"
        )
        #expect(try refusal(tensors) == "loaded")
    }

    @Test func `a classifier for different classes is spared on request, but no other mismatch`() throws {
        var configuration = tiny.configuration
        configuration.classes = 5
        let other = try DenseNet(configuration, capacity: 2)
        let own = try network(seed: 9)
        other.initialize(seed: 4)
        let path = folder("w.safetensors")
        try WeightsFile.write(other, to: path)
        func load(_ path: String) throws -> (DenseNet, Int?) {
            let loaded = try network(seed: 9)
            let adaptation = try WeightsFile.load(SafetensorsFile(path: path), into: loaded, adapting: true)
            #expect(!adaptation.isGreyOfColour)
            return (loaded, adaptation.otherClasses)
        }
        let (loaded, classes) = try load(path)
        #expect(classes == 5)
        for (mine, theirs) in zip(own.table.trainable, other.table.trainable) {
            let expected =
                mine.name.hasPrefix("classifier.") ? own.parameters[mine.range] : other.parameters[theirs.range]
            #expect(loaded.parameters[mine.range].elementsEqual(expected), "\(mine.name)")
        }
        #expect(loaded.runningStatistics.elementsEqual(other.runningStatistics))
        // A classifier for the same number of classes is read.
        let like = try network(seed: 4)
        try WeightsFile.write(like, to: path)
        let (same, none) = try load(path)
        #expect(none == nil && same.parameters.elementsEqual(like.parameters))

        // A weight and bias that disagree, or are for other features, belong to a different network.
        var tensors = stored(other)
        let bias = try #require(tensors.firstIndex { $0.name == "classifier.bias" })
        tensors[bias].shape = [4]
        tensors[bias].bytes.removeLast(4)
        #expect(throws: Failure.self) { try load(write(tensors)) }
        tensors.remove(at: bias)
        #expect(throws: Failure.self) { try load(write(tensors)) }
        try WeightsFile.write(TinyNetwork.bottleneck.network(), to: path)
        #expect(throws: Failure.self) { try load(path) }
    }

    @Test(arguments: [TinyNetwork.plain, .imageNet])
    func `a grey network takes a colour network's weights and gives of grey images what that gives`(tiny: TinyNetwork)
        throws
    {
        let colour = try tiny.evaluatingNetwork()
        let path = folder("w.safetensors")
        try WeightsFile.write(colour, to: path)
        var configuration = tiny.configuration
        configuration.imageChannels = 1
        let grey = try DenseNet(configuration, capacity: tiny.count)
        let failure = try #require(throws: Failure.self) {
            try WeightsFile.load(SafetensorsFile(path: path), into: grey)
        }
        #expect(failure.message.contains("it belongs to a different network"))
        #expect(try WeightsFile.load(SafetensorsFile(path: path), into: grey, adapting: true).isGreyOfColour)

        let plane = configuration.image * configuration.image
        let images = Array(tiny.images.prefix(tiny.count * plane))
        let threefold = (0..<tiny.count).flatMap { image in
            (0..<3).flatMap { _ in images[image * plane..<(image + 1) * plane] }
        }
        try images.withUnsafeBufferPointer { _ = try grey.evaluate($0.baseAddress!, count: tiny.count) }
        try threefold.withUnsafeBufferPointer { _ = try colour.evaluate($0.baseAddress!, count: tiny.count) }
        #expect(relativeDifference(Array(grey.logits), Array(colour.logits)) < 1e-5)

        // The other way round the weights of three channels are not known.
        try WeightsFile.write(grey, to: path)
        #expect(throws: Failure.self) {
            try WeightsFile.load(SafetensorsFile(path: path), into: colour, adapting: true)
        }
        #expect(try WeightsFile.network(from: path).configuration == configuration)
    }

    @Test func `another network's file is refused`() throws {
        let path = folder("w.safetensors")
        let other = try TinyNetwork.bottleneck.network()
        try WeightsFile.write(other, to: path)
        let failure = try #require(throws: Failure.self) {
            try WeightsFile.load(SafetensorsFile(path: path), into: network())
        }
        #expect(failure.kind == .data && failure.message.contains("it belongs to a different network"))
    }

    @Test func `tensors under a prefix are read beside others`() throws {
        let network = try network()
        let loaded = try self.network(seed: 9)
        let path = folder("checkpoint.safetensors")
        let tensors = WeightsFile.tensors(of: network, prefix: "a.") + WeightsFile.tensors(of: loaded, prefix: "b.")
        try SafetensorsWriter.write(to: path, tensors: tensors)
        try WeightsFile.read(from: SafetensorsFile(path: path), prefix: "a.", into: loaded)
        #expect(
            loaded.parameters.elementsEqual(network.parameters)
                && loaded.runningStatistics.elementsEqual(network.runningStatistics))
    }

    @Test func `metadata that is not a configuration is an error, and no metadata gives none`() throws {
        let path = folder("w.safetensors")
        try SafetensorsWriter.write(to: path, tensors: [])
        #expect(try WeightsFile.configuration(in: SafetensorsFile(path: path)) == nil)
        for text in ["", "{}", "{\"stem\":\"moon\"}", "[1]"] {
            try SafetensorsWriter.write(to: path, tensors: [], metadata: ["config": text])
            let failure = try #require(throws: Failure.self) {
                try WeightsFile.configuration(in: SafetensorsFile(path: path))
            }
            #expect(failure.kind == .data && failure.message.contains("'config' is not a valid network configuration"))
        }
    }
}
