#!/usr/bin/env python3
"""Checks that transformers loads a folder that d2dmoe wrote, without missing or unexpected tensors, and gives the same
logits.

    scripts/golden/check_saved.py FOLDER LOGITS

LOGITS is a safetensors file with packed "token_ids", "lengths" and our "logits" for them.
"""

import sys

import safetensors.torch
import torch
from transformers import AutoModelForSequenceClassification


def main():
    folder, logits_file = sys.argv[1:]
    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    for kind, names in report.items():
        assert not names, f"{kind}: {names}"
    model.eval()
    ours = safetensors.torch.load_file(logits_file)
    start, worst = 0, 0.0
    for n, want in zip(ours["lengths"].tolist(), ours["logits"]):
        with torch.no_grad():
            got = model(input_ids=ours["token_ids"][start : start + n].unsqueeze(0)).logits[0]
        worst = max(worst, (got - want).abs().max().item())
        start += n
    print(f"{folder}: {type(model).__name__}, labels {model.config.id2label}, largest difference of a logit {worst:.1e}")
    assert worst <= 1e-4


if __name__ == "__main__":
    main()
