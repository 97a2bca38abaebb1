#!/usr/bin/env python3
"""Golden values for attention projections as perceptrons: the small models of tests/golden/models and decoders, in
transformers, with a random perceptron in place of some projections.

    scripts/golden/attention.py [--golden tests/golden]

Writes <golden>/attention/<model>.safetensors: the perceptrons ("layers.N.attention.q.w1" [F, D_in], ".b1", ".w2"
[D_out, F], ".b2"), one packed batch ("mixed.…", as models.py, vision.py and decoders.py lay it out) with its logits and
the FLOPs of its padded form by PyTorch's counter (GPT-2's count the fused thirds that perceptrons replace, too), and the
gradient of mean(logits^2) for every tensor of the perceptrons ("grad.<tensor>"). Two projections of a layer never have
the same width. The activation is the model's own. Float32 on the CPU, evaluation mode.
"""

import argparse
import pathlib

import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig
from transformers import models as families
from transformers.activations import ACT2FN

import decoders
import models
import vision
from models import METADATA, SEED

# Model, its projections that are replaced ("0q": layer 0's q).
CASES = {
    "models/bert-gelu": "0q 0k 0v 0o 1q 1k 1v 1o",
    "models/roberta": "0v 1v 1o",
    "models/distilbert": "0q 0k 1q",
    "models/vit-gelu": "0q 0k 0v 0o 1q 1k 1v 1o",
    "models/vit-grey-no-bias": "0q 1o",
    "models/deit": "1k 1o",
    "models/deit-teacher": "0v",
    "decoders/gpt2": "0q 0v 1k 1o",
    "decoders/gpt2-classifier": "0q 0k 0v 0o",
    "decoders/llama": "0q 0k 0v 0o 1k",
    "decoders/llama-biases-linear": "0k 1o",
    "decoders/llama-classifier": "1q 1v",
    "decoders/mistral": "0k 1v",
    "decoders/qwen2": "0q 1v 2o",
    "decoders/gemma": "0q 1o",
    "decoders/gemma2": "0q 0k 0v 0o 2v",
}


class Perceptron(nn.Module):
    def __init__(self, inputs, outputs, width, activation, generator):
        super().__init__()
        draw = lambda *shape: nn.Parameter(torch.randn(*shape, generator=generator) / shape[-1] ** 0.5)
        self.w1, self.b1, self.w2, self.b2 = draw(width, inputs), draw(width), draw(outputs, width), draw(outputs)
        self.activation = ACT2FN[activation]

    def forward(self, x):
        hidden = self.activation(nn.functional.linear(x, self.w1, self.b1))
        return nn.functional.linear(hidden, self.w2, self.b2)


class FusedProjections(nn.Module):
    """GPT-2's c_attn with perceptrons in place of some thirds."""

    def __init__(self, conv):
        super().__init__()
        self.conv, self.parts = conv, nn.ModuleDict()

    def forward(self, x):
        thirds = dict(zip("qkv", self.conv(x).chunk(3, dim=-1)))
        return torch.cat([self.parts[kind](x) if kind in self.parts else third for kind, third in thirds.items()], dim=-1)


NAMES = {"q": ("q_proj", "query", "q_lin"), "k": ("k_proj", "key", "k_lin"), "v": ("v_proj", "value", "v_lin"),
         "o": ("o_proj", "dense", "out_lin", "c_proj")}


def place(model, layer, kind, make):
    """Replaces one projection; returns its perceptron."""
    blocks = next(module for module in model.modules() if isinstance(module, nn.ModuleList))
    attention = blocks[layer]
    attention = getattr(attention, "attention", None) or getattr(attention, "self_attn", None) or attention.attn
    if kind != "o" and hasattr(attention, "c_attn"):
        if not isinstance(attention.c_attn, FusedProjections):
            attention.c_attn = FusedProjections(attention.c_attn)
        inputs, outputs = attention.c_attn.conv.weight.shape
        perceptron = attention.c_attn.parts[kind] = make(inputs, outputs // 3)
        return perceptron
    found = [(parent, name) for parent in attention.modules() for name, child in parent.named_children() if name in NAMES[kind]]
    assert len(found) == 1, (type(attention), kind, found)
    parent, name = found[0]
    linear = getattr(parent, name)
    sizes = linear.weight.shape if name == "c_proj" else linear.weight.shape[::-1]
    perceptron = make(*sizes)
    setattr(parent, name, perceptron)
    return perceptron


def batch_and_logits(model, kind, generator):
    """A batch as the C++ tests read it, and what computes its logits."""
    if kind == "decoders":
        lengths = [7, 1, 12, 3]
        ids = torch.randint(3, decoders.VOCAB, (sum(lengths),), generator=generator)
        return {"token_ids": ids, "lengths": torch.tensor(lengths)}, lambda: decoders.run(model, ids, lengths)
    if model.config.model_type in ("vit", "deit"):
        batch = vision.make_batch(model, 3, vision.pair(model.config.image_size), generator)
        return batch, lambda: vision.run(model, batch)
    types = 2 if model.config.model_type == "bert" else 1
    batch = models.random_batch([7, 1, 12, 3], model.config.num_labels, generator, 5, types)
    return batch, lambda: models.run(model, batch, with_loss=False).logits


def golden(source, chosen, out):
    config = AutoConfig.from_pretrained(source)
    cls = getattr(getattr(families, config.model_type), config.architectures[0])
    model = cls.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    activation = next(getattr(config, key) for key in ("hidden_activation", "hidden_act", "activation", "activation_function")
                      if getattr(config, key, None))
    generator = torch.Generator().manual_seed(SEED)
    perceptrons = {}
    for i, name in enumerate(chosen.split()):
        width = 5 + 3 * (i % 4)
        make = lambda inputs, outputs: Perceptron(inputs, outputs, width, activation, generator)
        perceptrons[f"layers.{name[0]}.attention.{name[1]}"] = place(model, int(name[0]), name[1], make)
    batch, logits_of = batch_and_logits(model, source.parent.name, generator)
    counter = FlopCounterMode(display=False)
    with counter:
        logits = logits_of()
    logits.square().mean().backward()
    tensors = {f"mixed.{key}": value.clone() for key, value in batch.items()} | {"mixed.logits": logits.detach(), "mixed.flops": torch.tensor(counter.get_total_flops())}
    for name, perceptron in perceptrons.items():
        for field, parameter in perceptron.named_parameters():
            tensors[f"{name}.{field}"] = parameter.detach()
            tensors[f"grad.{name}.{field}"] = parameter.grad
    safetensors.torch.save_file(tensors, out, METADATA)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=pathlib.Path, default="tests/golden")
    root = parser.parse_args().golden
    torch.set_num_threads(1)
    (root / "attention").mkdir(exist_ok=True)
    for model, chosen in CASES.items():
        golden(root / model, chosen, root / "attention" / f"{pathlib.Path(model).name}.safetensors")


if __name__ == "__main__":
    main()
