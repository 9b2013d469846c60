"""Distance matrices of 196 patches that SciPy clusters in a second, average linkage cut into 20 parts.

Usage: linkage.py. Prints {"matrices_per_s": rate}, the best of three.
"""
import json
import time

import numpy
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

PATCHES, PARTS, MATRICES = 196, 20, 256


def symmetric(generator):
    below = numpy.tril(generator.random((PATCHES, PATCHES)), -1)
    return below + below.T


generator = numpy.random.default_rng(0)
matrices = [symmetric(generator) for _ in range(MATRICES)]
rates = []
for _ in range(3):
    start = time.perf_counter()
    for matrix in matrices:
        fcluster(linkage(squareform(matrix), "average"), PARTS, "maxclust")
    rates.append(MATRICES / (time.perf_counter() - start))
print(json.dumps({"matrices_per_s": max(rates)}))
