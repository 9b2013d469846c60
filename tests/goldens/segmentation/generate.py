"""Writes segmentation.safetensors: logits, losses, gradients and running statistics of UperNet over BEiT's neck, for
patches of 16 and of 8 pixels, and of the linear heads, learning on tiny features in f64.

The modules are written here from the description of mmsegmentation's and unilm's, under their names; that the forward
pass is theirs is shown elsewhere, by vectors that mmsegmentation itself made. Gradients are autograd's.

`CASE/blocks` `[4, B, D, h, w]`, `CASE/uniform` `[B, n]` (the numbers that channels are left out by, those of the
auxiliary head after the others), `CASE/labels` `[B, H, W]` (255: no class), `CASE/w/NAME` weights,
`CASE/g/NAME` gradients, `CASE/b/NAME` running statistics after one batch, `CASE/gradient` of the blocks,
`CASE/losses`, and the logits `CASE/evaluated` with the statistics that they began with.

Run with PyTorch 2.11 and safetensors.
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).parent
torch.set_default_dtype(torch.float64)
torch.manual_seed(9)
BATCH, WIDTH, CHANNELS, AUXILIARY, CLASSES, RATE, WEIGHT = 3, 5, 4, 3, 3, 0.3, 0.4
SCALES = (1, 2, 3, 6)
out = {}


class ConvModule(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def resize(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Head(nn.Module):
    """What heads share: channels left out by given numbers, and the last layer."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels
        self.conv_seg = nn.Conv2d(channels, CLASSES, 1)

    def drop(self, x, uniform):
        if uniform is None:
            return x
        return x * (uniform >= RATE).double()[:, :, None, None] / (1 - RATE)


class UperHead(Head):
    def __init__(self):
        super().__init__(CHANNELS)
        pooling = [nn.Sequential(nn.AdaptiveAvgPool2d(bins), ConvModule(WIDTH, CHANNELS, 1)) for bins in SCALES]
        self.psp_modules = nn.ModuleList(pooling)
        self.bottleneck = ConvModule(WIDTH + len(SCALES) * CHANNELS, CHANNELS, 3)
        self.lateral_convs = nn.ModuleList(ConvModule(WIDTH, CHANNELS, 1) for _ in range(3))
        self.fpn_convs = nn.ModuleList(ConvModule(CHANNELS, CHANNELS, 3) for _ in range(3))
        self.fpn_bottleneck = ConvModule(4 * CHANNELS, CHANNELS, 3)

    def forward(self, levels, uniform):
        last = levels[3]
        pooled = [resize(pool(last), last.shape[2:]) for pool in self.psp_modules]
        sums = [None, None, None, self.bottleneck(torch.cat([last, *pooled], 1))]
        for i in (2, 1, 0):
            sums[i] = self.lateral_convs[i](levels[i]) + resize(sums[i + 1], levels[i].shape[2:])
        joined = [self.fpn_convs[i](sums[i]) for i in range(3)] + [sums[3]]
        joined = torch.cat([resize(x, levels[0].shape[2:]) for x in joined], 1)
        return self.conv_seg(self.drop(self.fpn_bottleneck(joined), uniform))


class FcnHead(Head):
    def __init__(self):
        super().__init__(AUXILIARY)
        self.convs = nn.ModuleList([ConvModule(WIDTH, AUXILIARY, 3)])

    def forward(self, x, uniform):
        return self.conv_seg(self.drop(self.convs[0](x), uniform))


class Neck(nn.Module):
    def __init__(self, patch):
        super().__init__()
        double = lambda: nn.ConvTranspose2d(WIDTH, WIDTH, 2, 2)
        if patch == 16:
            self.fpn1 = nn.Sequential(double(), nn.BatchNorm2d(WIDTH), nn.GELU(), double())
            self.fpn2 = nn.Sequential(double())
            self.fpn3, self.fpn4 = nn.Identity(), nn.MaxPool2d(2, 2)
        else:
            self.fpn1 = nn.Sequential(double())
            self.fpn2, self.fpn3, self.fpn4 = nn.Identity(), nn.MaxPool2d(2, 2), nn.MaxPool2d(4, 4)

    def forward(self, blocks):
        return [getattr(self, f"fpn{i + 1}")(x) for i, x in enumerate(blocks)]


