"""Writes operations.json: what timm makes of images with RandAugment's operations, with whole
pipelines whose parameters are given, and with random erasing. Images are those of generate.py.

Run with timm 1.0.31, torchvision 0.26, Pillow 13 and blake3. Results are hashes: of a single
operation on an image of its own size, of the bytes `[height, width, channels]`; of a pipeline, of
the f32 values `[channels, height, width]`, erased values being 1000, 1001 and so on in the order in
which timm puts its noise. Pillow 13 refuses to keep 0 bits, which timm asks of it at magnitude 10:
there the result is black, as in Pillow before 13.
"""
import json
import pathlib
import random
from unittest import mock

import blake3
import numpy
import PIL
import timm
import torch
import torchvision.transforms.functional as F
from PIL import Image
from timm.data import auto_augment, create_transform, random_erasing
from torchvision.transforms import InterpolationMode

from generate import MEAN, MODES, STD, path

IMAGES = [
    ("colours_48x31.png", 3),
    ("noise_23x29.png", 3),
    ("i_small_33x41.png", 3),
    ("grey_noise_31x19.png", 1),
]
EDGES = [("row_37x1.png", 3), ("column_1x41.png", 3), ("column_1x41.png", 1)]
PHOTOS = [("a_rgb_131x97.jpg", 3), ("b_rgb_tall_75x163_444.jpg", 3), ("c_gray_90x111.jpg", 1)]
MAGNITUDES = [0.0, 0.4, 2.5, 5.0, 7.3, 8.61, 9.0, 9.47, 10.0]


def ops(channels, interpolation):
    """timm's operations as its training transform has them, always applied."""
    transform = create_transform(
        224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation=interpolation,
        mean=MEAN[:channels], std=STD[:channels],
    )
    [chosen] = [t.ops for t in transform.transforms if isinstance(t, auto_augment.RandAugment)]
    return chosen


def apply(op, image, magnitude, negative):
    """An operation's argument and result; timm goes the other way where a number is above 0.5."""
    with mock.patch.object(auto_augment.random, "random", lambda: float(negative)):
        level = op.level_fn(magnitude, op.hparams) if op.level_fn else ()
    try:
        return list(level), op.aug_fn(image, *level, **op.kwargs)
    except ValueError:
        assert (op.name, level) == ("PosterizeIncreasing", (0,))
        return [0], image.point(lambda _: 0)


def hashed(array):
    return blake3.blake3(numpy.ascontiguousarray(array).tobytes()).hexdigest()


def singles():
    for names, magnitudes in [(IMAGES, MAGNITUDES), (EDGES, [0.3, 9.2]), (PHOTOS, [1.7, 9.3])]:
        for name, channels in names:
            image = Image.open(path(name)).convert(MODES[channels])
            for interpolation in ["bicubic", "bilinear"]:
                for kind, op in enumerate(ops(channels, interpolation)):
                    maps = op.name.startswith(("Rotate", "Shear", "Translate"))
                    if interpolation == "bilinear" and not maps:
                        continue
                    for magnitude in magnitudes if op.level_fn else [9.0]:
                        ways = {json.dumps(apply(op, image, magnitude, way)[0]): way for way in [True, False]}
                        for negative in ways.values():
                            argument, result = apply(op, image, magnitude, negative)
                            yield [name, channels, interpolation, kind, magnitude, negative,
                                   *(argument or [None]), hashed(result)]


def erased(draw, tensor):
    """timm's erasing with numbers that say where each went, and the box."""
    count = lambda per_pixel, rand_color, size, **_: 1000 + torch.arange(float(numpy.prod(size))).view(size)
    random_erasing.random.seed(draw.random())
    with mock.patch.object(random_erasing, "_get_pixels", count):
        random_erasing.RandomErasing(1.0, mode="pixel", device="cpu")(tensor)
    rows, columns = numpy.nonzero((tensor[0] >= 1000).numpy())
    left, top = int(columns.min()), int(rows.min())
    return [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top]


def pipelines(draw):
    for number in range(60):
        name, channels = draw.choice(IMAGES + EDGES + PHOTOS)
        interpolation = draw.choice(["bicubic", "bicubic", "bilinear"])
        height, width = draw.choice([(32, 32), (40, 56), (61, 47)])
        image = Image.open(path(name)).convert(MODES[channels])
        sides = [draw.randint(1, image.width), draw.randint(1, image.height)]
        left, top = draw.randint(0, image.width - sides[0]), draw.randint(0, image.height - sides[1])
        # A third are BEiT's crop of small inputs: zeros around, and a part.
        padded = number % 3 == 0
        if padded:
            corner = [draw.randint(0, 8), draw.randint(0, 8)]
            mode = InterpolationMode(interpolation)
            seen = F.resize(image, (height, width), mode)
            seen = F.crop(F.pad(seen, [4]), corner[1], corner[0], height, width)
        else:
            corner = None
            seen = F.resized_crop(image, top, left, *reversed(sides), (height, width), InterpolationMode(interpolation))
        flip = draw.random() < 0.5
        if flip:
            seen = F.hflip(seen)
        operations = []
        for _ in range(draw.randint(1, 4)):
            kind = draw.randrange(15)
            magnitude, negative = draw.uniform(0, 10), draw.random() < 0.5
            operations.append([kind, magnitude, negative])
            _, seen = apply(ops(channels, interpolation)[kind], seen, magnitude, negative)
        tensor = F.normalize(F.to_tensor(seen), MEAN[:channels], STD[:channels])
        box = erased(draw, tensor) if draw.random() < 0.7 else None
        yield dict(
            image=name, channels=channels, height=height, width=width, interpolation=interpolation,
            crop=None if padded else [left, top, *sides], padded=corner, flip=flip,
            operations=operations, box=box, hash=hashed(tensor.numpy()),
        )


if __name__ == "__main__":
    lines = lambda items: ",\n".join(json.dumps(item) for item in items)
    versions = {"pillow": PIL.__version__, "timm": timm.__version__, "torch": torch.__version__}
    kinds = [op.name for op in ops(3, "bicubic")]
    text = (f'{{"versions": {json.dumps(versions)},\n"kinds": {json.dumps(kinds)},\n'
            f'"singles": [\n{lines(singles())}\n],\n"pipelines": [\n{lines(pipelines(random.Random(7)))}\n]}}\n')
    (pathlib.Path(__file__).parent / "operations.json").write_text(text)
