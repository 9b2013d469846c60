"""Images a second of timm's training transform with RandAugment and random erasing, one process.

Usage: augment.py FOLDER. Prints {"images": n, "images_per_s": rate} for passes over the folder.
"""
import json
import random
import sys
import time
from pathlib import Path

import numpy
import torch
from PIL import Image
from timm.data import create_transform

PASSES = 3

torch.set_num_threads(1)
for seed in (random.seed, numpy.random.seed, torch.manual_seed):
    seed(0)
transform = create_transform(
    224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic",
    re_prob=0.25, re_mode="pixel", re_count=1,
)
paths = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix == ".jpg")
start = time.perf_counter()
for path in paths * PASSES:
    with Image.open(path) as image:
        try:
            transform(image.convert("RGB"))
        except ValueError as error:
            # Pillow 13 refuses the 0 bits that timm asks of its posterize in 1 of 650 images.
            if "bits" not in str(error):
                raise
images = len(paths) * PASSES
print(json.dumps({"images": images, "images_per_s": images / (time.perf_counter() - start)}))