class UperNet(nn.Module):
    numbers = CHANNELS + AUXILIARY

    def __init__(self, patch):
        super().__init__()
        self.backbone, self.decode_head, self.auxiliary_head = Neck(patch), UperHead(), FcnHead()

    def forward(self, blocks, uniform):
        levels = self.backbone(blocks)
        own, other = (None, None) if uniform is None else (uniform[:, :CHANNELS], uniform[:, CHANNELS:])
        return [self.decode_head(levels, own), self.auxiliary_head(levels[2], other)]


class LinearHead(Head):
    """Of the last block behind a BatchNorm, or of four blocks without one."""

    def __init__(self, norm):
        super().__init__(WIDTH if norm else 4 * WIDTH)
        if norm:
            self.bn = nn.BatchNorm2d(WIDTH)

    def forward(self, blocks, uniform):
        if hasattr(self, "bn"):
            return self.conv_seg(self.bn(self.drop(blocks[3], uniform)))
        return self.conv_seg(torch.cat(list(blocks), 1))


class Linear(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.decode_head = LinearHead(norm)
        self.numbers = WIDTH if norm else 0

    def forward(self, blocks, uniform):
        return [self.decode_head(blocks, uniform)]


def case(name, model, grid, patch):
    for key, tensor in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        if key.endswith("running_var"):
            value = 0.5 + torch.rand_like(tensor)
        elif ".bn." in key or "fpn1.1." in key:
            value = 0.2 * torch.randn_like(tensor) + key.endswith("weight")
        elif tensor.ndim == 1:
            value = 0.1 * torch.randn_like(tensor)
        else:
            value = torch.randn_like(tensor) * (2 / tensor[0].numel()) ** 0.5
        tensor.copy_(value.float())
        out[f"{name}/w/{key}"] = tensor.float()
    blocks = torch.randn(4, BATCH, WIDTH, *grid).float().double().requires_grad_()
    uniform = torch.rand(BATCH, model.numbers) if model.numbers else None
    size = [side * patch for side in grid]
    labels = torch.randint(0, CLASSES + 1, (BATCH, *[side // 2 for side in size]))
    labels = labels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    labels[labels == CLASSES] = 255
    model.eval()
    with torch.no_grad():
        out[f"{name}/evaluated"] = model(blocks, None)[0]
    model.train()
    logits = model(blocks, uniform)
    losses = [
        weight * F.cross_entropy(resize(x, size), labels, ignore_index=255, reduction="none").mean()
        for x, weight in zip(logits, (1.0, WEIGHT))
    ]
    sum(losses).backward()
    for key, parameter in model.named_parameters():
        out[f"{name}/g/{key}"] = parameter.grad
    for key, tensor in model.named_buffers():
        if not key.endswith("num_batches_tracked"):
            out[f"{name}/b/{key}"] = tensor.clone()
    out[f"{name}/blocks"] = blocks.detach().float()
    out[f"{name}/gradient"] = blocks.grad
    out[f"{name}/labels"] = labels.to(torch.uint8)
    out[f"{name}/losses"] = torch.stack(losses).detach()
    if uniform is not None:
        out[f"{name}/uniform"] = uniform


for name, model, grid, patch in [
    ("p16", UperNet(16), (3, 5), 16),
    ("p8", UperNet(8), (5, 6), 8),
    ("ibot", Linear(False), (2, 3), 8),
    ("dinov3", Linear(True), (3, 2), 14),
]:
    case(name, model, grid, patch)
save_file({key: tensor.contiguous() for key, tensor in out.items()}, HERE / "segmentation.safetensors")
