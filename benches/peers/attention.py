"""Images a second of an untrained timm model's forward pass with NMI and head distance of every block, on the CPU.

Usage: attention.py [--arch NAME] [--batch N] [--rounds N] [--threads N]. The maps are kept by hooks on unfused
attention and analysed after the pass, as cl-vs-mim's self_attention_analysis.ipynb does. Prints one JSON object:
images_per_s of the median round, peak_memory of the process in bytes.
"""
import argparse
import json
import math
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
rows, columns = model.patch_embed.grid_size
centres = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
spans = torch.cdist(centres, centres) * model.patch_embed.patch_size[0]
kept = []
for block in model.blocks:
    block.attn.fused_attn = False
    block.attn.attn_drop.register_forward_hook(lambda layer, inputs, weights: kept.append(weights))


def analyse(weights):
    """Softmax weights [B, H, N, N] -> NMI and head distance, the mean over images and heads of each."""
    patches = weights[:, :, -rows * columns :, -rows * columns :]
    far = patches + 1e-32
    distance = (far / far.sum(-1, keepdim=True) * spans).sum(-1).mean()
    joint = patches + 1e-8
    joint = joint / joint.sum(-1, keepdim=True) / (rows * columns)
    keys = joint.sum(-2)
    independent = keys[:, :, None] / (rows * columns)
    information = (joint * (joint / independent).log()).sum((-2, -1))
    nmi = information / (math.log(rows * columns) * -(keys * keys.log()).sum(-1)).sqrt()
    return nmi.mean().item(), distance.item()


def measure():
    kept.clear()
    model(images)
    return [analyse(weights) for weights in kept]


seconds = []
with torch.inference_mode():
    assert len(measure()) == len(model.blocks)
    for _ in range(options.rounds):
        start = time.perf_counter()
        measure()
        seconds.append(time.perf_counter() - start)
print(json.dumps({
    "images_per_s": options.batch / statistics.median(seconds),
    "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
