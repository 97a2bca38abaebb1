#!/usr/bin/env python3
"""Goldens for tests/tokenizer: tokenizers as the decoder families publish them, trained small.

    scripts/golden/causal_tokenizers.py

Writes tests/golden/tokenizer/causal: per family a tokenizer.json with exactly the published normalizer, pre-tokenizer,
model options, decoder and post-processor, trained on CARER; two SentencePiece models (bpe.model, unigram.model); and
causal.json with the ids of hard texts, their decodings with and without special tokens, decodings of random ids, and
hashes of what normalizers and pre-tokenizers do with single code points.
"""

import hashlib
import io
import json
import random
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = Path("tests/golden/tokenizer/causal")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = [f"<0x{b:02X}>" for b in range(256)]

TEXTS = [
    "", " ", "  ", "hello", "Hello, World!", " hello", "  two  spaces   three    four \n\n new \n lines\t\ttabs  ",
    "I'm SURE they'Re here; we'll've done it, DON'T you'd? 'S 'LL", "\u017f 'K\u212a 'ſ it'ſ", "1234567890 3.14 1,000 2nd \u00b2\u00bd \u0663\u0664 \u2167",
    "caf\u00e9 Cafe\u0301 na\u00efve \u00c5ngstr\u00f6m a\u0328\u0301 q\u0307\u0323", "\u4e2d\u6587\u5b57 mixed \u4e2d\u6587with latin\u3002 \u65e5\u672c\u8a9e\u30c6\u30b9\u30c8 \uff21\uff22",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u0645\u064e\u0631\u0652\u062d\u064e\u0628\u0627", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600\U0001f914 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "a\u00a0b\u2009c\u3000d\u2028e\u2029f\u0085g\x0bh\x0ci\rj\r\nk\u180el\u200bm\ufeffn", "a\x01b\x1fc\x7fd\x80e \ufffd \ue000 \U000e0001 \U0010ffff",
    "$5.00 + 3 = 8? ~100% #tag @user a_b a-b a/b <x> {y} [z] ^^ `q` | \\ \u00a7 \u20ac \u2026 \u2014 \u00ab\u00bb \u201cq\u201d ...//\n\n//",
    "def f(x):\n    return x  # comment\n\n\n\tif y:\r\n\t\tpass\n", "\u2581a\u2581 b\u2581\u2581c", "<s>hello</s> <s> a", "<|endoftext|>x <|eot_id|> <bos>y<eos>",
    "<unk> <pad> <0x41> <0xC3>", "i feel <mask> today", "x" * 300, "ab" * 200, "\u00e9" * 50, " " * 70 + "x", "\n" * 9, "  \n  \n x", "\U0001d400\U0001d538 \u01c5 \u02b0 \u0e46",
    "\U00011935\U00011930 \U0001e030 \u1c89 \U00010d50 \ua7cb \u0897", "i didnt feel humiliated", "unbelievableness antidisestablishmentarianism", "HTTPServer camelCase XMLHttp ABCdef \u01c4\u01c5\u01c6",
]


def carer():
    rows = []
    for split in ("train", "val", "test"):
        rows += Path(f"data/emotion/{split}.txt").read_text(encoding="utf-8").splitlines()[1:]
    return [row.rsplit(";", 1)[0] for row in rows]


CORPUS = [t.capitalize() + "." for t in carer()[:6000]] + TEXTS


def special(*tokens, **flags):
    return [AddedToken(t, special=True, normalized=False, **flags) for t in tokens]


def train(tokenizer, size, special_tokens, alphabet=()):
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special_tokens), show_progress=False, initial_alphabet=list(alphabet),
        limit_alphabet=1000 if alphabet else 200))
    return json.loads(tokenizer.to_str())


def byte_level(regex=None, normalizer=None, size=900):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    if regex:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(regex), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    train(tokenizer, size, [], pre_tokenizers.ByteLevel.alphabet())
    return tokenizer


def gpt2():
    tokenizer = byte_level()
    tokenizer.add_special_tokens(special("<|endoftext|>"))
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=False)
    document = json.loads(tokenizer.to_str())
    document["model"]["unk_token"] = ""
    return document


def llama3():
    tokenizer = byte_level(LLAMA3)
    tokenizer.add_special_tokens(special("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"))
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(add_prefix_space=True, trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    document = json.loads(tokenizer.to_str())
    document["model"]["ignore_merges"] = True
    # A word that is a token although no merge makes it, as tiktoken's vocabularies have.
    document["model"]["merges"] = [m for m in document["model"]["merges"] if "".join(m) != "\u0120feeling"]
    return document


def qwen2():
    tokenizer = byte_level(QWEN2, normalizers.NFC())
    tokenizer.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False)
    return json.loads(tokenizer.to_str())


def gpt4o():
    tokenizer = byte_level(GPT4O)
    tokenizer.add_special_tokens(special("<|endoftext|>"))
    return json.loads(tokenizer.to_str())


