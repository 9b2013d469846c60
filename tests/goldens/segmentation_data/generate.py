"""Writes the scenes and cases.json: what OpenCV and NumPy make of images and masks when the
parameters of mmsegmentation 0.x's training pipeline are given.

Run with opencv-python-headless 4.11 or 5.0, numpy, Pillow and blake3, on a processor with AVX2.
Results are hashes: of bytes `[height, width, 3]` in the order red, green, blue, of labels
`[height, width]` in 16 bits, little-endian, 65535 where there is no class. Images of "resize" are
made by `noise`, which the test has too.
"""
import json
import pathlib
import random

import blake3
import cv2
import numpy
from PIL import Image

HERE = pathlib.Path(__file__).parent
CROP = 64
IGNORED = 65535


def digest(array):
    return blake3.blake3(numpy.ascontiguousarray(array).tobytes()).hexdigest()[:32]


def noise(height, width, channels, seed):
    places = numpy.arange(height * width * channels, dtype=numpy.uint64)
    mixed = (places * 2654435761 + seed * 40503) % (1 << 32)
    mixed = (mixed ^ (mixed >> 15)) * 2246822519 % (1 << 32)
    return (mixed >> 24).astype(numpy.uint8).reshape(height, width, channels)


def fitted(size, scale):
    height, width = size
    factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
    return int(height * factor + 0.5), int(width * factor + 0.5)


def changed(image, alpha=1, beta=0):
    image = image.astype(numpy.float32) * alpha + beta
    return numpy.clip(image, 0, 255).astype(numpy.uint8)


def in_hsv(image, channel, change):
    image = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    image[:, :, channel] = change(image[:, :, channel])
    return cv2.cvtColor(image, cv2.COLOR_HSV2BGR)


def distorted(image, draw):
    if draw["brightness"] is not None:
        image = changed(image, beta=draw["brightness"])
    if draw["contrast"] is not None and not draw["contrast_last"]:
        image = changed(image, alpha=draw["contrast"])
    if draw["saturation"] is not None:
        image = in_hsv(image, 1, lambda s: changed(s, alpha=draw["saturation"]))
    if draw["hue"] is not None:
        image = in_hsv(image, 0, lambda h: (h.astype(int) + draw["hue"]) % 180)
    if draw["contrast"] is not None and draw["contrast_last"]:
        image = changed(image, alpha=draw["contrast"])
    return image


def padded(array, value):
    height, width = array.shape[:2]
    margins = (0, CROP - height, 0, CROP - width)
    return cv2.copyMakeBorder(array, *margins, cv2.BORDER_CONSTANT, value=value)


