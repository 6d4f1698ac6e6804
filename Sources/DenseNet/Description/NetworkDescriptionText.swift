import Support

extension NetworkDescription: CustomStringConvertible {
    /// The table, one line per layer, then the totals; at most 100 columns for the named networks.
    public var description: String {
        var lines = [heading, shapeLine, ""]
        lines += layerLines
        lines += [""] + totalLines + [""] + memoryLines
        if let comparison { lines += [""] + comparisonLines(comparison) }
        return lines.joined(separator: "\n")
    }

    private var heading: String {
        let blocks = configuration.blocks.map(String.init).joined(separator: ", ")
        let rates = "\(configuration.growth), compression \(configuration.compression)"
        return "\(name): dense blocks of \(blocks) layers, \(rates)"
    }

    private var shapeLine: String {
        "from images of \(configuration.imageChannels) × \(configuration.image) × \(configuration.image) to \(configuration.classes.grouped) classes"
    }

    private var layerLines: [String] {
        func counted(_ count: Int) -> String { count == 0 ? "" : count.grouped }
        let header = ["layer", "operation", "output C × H × W", "parameters", "MACs"]
        let rows = layers.map { layer in
            [
                layer.name, layer.operation, layer.shape.map(String.init).joined(separator: " × "),
                counted(layer.parameters),
                counted(layer.multiplyAccumulates),
            ]
        }
        return aligned([header] + rows, leftColumns: 2, ruled: true)
    }

    private var totalLines: [String] {
        var lines = aligned(
            [
                ["parameters, all trained", parameters.grouped, ""],
                ["running means and variances", runningStatistics.grouped, ""],
                [
                    "multiply-accumulates (MACs), forward, per image", multiplyAccumulates.grouped,
                    multiplyAccumulates.scaled,
                ],
                [
                    "floating-point operations, training, per image", trainingOperations.grouped,
                    trainingOperations.scaled,
                ],
            ], leftColumns: 1)
        lines += [
            "MACs are those of convolutions and the classifier. Training takes two operations per MAC in each of",
            "forward, data gradient (except that of the image) and weight gradient.",
        ]
        if savedMultiplyAccumulates > 0 {
            let performed = (multiplyAccumulates - savedMultiplyAccumulates).scaled
            lines += [
                "A transition's convolution is counted at full resolution, as in the paper. Here it follows the pool:",
                "the same function for a quarter of that work, \(performed) MACs in all.",
            ]
        }
        return lines
    }

    private var memoryLines: [String] {
        let parts = [
            ("features and their gradients", memory.features),
            ("bottleneck outputs and a gradient", memory.bottlenecks),
            ("transitions' pooled features", memory.pooled), ("stem's output and its gradient", memory.stem),
            ("logits and pooled features", memory.head),
            ("workspace and channel statistics", memory.workspace),
            ("parameters", memory.parameters), ("gradients", memory.gradients), ("momenta", memory.momentumBuffer),
            ("running means and variances", memory.runningStatistics),
            ("groups' gradients and statistics", memory.groups), ("in all", memory.total),
        ]
        let rows = parts.filter { $0.1 > 0 }.map { name, bytes in ["  " + name, (Double(bytes) / 0x1p20).fixed(1)] }
        let groups = memory.groups > 0 ? statisticsGroup.map { " in groups of \($0.grouped)" } ?? "" : ""
        let images = (batchSize == 1 ? "1 image" : "\(batchSize.grouped) images") + groups
        return ["memory of one rank to train on batches of \(images), in MiB (large buffers are whole 2 MiB pages)"]
            + aligned(rows, leftColumns: 1)
    }

    private func comparisonLines(_ other: ResNet) -> [String] {
        func row(_ name: String, _ own: Int, _ others: Int) -> [String] {
            [name, own.grouped, others.grouped, (Double(own) / Double(others)).fixed(2)]
        }
        return aligned(
            [
                ["for the same images and classes", name, other.name, "ratio"],
                row("parameters", parameters, other.parameters),
                row("multiply-accumulates, forward, per image", multiplyAccumulates, other.multiplyAccumulates),
            ], leftColumns: 1)
    }
}

/// Pads the columns of a table to equal widths: the first `leftColumns` are left-aligned, the others right-aligned.
/// With `ruled` a line of dashes follows the first row.
private func aligned(_ rows: [[String]], leftColumns: Int, ruled: Bool = false) -> [String] {
    let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    var lines = rows.map { row in
        var line = row.enumerated().map { column, text in
            let space = String(repeating: " ", count: widths[column] - text.count)
            return column < leftColumns ? text + space : space + text
        }.joined(separator: "  ")
        while line.last == " " { line.removeLast() }
        return line
    }
    if ruled { lines.insert(widths.map { String(repeating: "-", count: $0) }.joined(separator: "  "), at: 1) }
    return lines
}

extension Int {
    /// Not negative; with an SI prefix, such as `2.83 G`.
    fileprivate var scaled: String {
        var value = Double(self)
        var prefix = ""
        for next in ["k", "M", "G", "T", "P", "E"] where value >= 999.995 {
            value /= 1000
            prefix = " " + next
        }
        return value.fixed(2) + prefix
    }
}

extension Double {
    /// Not negative; with `decimals` decimals and a comma between thousands.
    fileprivate func fixed(_ decimals: Int) -> String {
        let unit = (0..<decimals).reduce(1) { unit, _ in unit * 10 }
        let (whole, rest) = Int((self * Double(unit)).rounded()).quotientAndRemainder(dividingBy: unit)
        return whole.grouped + "." + String(rest).paddedWithZeros(to: decimals)
    }
}
