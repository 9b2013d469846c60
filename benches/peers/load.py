"""Seconds from a safetensors file of a ViT-B/16 to the first features, by safetensors and timm on the
CPU, and the peak memory of the process.

Usage: load.py WEIGHTS PIXELS THREADS. Prints one JSON object: first_features_per_s, which counts
neither Python's imports nor building the model, and peak_memory in bytes.
"""
import json
import resource
import sys
import time

import timm
import torch
from safetensors.torch import load_file

weights, pixels, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
model = timm.create_model("vit_base_patch16_224", num_classes=0).eval()
images = load_file(pixels)["pixels"]
start = time.perf_counter()
model.load_state_dict(load_file(weights))
with torch.inference_mode():
    model.forward_features(images)
print(json.dumps({
    "first_features_per_s": 1 / (time.perf_counter() - start),
    "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
