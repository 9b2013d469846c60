"""Partitions of patches by their positions alone, where most distances are equal: writes ties.json.

Usage: python ties.py (SciPy 1.17.1)
"""
import json
from pathlib import Path

import numpy as np
import scipy
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

cases = []
for rows, columns in [(14, 14), (7, 9), (5, 5)]:
    row, column = np.divmod(np.arange(rows * columns), columns)
    down, across = row[:, None] - row, column[:, None] - column
    apart = np.sqrt((down * down + across * across).astype(np.float64))
    tree = linkage(squareform(apart / apart.max()), "average")
    for clusters in (3, 10, 20):
        labels = fcluster(tree, clusters, "maxclust").tolist()
        cases.append({"grid": [rows, columns], "clusters": clusters, "labels": labels})
written = {"scipy": scipy.__version__, "cases": cases}
Path(__file__).with_name("ties.json").write_text(json.dumps(written) + "\n")
