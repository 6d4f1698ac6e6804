import DenseNetModel
import FoundationEssentials
import Support
import Testing

private func message(_ body: () throws -> Void) -> String {
    do { try body() } catch let failure as Failure where failure.kind == .usage { return failure.message } catch {
        return "not of use: \(error)"
    }
    return "accepted"
}

@Suite struct ConfigurationTests {
    @Test func `names mean what the papers mean`() throws {
        let plain = try DenseNetConfiguration(model: "densenet-40-12")
        #expect(
            plain
                == DenseNetConfiguration(
                    stem: .cifar, blocks: [12, 12, 12], growthRate: 12, stemChannels: 16, bottleneck: false,
                    compression: 1, classes: 10, image: 32))
        let compressed = try DenseNetConfiguration(model: "DenseNet-BC-190-40", classes: 100)
        #expect(
            compressed
                == DenseNetConfiguration(
                    stem: .cifar, blocks: [31, 31, 31], growthRate: 40, stemChannels: 80, bottleneck: true,
                    compression: 0.5, classes: 100, image: 32))
        let large = try DenseNetConfiguration(model: "densenet161", image: 64)
        #expect(
            large
                == DenseNetConfiguration(
                    stem: .imagenet, blocks: [6, 12, 36, 24], growthRate: 48, stemChannels: 96, bottleneck: true,
                    compression: 0.5, classes: 1000, image: 64))
        #expect(try DenseNetConfiguration(model: "densenet264").blocks == [6, 12, 64, 48])
        #expect(try DenseNetConfiguration(model: "densenet-7-1").blocks == [1, 1, 1])
    }

    @Test(arguments: [
        ("densenet-40-12", 10, 1_019_722), ("densenet-bc-100-12", 10, 769_162), ("densenet-bc-250-24", 10, 15_324_406),
        ("densenet-bc-190-40", 10, 25_624_430), ("densenet121", 1000, 7_978_856), ("densenet121", 10, 6_964_106),
        ("densenet169", 1000, 14_149_480), ("densenet201", 1000, 20_013_928), ("densenet161", 1000, 28_681_000),
    ])
    func `a table has the parameters of the papers and of torchvision, without gaps or overlaps`(
        _ model: String, _ classes: Int, _ count: Int
    ) throws {
        let table = try ParameterTable(DenseNetConfiguration(model: model, classes: classes))
        #expect(table.parameterCount == count)
        // The order of use runs from the buffer's end to its front, without gaps.
        var end = count
        for parameter in table.trainable {
            #expect(parameter.range.upperBound == end)
            end = parameter.offset
        }
        #expect(end == 0)
        var next = 0
        for parameter in table.runningStatistics {
            #expect(parameter.offset == next)
            next = parameter.range.upperBound
        }
        #expect(next == table.runningStatisticsCount)
        #expect(
            Set((table.trainable + table.runningStatistics).map(\.name)).count == table.trainable.count
                + table.runningStatistics.count)
    }

    @Test func `DenseNet-100 with growth rates 12 and 24 has the paper's millions`() throws {
        let millions = try [12, 24].map { growth in
            Double(ParameterTable(try DenseNetConfiguration(model: "densenet-100-\(growth)")).parameterCount) / 1e6
        }
        #expect(abs(millions[0] - 6.98) < 0.05 && abs(millions[1] - 27.2) < 0.05)
    }

    @Test func `names are torchvision's`() throws {
        let table = try ParameterTable(DenseNetConfiguration(model: "densenet121", image: 32))
        let shapes = Dictionary(
            uniqueKeysWithValues: (table.trainable + table.runningStatistics).map { ($0.name, $0.shape) })
        let expected: [String: [Int]] = [
            "features.conv0.weight": [64, 3, 7, 7], "features.norm0.running_var": [64],
            "features.denseblock1.denselayer1.norm1.weight": [64],
            "features.denseblock1.denselayer1.conv1.weight": [128, 64, 1, 1],
            "features.denseblock4.denselayer16.norm2.bias": [128],
            "features.denseblock4.denselayer16.conv2.weight": [32, 128, 3, 3],
            "features.transition3.norm.running_mean": [1024], "features.transition3.conv.weight": [512, 1024, 1, 1],
            "features.norm5.weight": [1024], "classifier.weight": [1000, 1024], "classifier.bias": [1000],
        ]
        for (name, shape) in expected { #expect(shapes[name] == shape, "\(name)") }
        #expect(table.trainable.count == 364 && table.runningStatistics.count == 242)
    }

    @Test func `impossible depths are refused, with possible ones as suggestions`() {
        let expected = [
            "densenet-41-12": "depth 41 is impossible, expected 3n + 4, such as 40 or 43",
            "densenet-4-12": "depth 4 is impossible, expected 3n + 4, such as 7 or 10",
            "densenet-0-12": "depth 0 is impossible",
            "densenet-bc-41-12": "depth 41 is impossible, expected 6n + 4, such as 40 or 46",
            "densenet-bc-103-12": "depth 103 is impossible, expected 6n + 4, such as 100 or 106",
            "densenet-1000000000000-12": "depth 1000000000000 is impossible",
            "densenet-40-0": "growth rate 0: expected 1 to 4096",
            "densenet-40-5000": "growth rate 5000",
        ]
        for (model, words) in expected {
            let message = message { _ = try DenseNetConfiguration(model: model) }
            #expect(message.contains(words), "\(model): \(message)")
        }
    }

    @Test(arguments: [
        "", "-", "densenet", "densenet-", "densenet-40", "densenet-40-12-3", "densenet-bc-100", "densenet-c-100-12",
        "densenet-bc-100-12-1",
        "densenet122", "densenet-121", "resnet-40-12", "densenet-forty-12", "densenet--40-12",
        "densenet-40-99999999999999999999",
        "densenet121-32", "densenet 40 12", "bc-100-12",
    ])
    func `other names are refused with a list of valid ones`(_ model: String) {
        let message = message { _ = try DenseNetConfiguration(model: model) }
        #expect(message == "unknown model '\(model)': expected one of \(DenseNetConfiguration.modelNames)")
    }

    @Test(arguments: [("densenet-40-12", 4), ("densenet-bc-100-12", 4), ("densenet121", 29), ("densenet264", 29)])
    func `an image that is too small is refused, and the smallest that is named works`(_ model: String, _ smallest: Int)
        throws
    {
        let message = message { _ = try DenseNetConfiguration(model: model, image: smallest - 1) }
        #expect(
            message.contains("image size \(smallest - 1) is too small")
                && message.contains("need \(smallest) pixels or more"))
        #expect(try DenseNetConfiguration(model: model, image: smallest).blockSizes.last == 1)
        #expect(throws: Failure.self) { try DenseNetConfiguration(model: model, image: 1025) }
        #expect(throws: Failure.self) { try DenseNetConfiguration(model: model, image: 0) }
        #expect(throws: Failure.self) { try DenseNetConfiguration(model: model, image: -32) }
    }

    @Test func `the smallest network for each number of blocks is the one that is named`() throws {
        for stem in DenseNetConfiguration.Stem.allCases {
            for blocks in 1...5 {
                func configuration(_ image: Int) -> DenseNetConfiguration {
                    DenseNetConfiguration(
                        stem: stem, blocks: Array(repeating: 1, count: blocks), growthRate: 2, stemChannels: 3,
                        bottleneck: false, compression: 1, classes: 2, image: image)
                }
                let smallest = try #require((1...200).first { (try? configuration($0).validate()) != nil })
                if smallest > 1 {
                    let message = message { try configuration(smallest - 1).validate() }
                    #expect(message.contains("need \(smallest) pixels"), "\(message)")
                }
                // It is not only accepted but runs, with one pixel per channel in the last block.
                let network = try TrainableDenseNet(configuration(smallest), capacity: 2)
                network.initialize(seed: 1)
                let images = [Float](repeating: 0.5, count: 2 * 3 * smallest * smallest)
                let loss = try network.forward(images, count: 2, globalCount: 2, sums: LocalSums()).loss([0, 1])
                #expect(loss.result.lossSum.isFinite)
                try loss.backward()
                #expect(network.gradients.allSatisfy { $0.isFinite })
            }
        }
    }

    @Test func `every value out of range is refused by name`() throws {
        let good = try DenseNetConfiguration(model: "densenet-bc-40-12")
        let changes: [(String, (inout DenseNetConfiguration) -> Void)] = [
            ("blocks []", { $0.blocks = [] }), ("blocks [1, 0]", { $0.blocks = [1, 0] }),
            ("blocks [-1]", { $0.blocks = [-1] }),
            ("blocks", { $0.blocks = [20_001] }), ("blocks", { $0.blocks = Array(repeating: 1, count: 9) }),
            ("growth rate -1", { $0.growthRates = [4, -1, 4] }), ("growth rates [4, 4]", { $0.growthRates = [4, 4] }),
            ("stem stride 3", { $0.stemStride = 3 }), ("stem channels 0", { $0.stemChannels = 0 }),
            ("compression 0.0", { $0.compression = 0 }), ("compression 1.1", { $0.compression = 1.1 }),
            ("compression nan", { $0.compression = .nan }),
            ("compression 0.001 leaves no channel", { $0.compression = 0.001 }),
            ("dropout 1.0", { $0.dropout = 1 }), ("dropout -0.1", { $0.dropout = -0.1 }),
            ("dropout nan", { $0.dropout = .nan }),
            ("classes 0", { $0.classes = 0 }), ("image size 0", { $0.image = 0 }),
        ]
        for (words, change) in changes {
            var configuration = good
            change(&configuration)
            let message = message { _ = try DenseNet(configuration, capacity: 0) }
            #expect(message.hasPrefix(words), "\(message)")
        }
    }

    @Test func `a configuration survives a round trip through JSON`() throws {
        for tiny in TinyNetwork.all + TinyNetwork.dropout {
            let text = try WeightsFile.configurationText(tiny.configuration)
            #expect(try JSONDecoder().decode(DenseNetConfiguration.self, from: Data(text.utf8)) == tiny.configuration)
        }
    }
}

