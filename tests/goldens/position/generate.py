"""Writes tables.safetensors: position tables before and after each way of resizing them.

Run with PyTorch 2.11, timm 1.0.31, scipy 1.17 and safetensors. Keys are
absolute/HxW and relative/HxW for the tables, absolute/METHOD/HxW_HxW and relative/METHOD/HxW_HxW for
the results, and index/HxW for the row of each pair of tokens. Absolute tables have one prefix row.
What the original does for square grids only is here done for others in the same way.
"""
import pathlib

import numpy
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from scipy.interpolate import RectBivariateSpline
from timm.layers import gen_relative_position_index, resample_abs_pos_embed, resize_rel_pos_bias_table

torch.manual_seed(0)
WIDTH = HEADS = 2
PAIRS = [
    ((4, 4), (5, 5)),
    ((4, 4), (3, 5)),
    ((14, 14), (16, 16)),
    ((16, 16), (14, 14)),
    ((14, 14), (7, 7)),
    ((7, 7), (7, 12)),
    ((3, 5), (8, 4)),
    ((4, 4), (2, 8)),
    ((6, 6), (1, 1)),
]


def places(table, old, mode, **target):
    """The rows of a `[rows, depth]` table, resampled as an image of size `old`."""
    image = table.reshape(1, *old, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image, mode=mode, align_corners=False, **target)
    return image.permute(0, 2, 3, 1).flatten(1, 2)[0]


def absolute(table, old, **target):
    return torch.cat([table[:, :1], places(table[0, 1:], old, "bicubic", **target)[None]], 1)


def relative(table, old, new, mode):
    old, new = ([2 * side - 1 for side in grid] for grid in (old, new))
    return torch.cat([places(table[:-3], old, mode, size=new), table[-3:]])


def distances(patches, target):
    """The geometric grid of beit/run_class_finetuning.py."""
    steps, extent = patches - 1, target - 1
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1.0 - ratio**steps) / (1.0 - ratio) > extent:
            high = ratio
        else:
            low = ratio
    positive = numpy.cumsum([ratio**i for i in range(steps)])
    return numpy.concatenate([-positive[::-1], [0.0], positive])


def geometric_cubic(table, old, new):
    columns = []
    for head in table[:-3].double().numpy().T:
        points = [distances(a, b) for a, b in zip(old, new)]
        targets = [numpy.arange(1 - b, b) for b in new]
        spline = RectBivariateSpline(*points, head.reshape(len(points[0]), -1), s=0)
        columns.append(torch.from_numpy(spline(*targets).ravel()))
    return torch.cat([torch.stack(columns, 1).float(), table[-3:]])


out = {}
for old, new in PAIRS:
    name = f"{old[0]}x{old[1]}"
    pos = out.setdefault(f"absolute/{name}", torch.randn(1, old[0] * old[1] + 1, WIDTH))
    rows = (2 * old[0] - 1) * (2 * old[1] - 1) + 3
    table = out.setdefault(f"relative/{name}", torch.randn(rows, HEADS))
    name = f"{name}_{new[0]}x{new[1]}"
    scale = tuple((b + 0.1) / a for a, b in zip(old, new))
    size = (2 * new[0] - 1) * (2 * new[1] - 1) + 3
    out |= {
        f"absolute/bicubic_antialias/{name}": resample_abs_pos_embed(pos, list(new), list(old)),
        f"absolute/bicubic/{name}": absolute(pos, old, size=new),
        f"absolute/bicubic_offset/{name}": absolute(pos, old, scale_factor=scale),
        f"relative/geometric_linear/{name}": resize_rel_pos_bias_table(table, new, (size, HEADS), old),
        f"relative/bilinear/{name}": relative(table, old, new, "bilinear"),
        f"relative/bicubic/{name}": relative(table, old, new, "bicubic"),
    }
    # A cubic spline needs four distances an axis.
    if min(old) > 2:
        out[f"relative/geometric_cubic/{name}"] = geometric_cubic(table, old, new)

for grid in ((4, 4), (3, 5), (5, 2)):
    index = gen_relative_position_index(grid, class_token=True)
    out[f"index/{grid[0]}x{grid[1]}"] = index.float()

save_file(out, pathlib.Path(__file__).with_name("tables.safetensors"))
