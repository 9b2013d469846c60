"""Writes cases.json and expected.safetensors: what torchvision makes of images on its Pillow path
when the parameters of a training augmentation are given, and the images that are not in ../preprocess.

Run with torchvision 0.26, Pillow 13, safetensors and blake3. A case's result is the tensor of its
number, `[height, width, channels]` before normalisation; where the case says so, N/tensor is what
follows, `[channels, height, width]`. The colour cube is an image of all 2^24 colours, red in the high
byte of a pixel's number; its results are given as hashes.
"""
import colorsys
import json
import pathlib
import random

import blake3
import numpy
import PIL
import torchvision
import torchvision.transforms.functional as F
from PIL import Image
from safetensors.numpy import save_file
from torchvision.transforms import InterpolationMode

HERE = pathlib.Path(__file__).parent
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
ADJUST = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}
MODES = {1: "L", 3: "RGB"}
FILES = [
    "a_rgb_131x97.jpg",
    "b_rgb_tall_75x163_444.jpg",
    "c_gray_90x111.jpg",
    "d_gray_101x77.png",
    "h_rgba_87x87.png",
    "i_small_33x41.png",
    "colours_48x31.png",
    "noise_23x29.png",
    "grey_noise_31x19.png",
    "row_37x1.png",
    "column_1x41.png",
]


def path(name):
    own = HERE / name
    return own if own.exists() else HERE.parent / "preprocess" / name


def synthetic():
    """Every hue at every saturation, noise, and images of one row and one column."""
    wheel = [
        [colorsys.hsv_to_rgb(x / 47, y / 30, 1 - 0.6 * (x * y % 7) / 6) for x in range(48)]
        for y in range(31)
    ]
    colours = (numpy.array(wheel) * 255).round().astype(numpy.uint8)
    noise = numpy.random.default_rng(6)
    bytes_of = lambda *shape: noise.integers(0, 256, shape, numpy.uint8)
    Image.fromarray(colours).save(HERE / "colours_48x31.png")
    Image.fromarray(bytes_of(29, 23, 3)).save(HERE / "noise_23x29.png")
    Image.fromarray(bytes_of(19, 31)).save(HERE / "grey_noise_31x19.png")
    Image.fromarray(bytes_of(1, 37, 3)).save(HERE / "row_37x1.png")
    Image.fromarray(bytes_of(41, 1, 3)).save(HERE / "column_1x41.png")


def prepare(case):
    """The image of a case before it becomes a tensor."""
    image = Image.open(path(case["image"])).convert(MODES[case["channels"]])
    size = [case["height"], case["width"]]
    mode = InterpolationMode(case["interpolation"])
    if case["crop"]:
        left, top, width, height = case["crop"]
        image = F.resized_crop(image, top, left, height, width, size, mode)
    else:
        image = F.center_crop(F.resize(image, case["shorter"], mode), size)
    if case["flip"]:
        image = F.hflip(image)
    for name, amount in case["adjustments"]:
        image = ADJUST[name](image, amount)
    return image


