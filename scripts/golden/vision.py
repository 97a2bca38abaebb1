#!/usr/bin/env python3
"""Golden values for the vision models of tests/models: small random ViT and DeiT classifiers, computed by transformers.

    scripts/golden/vision.py [--out tests/golden/models]

Writes one folder per model (config.json, model.safetensors as transformers saves them) with golden.safetensors beside
them, laid out as scripts/golden/models.py does, with "<batch>.pixels" [B, C, H, W] in place of token ids. The batches
"larger", "smaller" and "odd" have another image size: transformers runs them with interpolate_pos_encoding.
"""

import argparse
import pathlib

import safetensors.torch
import torch
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from models import METADATA, SEED, decay_groups, save_as, spread_weights


def pair(value):
    return tuple(value) if isinstance(value, (list, tuple)) else (value, value)


def make_batch(model, count, size, generator):
    config = model.config
    patch = pair(config.patch_size)
    special = 2 if config.model_type == "deit" else 1
    tokens = special + (size[0] // patch[0]) * (size[1] // patch[1])
    return {
        "pixels": torch.randn(count, config.num_channels, *size, generator=generator),
        "lengths": torch.full((count,), tokens),
        "labels": torch.randint(0, config.num_labels, (count,), generator=generator),
    }


def run(model, batch):
    other_size = tuple(batch["pixels"].shape[2:]) != pair(model.config.image_size)
    return model(pixel_values=batch["pixels"], interpolate_pos_encoding=other_size).logits


def loss_of(model, batch):
    return torch.nn.functional.cross_entropy(run(model, batch), batch["labels"])


def training_curve(model, batches, steps=10, lr=1e-3):
    optimizer = torch.optim.AdamW(decay_groups(model, 0.01), lr=lr)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (steps - step) / steps
        optimizer.zero_grad()
        loss = loss_of(model, batches[step % len(batches)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def golden(model, folder, *, sizes=None, curve=False, gradients=False):
    generator = torch.Generator().manual_seed(SEED)
    model.eval()
    own = pair(model.config.image_size)
    batches = {"one": make_batch(model, 1, own, generator), "mixed": make_batch(model, 5, own, generator),
               "even": make_batch(model, 3, own, generator)}
    for name, size in (sizes or {}).items():
        batches[name] = make_batch(model, 2, size, generator)
    tensors = {}
    for name, b in batches.items():
        tensors |= {f"{name}.{key}": value.clone() for key, value in b.items()}
        with torch.no_grad():
            tensors[f"{name}.logits"] = run(model, b)
    if gradients:
        model.zero_grad()
        loss = loss_of(model, batches["mixed"])
        loss.backward()
        tensors["mixed.loss"] = loss.detach()
        names = dict(zip((id(p) for p in model.parameters()), saved_names(model)))
        for p in model.parameters():
            tensors[f"grad.{names[id(p)]}"] = torch.zeros_like(p) if p.grad is None else p.grad.clone()
    if curve:
        tensors["curve.losses"] = training_curve(model, [batches["mixed"], batches["even"]])
        with torch.no_grad():
            tensors["curve.logits"] = run(model, batches["mixed"])
    safetensors.torch.save_file(tensors, folder / "golden.safetensors", METADATA)


def saved_names(model):
    """The names that save_pretrained gives the parameters, in their order."""
    renames = [(".layers.", ".encoder.layer."), (".attention.q_proj.", ".attention.attention.query."),
               (".attention.k_proj.", ".attention.attention.key."), (".attention.v_proj.", ".attention.attention.value."),
               (".attention.o_proj.", ".attention.output.dense."), (".mlp.fc1.", ".intermediate.dense."),
               (".mlp.fc2.", ".output.dense.")]
    names = []
    for name, _ in model.named_parameters():
        for new, old in renames:
            name = name.replace(new, old)
        names.append(name)
    return names


def small(cls, config, out, name, save=None, **options):
    torch.manual_seed(SEED)
    model = cls(config)
    spread_weights(model, torch.Generator().manual_seed(SEED))
    with torch.no_grad():  # spread_weights knows matrices only
        for parameter, p in model.named_parameters():
            if p.dim() > 2:
                p.normal_(0, 0.5 if "embeddings.p" not in parameter else 0.3,
                          generator=torch.Generator().manual_seed(len(parameter)))
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (save or (lambda m, f: m.save_pretrained(f)))(model, folder)
    stored = set(safetensors.torch.load_file(folder / "model.safetensors"))
    assert save is not None or stored == set(saved_names(model)), stored ^ set(saved_names(model))
    golden(model, folder, **options)


def save_with_pooler(model, folder):
    """As the published checkpoints that were pretrained with a pooler, which a classifier has no use for."""
    model.save_pretrained(folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    d = model.config.hidden_size
    tensors["vit.pooler.dense.weight"], tensors["vit.pooler.dense.bias"] = torch.ones(d, d), torch.ones(d)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def save_bare(model, folder):
    """The bare encoder with a pooler: no prefix, no head. The head goes into a file of its own."""
    bare = ViTModel(model.config)
    bare.load_state_dict(model.vit.state_dict(), strict=False)
    bare.save_pretrained(folder)
    head = {n: p.detach().clone() for n, p in model.named_parameters() if n.startswith("classifier.")}
    safetensors.torch.save_file(head, folder / "head.safetensors", {"format": "pt"})


def sizes(act="gelu", labels=3, **more):
    return dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, hidden_act=act,
                num_labels=labels) | dict(image_size=16, patch_size=4) | more


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden/models")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    other = {"larger": (24, 20), "smaller": (8, 12), "odd": (18, 19)}
    named = dict(id2label={0: "cat", 1: "dog", 2: "fish"}, label2id={"cat": 0, "dog": 1, "fish": 2})
    vit, deit, teacher = ViTForImageClassification, DeiTForImageClassification, DeiTForImageClassificationWithTeacher
    small(vit, ViTConfig(**sizes(**named)), out, "vit-gelu", sizes=other, curve=True, gradients=True)
    small(vit, ViTConfig(**sizes("relu", num_channels=1, qkv_bias=False)), out, "vit-grey-no-bias", gradients=True)
    small(vit, ViTConfig(**sizes("gelu_new", image_size=[8, 18], patch_size=[4, 6])), out, "vit-oblong")
    small(vit, ViTConfig(**sizes("silu")), out, "vit-silu-bf16", save_as(torch.bfloat16))
    small(vit, ViTConfig(**sizes()), out, "vit-pooler", save_with_pooler)
    small(vit, ViTConfig(**sizes()), out, "vit-bare", save_bare)
    small(deit, DeiTConfig(**sizes(labels=4, image_size=15)), out, "deit", sizes=other, gradients=True)
    small(teacher, DeiTConfig(**sizes(labels=4, layer_norm_eps=1e-6)), out, "deit-teacher", sizes=other, gradients=True,
          curve=True)


if __name__ == "__main__":
    main()
