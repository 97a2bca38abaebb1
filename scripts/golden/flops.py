"""Golden FLOPs: torch.utils.flop_counter on small transformers models, with and without padding.

Usage: python scripts/golden/flops.py   (writes tests/golden/eval/flops.json)
"""

import json
import pathlib

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

SEED = 7
OUT = pathlib.Path(__file__).parents[2] / "tests/golden/eval/flops.json"
LENGTHS = [[7, 7, 7], [1], [5, 9, 2, 12]]

CONFIGS = {
    "bert": dict(
        vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=32, hidden_act="gelu", num_labels=3,
    ),
    "roberta": dict(
        vocab_size=60, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=40,
        max_position_embeddings=34, hidden_act="gelu", type_vocab_size=1, pad_token_id=1, num_labels=2,
    ),
    "distilbert": dict(
        vocab_size=60, dim=16, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=32,
        activation="gelu", num_labels=4,
    ),
}

DECODERS = {
    "gpt2": dict(vocab_size=60, n_embd=24, n_layer=2, n_head=3, n_positions=32, pad_token_id=0),
    "llama": dict(
        vocab_size=60, hidden_size=24, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, intermediate_size=40,
        pad_token_id=0,
    ),
    "qwen2": dict(
        vocab_size=60, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, intermediate_size=40,
        pad_token_id=0, use_sliding_window=True, sliding_window=4, max_window_layers=1,
    ),
    "gemma2": dict(
        vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
        intermediate_size=40, pad_token_id=0, sliding_window=5,
    ),
}


def count(model, lengths, pad):
    longest = max(lengths)
    ids = torch.full((len(lengths), longest), pad)
    mask = torch.zeros((len(lengths), longest), dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, 60, (length,))
        mask[row, :length] = 1
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(input_ids=ids, attention_mask=mask)
    return counter.get_total_flops()


def main():
    torch.manual_seed(SEED)
    cases = []
    for family, options in CONFIGS.items():
        config = transformers.AutoConfig.for_model(family, **options)
        config._attn_implementation = "eager"
        model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
        stored = {k: v for k, v in config.to_dict().items() if k != "dtype"}
        stored["architectures"] = [type(model).__name__]
        for lengths in LENGTHS:
            flops = count(model, lengths, config.pad_token_id)
            cases.append({"family": family, "config": stored, "lengths": lengths, "flops": flops})
    decoders = []
    for family, options in DECODERS.items():
        config = transformers.AutoConfig.for_model(family, **options)
        for kind in (transformers.AutoModelForCausalLM, transformers.AutoModelForSequenceClassification):
            model = kind.from_config(config, attn_implementation="eager").eval()
            stored = {k: v for k, v in config.to_dict().items() if k != "dtype"}
            stored["architectures"] = [type(model).__name__]
            for lengths in LENGTHS:
                flops = count(model, lengths, config.pad_token_id)
                decoders.append({"family": family, "config": stored, "lengths": lengths, "flops": flops})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    OUT.write_text(json.dumps({"seed": SEED, "versions": versions, "cases": cases, "decoders": decoders}) + "\n")


if __name__ == "__main__":
    main()
