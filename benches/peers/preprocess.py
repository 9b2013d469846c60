"""Images a second of DINO's evaluation transform with Pillow and torchvision, one process.

Usage: preprocess.py FOLDER. Prints {"images": n, "images_per_s": rate} for one pass over the folder.
"""
import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

torch.set_num_threads(1)
transform = transforms.Compose([
    transforms.Resize(256, InterpolationMode.BICUBIC),
    transforms.CenterCrop(224),
    transforms.ToTensor(),
    transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
])
paths = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix == ".jpg")
start = time.perf_counter()
for path in paths:
    with Image.open(path) as image:
        transform(image.convert("RGB"))
print(json.dumps({"images": len(paths), "images_per_s": len(paths) / (time.perf_counter() - start)}))
