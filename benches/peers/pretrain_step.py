"""Images a second of one pre-training step on the CPU, made of timm's blocks: forward, losses, backward, AdamW.

Usage: pretrain_step.py mae|medic [--arch NAME] [--teacher NAME] [--batch N] [--rounds N] [--threads N].
mae: 75 % random masking, a decoder of 8 blocks of width 512 and 16 heads, normalised pixels of hidden patches.
medic: 40 % hidden (78 of 196, a run of them: MEDiC's number, not its shape), learned positions, layer scale 0.1, a
frozen teacher that sees whole images; smooth L1 of visible patches, the cosine of the class tokens, pixels as MAE's.
Neither drops branches. Prints one JSON object: images_per_s of the median round, peak_memory of the process in bytes.
"""
import argparse
import functools
import json
import resource
import statistics
import time

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block

WIDTH, DEPTH, HEADS = 512, 8, 16

parser = argparse.ArgumentParser()
parser.add_argument("method", choices=["mae", "medic"])
parser.add_argument("--arch", default="vit_tiny_patch16_224")
parser.add_argument("--teacher", default="vit_tiny_patch16_224")
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()
torch.set_num_threads(options.threads)


def positions(grid, width):
    """MAE's fixed sines and cosines, of columns, then of rows, after zeros for the class token: `[1, 1 + N, width]`."""
    rates = 10000 ** -(torch.arange(width // 4) / (width / 4))
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * rates for axis in (columns, rows)]
    table = torch.cat([wave(axis) for axis in angles for wave in (torch.sin, torch.cos)], 1)
    return torch.cat([torch.zeros(1, width), table])[None]


def gathered(tokens, places):
    """tokens: `[B, N, D]`; places: `[B, K]` -> `[B, K, D]`"""
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))


class Student(torch.nn.Module):
    """An encoder of the patches that are seen, and the decoder of all."""

    def __init__(self):
        super().__init__()
        medic = options.method == "medic"
        self.encoder = timm.create_model(options.arch, num_classes=0, init_values=0.1 if medic else None)
        grid, patch = self.encoder.patch_embed.grid_size, self.encoder.patch_embed.patch_size[0]
        if not medic:
            self.encoder.pos_embed.data = positions(grid, self.encoder.embed_dim)
            self.encoder.pos_embed.requires_grad = False
        self.embed = torch.nn.Linear(self.encoder.embed_dim, WIDTH)
        self.mask_token = torch.nn.Parameter(0.02 * torch.randn(1, 1, WIDTH))
        self.register_buffer("pos_embed", positions(grid, WIDTH))
        norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
        self.blocks = torch.nn.Sequential(
            *(Block(WIDTH, HEADS, qkv_bias=True, norm_layer=norm) for _ in range(DEPTH))
        )
        self.norm = norm(WIDTH)
        self.pred = torch.nn.Linear(WIDTH, patch * patch * 3)

    def encode(self, images, seen):
        """-> `[B, 1 + K, D]`, normalised"""
        encoder = self.encoder
        tokens = gathered(encoder.patch_embed(images) + encoder.pos_embed[:, 1:], seen)
        first = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(images), -1, -1)
        return encoder.norm(encoder.blocks(torch.cat([first, tokens], 1)))

    def decode(self, tokens, restore):
        """restore: `[B, N]`, every patch's place among the seen and then the hidden ones -> `[B, N, p p C]`"""
        tokens = self.embed(tokens)
        hidden = restore.shape[1] + 1 - tokens.shape[1]
        patches = torch.cat([tokens[:, 1:], self.mask_token.expand(len(tokens), hidden, -1)], 1)
        tokens = torch.cat([tokens[:, :1], gathered(patches, restore)], 1) + self.pos_embed
        return self.pred(self.norm(self.blocks(tokens)))[:, 1:]


def standard(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()


def patch_pixels(images, patch):
    batch, channels, height, width = images.shape
    patches = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


student = Student().train()
trained = list(student.parameters())
patches, patch = student.encoder.patch_embed.num_patches, student.encoder.patch_embed.patch_size[0]
if options.method == "medic":
    teacher = timm.create_model(options.teacher, num_classes=0).eval().requires_grad_(False)
    head = torch.nn.Linear(student.encoder.embed_dim, teacher.embed_dim)
    trained += list(head.parameters())
optimizer = torch.optim.AdamW([p for p in trained if p.requires_grad], lr=1e-4, weight_decay=0.05)
images = torch.randn(options.batch, *student.encoder.default_cfg["input_size"])


def order():
    """Patches of every image, the seen ones first: `[B, N]`; and how many are seen."""
    if options.method == "mae":
        return torch.rand(options.batch, patches).argsort(1), int(patches * 0.25)
    hidden = int(patches * 0.4)
    start = torch.randint(patches - hidden + 1, (options.batch, 1))
    place = torch.arange(patches)
    return ((place >= start) & (place < start + hidden)).int().argsort(dim=1, stable=True), patches - hidden


def teacher_tokens():
    """The last block's, before the final norm: `[B, 1 + N, D]`"""
    tokens = teacher._pos_embed(teacher.patch_embed(images))
    return standard(teacher.blocks(tokens))


def step():
    optimizer.zero_grad(set_to_none=True)
    places, kept = order()
    seen, hidden, restore = places[:, :kept], places[:, kept:], places.argsort(1)
    tokens = student.encode(images, seen)
    pixels = gathered(student.decode(tokens, restore), hidden)
    loss = F.mse_loss(pixels, standard(gathered(patch_pixels(images, patch), hidden)))
    if options.method == "medic":
        with torch.no_grad():
            target = teacher_tokens()
        projected = head(tokens)
        loss = loss + F.smooth_l1_loss(projected[:, 1:], gathered(target[:, 1:], seen))
        loss = loss + ((1 - F.cosine_similarity(projected[:, 0], target[:, 0])) / 0.1).mean()
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
