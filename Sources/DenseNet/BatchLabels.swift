/// The labels of the images of a batch.
package struct BatchLabels {
    /// Shape [count], each below the number of classes.
    package let own: UnsafePointer<Int32>
    /// Where each image is mixed with another, the other's; likewise.
    package let others: UnsafePointer<Int32>?
    /// What an image's own label counts for, 0 to 1; the other's counts for the rest.
    package let ownShare: Double

    package init(_ own: UnsafePointer<Int32>, others: UnsafePointer<Int32>? = nil, ownShare: Double = 1) {
        (self.own, self.others, self.ownShare) = (own, others, ownShare)
    }

    /// Without the first images.
    func dropping(first count: Int) -> BatchLabels {
        BatchLabels(own + count, others: others.map { $0 + count }, ownShare: ownShare)
    }
}
