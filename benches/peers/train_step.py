"""Images a second of a timm model's training step on the CPU: forward, cross entropy over 1000
classes, backward, AdamW.

Usage: train_step.py [--arch NAME] [--batch N] [--rounds N] [--threads N]. Prints one JSON object:
images_per_s of the median round, peak_memory of the process in bytes.
"""
import argparse
import json
import resource
import statistics
import time

import timm
import torch

CLASSES = 1000

parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="vit_tiny_patch16_224")
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()
torch.set_num_threads(options.threads)
model = timm.create_model(options.arch, num_classes=CLASSES).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
images = torch.randn(options.batch, *model.default_cfg["input_size"])
classes = torch.randint(CLASSES, (options.batch,))


def step():
    optimizer.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(model(images), classes)
    loss.backward()
    optimizer.step()


step()
seconds = []
for _ in range(options.rounds):
    start = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - start)
print(json.dumps({
    "images_per_s": options.batch / statistics.median(seconds),
    "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
