"""Queries a second of exact cosine top-k with torch, on clustered random vectors.

Usage: knn_search.py TRAIN TEST DIM K THREADS. Prints {"queries_per_s": rate}, the best of three.
"""
import json
import sys
import time

import torch

train_rows, test_rows, dim, k, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
torch.manual_seed(0)
centres = torch.randn(200, dim)


def clustered(rows):
    points = centres[torch.randint(0, len(centres), (rows,))] + torch.randn(rows, dim)
    return torch.nn.functional.normalize(points, dim=1)


train, test = clustered(train_rows), clustered(test_rows)
rates = []
for _ in range(3):
    start = time.perf_counter()
    for block in test.split(256):
        (block @ train.T).topk(k, dim=1)
    rates.append(test_rows / (time.perf_counter() - start))
print(json.dumps({"queries_per_s": max(rates)}))
