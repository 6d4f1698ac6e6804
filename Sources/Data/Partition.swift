/// Part `part` of `0..<count` divided into `parts` contiguous ranges, whose sizes differ by at most one; larger ranges
/// come first.
func partition(_ count: Int, into parts: Int, part: Int) -> Range<Int> {
    precondition(parts > 0 && part >= 0 && part < parts, "there is no part \(part) of \(parts)")
    let (size, larger) = count.quotientAndRemainder(dividingBy: parts)
    let start = part * size + min(part, larger)
    return start..<start + size + (part < larger ? 1 : 0)
}
