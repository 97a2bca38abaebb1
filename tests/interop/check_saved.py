#!/usr/bin/env python3
"""Checks that transformers loads what models::save_model wrote, without missing or unexpected tensors, and gives the same
logits, for every family: text, images and language models.

    tests/interop/run check_saved.py build/cpu-release/tests/models/test_models

The test program's hidden cases [saved] write the folders: each with a logits.safetensors that holds packed "token_ids"
and "lengths", or "pixels", and our "logits" for them. Folders "refused-…" have perceptrons in place of attention
projections: transformers must refuse them, by config.json and, asked for the class, by the weights.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
)

TOLERANCE = 1e-4


def image_logits(model, pixels):
    size = model.config.image_size
    own = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    return model(pixel_values=pixels, interpolate_pos_encoding=tuple(pixels.shape[2:]) != own).logits


def text_logits(model, ours):
    sequences = ours["token_ids"].split(ours["lengths"].tolist())
    return torch.cat([model(input_ids=ids.unsqueeze(0)).logits.flatten(0, -2) for ids in sequences])


def check(folder):
    ours = safetensors.torch.load_file(folder / "logits.safetensors")
    images = "pixels" in ours
    classifier = AutoConfig.from_pretrained(folder).architectures[0].endswith("Classification")
    text = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model, report = (AutoModelForImageClassification if images else text).from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32, attn_implementation="eager"
    )
    for kind, names in report.items():
        assert not names, f"{folder.name}: {kind}: {names}"
    model.eval()
    with torch.no_grad():
        got = image_logits(model, ours["pixels"]) if images else text_logits(model, ours)
    worst = (got - ours["logits"]).abs().max().item()
    print(f"{folder.name}: {type(model).__name__}, {len(model.config.id2label)} labels, largest difference {worst:.1e}")
    assert worst <= TOLERANCE, f"{folder.name}: {worst}"


def check_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    cls = getattr(transformers, config["architectures"][0].removeprefix("D2dMoe"))
    for load in (AutoConfig, AutoModelForSequenceClassification, AutoModelForCausalLM, cls):
        try:
            load.from_pretrained(folder)
        except (ValueError, RuntimeError) as error:
            print(f"{folder.name}: {load.__name__} refuses: {str(error).splitlines()[0][:90]}")
        else:
            raise AssertionError(f"{folder.name}: {load.__name__} takes it")


def main():
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.argv[1], "[saved]"], env={**os.environ, "D2DMOE_SAVED": name}, check=True)
        folders = sorted(pathlib.Path(name).iterdir())
        assert len(folders) >= 8, f"only {len(folders)} folders were written"
        for folder in folders:
            (check_refused if folder.name.startswith("refused-") else check)(folder)


if __name__ == "__main__":
    main()
