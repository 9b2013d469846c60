"""Writes training.safetensors: a tiny timm ViT, pictures, and what 20 steps each of AdamW with layer decay, of LARS on
a head with batch normalisation and of clipped SGD make of them in f64; and batch_norm.safetensors: batches through
torch.nn.BatchNorm1d and 2d.

Run with PyTorch 2.11, timm 1.0.31, numpy and safetensors; the versions are in the files' metadata. Settings stand again
in tests/it/training.rs.
"""
import math
import pathlib

import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

HERE = pathlib.Path(__file__).parent
VERSIONS = {"torch": torch.__version__, "timm": timm.__version__, "numpy": np.__version__}
DEPTH, CLASSES = 3, 7
STEPS, BATCH, POOL = 20, 8, 24
PER_EPOCH, EPOCHS, WARMUP = 5, 4, 1
torch.set_default_dtype(torch.float64)
random = np.random.default_rng(0)


def build():
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=DEPTH, num_heads=2, num_classes=CLASSES).double()


def start():
    """Weights that f32 holds exactly, wide enough for tokens that differ."""
    weights = {}
    for name, parameter in build().named_parameters():
        noise = random.standard_normal(parameter.shape).astype(np.float32)
        scale = np.float32(0.2 if parameter.ndim > 1 else 0.1)
        is_scale = "norm" in name and name.endswith("weight")
        weights[name] = torch.from_numpy(noise * scale + np.float32(is_scale))
    return weights


WEIGHTS = start()
IMAGES = torch.from_numpy(random.integers(0, 256, (POOL, 3, 32, 32), dtype=np.uint8))
LABELS = torch.from_numpy(random.integers(0, CLASSES, POOL))
PICKS = torch.from_numpy(np.stack([random.permutation(POOL)[:BATCH] for _ in range(STEPS)]))


def model():
    vit = build()
    vit.load_state_dict({name: weight.double() for name, weight in WEIGHTS.items()})
    return vit


def batches():
    for picks in PICKS:
        yield (IMAGES[picks].double() - 127.5) / 127.5, LABELS[picks]


def rate(step, peak, end):
    """A line over the first epoch, then half a cosine, by the fraction of the epoch."""
    epoch = step / PER_EPOCH
    if epoch < WARMUP:
        return peak * epoch / WARMUP
    return end + (peak - end) * (1 + math.cos(math.pi * (epoch - WARMUP) / (EPOCHS - WARMUP))) / 2


def layer(name):
    if name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else DEPTH + 1


out = {f"weights/{name}": weight for name, weight in WEIGHTS.items()}
out |= {"images": IMAGES, "labels": LABELS, "picks": PICKS}


def keep(case, losses, named):
    out[f"{case}/losses"] = torch.tensor(losses)
    for name, tensor in named:
        out[f"{case}/{name}"] = tensor.detach().clone()


def adamw():
    """MAE's fine-tuning: every parameter a group of its own."""
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
    for step, (images, labels) in enumerate(batches()):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, 2e-3, 1e-5) * group["scale"]
        loss = F.cross_entropy(vit(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    keep("adamw", losses, vit.named_parameters())


@torch.no_grad()
def lars_step(parameters, changes, lr, weight_decay):
    """As facebookresearch/mae util/lars.py works: a matrix moves by 0.001 of its norm."""
    for parameter, change in zip(parameters, changes):
        gradient = parameter.grad
        if parameter.ndim > 1:
            gradient = gradient + weight_decay * parameter
            norms = parameter.norm(), gradient.norm()
            if norms[0] > 0 and norms[1] > 0:
                gradient = gradient * (0.001 * norms[0] / norms[1])
        change.mul_(0.9).add_(gradient)
        parameter.sub_(lr * change)


def lars():
    """MAE's linear probe on the class token, with a weight decay that it sets to zero."""
    vit, losses = model().eval(), []
    norm = torch.nn.BatchNorm1d(16, affine=False, eps=1e-6)
    head = torch.nn.Linear(16, CLASSES)
    weight = torch.from_numpy((0.01 * random.standard_normal((CLASSES, 16))).astype(np.float32))
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.zero_()
    out["lars/start"] = weight
    changes = [torch.zeros_like(parameter) for parameter in head.parameters()]
    for step, (images, labels) in enumerate(batches()):
        with torch.no_grad():
            features = vit.forward_features(images)[:, 0]
        loss = F.cross_entropy(head(norm(features)), labels)
        head.zero_grad()
        loss.backward()
        lars_step(list(head.parameters()), changes, rate(step, 6.4, 0.0), 0.01)
        losses.append(loss.item())
    norm.eval()
    named = {"head.weight": head.weight, "head.bias": head.bias, "logits": head(norm(features))}
    named |= {f"norm.{name}": getattr(norm, name) for name in ("running_mean", "running_var")}
    keep("lars", losses, named.items())


def sgd():
    vit, losses, norms = model(), [], []
    optimizer = torch.optim.SGD(vit.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    for images, labels in batches():
        loss = F.cross_entropy(vit(images), labels)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(vit.parameters(), 2.0).item())
        optimizer.step()
        losses.append(loss.item())
    keep("sgd", losses, [*vit.named_parameters(), ("norms", torch.tensor(norms))])
    print("norms from", min(norms), "to", max(norms))


def batch_norm():
    """Two training batches, then the second one again in evaluation; gradients of sum(out * cotangent)."""
    tensors = {}
    for case, shape in {"rows": (5, 4), "maps": (3, 4, 2, 3)}.items():
        norm = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(4, eps=1e-5, momentum=0.1)
        draw = lambda *shape: torch.from_numpy(random.standard_normal(shape).astype(np.float32)).double()
        with torch.no_grad():
            norm.weight.copy_(1 + 0.3 * draw(4).float())
            norm.bias.copy_(0.3 * draw(4).float())
        tensors |= {f"{case}/weight": norm.weight.detach().float(), f"{case}/bias": norm.bias.detach().float()}
        for batch in range(2):
            x, cotangent = (1 + 2 * draw(*shape)).requires_grad_(), draw(*shape)
            y = norm(x)
            gradients = torch.autograd.grad((y * cotangent).sum(), [x, norm.weight, norm.bias])
            tensors |= {f"{case}/{batch}/x": x, f"{case}/{batch}/cotangent": cotangent, f"{case}/{batch}/out": y}
            tensors |= {f"{case}/{batch}/grad.{name}": g for name, g in zip(("x", "weight", "bias"), gradients)}
        tensors |= {f"{case}/running_mean": norm.running_mean, f"{case}/running_var": norm.running_var}
        tensors[f"{case}/evaluated"] = norm.eval()(x)
    save({name: tensor.detach() for name, tensor in tensors.items()}, "batch_norm")


def save(tensors, name):
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, HERE / f"{name}.safetensors", VERSIONS)


adamw()
lars()
sgd()
save(out, "training")
batch_norm()
for case in ("adamw", "lars", "sgd"):
    print(case, [round(x, 3) for x in out[f"{case}/losses"].tolist()])
