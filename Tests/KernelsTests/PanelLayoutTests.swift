import Kernels
import Testing

/// All small resolutions, and those of the papers' networks.
private func everyLayout(_ body: (_ layout: PanelLayout, _ images: Int) -> Void) {
    for width in Array(1...20) + [28, 32, 33, 56, 64, 97, 112, 127, 128, 129, 224] {
        for images in Array(1...20) + [31, 32, 33, 64] {
            body(PanelLayout(height: 3, width: width, images: images), images)
        }
    }
}

@Suite struct PanelLayoutTests {
    @Test func `lanes are whole vectors that cover the images without an idle vector`() {
        everyLayout { layout, images in
            #expect(
                layout.lanes % 16 == 0 && layout.lanes >= layout.validLanes && layout.lanes - layout.validLanes < 16)
            #expect(layout.validLanes == layout.width * layout.interleave)
            #expect((1...images).contains(layout.interleave))
        }
    }

    @Test func `groups hold all images and none is empty`() {
        everyLayout { layout, images in
            for some in [0, 1, images / 2, images] {
                let groups = layout.groups(some)
                #expect(groups * layout.interleave >= some && (groups - 1) * layout.interleave < some)
            }
        }
    }

    @Test func `no other interleave of at most 128 lanes needs fewer lanes`() {
        everyLayout { layout, images in
            let total = layout.groups(images) * layout.lanes
            for interleave in 1...images where interleave * layout.width <= 128 {
                let groups = (images + interleave - 1) / interleave
                #expect(total <= groups * ((layout.width * interleave + 15) / 16 * 16))
            }
        }
    }

    @Test func `the CIFAR networks fill 64 lanes if that leaves eight groups, else 32`() {
        for (width, interleave, images) in [(32, 2, 32), (16, 4, 32), (8, 4, 32), (8, 8, 64), (32, 1, 8)] {
            let layout = PanelLayout(height: width, width: width, images: images)
            #expect(layout.interleave == interleave && layout.lanes == width * interleave)
        }
    }

    @Test func `the shapes under test have interleaves from 1 to 16, padding tails and partly filled groups`() {
        let layouts = Shape.all.map(\.layout)
        #expect(Set(layouts.map(\.interleave)).isSuperset(of: [1, 2, 4, 8, 16]))
        #expect(layouts.contains { $0.lanes > $0.validLanes } && layouts.contains { $0.lanes == $0.validLanes })
        #expect(Shape.all.contains { $0.images % $0.layout.interleave != 0 && $0.layout.lanes == $0.layout.validLanes })
        #expect(Shape.all.contains { $0.images > $0.layout.interleave })
    }

    @Test(arguments: Shape.all) func `masks are 1 where there is a pixel, and nil if all lanes have one`(
        _ shape: Shape
    ) {
        let layout = shape.layout
        let featureMap = FeatureMap(layout: layout)
        // Growing and shrinking, as with the last batch of an epoch.
        for images in [shape.images, shape.capacity, 0, shape.images, 1] {
            featureMap.begin(images: images)
            #expect(featureMap.images == images && featureMap.groups == layout.groups(images))
            var count = 0
            for group in 0..<featureMap.groups {
                let valid = (0..<layout.lanes).map { layout.pixel(group, lane: $0, images: images) != nil }
                if let mask = featureMap.mask(group) {
                    #expect((0..<layout.lanes).map { mask[$0] } == valid.map { $0 ? 1 : 0 })
                } else {
                    #expect(valid.allSatisfy { $0 })
                }
                #expect(valid.count { $0 } == featureMap.images(in: group) * layout.width)
                count += featureMap.images(in: group)
            }
            #expect(count == images)
        }
    }

    @Test func `panels follow one another without gap or overlap and start as zeros`() {
        let layout = PanelLayout(height: 3, width: 5, images: 7)
        let panels = Panels(layout: layout, channels: 3, images: 7)
        let size = 3 * layout.lanes
        let first = panels.panel(0, 0)
        for group in 0..<layout.groups(7) {
            for y in 0..<3 { #expect(panels.panel(group, y) == first + (group * 3 + y) * size) }
        }
        #expect(panels.byteCount == layout.groups(7) * 3 * size * 4)
        #expect(Int(bitPattern: first) % 64 == 0)
        let all = UnsafeMutableBufferPointer(start: first, count: panels.byteCount / 4)
        #expect(all.allSatisfy { $0 == 0 })
        all.update(repeating: 5)
        panels.clear()
        #expect(all.allSatisfy { $0 == 0 })
    }
}
