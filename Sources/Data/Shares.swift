/// The `part`-th of `parts` contiguous shares of `0 ..< count`; sizes differ by at most one, the larger shares come
/// first.
func share(_ part: Int, of parts: Int, in count: Int) -> Range<Int> {
    precondition(parts > 0 && part >= 0 && part < parts, "there is no part \(part) of \(parts)")
    let (size, larger) = count.quotientAndRemainder(dividingBy: parts)
    let start = part * size + min(part, larger)
    return start..<start + size + (part < larger ? 1 : 0)
}