def cases(draw):
    def case(image, crop, adjustments=(), size=(18, 16), **others):
        given = dict(channels=3, interpolation="bilinear", flip=False)
        given |= dict(image=image, crop=crop, height=size[0], width=size[1])
        return given | dict(adjustments=list(adjustments)) | others

    both = ["bilinear", "bicubic"]
    for mode in both:
        for flip in [False, True]:
            resized = dict(interpolation=mode, flip=flip)
            # Inside, at all four edges, the whole image, few pixels made many, sides that stay.
            yield case("a_rgb_131x97.jpg", [11, 7, 83, 61], **resized, tensor=flip)
            yield case("a_rgb_131x97.jpg", [0, 0, 40, 97], **resized)
            yield case("a_rgb_131x97.jpg", [91, 57, 40, 40], **resized)
            yield case("b_rgb_tall_75x163_444.jpg", [0, 0, 75, 163], **resized)
            yield case("b_rgb_tall_75x163_444.jpg", [30, 3, 5, 160], **resized)
            yield case("h_rgba_87x87.png", [40, 40, 3, 2], **resized)
            yield case("i_small_33x41.png", [17, 23, 16, 18], **resized)
            yield case("i_small_33x41.png", [2, 3, 16, 30], **resized)
            yield case("noise_23x29.png", [22, 28, 1, 1], **resized)
            yield case("row_37x1.png", [5, 0, 19, 1], **resized)
            yield case("column_1x41.png", [0, 12, 1, 29], **resized)
            yield case("c_gray_90x111.jpg", [3, 9, 71, 90], channels=1, **resized)
            yield case("grey_noise_31x19.png", [9, 0, 22, 19], channels=1, **resized, tensor=flip)
            yield case("d_gray_101x77.png", [1, 2, 100, 50], **resized)
            yield case("noise_23x29.png", [1, 2, 20, 20], size=(1, 31), **resized)
            yield case("noise_23x29.png", [1, 2, 20, 20], size=(31, 1), **resized)
    for shorter, size in [(32, (28, 28)), (20, (24, 26)), (20, (16, 40))]:
        jitter = [["contrast", 1.4], ["hue", 0.2]]
        for image, channels in [("a_rgb_131x97.jpg", 3), ("d_gray_101x77.png", 1)]:
            yield case(image, None, jitter, size, shorter=shorter, channels=channels, flip=True, tensor=True)
    whole = [0, 0, 48, 31]
    for name in ["brightness", "contrast", "saturation"]:
        for factor in [0.0, 0.3, 0.6, 0.999, 1.0, 1.001, 1.4, 2.5, 40.0]:
            yield case("colours_48x31.png", whole, [[name, factor]], (31, 48))
    for shift in [-0.5, -0.25, -0.1, -0.003, 0.0, 0.003, 0.1, 0.25, 0.5]:
        yield case("colours_48x31.png", whole, [["hue", shift]], (31, 48))
    for name, amount in [("brightness", 0.7), ("contrast", 1.6), ("saturation", 0.2), ("hue", 0.3)]:
        yield case("grey_noise_31x19.png", [0, 0, 31, 19], [[name, amount]], (19, 31), channels=1)
    for _ in range(32):
        yield drawn(draw, (18, 16))


def drawn(draw, size):
    """A case of random parameters; a fifth of the factors are far from 1."""
    image = draw.choice(FILES)
    width, height = Image.open(path(image)).size
    sides = [draw.randint(1, width), draw.randint(1, height)]
    corner = [draw.randint(0, width - sides[0]), draw.randint(0, height - sides[1])]
    most = draw.choice([1.4, 1.4, 1.4, 1.4, 8.0])
    adjustments = [[name, draw.uniform(2 - most if most < 2 else 0, most)] for name in list(ADJUST)[:3]]
    adjustments.append(["hue", draw.uniform(-0.5, 0.5)])
    draw.shuffle(adjustments)
    return dict(
        image=image,
        channels=draw.choice([1, 3, 3, 3]),
        interpolation=draw.choice(["bilinear", "bicubic"]),
        crop=corner + sides,
        height=size[0],
        width=size[1],
        flip=draw.random() < 0.5,
        adjustments=adjustments[: draw.randint(0, 4)],
    )


def write(folder, cases, others):
    results = {}
    for number, case in enumerate(cases):
        image = prepare(case)
        shape = (case["height"], case["width"], case["channels"])
        results[f"{number}"] = numpy.asarray(image).reshape(shape).copy()
        if case.get("tensor"):
            channels = case["channels"]
            tensor = F.normalize(F.to_tensor(image), MEAN[:channels], STD[:channels])
            results[f"{number}/tensor"] = tensor.numpy()
    save_file(results, folder / "expected.safetensors")
    text = ",\n".join(json.dumps(case) for case in cases)
    versions = {"pillow": PIL.__version__, "torchvision": torchvision.__version__}
    others = json.dumps({"versions": versions} | others, indent=1)
    (folder / "cases.json").write_text(f'{others[:-2]},\n"cases": [\n{text}\n]}}\n')


def cube():
    """Hashes of the colour cube after one adjustment."""
    numbers = numpy.arange(1 << 24, dtype=numpy.uint32).reshape(4096, 4096)
    colours = numpy.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], -1)
    image = Image.fromarray(colours.astype(numpy.uint8))
    kinds = [("hue", 0.0), ("hue", 0.37), ("saturation", 0.6), ("saturation", 1.7), ("contrast", 1.2)]
    for name, amount in kinds:
        hashed = blake3.blake3(numpy.asarray(ADJUST[name](image, amount)).tobytes())
        yield [name, amount, hashed.hexdigest()]


if __name__ == "__main__":
    synthetic()
    write(HERE, list(cases(random.Random(6))), {"cube": list(cube())})
