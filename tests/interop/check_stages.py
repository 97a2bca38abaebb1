#!/usr/bin/env python3
"""What d2dmoe writes, read by others: small random models of each family, saved by transformers, go through all stages
of d2dmoe; transformers must load every folder on the way, without missing or unexpected tensors, and give our logits;
TensorBoard must read the training's events.

    tests/interop/run check_stages.py build/cpu-release/bin/d2dmoe
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizerFast,
)

TOLERANCE = 1e-4
SEED = 11
SPREAD = 0.3  # of the random weights: large enough that a neuron out of place shows in the logits
TEXTS = ["i feel so very happy today", "a", "", "i am angry and i cannot even say why, it just keeps coming back"]


def sentences(count):
    lines = pathlib.Path("data/emotion/train.txt").read_text().splitlines()[1 : count + 1]
    return [line.split(";")[0] for line in lines]


def wordpiece(folder):
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = sorted({word for text in sentences(300) for word in text.split() if len(word) > 1})[:400]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), ",", *words]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def byte_level(folder):
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        sentences(300), vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    bpe.save_model(str(folder))
    tokenizer = RobertaTokenizerFast(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_model(family, folder):
    """A random model of the family with its tokenizer, as transformers saves them."""
    torch.manual_seed(SEED)
    folder.mkdir(parents=True)
    tokenizer = byte_level(folder) if family == "roberta" else wordpiece(folder)
    vocab = len(tokenizer)
    if family == "distilbert":
        config = DistilBertConfig(
            vocab_size=vocab,
            dim=32,
            hidden_dim=64,
            n_layers=2,
            n_heads=4,
            max_position_embeddings=64,
            num_labels=6,
            initializer_range=SPREAD,
        )
        model = DistilBertForSequenceClassification(config)
    else:
        kind, head = {
            "bert": (BertConfig, BertForSequenceClassification),
            "roberta": (RobertaConfig, RobertaForSequenceClassification),
        }[family]
        config = kind(
            vocab_size=vocab,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64 + (2 if family == "roberta" else 0),
            type_vocab_size=1 if family == "roberta" else 2,
            num_labels=6,
            initializer_range=SPREAD,
        )
        model = head(config)
    model.save_pretrained(folder)


def make_experiment(work, model):
    """A config with all stages, a few steps each."""
    for name, source, rows in (("train", "train", 160), ("validation", "val", 60), ("test", "test", 40)):
        lines = pathlib.Path(f"data/emotion/{source}.txt").read_text().splitlines()[: rows + 1]
        (work / f"{name}.txt").write_text("\n".join(lines) + "\n")
    training = {"max_steps": 6, "batch_size": 32, "log_every": 2, "optimizer": {"lr": 1e-3}}
    config = {
        "output_dir": str(work / "run"),
        "model": {"path": str(model)},
        "data": {
            **{name: str(work / f"{name}.txt") for name in ("train", "validation", "test")},
            "format": "csv",
            "separator": ";",
            "label": "label_name",
            "max_length": 48,
        },
        "train": training,
        "train_sparse": {"train": training},
        "convert": {
            "split": {"experts": 8, "calibration_tokens": 1000},
            "router": {"width": 16, "epochs": 1, "batch_tokens": 512},
        },
        "sweep_tau": {"taus": [0.3], "time_batches": [], "bootstrap": 50},
    }
    file = work / "config.json"
    file.write_text(json.dumps(config))
    return file


def run(program, *arguments, stdin=""):
    result = subprocess.run(
        [program, *map(str, arguments), "--threads", "1"], input=stdin, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"d2dmoe {arguments[0]} failed:\n{result.stderr}"
    return result.stdout


def our_logits(program, folder, extra):
    out = run(program, "predict", "--model", folder, "--logits", *extra, stdin="\n".join(TEXTS) + "\n")
    return [json.loads(line)["logits"] for line in out.splitlines()]


def check_folder(program, folder, extra=()):
    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report.get(kind), f"{folder}: {kind}: {report[kind]}"
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    assert labels == ["anger", "fear", "joy", "love", "sadness", "surprise"], f"{folder}: labels {labels}"
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    worst = largest = 0.0
    for text, ours in zip(TEXTS, our_logits(program, folder, extra), strict=True):
        with torch.no_grad():
            theirs = model(**tokenizer(text, return_tensors="pt")).logits[0]
        worst = max(worst, (theirs - torch.tensor(ours)).abs().max().item())
        largest = max(largest, theirs.abs().max().item())
    print(f"{folder.parent.name}/{folder.name}: {type(model).__name__}, largest difference of a logit {worst:.1e}")
    assert worst <= TOLERANCE, f"{folder}: {worst}"
    assert largest > 0.5, f"{folder}: logits of {largest} show nothing"


def check_events(stage):
    """The scalars of the TensorBoard files are those of metrics.jsonl, in float32."""
    board = EventAccumulator(str(stage / "tb"))
    board.Reload()
    compared = 0
    for line in (stage / "metrics.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] != "train":
            continue
        for key in ("loss", "task_loss", "lr", "grad_norm"):
            scalars = {s.step: s.value for s in board.Scalars(f"train/{key}")}
            got, want = scalars[event["step"]], event[key]
            assert math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-30), f"{stage}: {key}: {got} is not {want}"
            compared += 1
    assert compared >= 12, f"{stage}: only {compared} scalars were compared"
    print(f"{stage.name}: TensorBoard reads {compared} scalars")


def main():
    program = sys.argv[1]
    transformers.utils.logging.disable_progress_bar()
    for family in ("bert", "roberta", "distilbert"):
        with tempfile.TemporaryDirectory() as name:
            work = pathlib.Path(name)
            print(family)
            make_model(family, work / "model")
            run(program, "run", "--config", make_experiment(work, work / "model"))
            output = work / "run"
            check_folder(program, output / "train/model")
            check_folder(program, output / "train_sparse/model")
            check_folder(program, output / "convert/model", ("--rule", "all"))
            run(program, "export", output / "convert/model", work / "exported/model", "--original-order")
            check_folder(program, work / "exported/model")
            check_events(output / "train")
            check_events(output / "train_sparse")


if __name__ == "__main__":
    main()
