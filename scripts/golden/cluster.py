#!/usr/bin/env python3
"""Golden for tests/cluster: rows of a real weight matrix, the objective that k-means-constrained reaches on them and the
one of a plain exchange search.  Usage: cluster.py MINILM_FOLDER OUT.safetensors"""

import sys

import k_means_constrained
import numpy as np
import safetensors
from k_means_constrained import KMeansConstrained
from safetensors.numpy import load_file, save_file

ROWS, WIDTH, SEED, N_INIT = 384, 32, 0, 10
TENSOR = "encoder.layer.2.intermediate.dense.weight"


def objective(rows, labels, clusters):
    means = np.stack([rows[labels == c].mean(0) for c in range(clusters)])
    return float(((rows - means[labels]) ** 2).sum())


def exchange(rows, clusters, seed):
    """First-improvement swaps between clusters until a whole pass finds none."""
    gram = rows @ rows.T
    labels = np.random.default_rng(seed).permutation(np.arange(len(rows)) % clusters)
    sums = np.stack([gram[:, labels == c].sum(1) for c in range(clusters)], 1)
    diagonal = np.diag(gram)
    index = np.arange(len(rows))
    while True:
        swaps = 0
        for i in range(len(rows)):
            a = labels[i]
            gain = sums[i, labels] + sums[:, a] - sums[i, a] - sums[index, labels] - 2 * gram[i] + diagonal[i] + diagonal
            gain[labels == a] = -np.inf
            j = int(gain.argmax())
            if gain[j] <= 1e-9:
                continue
            b = labels[j]
            sums[:, a] += gram[j] - gram[i]
            sums[:, b] += gram[i] - gram[j]
            labels[i], labels[j] = b, a
            swaps += 1
        if swaps == 0:
            return labels


def main():
    folder, out = sys.argv[1:]
    rows = load_file(f"{folder}/model.safetensors")[TENSOR][:ROWS, :WIDTH].astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    wide = unit.astype(np.float64)
    meta = {
        "format": "pt",
        "source": f"all-MiniLM-L6-v2 {TENSOR}[:{ROWS}, :{WIDTH}]",
        "versions": f"k-means-constrained {k_means_constrained.__version__}, numpy {np.__version__}, safetensors {safetensors.__version__}",
        "seed": str(SEED),
        "n_init": str(N_INIT),
    }
    for clusters in (16, 64):
        size = ROWS // clusters
        peer = KMeansConstrained(clusters, size_min=size, size_max=size, n_init=N_INIT, random_state=SEED).fit(wide)
        meta[f"k_means_constrained_{clusters}"] = repr(objective(wide, peer.labels_, clusters))
        search = [objective(wide, exchange(wide, clusters, SEED + s), clusters) for s in range(10)]
        meta[f"exchange_median_{clusters}"] = repr(float(np.median(search)))
        meta[f"exchange_best_{clusters}"] = repr(float(min(search)))
    save_file({"rows": unit}, out, metadata=meta)
    print(meta)


main()
