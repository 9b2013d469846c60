"""Cuts golden folders down to what a fresh clone tests: the first image, the first resolution, and
the others where a way of resizing position tables, or of rotary positions, shows in them alone.
What is of pre-training keeps every image, because a loss is over them all.

Usage: trim.py FROM TO NAME...   (needs numpy and safetensors)
"""
import pathlib
import shutil
import sys

from safetensors import safe_open
from safetensors.numpy import save_file

RESIZED = {
    "beit_original_finetune", "dino_original", "dinov2_original", "dinov3_original",
    "eva02_original_small", "hf_beit", "hf_dinov2_registers", "hf_vit", "mae_original", "timm_beit",
    "timm_eva02_small", "timm_vit", "timm_vit_reg4",
}


def cut(source, target, keep):
    tensors = {}
    with safe_open(source, "numpy") as file:
        for key in file.keys():
            if keep(key):
                tensor = file.get_tensor(key)
                # Every batch has two images.
                tensors[key] = tensor[:1].copy() if tensor.shape[:1] == (2,) else tensor
    save_file(tensors, target)


def cut_pretraining(source, target):
    tensors = {}
    for name in ("input.safetensors", "expected.safetensors"):
        with safe_open(source / name, "numpy") as file:
            for key in file.keys():
                # The target is the pixels in another order.
                own = key.startswith("pretrain.") and key != "pretrain.target_patchify"
                if own or key == "r1.pixels":
                    tensors[key] = file.get_tensor(key)
    if len(tensors) > 1:
        save_file(tensors, target / "pretrain.safetensors")


def trim(source, target):
    target.mkdir(parents=True, exist_ok=True)
    if source.name.startswith("hf_vit_mae_pretrain"):
        for name in ("model.safetensors", "config.json", "input.safetensors", "expected.safetensors"):
            shutil.copyfile(source / name, target / name)
        return
    resolutions = ("r1", "r2", "r3") if source.name in RESIZED else ("r1",)

    def keep(key):
        of, _, name = key.partition(".")
        if of == "r1":
            return True
        return of in resolutions and (name in ("pixels", "embed", "tokens") or name.startswith("resized"))

    for file in source.iterdir():
        if file.name.startswith(("model", "config")):
            shutil.copyfile(file, target / file.name)
    cut(source / "input.safetensors", target / "input.safetensors", keep)
    cut(source / "expected.safetensors", target / "expected.safetensors", keep)
    cut_pretraining(source, target)


if __name__ == "__main__":
    source, target, *names = sys.argv[1:]
    for name in names:
        trim(pathlib.Path(source) / name, pathlib.Path(target) / name)
