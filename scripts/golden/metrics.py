"""Golden values of the metrics: scikit-learn and scipy on random predictions.

Usage: python scripts/golden/metrics.py   (writes tests/golden/eval/metrics.json)
"""

import json
import pathlib

import numpy as np
import scipy
import sklearn
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef

SEED = 20240611
OUT = pathlib.Path(__file__).parents[2] / "tests/golden/eval/metrics.json"


def classification(rng, name, n, classes, present):
    """Labels and predictions use only `present` of the classes."""
    labels = rng.choice(present, n)
    logits = rng.normal(size=(n, classes)).round(4)
    logits[:, [c for c in range(classes) if c not in present]] -= 50
    logits[np.arange(n), labels] += 1.0
    guess = logits.argmax(1)
    z = logits - logits.max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return {
        "name": name,
        "logits": logits.tolist(),
        "labels": labels.tolist(),
        "metrics": {
            "accuracy": accuracy_score(labels, guess),
            "macro_f1": f1_score(labels, guess, average="macro", zero_division=0),
            "mcc": matthews_corrcoef(labels, guess),
            "loss": log_loss(labels, p, labels=list(range(classes))),
        },
    }


def regression(rng, name, n):
    labels = rng.uniform(0, 5, n).round(3)
    guess = (labels + rng.normal(size=n)).round(4)
    return {
        "name": name,
        "logits": guess[:, None].tolist(),
        "labels": labels.tolist(),
        "metrics": {"pearson": float(pearsonr(guess, labels)[0]), "loss": float(((guess - labels) ** 2).mean())},
    }


def main():
    rng = np.random.default_rng(SEED)
    cases = [
        classification(rng, "six classes", 80, 6, list(range(6))),
        classification(rng, "two classes", 50, 2, [0, 1]),
        classification(rng, "a class that never occurs", 40, 4, [0, 1, 3]),
        classification(rng, "one class only", 5, 3, [1]),
        regression(rng, "regression", 60),
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    versions = {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "scipy": scipy.__version__}
    OUT.write_text(json.dumps({"seed": SEED, "versions": versions, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