@Suite struct InitializationTests {
    @Test(arguments: ["densenet-40-12", "densenet-bc-40-12", "densenet121"])
    func `weights have the paper's moments`(_ model: String) throws {
        let network = try DenseNet(DenseNetConfiguration(model: model, image: 32), capacity: 1)
        network.initialize(seed: 5)
        for parameter in network.table.trainable {
            let values = network.parameters[parameter.range].prefix(30_000).map(Double.init)
            let count = Double(values.count)
            if parameter.shape.count == 4 {
                let deviation = (2 / Double(parameter.shape[2] * parameter.shape[3] * parameter.shape[0])).squareRoot()
                let mean = values.reduce(0, +) / count
                let square = values.reduce(0) { $0 + $1 * $1 } / count
                // Five standard errors: of the mean σ/√n, of the mean square σ²·√(2/n).
                #expect(abs(mean) < 5 * deviation / count.squareRoot(), "\(parameter.name)")
                #expect(abs(square / (deviation * deviation) - 1) < 5 * (2 / count).squareRoot(), "\(parameter.name)")
            } else if parameter.name == "classifier.weight" {
                let bound = 1 / Double(parameter.shape[1]).squareRoot()
                #expect(values.allSatisfy { abs($0) <= bound })
                #expect(values.contains { $0 > 0.9 * bound } && values.contains { $0 < -0.9 * bound })
                #expect(abs(values.reduce(0) { $0 + $1 * $1 } / count * 3 / (bound * bound) - 1) < 0.1)
            } else {
                #expect(values.allSatisfy { $0 == (parameter.name.hasSuffix(".weight") ? 1 : 0) }, "\(parameter.name)")
            }
        }
        for parameter in network.table.runningStatistics {
            #expect(
                network.runningStatistics[parameter.range].allSatisfy {
                    $0 == (parameter.name.hasSuffix("_var") ? 1 : 0)
                })
        }
    }

    @Test func `a network that does not fit in memory is refused before allocating, whatever its size`() throws {
        func network(layers: Int, growthRate: Int) -> DenseNetConfiguration {
            DenseNetConfiguration(
                stem: .cifar, blocks: [layers], growthRate: growthRate, stemChannels: 16, bottleneck: true,
                compression: 0.5, classes: 10, image: 1024)
        }
        #expect(
            throws: Failure(.usage, "the network would have 1941920539752 parameters, expected 10,000,000,000 at most")
        ) {
            try network(layers: 19_999, growthRate: 49).validate()
        }
        #expect(
            throws: Failure(
                .usage, "blocks [9223372036854775807, 1]: expected at most 8 blocks of 20,000 layers in all")
        ) {
            var sum = network(layers: .max, growthRate: 1)
            sum.blocks.append(1)
            try sum.validate()
        }
        // More bytes than an `Int` can count.
        let failure = #expect(throws: Failure.self) {
            _ = try TrainableDenseNet(network(layers: 10_000, growthRate: 4), capacity: 1_000_000_000)
        }
        #expect(failure?.kind == .unavailable)
        #expect(failure?.message.hasPrefix("1000000000 images per rank need ") == true, "\(failure as Any)")
    }

    @Test func `weights are reproducible from the seed, and differ between seeds and between tensors`() throws {
        let tiny = TinyNetwork.bottleneck
        func weights(_ seed: UInt64) throws -> [Float] {
            let network = try TrainableDenseNet(tiny.configuration, capacity: 1)
            network.runningStatistics.update(repeating: 7)
            network.initialize(seed: seed)
            #expect(network.runningStatistics.allSatisfy { $0 == 0 || $0 == 1 })
            return Array(network.parameters)
        }
        let first = try weights(1)
        #expect(try weights(1) == first && weights(2) != first)
        let drawn = ParameterTable(tiny.configuration).trainable.filter { $0.shape.count > 1 }.map { first[$0.offset] }
        #expect(Set(drawn).count == drawn.count)
    }
}
