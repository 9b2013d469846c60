"""Makes the image fixtures and expected.safetensors: what Pillow decodes each of them to.

Needs Pillow 13 (with WebP), numpy and safetensors. Keys: "<file>/rgb" [H, W, 3], for some also "<file>/grey" [H, W].
"""
import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)


def picture(width, height, channels=3, top=255.0):
    """Smooth shapes with an edge and some noise, so that every decoding stage has work."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [np.sin(x / (3 + 2 * c)) * np.cos(y / (5 - c)) * 0.35 + 0.5 for c in range(channels)]
    image = np.stack(planes, -1) + ((x + 2 * y) % 23 < 5)[..., None] * 0.25
    image += rng.normal(0, 0.04, image.shape)
    return np.clip(image * top, 0, top)


def rgb(width, height):
    return Image.fromarray(picture(width, height).astype(np.uint8))


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(samples, depth, colour_type, extra=b"", interlaced=False):
    """samples: [H, W, C]. Pillow writes neither 16-bit RGB nor interlaced files, so write them by hand."""
    def rows(part):
        flat = part.reshape(part.shape[0], -1)
        for row in flat:
            if depth == 16:
                yield row.astype(">u2").tobytes()
            elif depth == 8:
                yield row.astype(np.uint8).tobytes()
            else:
                bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
                yield np.packbits(bits.astype(np.uint8).ravel()).tobytes()

    height, width, _ = samples.shape
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in passes]
    data = b"".join(b"\0" + row for part in parts if part.size for row in rows(part))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
            + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(image, **options):
    return encode(image, "JPEG", **options)


def resampled(data, factors, size):
    """A JPEG with other sampling factors and dimensions in its header and as many blocks in a unit and
    units in the scan: valid, if odd to look at. For factors that Pillow does not write."""
    sof = data.index(b"\xff\xc0")
    return (data[:sof + 5] + struct.pack(">HH", size[1], size[0]) + data[sof + 9:sof + 11]
            + bytes([factors]) + data[sof + 12:])


files = {}
for name, sampling in [("444", "4:4:4"), ("422", "4:2:2"), ("420", "4:2:0")]:
    for width, height in [(1, 1), (1, 19), (17, 1), (2, 3), (33, 31), (47, 18)]:
        files[f"jpeg_{name}_{width}x{height}.jpg"] = jpeg(rgb(width, height), quality=80, subsampling=sampling)
files["jpeg_440.jpg"] = resampled(jpeg(rgb(47, 21), subsampling="4:2:2"), 0x12, (21, 47))
files["jpeg_411.jpg"] = resampled(jpeg(rgb(61, 31), subsampling="4:2:0"), 0x41, (61, 31))
files["jpeg_441.jpg"] = resampled(jpeg(rgb(31, 61), subsampling="4:2:0"), 0x14, (31, 61))
files["jpeg_progressive_420.jpg"] = jpeg(rgb(61, 43), quality=70, progressive=True)
files["jpeg_restart.jpg"] = jpeg(rgb(70, 50), quality=85, restart_marker_blocks=2)
files["jpeg_restart_progressive.jpg"] = jpeg(rgb(70, 50), quality=60, progressive=True, restart_marker_rows=1)
files["jpeg_rgb.jpg"] = jpeg(rgb(40, 30), quality=90, keep_rgb=True)
files["jpeg_grey_progressive.jpg"] = jpeg(rgb(39, 29).convert("L"), progressive=True)
files["jpeg_cmyk.jpg"] = jpeg(Image.fromarray(picture(37, 26, 4).astype(np.uint8), "CMYK"), quality=85)
# The same file with the Adobe transform flag set to 2: read as YCCK.
adobe = files["jpeg_cmyk.jpg"].index(b"Adobe")
files["jpeg_ycck.jpg"] = files["jpeg_cmyk.jpg"][:adobe + 11] + b"\x02" + files["jpeg_cmyk.jpg"][adobe + 12:]
files["jpeg_quality5.jpg"] = jpeg(rgb(64, 48), quality=5)
files["jpeg_exif_orientation.jpg"] = jpeg(
    rgb(30, 20), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0")
# Damage that libjpeg patches over: a scan cut short but closed by an end marker, flipped bits, bytes after
# the end, and a progressive file without its last scans.
whole = jpeg(rgb(51, 40), quality=80)
files["jpeg_cut_closed.jpg"] = whole[:len(whole) * 3 // 4] + b"\xff\xd9"
files["jpeg_trailing.jpg"] = whole + b"anything"
progressive = jpeg(rgb(51, 40), quality=80, progressive=True)
scans = [i for i in range(len(progressive) - 1) if progressive[i:i + 2] == b"\xff\xda"]
for keep in (1, 4, 7):
    cut = progressive.rindex(b"\xff\xc4", 0, scans[keep]) if progressive[:scans[keep]].count(b"\xff\xc4") else scans[keep]
    files[f"jpeg_progressive_first_{keep}_scans.jpg"] = progressive[:cut] + b"\xff\xd9"

sixteen = picture(21, 13, 4, 65535.0).astype(np.uint16)
files["png_grey16.png"] = png(sixteen[..., :1] // 200, 16, 0)
files["png_grey_alpha16.png"] = png(sixteen[..., :2], 16, 4)
files["png_rgb16.png"] = png(sixteen[..., :3], 16, 2)
files["png_rgba16_interlaced.png"] = png(sixteen, 16, 6, interlaced=True)
eight = picture(29, 17, 4).astype(np.uint8)
files["png_rgb_interlaced.png"] = png(eight[..., :3], 8, 2, interlaced=True)
files["png_rgba_interlaced_2x3.png"] = png(eight[:3, :2], 8, 6, interlaced=True)
files["png_grey_alpha.png"] = png(eight[..., :2], 8, 4)
files["png_grey_trns.png"] = png(eight[..., :1], 8, 0, chunk(b"tRNS", b"\0\x80"))
files["png_rgb_trns.png"] = png(eight[..., :3], 8, 2, chunk(b"tRNS", b"\0\x80\0\x81\0\x82"))
palette = rng.integers(0, 256, 3 * 256, dtype=np.uint8).tobytes()
for depth in (1, 2, 4, 8):
    for interlaced in (False, True):
        tag = f"{depth}{'_interlaced' if interlaced else ''}"
        values = rng.integers(0, 2**depth, (11, 19, 1))
        files[f"png_grey{tag}.png"] = png(values, depth, 0, interlaced=interlaced)
        trns = chunk(b"tRNS", b"\x40\x80")
        files[f"png_palette{tag}.png"] = png(
            values, depth, 3, chunk(b"PLTE", palette[:3 * 2**depth]) + trns, interlaced)
files["png_palette_short.png"] = png(rng.integers(0, 256, (9, 9, 1)), 8, 3, chunk(b"PLTE", palette[:30]))
files["png_filters.png"] = encode(rgb(50, 40), "PNG")
frames = [rgb(23, 15) for _ in range(3)]
files["apng.png"] = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
files["apng_default.png"] = encode(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)

rgba = Image.fromarray(picture(41, 27, 4).astype(np.uint8))
for width, height in [(1, 1), (1, 9), (7, 1), (16, 16), (35, 21)]:
    files[f"webp_lossy_{width}x{height}.webp"] = encode(rgb(width, height), "WEBP", quality=70)
files["webp_lossy_q5.webp"] = encode(rgb(64, 40), "WEBP", quality=5)
files["webp_lossy_alpha.webp"] = encode(rgba, "WEBP", quality=80)
files["webp_lossless.webp"] = encode(rgb(31, 22), "WEBP", lossless=True)
files["webp_lossless_alpha.webp"] = encode(rgba, "WEBP", lossless=True, exact=True)
files["webp_lossless_palette.webp"] = encode(rgb(31, 22).quantize(12).convert("RGB"), "WEBP", lossless=True)
files["webp_animated_lossy.webp"] = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
moving = [Image.new("RGBA", (40, 30), (0, 0, 0, 0)) for _ in range(2)]
for i, frame in enumerate(moving):
    frame.paste(rgba.crop((0, 0, 20, 12)), (6 + i, 8))
files["webp_animated_offset_lossless.webp"] = encode(
    moving[0], "WEBP", save_all=True, append_images=moving[1:], lossless=True, exact=True)
files["webp_animated_offset_lossy.webp"] = encode(moving[0], "WEBP", save_all=True, append_images=moving[1:])

expected = {}
for name, data in files.items():
    (here / name).write_bytes(data)
    image = Image.open(io.BytesIO(data))
    expected[f"{name}/rgb"] = np.array(image.convert("RGB"))
    if name in {"jpeg_420_33x31.jpg", "jpeg_ycck.jpg", "jpeg_grey_progressive.jpg", "png_grey16.png",
                "png_rgb16.png", "png_palette8.png", "png_rgba_interlaced_2x3.png", "webp_lossless_alpha.webp"}:
        expected[f"{name}/grey"] = np.array(image.convert("L"))
save_file(expected, here / "expected.safetensors")
