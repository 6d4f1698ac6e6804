import Support

extension SafetensorsFile {
    /// Rejects a file written by `torch.save`, a zip archive or a pickle, with a command that converts it.
    ///
    /// A safetensors file could begin with the same bytes, as the length of its header, but has a brace after them.
    ///
    /// - Throws: `Failure(.data)` for such a file.
    static func refusePyTorch(_ file: InputFile) throws {
        var start = [UInt8](repeating: 0, count: 9)
        guard file.size >= start.count else { return }
        try unsafe start.withUnsafeMutableBytes { try unsafe file.read(into: $0, at: 0) }
        let isArchive = start.starts(with: [0x50, 0x4B, 3, 4])
        let isPickle = start[0] == 0x80 && 2...5 ~= start[1]
        guard isArchive || isPickle, start[8] != UInt8(ascii: "{") else { return }
        let name = file.path.split(separator: "/").last ?? ""
        let stem = name.lastIndex(of: ".").map { file.path.dropLast(name[$0...].count) } ?? file.path[...]
        throw Failure(
            .data,
            "\(file.path): is a \(isArchive ? "zip archive" : "pickle") like PyTorch's .pth files, not safetensors; convert it with: "
                + "\(conversion) \(shellWord(file.path)) \(shellWord("\(stem).safetensors"))")
    }

    private static let conversion = """
        python3 -c "import sys, torch, safetensors.torch as s; d = torch.load(sys.argv[1], map_location='cpu', weights_only=True); \
        s.save_file({k: v.contiguous() for k, v in d.get('state_dict', d).items()}, sys.argv[2])"
        """

    private static func shellWord(_ text: String) -> String { "'" + text.replacing("'", with: "'\\''") + "'" }
}
