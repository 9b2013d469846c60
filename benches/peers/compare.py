"""mimbench and its peers side by side: interleaved pairs, the median of their ratios.

Usage, with the packages of requirements.txt installed:
    python benches/peers/compare.py PHOTOS [--pairs N] [--only NAME]
PHOTOS is a dataset folder (train/<class>/*.jpg and val/<class>/*.jpg). Both sides run on two
threads, preprocessing on one. Prints a Markdown table.
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
THREADS = "2"


def run(command):
    environment = os.environ | {"RAYON_NUM_THREADS": THREADS}
    out = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def bench(name, *arguments):
    return run(["cargo", "bench", "-q", "--bench", name, "--", *arguments])


def peer(name, *arguments):
    return run([sys.executable, str(HERE / f"{name}.py"), *arguments])


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


def repeated_run(photos):
    """A first kNN run of the demo's ViT and the same command again, as rates."""
    with tempfile.TemporaryDirectory() as results:
        binary = str(ROOT / "target/release/mimbench")
        demo = [binary, "demo", "--results", results, "--train-per-class", "1", "--val-per-class", "1"]
        subprocess.run(demo, cwd=ROOT, check=True, capture_output=True)
        weights = next(Path(results).glob("demo/*.safetensors"))
        knn = [binary, "knn", "--ckpt", str(weights), "--data", str(photos), "--threads", THREADS,
               "--results", f"{results}/again", "--quiet"]
        first = seconds(knn)
        return 1 / seconds(knn), 1 / first


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    photos = arguments.photos.resolve()
    subprocess.run(["cargo", "build", "-q", "--release"], cwd=ROOT, check=True)
    subprocess.run(["cargo", "bench", "-q", "--no-run"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        larger_copies(photos, Path(folder))

        def preprocess(path):
            return lambda: (bench("preprocess", "--folder", str(path))["images_per_s"],
                            peer("preprocess", str(path))["images_per_s"])

        def search(train, k):
            size = ["--train", train, "--test", "2000", "--dim", "768", "--k", k, "--threads", THREADS]
            return lambda: (bench("knn_search", "--json", *size)["exact_queries_per_s"],
                            peer("knn_search", train, "2000", "768", k, THREADS)["queries_per_s"])

        works = {
            "preprocess 500x375 JPEG, images/s a core": preprocess(folder),
            "preprocess photos as they are, images/s a core": preprocess(photos / "val"),
            "exact search, 50,000 x 768, k = 20, queries/s": search("50000", "20"),
            "exact search, 50,000 x 768, k = 200, queries/s": search("50000", "200"),
            "ViT-B/16 forward, batch 8, images/s": lambda: (
                bench("forward", "--json", "--batch", "8")["images_per_s"],
                peer("forward", "8", THREADS)["images_per_s"]),
            "repeated run over first run, runs/s": lambda: repeated_run(photos),
        }
        print("| work | mimbench | peer | ratio | worst and best pair |\n|---|---|---|---|---|")
        for name, pair in works.items():
            if arguments.only and arguments.only not in name:
                continue
            pairs = [pair() for _ in range(arguments.pairs)]
            ratios = [ours / theirs for ours, theirs in pairs]
            ours, theirs = (statistics.median(side) for side in zip(*pairs))
            print(f"| {name} | {ours:.3g} | {theirs:.3g} | {statistics.median(ratios):.2f} "
                  f"| {min(ratios):.2f} to {max(ratios):.2f} |", flush=True)


main()
