#!/usr/bin/env python3
"""Golden values for tests/models: small random decoders of each family and variant, and the real stories260k, computed
by transformers.

    scripts/golden/decoders.py [--only NAME …] [--stories data/stories260k] [--out tests/golden/decoders]

Writes one folder per model (config.json, model.safetensors as transformers saves them) with golden.safetensors beside
them: packed token ids and lengths of each batch ("<batch>.token_ids", ".lengths"), logits of every real token (language
models) or every sequence (classifiers), for some models the mean loss of the next token over "mixed" with the gradient
of every parameter ("grad.<name>") and the losses of ten training steps ("curve.losses"). Everything is float32 on the
CPU ("low.mixed": bfloat16), dropout 0 or evaluation mode. Versions and seed stand in the metadata.
"""

import argparse
import copy
import pathlib

import safetensors.torch
import torch
from transformers import AutoModelForCausalLM, GPT2Config, Gemma2Config, GemmaConfig, LlamaConfig, MistralConfig, Qwen2Config
from transformers import models as families

from models import METADATA, SEED, decay_groups, save_as, spread_weights

VOCAB = 53
PAD = 2
LENGTHS = {"one": [1], "mixed": [7, 1, 12, 3, 12, 2], "even": [9, 9, 9], "long": [33]}


def run(model, ids, lengths):
    """Runs transformers on the padded form of a packed batch; logits of the real tokens, or of the sequences."""
    shape = (len(lengths), max(lengths))
    padded, mask = torch.full(shape, PAD), torch.zeros(shape, dtype=torch.long)
    start = 0
    for i, n in enumerate(lengths):
        padded[i, :n] = ids[start : start + n]
        mask[i, :n] = 1
        start += n
    logits = model(input_ids=padded, attention_mask=mask).logits
    return logits[mask.bool()] if logits.dim() == 3 else logits


def next_token_loss(model, ids, lengths):
    logits = run(model, ids, lengths)
    losses, start = [], 0
    for n in lengths:
        losses.append(torch.nn.functional.cross_entropy(logits[start : start + n - 1], ids[start + 1 : start + n], reduction="none"))
        start += n
    return torch.cat(losses).mean()


