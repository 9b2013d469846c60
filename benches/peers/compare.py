"""mimbench and its peers side by side: interleaved pairs, the median of their ratios.

Usage, with the packages of requirements.txt installed:
    python benches/peers/compare.py PHOTOS [--pairs N] [--only TEXT] [--torch-binary PATH]
PHOTOS is a dataset folder (train/<class>/*.jpg and val/<class>/*.jpg). Both sides run on two
threads, preprocessing, augmentation and linkage on one. --torch-binary is a mimbench built with
`--features torch`: its torch engine is compared with Python's PyTorch. Prints a Markdown table; the
ratio is mimbench over peer, more is better but where the row says otherwise.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
MIMBENCH = str(ROOT / "target/release/mimbench")
THREADS = "2"


def run(command):
    environment = os.environ | {"RAYON_NUM_THREADS": THREADS}
    out = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def bench(name, *arguments):
    return run(["cargo", "bench", "-q", "--bench", name, "--", *arguments])


def peer(name, *arguments):
    return run([sys.executable, str(HERE / f"{name}.py"), *arguments])


def model(work, arch, batch, measure="images_per_s", binary=MIMBENCH, engine="candle"):
    """A pair of `mimbench bench` and the peer's program for the same work."""
    size = ["--arch", arch, "--batch", str(batch), "--threads", THREADS]
    ours = [binary, "bench", work, *size, "--engine", engine, "--json", "--quiet"]
    scale = {"images_per_s": 1, "peak_memory": 2**20}[measure]
    return lambda: (run(ours)[measure] / scale, peer(work.replace("-", "_"), *size)[measure] / scale)


def pretraining(method, arch, batch):
    """A pair of `mimbench bench pretrain-step` and the peer's program for the same method."""
    size = ["--arch", arch, "--batch", str(batch), "--threads", THREADS]
    ours = [MIMBENCH, "bench", "pretrain-step", "--method", method, "--teacher-arch", arch, *size, "--json", "--quiet"]
    theirs = [method, "--teacher", arch, *size]
    return lambda: (run(ours)["images_per_s"], peer("pretrain_step", *theirs)["images_per_s"])


def segmentation(arch, batch, channels="128", crop="256"):
    """A pair of `mimbench bench segment-step` and the peer's program for the same size."""
    size = ["--arch", arch, "--batch", str(batch), "--channels", channels, "--crop", crop, "--threads", THREADS]
    ours = [MIMBENCH, "bench", "segment-step", *size, "--json", "--quiet"]
    return lambda: (run(ours)["images_per_s"], peer("segment_step", *size)["images_per_s"])


def share_of_statistics(arch, batch):
    """Our forward pass with attention statistics and without."""
    size = ["--arch", arch, "--batch", str(batch), "--threads", THREADS, "--json", "--quiet"]
    return lambda: tuple(run([MIMBENCH, "bench", work, *size])["images_per_s"] for work in ("attention", "forward"))


def linkage():
    """Clustering of random distance matrices of 196 patches."""
    return bench("linkage", "--json")["matrices_per_s"], peer("linkage")["matrices_per_s"]


def larger_copies(photos, folder):
    """500 x 375 copies of 200 photographs, as large as ImageNet's."""
    for path in sorted(photos.rglob("*.jpg"))[::10][:200]:
        with Image.open(path) as image:
            copy = image.convert("RGB").resize((500, 375), Image.BICUBIC)
        copy.save(folder / f"{path.parent.name}-{path.name}", quality=92)


def seconds(command):
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def whole_knn(photos, weights):
    """Runs a minute of kNN from image files to accuracies, an untrained ViT-S/16."""
    theirs = [sys.executable, str(HERE / "knn.py"), str(weights), str(photos), "--threads", THREADS]
    with tempfile.TemporaryDirectory() as results:
        ours = [MIMBENCH, "knn", "--ckpt", str(weights), "--data", str(photos), "--threads", THREADS,
                "--results", results, "--quiet"]
        return 60 / seconds(ours), 60 / seconds(theirs)


