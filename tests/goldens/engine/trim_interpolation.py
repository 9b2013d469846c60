"""Cuts the goldens of PyTorch's interpolation down to interpolation.safetensors: the images and what
bilinear interpolation without aligned corners makes of them.

Usage: trim_interpolation.py FROM TO   (needs safetensors and numpy)
"""
import sys

from safetensors.numpy import load_file, save_file

source, target = sys.argv[1:]
plain = (f"{size}/{part}" for size in ("1x1_4x4", "3x5_12x20", "6x6_6x6", "8x10_31x47", "16x16_5x9") for part in ("in", "out"))
tensors = load_file(source)
save_file({key: tensors[key] for key in plain}, target)
