"""Images a second of an untrained timm ViT-B/16's forward pass on the CPU.

Usage: forward.py BATCH THREADS. Prints {"images_per_s": rate}, the best of five.
"""
import json
import sys
import time

import timm
import torch

batch, threads = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
model = timm.create_model("vit_base_patch16_224", num_classes=0).eval()
images = torch.randn(batch, 3, 224, 224)
rates = []
with torch.inference_mode():
    model(images)
    for _ in range(5):
        start = time.perf_counter()
        model(images)
        rates.append(batch / (time.perf_counter() - start))
print(json.dumps({"images_per_s": max(rates)}))
