import CKernels

/// transposed[lane][c] = panel[c][lane] for a panel of `channels` rows, `stride` apart; channels up to the next
/// multiple of 16 are zero. In bfloat16 transposed[lane / 2][c] = (panel[c][lane], panel[c][lane + 1]).
@inline(__always)
package func transposePanel(
    _ panel: PanelNumbers, stride: Int, channels: Int, lanes: Int, into transposed: UnsafeMutablePointer<Float>
) {
    let width = (channels + 15) / 16 * 16
    switch panel.precision {
    case .float32: kernels.pointee.transpose_panel(panel.floats, stride, channels, lanes, transposed, width)
    case .bfloat16: kernels.pointee.transpose_panel_pairs(panel.bfloat16, stride, channels, lanes, transposed, width)
    }
}

/// to[column][row] = from[row][column] for a matrix of `rows` × `columns` floats, rows `fromStride` and `toStride`
/// apart.
package func transposeMatrix(
    _ from: UnsafePointer<Float>, rows: Int, columns: Int, fromStride: Int, to: UnsafeMutablePointer<Float>,
    toStride: Int
) {
    kernels.pointee.transpose_matrix(from, rows, columns, fromStride, to, toStride)
}
