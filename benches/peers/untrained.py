"""Writes a random timm ViT without its head, and one random image under the key `pixels`.

Usage: untrained.py ARCH WEIGHTS [PIXELS]
"""
import sys

import timm
import torch
from safetensors.torch import save_file

arch, weights, *pixels = sys.argv[1:]
model = timm.create_model(arch, num_classes=0)
save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, weights)
for file in pixels:
    save_file({"pixels": torch.randn(1, *model.default_cfg["input_size"])}, file)
