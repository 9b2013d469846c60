"""Images a second of one epoch of MAE's fine-tuning recipe by timm's parts on the CPU: decoding and every augmentation
on two worker processes, mixing, drop path, layer-wise decay, AdamW; then the validation images.

Usage: finetune.py FOLDER [--arch NAME] [--weights FILE] [--batch N] [--threads N] [--workers N]. FOLDER holds
train/<class>/*.jpg and val/<class>/*.jpg. Prints one JSON object: images, images_per_s of both passes together.
"""
import argparse
import json
import time
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import auto_augment, create_transform
from timm.data.mixup import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import param_groups_layer_decay
from torchvision.datasets import ImageFolder

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--arch", default="vit_tiny_patch16_224")
parser.add_argument("--weights", type=Path)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--workers", type=int, default=2)
options = parser.parse_args()
torch.set_num_threads(options.threads)


def posterize(image, bits, **_):
    """timm asks for 0 bits at the largest magnitude, which Pillow 13 refuses and earlier ones made black."""
    return auto_augment.ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)


auto_augment.NAME_TO_OP["PosterizeIncreasing"] = posterize
train_transform = create_transform(
    224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", re_prob=0.25, re_mode="pixel",
    re_count=1,
)
train = ImageFolder(options.folder / "train", train_transform)
val = ImageFolder(options.folder / "val", create_transform(224, interpolation="bicubic", crop_pct=224 / 256))
classes = len(train.classes)
model = timm.create_model(options.arch, num_classes=classes, global_pool="avg", class_token=True, fc_norm=True,
                          drop_path_rate=0.1).train()
if options.weights:
    model.load_state_dict(load_file(options.weights), strict=False)
groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.65)
for group in groups:
    group["lr"] = 1e-3 * group["lr_scale"]
optimizer = torch.optim.AdamW(groups, lr=1e-3)
mix = Mixup(0.8, 1.0, prob=1.0, switch_prob=0.5, mode="batch", label_smoothing=0.1, num_classes=classes)
criterion = SoftTargetCrossEntropy()


def batches(dataset, **settings):
    return torch.utils.data.DataLoader(dataset, options.batch, num_workers=options.workers, **settings)


start, seen = time.perf_counter(), 0
for images, labels in batches(train, shuffle=True, drop_last=True):
    seen += len(images)
    images, targets = mix(images, labels)
    loss = criterion(model(images), targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
model.eval()
right = 0
with torch.no_grad():
    for images, labels in batches(val):
        seen += len(images)
        right += (model(images).argmax(1) == labels).sum().item()
print(json.dumps({
    "images": seen,
    "images_per_s": seen / (time.perf_counter() - start),
    "top1": 100 * right / len(val),
}))