def whole_finetuning(photos, weights):
    """One epoch of MAE's recipe over a few hundred photographs and a validation, a ViT-Ti/16: images a second of the
    whole training, the program's own figure on both sides."""
    theirs = peer("finetune", str(photos), "--weights", str(weights), "--threads", THREADS, "--workers", THREADS)
    with tempfile.TemporaryDirectory() as results:
        settings = ["task.epochs=1", "task.batch=32", "task.local_batch=32", "task.schedule.warmup_epochs=0"]
        ours = run([MIMBENCH, "finetune", "--ckpt", str(weights), "--data", str(photos),
                    *(word for setting in settings for word in ("--set", setting)), "--threads", THREADS,
                    "--results", results, "--quiet", "--json"])
    return ours[0]["compute"]["images_per_second"], theirs["images_per_s"]


def repeated_run(photos):
    """A first kNN run of the demo's ViT and the same command again, as rates."""
    with tempfile.TemporaryDirectory() as results:
        demo = [MIMBENCH, "demo", "--results", results, "--train-per-class", "1", "--val-per-class", "1"]
        subprocess.run(demo, cwd=ROOT, check=True, capture_output=True)
        weights = next(Path(results).glob("demo/*.safetensors"))
        knn = [MIMBENCH, "knn", "--ckpt", str(weights), "--data", str(photos), "--threads", THREADS,
               "--results", f"{results}/again", "--quiet"]
        first = seconds(knn)
        return 1 / seconds(knn), 1 / first


def first_features(weights, pixels, measure="first_features_per_s"):
    """From a file of a ViT-B/16 to the features of one image, whole processes: the peer's spends most of its
    time on Python's imports and on building the model, which load.py's own figure leaves out."""
    with tempfile.TemporaryDirectory() as folder:
        command = [MIMBENCH, "features", "--ckpt", weights, "--pixels", pixels, "--out",
                   f"{folder}/features", "--threads", THREADS, "--quiet"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"mimbench features ended with {status}")
        ours = {"first_features_per_s": 1 / (time.perf_counter() - start),
                "peak_memory": usage.ru_maxrss * 1024}
    start = time.perf_counter()
    theirs = peer("load", weights, pixels, THREADS)
    theirs["first_features_per_s"] = 1 / (time.perf_counter() - start)
    scale = {"first_features_per_s": 1, "peak_memory": 2**20}[measure]
    return ours[measure] / scale, theirs[measure] / scale


