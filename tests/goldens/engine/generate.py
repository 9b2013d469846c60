"""Writes cases.safetensors: inputs, outputs and gradients of every engine operation, by PyTorch in f64,
and adamw.safetensors: a parameter before and after each of three steps of torch.optim.AdamW.

Run with PyTorch 2.11 and safetensors. Each case has in.0 ..., cotangent, out, and grad.0 ...:
the gradients of sum(out * cotangent).
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(0)
HEADS, SCALE = 2, 0.5
INDEX = torch.tensor([2, 0, 2])
CLASSES = torch.tensor([1, 0, 3])
# The second row has no class.
SOME_CLASSES = torch.tensor([1, -100, 3])


def attention(qkv, bias=None):
    b, n, d = qkv.shape
    q, k, v = qkv.reshape(b, n, 3, HEADS, d // 3 // HEADS).permute(2, 0, 3, 1, 4)
    scores = SCALE * q @ k.transpose(-1, -2)
    weights = (scores if bias is None else scores + bias).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(b, n, d // 3), weights


def statistics(maps):
    """NMI, two distances and the entropy of maps [B, H, 4, 4] over one prefix token and patches of 2 pixels in a row."""
    maps = maps[:, :, 1:, 1:]
    place = 2 * torch.arange(3, dtype=maps.dtype)
    spans = (place[:, None] - place).abs()
    nmi, far = (p / p.sum(-1, keepdim=True) for p in (maps + 1e-8, maps + 1e-32))
    keys = nmi.mean(-2)
    information = (nmi / 3 * (nmi / keys[:, :, None]).log()).sum((-1, -2))
    roots = (torch.tensor(3.0, dtype=maps.dtype).log() * -(keys * keys.log()).sum(-1)).sqrt()
    means = [(p * spans).sum(-1).mean(-1) for p in (far, maps)]
    return torch.stack([information / roots, *means, -(far * far.log()).sum(-1).mean(-1)], -1)


def attention_with_statistics(qkv):
    # The statistics are constants, so that the gradient is the output's alone.
    out, maps = attention(qkv)
    return statistics(maps).detach() * out.mean()


def channels_last(function):
    """A function of images [B, C, H, W], of images [B, H, W, C]."""
    return lambda x, *rest: function(x.permute(0, 3, 1, 2), *rest).permute(0, 2, 3, 1)


def convolution(x, weight):
    return F.conv2d(x, weight, padding=1)


def resize(size):
    return channels_last(lambda x: F.interpolate(x, size, mode="bilinear", align_corners=False))


def batch_norm(x, weight, bias):
    normed = F.batch_norm(x.reshape(-1, x.shape[-1]), None, None, weight, bias, training=True, eps=1e-5)
    return normed.reshape(x.shape)


def some_rows(logits, smoothing=0.0):
    # The mean is over all rows, those without a class too.
    return F.cross_entropy(logits, SOME_CLASSES, reduction="sum", label_smoothing=smoothing) / len(logits)


def cross_entropy_soft(logits, targets):
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


# name: (shapes of the inputs, function)
CASES = {
    "detach": ([(2, 3)], lambda x: x.detach() * x),
    "reshape": ([(2, 6)], lambda x: x.reshape(3, 4)),
    "permute": ([(2, 3, 4)], lambda x: x.permute(2, 0, 1)),
    "expand": ([(1, 1, 4)], lambda x: x.expand(3, 2, 4)),
    "narrow": ([(2, 5, 3)], lambda x: x.narrow(1, 1, 3)),
    "cat": ([(2, 1, 3), (2, 4, 3)], lambda x, y: torch.cat([x, y], 1)),
    "index_select": ([(2, 4, 3)], lambda x: x.index_select(1, INDEX)),
    "add": ([(2, 3, 4), (1, 3, 1)], torch.add),
    "sub": ([(2, 3, 4), (4,)], torch.sub),
    "mul": ([(2, 3, 4), (3, 4)], torch.mul),
    "affine": ([(2, 3)], lambda x: 1.5 * x - 0.25),
    "sum": ([(2, 3, 4)], lambda x: x.sum((0, 2))),
    "mean": ([(2, 3, 4)], lambda x: x.mean(1)),
    "matmul": ([(2, 2, 3, 4), (2, 2, 4, 5)], torch.matmul),
    "matmul_transposed": ([(2, 3, 4), (2, 5, 4)], lambda x, y: x @ y.transpose(1, 2)),
    "softmax": ([(2, 3, 5)], lambda x: x.softmax(-1)),
    "log_softmax": ([(2, 5)], lambda x: x.log_softmax(-1)),
    "gelu": ([(3, 7)], F.gelu),
    "gelu_tanh": ([(3, 7)], lambda x: F.gelu(x, approximate="tanh")),
    "quick_gelu": ([(3, 7)], lambda x: x * torch.sigmoid(1.702 * x)),
    "layer_norm": ([(2, 3, 8), (8,), (8,)], lambda x, w, b: F.layer_norm(x, (8,), w, b, 1e-6)),
    "linear": ([(2, 3, 4), (5, 4), (5,)], F.linear),
    "linear_without_bias": ([(3, 4), (5, 4)], F.linear),
    "mlp": (
        [(2, 3, 4), (6, 4), (6,), (4, 6), (4,)],
        lambda x, w1, b1, w2, b2: F.linear(F.gelu(F.linear(x, w1, b1)), w2, b2),
    ),
    "attention": ([(2, 4, 18)], lambda qkv: attention(qkv)[0]),
    "attention_with_bias": ([(2, 4, 18), (HEADS, 4, 4)], lambda qkv, b: attention(qkv, b)[0]),
    "attention_weights": ([(2, 4, 18)], lambda qkv: attention(qkv)[1]),
    "cross_entropy_classes": ([(3, 4)], lambda x: F.cross_entropy(x, CLASSES)),
    "cross_entropy_soft": ([(3, 4), (3, 4)], cross_entropy_soft),
    "silu": ([(3, 7)], F.silu),
    "round_to_bf16": ([(3, 7)], lambda x: x.bfloat16().double()),
    "log": ([(3, 7)], lambda x: (x * x + 0.5).log()),
    "pow": ([(3, 7)], lambda x: (x * x + 0.5).pow(-1.5)),
    "attention_with_statistics": ([(2, 4, 18)], attention_with_statistics),
    "cross_entropy_smoothed": ([(3, 4)], lambda x: F.cross_entropy(x, CLASSES, label_smoothing=0.1)),
    "smooth_l1": ([(3, 7)], lambda x: F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none", beta=0.5)),
    "l1": ([(3, 7)], lambda x: x.abs()),
    "relu": ([(3, 7)], F.relu),
    "convolution": ([(2, 3, 4, 5), (3, 5, 3, 3)], channels_last(convolution)),
    "convolution_of_one_channel": ([(1, 4, 1, 1), (2, 1, 3, 3)], channels_last(convolution)),
    "convolution_of_one_pixel": ([(2, 1, 1, 3), (4, 3, 3, 3)], channels_last(convolution)),
    "resize_bilinear": ([(2, 2, 3, 5)], resize((5, 7))),
    "resize_bilinear_down": ([(2, 5, 4, 3)], resize((2, 3))),
    "resize_bilinear_of_one_pixel": ([(2, 1, 1, 3)], resize((3, 2))),
    "max_pool": ([(2, 5, 4, 3)], channels_last(lambda x: F.max_pool2d(x, 2))),
    "batch_norm": ([(2, 3, 2, 4), (4,), (4,)], batch_norm),
    "batch_norm_of_rows": ([(5, 3), (3,), (3,)], batch_norm),
    "cross_entropy_some_classes": ([(3, 4)], some_rows),
    "cross_entropy_some_smoothed": ([(3, 4)], lambda x: some_rows(x, 0.1)),
}

tensors = {}
for name, (shapes, function) in CASES.items():
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    out = function(*inputs)
    cotangent = torch.randn(out.shape, dtype=torch.float64)
    gradients = torch.autograd.grad((out * cotangent).sum(), inputs)
    tensors[f"{name}/out"] = out.detach().clone()
    tensors[f"{name}/cotangent"] = cotangent
    for i, (x, gradient) in enumerate(zip(inputs, gradients)):
        tensors[f"{name}/in.{i}"] = x.detach()
        tensors[f"{name}/grad.{i}"] = gradient.clone()
save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, pathlib.Path(__file__).with_name("cases.safetensors"))

# parameter.0, and parameter.i after the step with gradient.i.
generator = torch.Generator().manual_seed(1)
parameter = torch.randn(2, 3, dtype=torch.float64, generator=generator, requires_grad=True)
optimizer = torch.optim.AdamW([parameter], lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05)
steps = {"parameter.0": parameter.detach().clone()}
for step in range(1, 4):
    parameter.grad = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    steps[f"gradient.{step}"] = parameter.grad.clone()
    optimizer.step()
    steps[f"parameter.{step}"] = parameter.detach().clone()
save_file(steps, pathlib.Path(__file__).with_name("adamw.safetensors"))
