"""Writes data.safetensors and expected.json: made-up features and scikit-learn's LogisticRegression of them.

Run with the versions that expected.json records. Weights are those for standardised features,
`C.<strength>.weights` [C, D] and `C.<strength>.bias` [C], in the order of the present classes;
class 3 of 5 has no train rows.
"""
import json
import pathlib

import numpy as np
import scipy
import sklearn
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

STRENGTHS = [0.01, 0.1, 1.0]
folder = pathlib.Path(__file__).parent
rng = np.random.default_rng(6)


def rows(count):
    labels = rng.choice([0, 1, 2, 4], count)
    centres = 0.9 * np.sin(1.7 * np.outer(np.arange(1, 6), np.arange(1, 13)))
    features = centres[labels] + rng.normal(size=(count, 12))
    # Scales and shifts apart, a constant, and two that nearly agree.
    features = features * np.logspace(-2, 2, 12) + np.linspace(-5, 50, 12)
    features[:, 4] = 0.1
    features[:, 7] = features[:, 6] + 0.3 * features[:, 7]
    return features.astype(np.float32), labels.astype(np.uint32)


(train, train_labels), (val, val_labels) = rows(240), rows(80)
tensors = {"train": train, "train_labels": train_labels, "val": val, "val_labels": val_labels}
scaler = StandardScaler().fit(train.astype(np.float64))
expected = {"sklearn": sklearn.__version__, "scipy": scipy.__version__, "numpy": np.__version__, "strengths": []}
for strength in STRENGTHS:
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=10000)
    model.fit(scaler.transform(train.astype(np.float64)), train_labels)
    scores = model.decision_function(scaler.transform(val.astype(np.float64)))
    best = np.sort(scores, 1)
    # scikit-learn's weights are in Fortran's order, which safetensors would write as it lies.
    tensors[f"C.{strength}.weights"] = np.ascontiguousarray(model.coef_)
    tensors[f"C.{strength}.bias"] = model.intercept_
    tensors[f"C.{strength}.predicted"] = model.classes_[scores.argmax(1)].astype(np.uint32)
    expected["strengths"].append({"C": strength, "smallest margin": float((best[:, -1] - best[:, -2]).min())})
save_file(tensors, folder / "data.safetensors")
(folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
