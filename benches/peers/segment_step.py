"""Images a second of one training step of UperNet over a plain ViT on the CPU: forward, both losses, backward, AdamW.

Usage: segment_step.py [--arch NAME] [--channels N] [--crop PIXELS] [--batch N] [--rounds N] [--threads N].
timm's blocks (patches of 16 pixels), BEiT's neck, mmsegmentation's heads: pyramid pooling at 1, 2, 3 and 6, laterals,
3 x 3 convolutions, 150 classes, a second head of 256 channels on the third level with weight 0.4; BatchNorm by the
batch, dropout 0.1, logits brought to the crop before the cross entropy. No branch is dropped.
Prints one JSON object: images_per_s of the median round, peak_memory of the process in bytes.
"""
import argparse
import json
import resource
import statistics
import time

import timm
import torch
import torch.nn.functional as F
from torch import nn

CLASSES, AUXILIARY = 150, 256

parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="vit_small_patch16_224")
parser.add_argument("--channels", type=int, default=128)
parser.add_argument("--crop", type=int, default=256)
parser.add_argument("--batch", type=int, default=4)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()
torch.set_num_threads(options.threads)


def module(inputs, outputs, kernel):
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def resized(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class UperNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = timm.create_model(options.arch, num_classes=0, img_size=options.crop)
        width, channels, depth = self.encoder.embed_dim, options.channels, len(self.encoder.blocks)
        self.read = {12: [3, 5, 7, 11], 24: [7, 11, 15, 23]}[depth]
        up = lambda: nn.ConvTranspose2d(width, width, 2, 2)
        self.neck = nn.ModuleList([
            nn.Sequential(up(), nn.BatchNorm2d(width), nn.GELU(), up()), up(), nn.Identity(), nn.MaxPool2d(2)])
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), module(width, channels, 1)) for bins in (1, 2, 3, 6))
        self.bottleneck = module(width + 4 * channels, channels, 3)
        self.laterals = nn.ModuleList(module(width, channels, 1) for _ in range(3))
        self.outputs = nn.ModuleList(module(channels, channels, 3) for _ in range(3))
        self.joined = module(4 * channels, channels, 3)
        self.classes = nn.Conv2d(channels, CLASSES, 1)
        self.second = module(width, AUXILIARY, 3)
        self.second_classes = nn.Conv2d(AUXILIARY, CLASSES, 1)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, images):
        grid = images.shape[-1] // 16
        tokens = self.encoder._pos_embed(self.encoder.patch_embed(images))
        blocks = []
        for place, block in enumerate(self.encoder.blocks):
            tokens = block(tokens)
            if place in self.read:
                blocks.append(tokens[:, 1:].transpose(1, 2).reshape(len(images), -1, grid, grid))
        levels = [level(x) for level, x in zip(self.neck, blocks)]
        last = levels[3]
        pooled = [resized(pool(last), last.shape[2:]) for pool in self.pools]
        maps = [lateral(x) for lateral, x in zip(self.laterals, levels)]
        maps.append(self.bottleneck(torch.cat([last, *pooled], 1)))
        for place in (3, 2, 1):
            maps[place - 1] = maps[place - 1] + resized(maps[place], maps[place - 1].shape[2:])
        outputs = [output(x) for output, x in zip(self.outputs, maps)] + [maps[3]]
        outputs = [outputs[0]] + [resized(x, outputs[0].shape[2:]) for x in outputs[1:]]
        logits = self.classes(self.dropout(self.joined(torch.cat(outputs, 1))))
        return logits, self.second_classes(self.dropout(self.second(levels[2])))


network = UperNet().train()
# The last norm is read by no head.
trained = [p for name, p in network.named_parameters() if not name.startswith("encoder.norm.")]
optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.05)
images = torch.randn(options.batch, 3, options.crop, options.crop)
labels = torch.randint(CLASSES, (options.batch, options.crop, options.crop))


def step():
    optimizer.zero_grad(set_to_none=True)
    logits, second = network(images)
    size = (options.crop, options.crop)
    loss = F.cross_entropy(resized(logits, size), labels) + 0.4 * F.cross_entropy(resized(second, size), labels)
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
