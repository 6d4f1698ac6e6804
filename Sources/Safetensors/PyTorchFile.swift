import Support

extension SafetensorsFile {
    /// Rejects a pickle, as written by `torch.save` before version 1.6, with a command that converts it.
    ///
    /// A safetensors file could begin with the same bytes, as the length of its header, but has a brace after them.
    ///
    /// - Parameter start: the file's first bytes.
    /// - Throws: `Failure(.data)` for such a file.
    static func refusePickle(_ file: InputFile, start: [UInt8]) throws {
        guard start[0] == 0x80, 2...5 ~= start[1], start[8] != UInt8(ascii: "{") else { return }
        let name = file.path.split(separator: "/").last ?? ""
        let stem = name.lastIndex(of: ".").map { file.path.dropLast(name[$0...].count) } ?? file.path[...]
        throw Failure(
            .data,
            "\(file.path): is a pickle, as PyTorch's .pth files were before version 1.6; convert it to safetensors: "
                + "\(conversion) \(shellWord(file.path)) \(shellWord("\(stem).safetensors"))")
    }

    private static let conversion = """
        python3 -c "import sys, torch, safetensors.torch as s; d = torch.load(sys.argv[1], map_location='cpu', weights_only=True); \
        s.save_file({k: v.contiguous() for k, v in d.get('state_dict', d).items()}, sys.argv[2])"
        """

    private static func shellWord(_ text: String) -> String { "'" + text.replacing("'", with: "'\\''") + "'" }
}
