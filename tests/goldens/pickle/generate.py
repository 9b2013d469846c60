"""Writes this folder: small checkpoints in every form that PyTorch writes, and beside each a
safetensors file of the tensors that it holds, under the names that they must get.

Made with torch 2.11.0, numpy 2.4.6, safetensors 0.8.0 and Python 3.11:
    python generate.py
"""

import argparse
import collections
import datetime
import functools
import pathlib
import types

import numpy as np
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
torch.manual_seed(0)


def write(name, value, expected, **how):
    torch.save(value, HERE / name, **how)
    check(name, expected)


def check(name, expected):
    tensors = {key: tensor.detach().clone().contiguous() for key, tensor in expected.items()}
    save_file(tensors, HERE / f"{name}.safetensors")


def flat(value, prefix=""):
    """Tensors under dotted names."""
    if isinstance(value, torch.Tensor):
        return {prefix: value}
    if isinstance(value, (list, tuple)):
        items = enumerate(value)
    elif isinstance(value, dict):
        items = value.items()
    elif hasattr(value, "__dict__"):
        items = vars(value).items()
    else:
        return {}
    found = {}
    for key, inner in items:
        found |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = torch.nn.Conv2d(3, 4, 2, bias=False)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(2)])
        self.norm = torch.nn.BatchNorm1d(4)
        self.scale = torch.nn.Parameter(torch.tensor(2.5))
        self.register_buffer("index", torch.arange(6).view(2, 3))

    def forward(self, x):
        x = self.patch(x).mean((2, 3))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) * self.scale + self.index.sum()


def training():
    """What a training script saves: weights, an optimizer, its arguments."""
    model = Tiny()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "best": np.float64(0.75),
        "history": np.arange(4.0),
        "args": argparse.Namespace(
            lr=1e-3,
            output_dir=pathlib.PurePosixPath("out"),
            betas=(0.9, 0.999),
            started=datetime.datetime(2020, 1, 2),
            extra=types.SimpleNamespace(dtype=torch.float16, device=torch.device("cpu")),
        ),
    }


def views():
    whole = torch.randn(5, 6)
    return {
        "whole": whole,
        "transposed": whole.t(),
        "strided": whole[1::2, ::3],
        "tail": whole[3:],
        "column": whole[:, 4],
        "expanded": whole[0, :1].expand(7),
        "empty": whole[:0],
        "scalar": whole[2, 3],
        "tied": whole,
    }


def dtypes():
    tensor = torch.randn(2, 3)
    types = [
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
        torch.int16, torch.int8, torch.uint8, torch.bool,
    ]
    return {str(dtype).removeprefix("torch."): (tensor * 3).to(dtype) for dtype in types}


state = training()
write("zip.pth", state, flat(state))
write("legacy.pth", state, flat(state), _use_new_zipfile_serialization=False)
write("protocol4.pth", state, flat(state), pickle_protocol=4)
write("legacy_protocol4.pth", state["model"], flat(state["model"]), pickle_protocol=4,
      _use_new_zipfile_serialization=False)
views_ = views()
write("views.pth", views_, flat(views_))
write("legacy_views.pth", views_, flat(views_), _use_new_zipfile_serialization=False)
write("dtypes.pth", dtypes_ := dtypes(), flat(dtypes_))
write("list.pth", [views_["tail"], {"a": views_["column"]}], {
    "0": views_["tail"],
    "1.a": views_["column"],
})
write("tensor.pth", views_["tail"], {"0": views_["tail"]})

# Types whose numbers are in no safetensors file, or not as they are; `plain` and `parameter` are compared.
parameter = torch.nn.Parameter(torch.randn(2))
parameter.note = "kept with the parameter"
write("unusual.pth", collections.OrderedDict(
    plain=torch.ones(2),
    parameter=parameter,
    float8=torch.ones(2).to(torch.float8_e4m3fn),
    uint16=torch.ones(2).to(torch.uint16),
    complex=torch.ones(2, dtype=torch.complex64),
    sparse=torch.eye(3).to_sparse(),
    rows=torch.eye(3).to_sparse_csr(),
    quantised=torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
    meta=torch.ones(2, 3, device="meta"),
    bytes=b"\x00\xff",
    big=1 << 70,
    counts=collections.Counter("aab"),
    default=collections.defaultdict(list, a=[1]),
    set={1, 2},
    complex_number=1j,
    slice=slice(1, 2),
    bytearray=bytearray(b"a"),
), {"plain": torch.ones(2), "parameter": parameter})

# Numbers that PyTorch negates or conjugates when they are used, and what it keeps beside weights.
imaginary = torch.complex(torch.zeros(3), torch.tensor([1.0, -2.0, 3.0])).conj().imag
write("lazy.pth", collections.OrderedDict(
    plain=torch.ones(2),
    negated=imaginary,
    resolved=imaginary.resolve_neg(),
    conjugated=torch.ones(2, dtype=torch.complex64).conj(),
    losses=collections.deque([torch.ones(1), torch.zeros(1)], maxlen=2),
    queue=collections.deque([3]),
    rest=(..., NotImplemented, functools.partial(collections.OrderedDict, a=1)),
), {
    "plain": torch.ones(2),
    "resolved": imaginary.resolve_neg(),
    "losses.0": torch.ones(1),
    "losses.1": torch.zeros(1),
})

module = Tiny().eval()
torch.jit.trace(module, torch.randn(1, 3, 4, 4)).save(HERE / "script.pt")
check("script.pt", module.state_dict())

# What is refused: a module that was saved whole.
torch.save(torch.nn.Linear(2, 2), HERE / "module.pth")
