"""Cuts goldens of mmsegmentation's metrics down to what the test reads.

    python trim.py FOLDER

FOLDER holds miou.safetensors (logits, resized logits, predictions and masks of four cases) and
miou.json, which `intersect_and_union` and `total_area_to_metrics` of mmseg 1.2.2 gave for them
(torch 2.11). Kept are predictions and masks, as bytes, and the whole of miou.json.
"""

import json
import pathlib
import shutil
import struct
import sys

ELEMENT = {"I64": 8, "U8": 1}


def read(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for name, tensor in header.items():
        start, end = (8 + length + offset for offset in tensor["data_offsets"])
        if tensor["dtype"] in ELEMENT:
            # Little-endian integers below 256: the first byte of each.
            yield name, tensor["shape"], data[start:end][:: ELEMENT[tensor["dtype"]]]


def write(path, tensors):
    header, body = {}, b""
    for name, shape, data in tensors:
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


source, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
write(here / "miou.safetensors", sorted(read(source / "miou.safetensors")))
shutil.copy(source / "miou.json", here / "miou.json")
