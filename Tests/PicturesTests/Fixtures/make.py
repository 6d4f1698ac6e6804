"""Writes the fixtures of PicturesTests; see README.md."""
import io
import struct
import zlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 13, 9
random = np.random.default_rng(1)
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
smooth = np.stack([x * 19, y * 28, (x + y) * 12], axis=2).astype(np.uint8)
noise = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
alpha = random.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
low = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def expect(name, picture):
    open(name + '.rgb', 'wb').write(picture.convert('RGB').tobytes())
    open(name + '.grey', 'wb').write(picture.convert('L').tobytes())


def save(name, image, **options):
    image.save(name, **options)
    expect(name, Image.open(name))


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(depth, colour, rows, interlace=0, extra=b''):
    header = struct.pack('>IIBBBBB', WIDTH, HEIGHT, depth, colour, 0, 0, interlace)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + extra + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def save_bytes(name, data):
    open(name, 'wb').write(data)
    expect(name, Image.open(io.BytesIO(data)))


colour, grey = Image.fromarray(noise), Image.fromarray(noise[:, :, 0])
save('rgb.png', colour)
save('grey.png', grey)
save('grey-1-bit.png', grey.convert('1'))
save('palette.png', colour.quantize(7))
save('palette-transparent.png', colour.quantize(7), transparency=2)
save('rgba.png', Image.fromarray(np.dstack([noise, alpha])))
save('grey-alpha.png', Image.fromarray(np.dstack([noise[:, :, 0], alpha]), 'LA'))
rows = b''.join(b'\0' + row.tobytes() for row in noise)
save_bytes('rgb-gamma.png', png(8, 2, rows, extra=chunk(b'gAMA', struct.pack('>I', 100000))))
four_bits = b''.join(b'\0' + bytes(int(a) & 0xF0 | int(b) >> 4 for a, b in zip(row[0::2], list(row[1::2]) + [0])) for row in noise[:, :, 1])
save_bytes('grey-4-bit.png', png(4, 0, four_bits))
passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
interlaced = b''.join(
    b'\0' + noise[row, left::across].tobytes()
    for left, top, across, down in passes for row in range(top, HEIGHT, down) if left < WIDTH)
save_bytes('rgb-interlaced.png', png(8, 2, interlaced, interlace=1))

picture = Image.fromarray(smooth)
save('444.jpeg', picture, quality=90, subsampling=0)
save('422.jpeg', picture, quality=90, subsampling=1)
save('420.jpeg', picture, quality=90, subsampling=2)
save('progressive.jpeg', picture, quality=90, progressive=True)
save('grey.jpeg', picture.convert('L'), quality=90)

# Pillow reads the upper 8 of 16 bits of colours, but clips grey to 255.
wide = (noise.astype(np.uint16) << 8 | low).astype('>u2')
save_bytes('rgb-16-bit.png', png(16, 2, b''.join(b'\0' + row.tobytes() for row in wide)))
open('grey-16-bit.png', 'wb').write(png(16, 0, b''.join(b'\0' + row[:, 0].tobytes() for row in wide)))
expect('grey-16-bit.png', Image.fromarray(noise[:, :, 0]))

# What is refused.
picture.convert('CMYK').save('cmyk.jpeg')
deep = np.dstack([wide, alpha.astype('>u2')]).astype('>u2')
open('rgba-16-bit.png', 'wb').write(png(16, 6, b''.join(b'\0' + row.tobytes() for row in deep)))

# Pillow resizes the mode F without rounding; its filter is that of torch's antialias=True.
for size in [(5, 4), (13, 3), (32, 32), (1, 1), (20, 7)]:
    planes = [np.asarray(Image.fromarray(noise[:, :, c].astype(np.float32)).resize(size, Image.BILINEAR)) for c in range(3)]
    open(f'resized-{size[0]}x{size[1]}.f32', 'wb').write(np.stack(planes).astype('<f4').tobytes())

# Pillow resizes bytes in two passes, with bytes in between. A size, and the middle that is kept of it.
for width, height in [(5, 4), (13, 9), (40, 30), (8, 9), (13, 5)]:
    resized = np.asarray(colour.resize((width, height), Image.BILINEAR))
    open(f'resized-{width}x{height}.rgb', 'wb').write(resized.transpose(2, 0, 1).tobytes())
