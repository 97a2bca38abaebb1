#!/usr/bin/env python3
"""Makes configs/models/gpt2_mini: config.json of a small GPT-2 and a byte-level BPE tokenizer of 1024 tokens learned from
tinyshakespeare's training part.

    scripts/gpt2_mini.py [--text data/tinyshakespeare/train.txt] [--out configs/models/gpt2_mini]
"""

import argparse
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCAB = 1024
END = "<|endoftext|>"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", default="data/tinyshakespeare/train.txt")
    parser.add_argument("--out", type=pathlib.Path, default="configs/models/gpt2_mini")
    arguments = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train([arguments.text], trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=[END], show_progress=False,
                                                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    end = tokenizer.token_to_id(END)
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(arguments.out / "tokenizer.json"))
    config = dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], vocab_size=tokenizer.get_vocab_size(), n_positions=256,
                  n_embd=128, n_layer=4, n_head=4, activation_function="gelu_new", layer_norm_epsilon=1e-5, initializer_range=0.02,
                  embd_pdrop=0.1, attn_pdrop=0.1, resid_pdrop=0.1, tie_word_embeddings=True, bos_token_id=end, eos_token_id=end)
    (arguments.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (arguments.out / "tokenizer_config.json").write_text(json.dumps(dict(eos_token=END, bos_token=END), indent=2) + "\n")


if __name__ == "__main__":
    main()
