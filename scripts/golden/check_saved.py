#!/usr/bin/env python3
"""Checks that transformers loads a folder that d2dmoe wrote, without missing or unexpected tensors, and gives the same
logits.

    scripts/golden/check_saved.py FOLDER LOGITS

LOGITS is a safetensors file with packed "token_ids" and "lengths", or "pixels", and our "logits" for them. For the small
models of the tests:

    D2DMOE_SAVED=/tmp/saved build/cpu-release/tests/models/test_models "[saved]"
    for d in /tmp/saved/*; do scripts/golden/check_saved.py $d $d/logits.safetensors; done
"""

import sys

import safetensors.torch
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageClassification, AutoModelForSequenceClassification


def image_logits(model, pixels):
    size = model.config.image_size
    own = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    return model(pixel_values=pixels, interpolate_pos_encoding=tuple(pixels.shape[2:]) != own).logits


def text_logits(model, ours):
    sequences = ours["token_ids"].split(ours["lengths"].tolist())
    return torch.cat([model(input_ids=ids.unsqueeze(0)).logits.flatten(0, -2) for ids in sequences])


def main():
    folder, logits_file = sys.argv[1:]
    ours = safetensors.torch.load_file(logits_file)
    images = "pixels" in ours
    classifier = AutoConfig.from_pretrained(folder).architectures[0].endswith("Classification")
    cls = AutoModelForImageClassification if images else AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model, report = cls.from_pretrained(folder, output_loading_info=True, dtype=torch.float32, attn_implementation="eager")
    for kind, names in report.items():
        assert not names, f"{kind}: {names}"
    model.eval()
    with torch.no_grad():
        got = image_logits(model, ours["pixels"]) if images else text_logits(model, ours)
    worst = (got - ours["logits"]).abs().max().item()
    print(f"{folder}: {type(model).__name__}, labels {model.config.id2label}, largest difference of a logit {worst:.1e}")
    assert worst <= 1e-4


if __name__ == "__main__":
    main()
