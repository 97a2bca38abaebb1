#!/usr/bin/env python3
"""Golden values for tests/models: small random models of each family and the real MiniLM, computed by transformers.

    scripts/golden/models.py [--minilm build/deps/all-MiniLM-L6-v2] [--out tests/golden/models]

Writes one folder per model (config.json, model.safetensors as transformers saves them) with golden.safetensors beside
them: packed token ids and lengths of each batch ("<batch>.token_ids", ".type_ids", ".lengths", ".labels"), logits,
loss, the gradient of every parameter under its Hugging Face name ("grad.<name>"), and for some models the losses of ten
training steps with the logits after them ("curve.losses", "curve.logits"). Everything is float32 on the CPU, dropout 0
or evaluation mode. Versions and seed stand in the metadata.
"""

import argparse
import json
import pathlib

import safetensors.torch
import torch
import transformers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

SEED = 20240607
VOCAB = 100
LONG = 512
METADATA = {"format": "pt", "torch": torch.__version__, "transformers": transformers.__version__, "seed": str(SEED)}


def random_batch(lengths, classes, generator, first_id, types):
    """Token ids never hold the padding id, so that lengths alone say where padding is."""
    return {
        "lengths": torch.tensor(lengths),
        "token_ids": torch.cat([torch.randint(first_id, VOCAB, (n,), generator=generator) for n in lengths]),
        "type_ids": torch.cat([(torch.arange(n) >= n // 2).long() * (types > 1) for n in lengths]),
        "labels": torch.randint(0, classes, (len(lengths),), generator=generator)
        if classes > 1
        else torch.randn(len(lengths), generator=generator),
    }


def run(model, batch, with_loss=True):
    """Runs transformers on the padded form of a packed batch."""
    lengths = batch["lengths"].tolist()
    pad = model.config.pad_token_id or 0
    shape = (len(lengths), max(lengths))
    ids, types, mask = torch.full(shape, pad), torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    start = 0
    for i, n in enumerate(lengths):
        ids[i, :n] = batch["token_ids"][start : start + n]
        types[i, :n] = batch["type_ids"][start : start + n]
        mask[i, :n] = 1
        start += n
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.config.model_type == "bert":
        inputs["token_type_ids"] = types
    if with_loss:
        inputs["labels"] = batch["labels"]
    return model(**inputs)


def spread_weights(model, generator):
    """Larger than at the start of training, so that no part of the network is close to linear or to zero."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() == 2:
                p.copy_(noise * (0.5 if "embeddings" in name else 1.5 / p.shape[1] ** 0.5))
            else:
                p.add_(noise * 0.1)


def decay_groups(model, weight_decay):
    """Weight decay on matrices only, as fine-tuning usually has it."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def training_curve(model, batches, steps=10, lr=1e-3):
    model.eval()  # dropout 0
    optimizer = torch.optim.AdamW(decay_groups(model, 0.01), lr=lr)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (steps - step) / steps
        optimizer.zero_grad()
        loss = run(model, batches[step % len(batches)]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def golden(model, out, *, first_id=5, types=1, long=True, curve=False, gradients=True, regression=False):
    generator = torch.Generator().manual_seed(SEED)
    classes = 1 if regression else model.config.num_labels
    model.eval()
    batch = lambda lengths: random_batch(lengths, classes, generator, first_id, types)
    batches = {"one": batch([1]), "two": batch([2]), "mixed": batch([7, 1, 12, 3, 12, 2])}
    if long:
        batches |= {"even": batch([9, 9, 9]), "long": batch([LONG - 1]), "longest": batch([LONG])}
    tensors = {}
    for name, b in batches.items():
        tensors |= {f"{name}.{key}": value.clone() for key, value in b.items()}
        with torch.no_grad():
            tensors[f"{name}.logits"] = run(model, b, with_loss=False).logits
    if gradients:
        model.zero_grad()
        loss = run(model, batches["mixed"]).loss
        loss.backward()
        tensors["mixed.loss"] = loss.detach()
        for name, p in model.named_parameters():
            tensors[f"grad.{name}"] = torch.zeros_like(p) if p.grad is None else p.grad.clone()
            if "position_embeddings" in name:  # only the rows that the batch uses: the others are 0
                tensors[f"grad.{name}"] = tensors[f"grad.{name}"][:16].clone()
    if curve:
        tensors["curve.losses"] = training_curve(model, [batches["mixed"], batches["even"]])
        with torch.no_grad():
            tensors["curve.logits"] = run(model, batches["mixed"], with_loss=False).logits
    safetensors.torch.save_file(tensors, out / "golden.safetensors", METADATA)


def small(cls, config, out, name, save=None, **options):
    """A random model: saved as it is (or as `save` says), then its golden values."""
    torch.manual_seed(SEED)
    model = cls(config)
    spread_weights(model, torch.Generator().manual_seed(SEED))
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (save or (lambda m, f: m.save_pretrained(f)))(model, folder)
    golden(model, folder, **options)


def save_as(dtype):
    def save(model, folder):
        model.to(dtype).save_pretrained(folder)
        model.float()  # the golden values are those of the rounded weights in float32

    return save


def save_sharded(model, folder):
    model.save_pretrained(folder, max_shard_size="20KB")


def save_legacy(model, folder):
    """Names of the first BERT checkpoints, with tensors that a classifier has no use for."""
    model.save_pretrained(folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    rename = lambda n: n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    tensors = {rename(name): value for name, value in tensors.items()}
    tensors["bert.embeddings.position_ids"] = torch.arange(model.config.max_position_embeddings).unsqueeze(0)
    tensors["cls.predictions.bias"] = torch.zeros(model.config.vocab_size)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def save_bare(model, folder):
    """The bare encoder: no prefix, no head. Its head goes into golden.safetensors' neighbour."""
    model.bert.save_pretrained(folder)
    head = {n: p.detach().clone() for n, p in model.named_parameters() if n.startswith("classifier.")}
    safetensors.torch.save_file(head, folder / "head.safetensors", {"format": "pt"})


def bert(act="gelu", labels=3, positions=LONG, **more):
    return BertConfig(vocab_size=VOCAB, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                      intermediate_size=40, max_position_embeddings=positions, hidden_act=act, num_labels=labels,
                      pad_token_id=0, **more)


def small_models(out):
    short = dict(long=False, gradients=False)
    named = dict(id2label={0: "sadness", 1: "joy", 2: "fear"}, label2id={"sadness": 0, "joy": 1, "fear": 2})
    small(BertForSequenceClassification, bert(**named), out, "bert-gelu", types=2, curve=True)
    small(BertForSequenceClassification, bert("relu", positions=32), out, "bert-relu-bf16", save_as(torch.bfloat16), types=2, **short)
    small(BertForSequenceClassification, bert("gelu_new", positions=32), out, "bert-gelu-new-fp16", save_as(torch.float16), types=2, **short)
    small(BertForSequenceClassification, bert("silu", positions=32), out, "bert-silu-sharded", save_sharded, types=2, **short)
    small(BertForSequenceClassification, bert(positions=32), out, "bert-legacy", save_legacy, types=2, **short)
    small(BertForSequenceClassification, bert(positions=32), out, "bert-bare", save_bare, types=2, **short)
    small(BertForSequenceClassification, bert(labels=1, positions=32, problem_type="regression"), out, "bert-regression", types=2,
          long=False, regression=True)
    small(RobertaForSequenceClassification,
          RobertaConfig(vocab_size=VOCAB, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=48, max_position_embeddings=LONG + 2, type_vocab_size=1, num_labels=4,
                        layer_norm_eps=1e-5, pad_token_id=1),
          out, "roberta", curve=True)
    small(DistilBertForSequenceClassification,
          DistilBertConfig(vocab_size=VOCAB, dim=32, n_layers=2, n_heads=4, hidden_dim=56, max_position_embeddings=LONG,
                           num_labels=2, pad_token_id=0),
          out, "distilbert", curve=True)


def minilm(folder, out):
    """Real sentences through the real checkpoint, with a seeded head; only the head and the results are stored."""
    sentences = [line.split(";")[0] for line in open("data/emotion/test.txt", encoding="utf-8").read().splitlines()[1:9]]
    texts = sentences + ["a", " ".join(sentences * 40)]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(SEED)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=6).eval()
    with torch.no_grad():
        model.classifier.weight.normal_(0, 0.3)
        model.classifier.bias.normal_(0, 0.3)
    head = {f"classifier.{n}": p.detach().clone() for n, p in model.classifier.named_parameters()}
    ids = [tokenizer(t, truncation=True, max_length=512)["input_ids"] for t in texts]
    tensors = dict(head)
    for name, group in {"mixed": ids[:9], "long": ids[9:], "edge": [ids[9][:511], ids[9][:2], ids[9][:1]]}.items():
        packed = torch.tensor([i for sequence in group for i in sequence])
        b = {"token_ids": packed, "type_ids": torch.zeros_like(packed),
             "lengths": torch.tensor([len(sequence) for sequence in group]),
             "labels": torch.arange(len(group)) % 6}
        result = run(model, b)
        tensors |= {f"{name}.{key}": value for key, value in b.items()}
        tensors[f"{name}.logits"] = result.logits.detach()
        tensors[f"{name}.loss"] = result.loss.detach()
        if name == "mixed":  # every gradient's norm: the gradients themselves would be 90 MB
            result.loss.backward()
            for parameter, p in model.named_parameters():
                tensors[f"grad_norm.{parameter}"] = p.grad.norm()
    out.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, out / "minilm.safetensors", METADATA)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden/models")
    parser.add_argument("--minilm", type=pathlib.Path, default="build/deps/all-MiniLM-L6-v2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    small_models(arguments.out)
    if (arguments.minilm / "config.json").exists():
        minilm(arguments.minilm, arguments.out)
    else:
        print(f"no MiniLM at {arguments.minilm}: minilm.safetensors is left as it is")


if __name__ == "__main__":
    main()