def byte_fallback(tokenizer, first, size):
    """Trains, then puts the 256 byte tokens behind the special tokens `first`, as converted SentencePiece models."""
    document = train(tokenizer, size, first)
    tokens = sorted(document["model"]["vocab"], key=document["model"]["vocab"].get)[len(first):]
    document["model"]["vocab"] = {t: i for i, t in enumerate([*first, *BYTES, *tokens])}
    document["model"].update(byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    return document


def llama(add_prefix="normalizer"):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", prepend_scheme="first", split=True)  # to train with
    document = byte_fallback(tokenizer, ["<unk>", "<s>", "</s>"], 700)
    published = Tokenizer(models.BPE())
    strip = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    published.decoder = decoders.Sequence(strip)
    if add_prefix == "normalizer":
        published.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:
        published.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", prepend_scheme="first", split=False)
    shell = json.loads(published.to_str())
    for key in ("normalizer", "pre_tokenizer", "decoder"):
        document[key] = shell[key]
    document["post_processor"] = json.loads(processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]).__getstate__())
    return document


def gemma():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", prepend_scheme="never", split=True)  # to train with
    document = byte_fallback(tokenizer, ["<pad>", "<eos>", "<bos>", "<unk>"], 700)
    published = Tokenizer(models.BPE())
    published.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    published.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    shell = json.loads(published.to_str())
    document["pre_tokenizer"], document["decoder"] = shell["pre_tokenizer"], shell["decoder"]
    document["post_processor"] = json.loads(processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", 2)]).__getstate__())
    return document


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(),
                                                 normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace("\u2581", prepend_scheme="always")
    tokenizer.train_from_iterator(CORPUS, trainers.UnigramTrainer(
        vocab_size=600, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return json.loads(tokenizer.to_str())


def write_sentencepiece(kind):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=out, model_type=kind, vocab_size=700, byte_fallback=True,
        character_coverage=0.995, split_digits=True, allow_whitespace_only_pieces=True, max_sentence_length=100000,
        remove_extra_whitespaces=False, normalization_rule_name="identity", num_threads=1, minloglevel=2)
    (OUT / f"{kind}.model").write_bytes(out.getvalue())


def random_ids(rng, size):
    return [[rng.randrange(size + 3) for _ in range(rng.randrange(1, 12))] for _ in range(40)]


def both(decode, ids):
    return [decode(ids, False), decode(ids, True)]


def unicode_hashes():
    """Hash per block of 4096 code points, surrogates left out, of "A" + c + "e\u0301b"."""
    def pieces(**options):
        split = pre_tokenizers.Split(Regex(options["regex"]), "isolated") if "regex" in options else options["step"]
        return lambda text: "|".join(p for p, _ in split.pre_tokenize_str(text))

    steps = {
        "NFC": normalizers.NFC().normalize_str, "NFD": normalizers.NFD().normalize_str,
        "NFKC": normalizers.NFKC().normalize_str, "NFKD": normalizers.NFKD().normalize_str,
        "StripAccents": normalizers.StripAccents().normalize_str, "Nmt": normalizers.Nmt().normalize_str,
        "Lowercase": normalizers.Lowercase().normalize_str,
        "Digits": pieces(step=pre_tokenizers.Digits(individual_digits=True)),
        "Punctuation": pieces(step=pre_tokenizers.Punctuation()), "Whitespace": pieces(step=pre_tokenizers.Whitespace()),
        "llama3": pieces(regex=LLAMA3), "gpt4o": pieces(regex=GPT4O), "classes": pieces(regex=r"\w+|[^\S\n]|[\W\d]"),
    }
    out = {}
    for block in [*range(0, 0x20), 0x2F, 0x31, 0xE0, 0x10F]:
        for name, step in steps.items():
            sha = hashlib.sha256()
            for c in range(block << 12, (block + 1) << 12):
                if not 0xD800 <= c <= 0xDFFF:
                    sha.update(step("A" + chr(c) + "e\u0301b").encode() + b"\n")
            out.setdefault(name, {})[f"{block:02x}"] = sha.hexdigest()
    return out


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    families = {"gpt2": gpt2(), "llama3": llama3(), "qwen2": qwen2(), "gpt4o": gpt4o(), "llama": llama(),
                "mistral": llama("metaspace"), "gemma": gemma(), "unigram": unigram()}
    cases = {}
    for name, document in families.items():
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        (OUT / f"{name}.json").write_text(text, encoding="utf-8")
        tokenizer = Tokenizer.from_str(text)

        def decode(ids, skip):
            return tokenizer.decode(ids, skip_special_tokens=skip)

        encoded = [tokenizer.encode(t).ids for t in TEXTS]
        cases[name] = {
            "texts": [[t, ids, *both(decode, ids)] for t, ids in zip(TEXTS, encoded)],
            "ids": [[ids, *both(decode, ids)] for ids in random_ids(rng, tokenizer.get_vocab_size())],
        }
    models_dir = {kind: OUT / f"{kind}.model" for kind in ("bpe", "unigram")}
    for kind in models_dir:
        write_sentencepiece(kind)
    for kind, path in models_dir.items():
        sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
        cases["sentencepiece_" + kind] = {
            "texts": [[t, [sp.bos_id(), *sp.encode(t)], sp.decode(sp.encode(t))] for t in TEXTS],
            "ids": [[ids, sp.decode(ids)] for ids in random_ids(rng, sp.get_piece_size() - 6)
                    for ids in [[i + 3 for i in ids]]],
        }
    meta = {"generator": "scripts/golden/causal_tokenizers.py", "tokenizers": tokenizers.__version__,
            "sentencepiece": sentencepiece.__version__, "seed": 0}
    (OUT / "causal.json").write_text(json.dumps({"meta": meta, "cases": cases, "unicode": unicode_hashes()}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
