"""Images a second of an untrained timm model's forward pass on the CPU.

Usage: forward.py [--arch NAME] [--batch N] [--rounds N] [--threads N]. Prints one JSON object:
images_per_s of the median round, peak_memory of the process in bytes.
"""
import argparse
import json
import resource
import statistics
import time

import timm
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="vit_base_patch16_224")
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()
torch.set_num_threads(options.threads)
model = timm.create_model(options.arch, num_classes=0).eval()
images = torch.randn(options.batch, *model.default_cfg["input_size"])
seconds = []
with torch.inference_mode():
    model(images)
    for _ in range(options.rounds):
        start = time.perf_counter()
        model(images)
        seconds.append(time.perf_counter() - start)
print(json.dumps({
    "images_per_s": options.batch / statistics.median(seconds),
    "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
