"""Writes finetuning.safetensors: twenty steps of MAE's fine-tuning in f64 of the tiny ViT of ../training, its head over
the mean patch, on images mixed by timm with given coefficients and boxes; and what dropped branches do to its logits and
gradients.

Run with PyTorch 2.11, timm 1.0.31, numpy and safetensors; the versions are in the file's metadata. Settings stand again
in tests/it/finetuning.rs.
"""
import math
import pathlib
from unittest import mock

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.data import mixup
from timm.loss import SoftTargetCrossEntropy
from timm.models.vision_transformer import VisionTransformer

HERE = pathlib.Path(__file__).parent
VERSIONS = {"torch": torch.__version__, "timm": timm.__version__, "numpy": np.__version__}
DEPTH, CLASSES, WIDTH, SIZE = 3, 7, 16, 32
STEPS, BATCH = 20, 8
PER_EPOCH, EPOCHS, WARMUP = 5, 4, 1
random = np.random.default_rng(1)
known = load_file(HERE.parent / "training" / "training.safetensors")

# A step's coefficient; every other one is that of a box: top, bottom, left, right.
LAMBDAS = random.beta(0.8, 0.8, STEPS)
BOXES = np.stack([np.sort(random.integers(0, SIZE + 1, 2)) for _ in range(2 * STEPS)]).reshape(STEPS, 4)
HEAD = torch.from_numpy((0.02 * random.standard_normal((CLASSES, WIDTH))).astype(np.float32))
out = {"lambdas": torch.from_numpy(LAMBDAS), "boxes": torch.from_numpy(BOXES), "head": HEAD}


def model():
    vit = VisionTransformer(
        img_size=SIZE, patch_size=8, embed_dim=WIDTH, depth=DEPTH, num_heads=2, num_classes=CLASSES, global_pool="avg"
    ).double()
    weights = {name[8:]: tensor.double() for name, tensor in known.items() if name.startswith("weights/")}
    weights["head.weight"], weights["head.bias"] = HEAD.double(), torch.zeros(CLASSES).double()
    del weights["norm.weight"], weights["norm.bias"]
    missing, unexpected = vit.load_state_dict(weights, strict=False)
    assert sorted(missing) == ["fc_norm.bias", "fc_norm.weight"] and not unexpected
    return vit


def batch(step):
    """Mixed by timm in f32, as its training scripts do."""
    picks = known["picks"][step].long()
    images = (known["images"][picks].float() / 255 - 0.5) / 0.5
    mixing = mixup.Mixup(0.8, 1.0, prob=1.0, switch_prob=0.5, mode="batch", label_smoothing=0.1, num_classes=CLASSES)
    cut = step % 2 == 1
    top, bottom, left, right = (int(side) for side in BOXES[step])
    area = 1 - (bottom - top) * (right - left) / (SIZE * SIZE)
    box = lambda *_, **__: ((top, bottom, left, right), area)
    with mock.patch.object(mixing, "_params_per_batch", lambda: (float(LAMBDAS[step]), cut)):
        with mock.patch.object(mixup, "cutmix_bbox_and_lam", box):
            images, _ = mixing(images, known["labels"][picks].long())
    # Targets in f64, where timm's are f32.
    torch.set_default_dtype(torch.float64)
    coefficient = area if cut else float(LAMBDAS[step])
    targets = mixup.mixup_target(known["labels"][picks].long(), CLASSES, coefficient, 0.1)
    torch.set_default_dtype(torch.float32)
    return images.double(), targets


def rate(step, peak, end):
    epoch = step / PER_EPOCH
    if epoch < WARMUP:
        return peak * epoch / WARMUP
    return end + (peak - end) * (1 + math.cos(math.pi * (epoch - WARMUP) / (EPOCHS - WARMUP))) / 2


def layer(name):
    if name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else DEPTH + 1


def steps():
    vit, losses = model(), []
    groups = [
        {
            "params": [parameter],
            "scale": 0.65 ** (DEPTH + 1 - layer(name)),
            "weight_decay": 0.0 if parameter.ndim == 1 or name in ("cls_token", "pos_embed") else 0.05,
        }
        for name, parameter in vit.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8)
    for step in range(STEPS):
        images, targets = batch(step)
        for group in optimizer.param_groups:
            group["lr"] = rate(step, 2e-3, 1e-5) * group["scale"]
        loss = SoftTargetCrossEntropy()(vit(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    out["steps/losses"] = torch.tensor(losses, dtype=torch.float64)
    for name, parameter in vit.named_parameters():
        out[f"steps/{name}"] = parameter.detach().clone()


def dropped():
    """Branches left out at rates of 0, 0.2 and 0.4 by given numbers, through timm's own blocks."""
    numbers = random.random((DEPTH, 2, BATCH))
    out["numbers"] = torch.from_numpy(numbers)
    vit = model()
    rates = [0.0, 0.2, 0.4]
    for block, (layers, drop) in enumerate(zip(vit.blocks, rates)):
        for branch, name in enumerate(("drop_path1", "drop_path2")):
            stays = torch.from_numpy(numbers[block, branch] >= drop).double() / (1 - drop)
            setattr(layers, name, Scale(stays[:, None, None]))
    images, _ = batch(0)
    logits = vit(images)
    out["dropped/logits"] = logits.detach()
    (logits * torch.arange(BATCH * CLASSES).double().reshape(BATCH, CLASSES).cos()).sum().backward()
    for name in ("patch_embed.proj.weight", "blocks.1.attn.proj.weight", "blocks.2.mlp.fc2.bias"):
        out[f"dropped/{name}"] = vit.get_parameter(name).grad


class Scale(torch.nn.Module):
    def __init__(self, factors):
        super().__init__()
        self.factors = factors

    def forward(self, x):
        return x * self.factors


steps()
dropped()
save_file({name: tensor.contiguous().clone() for name, tensor in out.items()}, HERE / "finetuning.safetensors", VERSIONS)
print([round(loss, 3) for loss in out["steps/losses"].tolist()])
