"""Holds a folder of pictures against torchvision: interop_pictures.py PROGRAM WEIGHTS FOLDER, for Tests/interop.sh.

PROGRAM is PictureTestProgram; WEIGHTS of DenseNet-121 for 64 pixels, as safetensors and, beside them, .pth; FOLDER is empty.
"""
import os
import subprocess
import sys

import interop_table
from interop_table import check

program, weights, folder = sys.argv[1:]
edge, size = 73, 64
interop_table.define_operators()


def make(numpy, Image):
    """200 pictures of many sizes, modes and formats, in five classes, one of which has folders."""
    random = numpy.random.default_rng(1)
    for index in range(200):
        height, width = random.integers(5, 400, 2)
        rough = random.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), dtype=numpy.uint8)
        image = Image.fromarray(rough).resize((int(width), int(height)), Image.BICUBIC)
        noise = random.integers(-9, 10, (height, width, 3))
        image = Image.fromarray((numpy.asarray(image) + noise).clip(0, 255).astype(numpy.uint8))
        kind = index % 7
        image = {1: image.convert("L"), 2: image.quantize(50), 3: image.convert("RGBA")}.get(kind, image)
        suffix, options = ("png", {}) if kind in (1, 2, 3) else ("jpg" if kind < 6 else "JPEG", {"quality": 60 + index % 40})
        path = f"{folder}/data/{{}}/class {index % 5}" + ("/a-b" if index % 10 == 0 else "/a" if index % 10 == 5 else "")
        for part in ["train", "test"]:
            os.makedirs(path.format(part), exist_ok=True)
            if kind == 4:
                exif = Image.Exif()
                exif[0x0112] = 6
                options["exif"] = exif
            image.save(f"{path.format(part)}/{index * 37 % 200}.{suffix}", **options)


def difference(ours, theirs):
    """Largest and mean difference of bytes."""
    apart = abs(ours.astype(int) - theirs.astype(int))
    assert apart.max() <= 1 and apart.mean() <= 0.1, f"differ by {apart.max()} at most, {apart.mean():.3f} in the mean"
    return f"largest {apart.max()}/255, mean {apart.mean():.4f}/255"


def pictures(name, numpy, Image, torch, torchvision):
    make(numpy, Image)
    from torchvision.transforms import functional

    subprocess.run([program, f"{folder}/data", str(edge), str(size), folder, weights + ".safetensors"], check=True)
    data = torchvision.datasets.ImageFolder(f"{folder}/data/train")
    theirs = [f"{label} {os.path.relpath(path, folder + '/data')}" for path, label in data.samples]
    assert open(f"{folder}/list.txt").read().splitlines() == theirs, "the lists differ"
    read = lambda file: numpy.fromfile(f"{folder}/{file}", dtype=numpy.uint8).reshape(len(data), 3, size, size)
    framing = torchvision.transforms.Compose([torchvision.transforms.Resize(edge), torchvision.transforms.CenterCrop(size)])
    array = lambda image: numpy.asarray(image).transpose(2, 0, 1)
    framed = numpy.stack([array(framing(image)) for image, _ in data])
    text = f"ok, {len(data)} pictures listed alike; resize and middle: {difference(read('framed.bin'), framed)}"
    boxes = numpy.loadtxt(f"{folder}/parts.txt", dtype=int).tolist()
    parts = [array(functional.resized_crop(image, *box, [size, size])) for (image, _), box in zip(data, boxes)]
    text += f"; resized crops: {difference(read('parts.bin'), numpy.stack(parts))}"
    network = torchvision.models.densenet121()
    network.load_state_dict(torch.load(weights + ".pth", weights_only=True), strict=True)
    mean, std = (numpy.array(numbers, dtype=numpy.float32).reshape(3, 1, 1) for numbers in ((0.48, 0.45, 0.4), (0.23, 0.22, 0.25)))
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(((framed / numpy.float32(255)) - mean) / std)).numpy()
    # A byte that differs by one has logits of its own.
    same = (read("framed.bin") == framed).all(axis=(1, 2, 3))
    assert same.mean() > 0.5, f"only {same.sum()} pictures have the same bytes"
    ours = numpy.fromfile(f"{folder}/logits.bin", dtype=numpy.float32).reshape(logits.shape)
    apart = float(abs(ours - logits)[same].max())
    assert apart <= 1e-4, f"{text}; logits differ by {apart:.1e}"
    return f"{text}; logits of the {same.sum()} with the same bytes: largest difference {apart:.1e}"


check("pictures: torchvision's ImageFolder", ["numpy", "PIL.Image", "torch", "torchvision"], ["densenet121"], pictures)
sys.exit(interop_table.failed)