def untrained(*arguments):
    """A random ViT in a file; in a process of its own, because a child's peak memory begins at its parent's."""
    subprocess.run([sys.executable, str(HERE / "untrained.py"), *map(str, arguments)], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", help="rows whose name has this text")
    parser.add_argument("--torch-binary", type=Path, help="a mimbench built with --features torch")
    arguments = parser.parse_args()
    photos = arguments.photos.resolve()
    subprocess.run(["cargo", "build", "-q", "--release"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        copies, weights = Path(folder, "copies"), Path(folder, "vit_small.safetensors")
        base_file, pixels = f"{folder}/vit_base.safetensors", f"{folder}/pixels.safetensors"
        tiny_file = f"{folder}/vit_tiny.safetensors"
        copies.mkdir()

        def preprocess(path):
            return lambda: (bench("preprocess", "--folder", str(path))["images_per_s"],
                            peer("preprocess", str(path))["images_per_s"])

        def augment(path):
            return lambda: (bench("augment", "--folder", str(path))["images_per_s"],
                            peer("augment", str(path))["images_per_s"])

        def search(train, k):
            size = ["--train", train, "--test", "2000", "--dim", "768", "--k", k, "--threads", THREADS]
            return lambda: (bench("knn_search", "--json", *size)["exact_queries_per_s"],
                            peer("knn_search", train, "2000", "768", k, THREADS)["queries_per_s"])

        base, tiny = "vit_base_patch16_224", "vit_tiny_patch16_224"
        works = {
            "preprocess 500x375 JPEG, images/s a core": preprocess(copies),
            "preprocess photos as they are, images/s a core": preprocess(photos / "val"),
            "augment 500x375 JPEG (crop, RandAugment, erase), images/s a core": augment(copies),
            "average linkage of 196 patches and its cut, matrices/s a core": linkage,
            "exact search, 50,000 x 768, k = 20, queries/s": search("50000", "20"),
            "exact search, 50,000 x 768, k = 200, queries/s": search("50000", "200"),
            "ViT-B/16 forward, batch 8, images/s": model("forward", base, 8),
            "ViT-B/16 forward, batch 32, images/s": model("forward", base, 32),
            "ViT-B/16 forward with attention statistics, batch 8, images/s": model("attention", base, 8),
            "ViT-B/16 forward with attention statistics over forward, batch 8, images/s (at least 0.91)":
                share_of_statistics(base, 8),
            "ViT-Ti/16 training step, batch 16, images/s": model("train-step", tiny, 16),
            "ViT-Ti/16 pre-training step of MAE, batch 16, images/s": pretraining("mae", tiny, 16),
            "ViT-Ti/16 pre-training step of MEDiC, ViT-Ti/16 teacher, batch 16, images/s":
                pretraining("medic", tiny, 16),
            "UperNet over ViT-S/16, 128 channels, crops of 256, batch 4, training step, images/s":
                segmentation("vit_small_patch16_224", 4),
            "ViT-Ti/16 fine-tuning with every augmentation, batch 32, images/s":
                lambda: whole_finetuning(photos, tiny_file),
            "ViT-B/16 training step, batch 8, peak MiB (less is better)":
                model("train-step", base, 8, "peak_memory"),
            "whole kNN, ViT-S/16, runs a minute": lambda: whole_knn(photos, weights),
            "repeated run over first run, runs/s": lambda: repeated_run(photos),
            "ViT-B/16 from file to first features, whole processes, 1/s": lambda: first_features(base_file, pixels),
            "ViT-B/16 from file to first features, peak MiB (less is better)":
                lambda: first_features(base_file, pixels, "peak_memory"),
        }
        if arguments.torch_binary:
            torch = {"binary": str(arguments.torch_binary.resolve()), "engine": "torch"}
            works |= {
                "torch engine, ViT-B/16 forward, batch 8, images/s": model("forward", base, 8, **torch),
                "torch engine, ViT-Ti/16 training step, batch 16, images/s":
                    model("train-step", tiny, 16, **torch),
            }
        works = {name: pair for name, pair in works.items() if (arguments.only or "") in name}
        if any(name.startswith(("average linkage", "exact search", "preprocess", "augment")) for name in works):
            subprocess.run(["cargo", "bench", "-q", "--no-run"], cwd=ROOT, check=True)
            larger_copies(photos, copies)
        if any("whole kNN" in name for name in works):
            untrained("vit_small_patch16_224", weights)
        if any("fine-tuning" in name for name in works):
            untrained(tiny, tiny_file)
        if any("first features" in name for name in works):
            untrained("vit_base_patch16_224", base_file, pixels)
        print("| work | mimbench | peer | ratio | least and greatest |\n|---|---|---|---|---|")
        for name, pair in works.items():
            pairs = [pair() for _ in range(arguments.pairs)]
            ratios = [ours / theirs for ours, theirs in pairs]
            ours, theirs = (statistics.median(side) for side in zip(*pairs))
            print(f"| {name} | {ours:.3g} | {theirs:.3g} | {statistics.median(ratios):.2f} "
                  f"| {min(ratios):.2f} to {max(ratios):.2f} |", flush=True)


main()
