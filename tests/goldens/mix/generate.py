"""Writes cases.json and expected.safetensors: what timm's Mixup makes of batches when the coefficient,
and for CutMix the centre or the box, are given.

Run with timm 1.0.31, torch 2.11 and safetensors. `batch` is `[4, 3, 5, 7]`, in the order that timm
pairs, so that images 0 and 3 are a pair and 1 and 2 another; a case's result has its number.
"""
import json
import pathlib

import numpy
import timm
import torch
from safetensors.torch import save_file
from timm.data import mixup

HERE = pathlib.Path(__file__).parent
SHAPE = [4, 3, 5, 7]
SHARES = [0.0, 1e-3, 0.25, 1 / 3, 0.5, 0.7071067811865476, 0.937, 1 - 2**-30, 1.0]
CENTRES = [
    (0.1, 2, 3), (0.2, 0, 0), (0.3, 4, 6), (0.5, 1, 5), (0.61, 3, 0), (0.75, 2, 6), (0.9, 4, 1),
    (0.0, 2, 3), (0.0, 0, 6), (0.999, 2, 2),
]
BOXES = [((1, 4), (2, 6)), ((0, 1), (0, 7)), ((2, 2), (1, 3)), ((0, 5), (0, 7))]


class Given(mixup.Mixup):
    """Mixes with what it is given."""

    def __init__(self, share, cuts, minmax=None):
        super().__init__(mixup_alpha=0.8, cutmix_alpha=1.0, cutmix_minmax=minmax)
        self.given = share, cuts

    def _params_per_batch(self):
        return self.given


def integers(*values):
    """Has the next random integers be these."""
    left = list(values)
    numpy.random.randint = lambda *_, **__: left.pop(0)


def batch():
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(7))
    x[0, 0, 0, :4] = torch.tensor([0.0, -0.0, 1e-38, 3e38])
    return x


def main():
    assert timm.__version__ == "1.0.31"
    cases, tensors = [], {"batch": batch()}

    def add(mix, **case):
        out = batch()
        case["lambda"] = float(mix._mix_batch(out))
        tensors[str(len(cases))] = out
        cases.append(case)

    for share in SHARES:
        add(Given(share, False))
    for share, row, column in CENTRES:
        integers(row, column)
        add(Given(share, True), share=share, centre=[row, column])
    for (top, bottom), (left, right) in BOXES:
        integers(bottom - top, right - left, top, left)
        add(Given(0.5, True, [0.2, 0.8]), box=[top, bottom, left, right])
    save_file(tensors, HERE / "expected.safetensors")
    (HERE / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


main()
