import Safetensors

extension ExportedNetwork {
    /// Writes an archive for `numpy.load`: an array per tensor, in torchvision's names and shapes, and the
    /// normalization as `normalization.mean`, `normalization.std` and, where there is one, `normalization.pixel_mean`.
    ///
    /// - Throws: `Failure(.usage)` where it is too large for a zip archive; `Failure(.unavailable)` when the system
    ///   refuses.
    package func writeNumPy(to path: String) throws {
        try withTensors { tensors in
            let members = (tensors + normalizationTensors).map { tensor in
                ZipArchive.Member(tensor.name + ".npy", Self.arrayHeader(shape: tensor.shape), tensor: tensor)
            }
            try ZipArchive.write(members, to: path)
        }
    }

    private var normalizationTensors: [NamedTensor] {
        guard let normalization else { return [] }
        let prefix = "normalization."
        let (channels, image) = (configuration.imageChannels, configuration.image)
        return [
            NamedTensor(name: prefix + "mean", shape: [channels], values: normalization.mean),
            NamedTensor(name: prefix + "std", shape: [channels], values: normalization.std),
        ]
            + (normalization.pixelMean.map {
                [NamedTensor(name: prefix + "pixel_mean", shape: [channels, image, image], values: $0)]
            } ?? [])
    }

    /// What stands before the elements in a .npy file of format 1.0; its length is a multiple of 64.
    static func arrayHeader(shape: [Int]) -> [UInt8] {
        let shape = shape.map { "\($0)," }.joined(separator: " ")
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(shape)), }"
        let start: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0]
        let length = (start.count + 2 + text.utf8.count + 1 + 63) / 64 * 64 - start.count - 2
        let padding = [UInt8](repeating: UInt8(ascii: " "), count: length - text.utf8.count - 1)
        return start + [UInt8(length & 0xFF), UInt8(length >> 8)] + Array(text.utf8) + padding + [UInt8(ascii: "\n")]
    }
}