def resizes(rng):
    cases = []
    for number in range(400):
        side = lambda most: rng.randint(1, most)
        height, width, channels = side(80), side(80), rng.choice([1, 3])
        to_height, to_width = side(150), side(150)
        if number % 8 == 0:
            height, width = 2 * ((height + 1) // 2), 2 * ((width + 1) // 2)
            to_height, to_width = height // 2, width // 2
        if number % 8 == 1:
            width, to_width, to_height = 2 * to_width, to_width, height
        if number % 8 == 2:
            to_height, to_width = 2 * height, 3 * width
        image = noise(height, width, channels, number)
        size = (to_width, to_height)
        linear = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        nearest = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
        cases.append([height, width, channels, to_height, to_width, digest(linear), digest(nearest)])
    return cases


def scenes():
    """A photograph's smooth colours and edges, and masks of the kinds that are read."""
    y, x = numpy.mgrid[0:97, 0:131]
    blue = 127 + 120 * numpy.sin(x / 9) * numpy.cos(y / 17)
    green = (2 * x + y) % 256
    red = numpy.where((x - 60) ** 2 + (y - 40) ** 2 < 900, 240, 3 * y % 200)
    image = numpy.stack([red, green, blue], -1).astype(numpy.uint8)
    image[60:80, 10:50] = noise(20, 40, 3, 5)
    mask = ((x // 23 + 3 * (y // 31)) % 13).astype(numpy.uint8)
    Image.fromarray(image).save(HERE / "wide_131x97.png", optimize=True)
    Image.fromarray(mask).save(HERE / "wide_131x97_mask.png", optimize=True)
    small, small_mask = image[20:57, 30:71], mask[20:57, 30:71] % 4
    Image.fromarray(small).save(HERE / "small_41x37.png", optimize=True)
    indexed = Image.fromarray(small_mask, "P")
    indexed.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    indexed.save(HERE / "small_41x37_mask.png", bits=4)
    strip, strip_mask = noise(3, 170, 3, 9), mask[:3, :].repeat(2, axis=1)[:, :170]
    Image.fromarray(strip).save(HERE / "strip_170x3.png", optimize=True)
    Image.fromarray(strip_mask.astype(numpy.int32).astype(numpy.uint16)).save(HERE / "strip_170x3_mask.png")
    return [("wide_131x97", image, mask), ("small_41x37", small, small_mask), ("strip_170x3", strip, strip_mask)]


def pipelines(rng):
    cases = []
    for name, image, mask in scenes():
        for number in range(30):
            ratio = rng.uniform(0.5, 2.0)
            scale = (int(256 * ratio), int(80 * ratio))
            height, width = fitted(image.shape[:2], scale)
            tall, wide = min(CROP, height), min(CROP, width)
            top, left = rng.randint(0, height - tall), rng.randint(0, width - wide)
            maybe = lambda low, high: rng.choice([None, float(numpy.float32(rng.uniform(low, high)))])
            draw = {
                "brightness": maybe(-32, 32),
                "contrast": maybe(0.5, 1.5),
                "contrast_last": rng.random() < 0.5,
                "saturation": maybe(0.5, 1.5),
                "hue": rng.choice([None, rng.randint(-18, 17)]),
            }
            if wide < CROP:
                # OpenCV converts the last columns of such a row in another way: see hsv.rs.
                draw["saturation"] = draw["hue"] = None
            flip = rng.random() < 0.5
            pixels = cv2.resize(image[:, :, ::-1].copy(), (width, height), interpolation=cv2.INTER_LINEAR)
            labels = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
            pixels, labels = (a[top : top + tall, left : left + wide] for a in (pixels, labels))
            if flip:
                pixels, labels = (numpy.flip(a, axis=1) for a in (pixels, labels))
            pixels = padded(distorted(numpy.ascontiguousarray(pixels), draw), 0)[:, :, ::-1]
            # Raw 0 and 12 have no class.
            labels = labels.astype(numpy.int64) - 1
            labels[(labels == -1) | (labels == 11)] = IGNORED
            labels = padded(labels.astype(numpy.uint16), IGNORED)
            cases.append(
                {
                    "scene": name,
                    "scale": scale,
                    "resized": [height, width],
                    "crop": [left, top, wide, tall],
                    "flip": flip,
                    **draw,
                    "pixels": digest(pixels),
                    "labels": digest(labels.astype("<u2")),
                }
            )
    return cases


def cube():
    """All colours: red in the high byte of a pixel's number, or hue in the high byte of 180 2^16."""
    numbers = numpy.arange(1 << 24, dtype=numpy.uint32)
    rgb = numpy.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], -1).astype(numpy.uint8)
    hsv = rgb[: 180 << 16].reshape(-1, 4096, 3)
    there = cv2.cvtColor(rgb[:, ::-1].reshape(4096, 4096, 3).copy(), cv2.COLOR_BGR2HSV)
    back = cv2.cvtColor(hsv.copy(), cv2.COLOR_HSV2BGR)[:, :, ::-1]
    return {"rgb_to_hsv": digest(there), "hsv_to_rgb": digest(back)}


rng = random.Random(9)
cases = {"opencv": cv2.__version__, "resize": resizes(rng), "pipeline": pipelines(rng), "cube": cube()}
text = json.dumps(cases).replace("], [", "],\n[").replace("}, {", "},\n{")
(HERE / "cases.json").write_text(text + "\n")