def training_curve(model, batches, steps=10, lr=1e-3):
    optimizer = torch.optim.AdamW(decay_groups(model, 0.01), lr=lr)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (steps - step) / steps
        optimizer.zero_grad()
        loss = next_token_loss(model, *batches[step % len(batches)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def golden(model, path, *, gradients=False, curve=False, low_precision=None, vocab=VOCAB):
    generator = torch.Generator().manual_seed(SEED)
    model.eval()
    batches = {name: (torch.randint(3, vocab, (sum(n),), generator=generator), n) for name, n in LENGTHS.items()}
    if model.config.architectures[0].endswith("Classification"):
        # Padding inside the text: at its end, in the middle, everywhere.
        batches["padded"] = (torch.tensor([5, 6, PAD, 7, PAD, 8, 9, PAD, PAD, PAD]), [3, 4, 3])
    tensors = {}
    for name, (ids, lengths) in batches.items():
        tensors |= {f"{name}.token_ids": ids, f"{name}.lengths": torch.tensor(lengths)}
        with torch.no_grad():
            # A copy: under dynamic scaling a model remembers the longest text that it has seen.
            tensors[f"{name}.logits"] = run(copy.deepcopy(model), ids, lengths).clone()
    if low_precision:
        with torch.no_grad():
            tensors["low.mixed"] = run(low_precision.eval(), *batches["mixed"]).clone()
    if gradients:
        loss = next_token_loss(model, *batches["mixed"])
        loss.backward()
        tensors["mixed.loss"] = loss.detach()
        tensors |= {f"grad.{name}": p.grad.clone() for name, p in model.named_parameters()}
    if curve:
        tensors["curve.losses"] = training_curve(model, [batches["mixed"], batches["even"]])
        with torch.no_grad():
            tensors["curve.logits"] = run(model, *batches["mixed"]).clone()
    safetensors.torch.save_file(tensors, path, METADATA)


def save_sharded(model, folder):
    model.save_pretrained(folder, max_shard_size="6KB")
    assert (folder / "model.safetensors.index.json").exists()


def save_bf16_sharded(model, folder):
    save_sharded(model.to(torch.bfloat16), folder)


def save_bare(model, folder):
    """Names without the prefix, as the first GPT-2 checkpoints have them."""
    model.save_pretrained(folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 4, 4).tril()
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def save_with_head(model, folder):
    """A tied head that is stored all the same."""
    model.save_pretrained(folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def gpt2(**more):
    return GPT2Config(**dict(vocab_size=VOCAB, n_embd=24, n_layer=2, n_head=3, n_positions=64, pad_token_id=PAD,
                             bos_token_id=0, eos_token_id=1) | more)


def common(**more):
    return dict(vocab_size=VOCAB, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
                num_key_value_heads=1, max_position_embeddings=64, pad_token_id=PAD, bos_token_id=0, eos_token_id=1) | more


def rope(kind, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=10000.0, **more))


def variants():
    c = common
    labels = dict(id2label={0: "low", 1: "high", 2: "odd"}, label2id={"low": 0, "high": 1, "odd": 2})
    whole = dict(gradients=True, curve=True)
    return {
        "gpt2": ("GPT2LMHeadModel", gpt2(), dict(save=save_bare, **whole)),
        "gpt2-untied": ("GPT2LMHeadModel", gpt2(tie_word_embeddings=False, n_inner=20, activation_function="relu", n_head=2,
                        scale_attn_by_inverse_layer_idx=True), dict(save=save_sharded)),
        "gpt2-classifier": ("GPT2ForSequenceClassification", gpt2(scale_attn_weights=False, **labels), {}),
        "llama": ("LlamaForCausalLM", LlamaConfig(**c(num_attention_heads=6, num_key_value_heads=3, head_dim=4)), whole),
        "llama-biases-linear": ("LlamaForCausalLM", LlamaConfig(**c(num_key_value_heads=3, head_dim=6, attention_bias=True, mlp_bias=True,
                                tie_word_embeddings=True), **rope("linear", factor=3.0)), dict(save=save_with_head, gradients=True)),
        "llama-llama3": ("LlamaForCausalLM", LlamaConfig(**c(), **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                         original_max_position_embeddings=16)), {}),
        "llama-dynamic": ("LlamaForCausalLM", LlamaConfig(**c(max_position_embeddings=8), **rope("dynamic", factor=2.0)), {}),
        "llama-classifier": ("LlamaForSequenceClassification", LlamaConfig(**c(), **labels), {}),
        "mistral": ("MistralForCausalLM", MistralConfig(**c(num_attention_heads=2, sliding_window=4)), dict(gradients=True)),
        "mistral-classifier": ("MistralForSequenceClassification", MistralConfig(**c(num_attention_heads=5, num_key_value_heads=5, head_dim=4,
                               sliding_window=None), **labels), dict(save=save_as(torch.bfloat16))),
        "qwen2": ("Qwen2ForCausalLM", Qwen2Config(**c(num_hidden_layers=3, use_sliding_window=True, sliding_window=5, max_window_layers=1,
                  tie_word_embeddings=True)), dict(gradients=True)),
        "qwen2-yarn-bf16": ("Qwen2ForCausalLM", Qwen2Config(**c(), **rope("yarn", factor=4.0, original_max_position_embeddings=16)),
                            dict(save=save_bf16_sharded, low=True)),
        "qwen2-classifier": ("Qwen2ForSequenceClassification", Qwen2Config(**c(), **labels), {}),
        "gemma": ("GemmaForCausalLM", GemmaConfig(**c(head_dim=10)), dict(gradients=True)),
        "gemma-classifier": ("GemmaForSequenceClassification", GemmaConfig(**c(head_dim=6, hidden_act="gelu"), **labels), {}),
        "gemma2": ("Gemma2ForCausalLM", Gemma2Config(**c(num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
                   sliding_window=4, query_pre_attn_scalar=12, attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
                   dict(gradients=True)),
        "gemma2-classifier": ("Gemma2ForSequenceClassification", Gemma2Config(**c(head_dim=6, attn_logit_softcapping=None), **labels), {}),
    }


def small(out, name, architecture, config, *, save=lambda model, folder: model.save_pretrained(folder), low=False, **options):
    torch.manual_seed(SEED)
    cls = getattr(getattr(families, config.model_type), architecture)
    model = cls(config)
    spread_weights(model, torch.Generator().manual_seed(SEED))
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    save(model, folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    load = lambda dtype: cls.from_pretrained(folder, dtype=dtype, attn_implementation="eager" if config.model_type == "gemma2" else "sdpa")
    golden(load(torch.float32), folder / "golden.safetensors", low_precision=load(torch.bfloat16) if low else None, **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden/decoders")
    parser.add_argument("--stories", type=pathlib.Path, default="data/stories260k")
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, (architecture, config, options) in variants().items():
        if not arguments.only or name in arguments.only:
            small(arguments.out, name, architecture, config, **options)
    if not arguments.only or "stories260k" in arguments.only:
        golden(AutoModelForCausalLM.from_pretrained(arguments.stories, attn_implementation="sdpa"), arguments.out / "stories260k.safetensors", vocab=512)


if __name__ == "__main__":
    main()
