#!/usr/bin/env python3
"""Goldens for tests/tokenizer, from the `tokenizers` library.

    scripts/golden/tokenizer.py MINILM_FOLDER [SHARED_DATA_FOLDER]

Writes tests/golden/tokenizer: two small tokenizers (WordPiece with a part of MiniLM's vocabulary; byte-level BPE
trained on CARER), cases.json (hard texts, pairs, truncations and their ids), unicode.json (hashes of what the
normalizer and the pre-tokenizers do with single code points) and corpora.json (hashes of the ids of whole corpora).
"""

import hashlib
import json
import random
import struct
import sys
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

OUT = Path("tests/golden/tokenizer")
ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]

TEXTS = [
    "", " ", "   \t\n ", "hello", "Hello, World!", "i'm sure they're here; we'll've done it, don't you'd?",
    "caf\u00e9 Cafe\u0301 CAF\u00c9 na\u00efve \u00c5ngstr\u00f6m a\u0328\u0301 q\u0307\u0323",
    "\u0130stanbul I\u0307 \u0131\u015f\u0131k DIYARBAKIR", "stra\u00dfe STRASSE \u1e9e \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u039f\u0394\u039f\u03a3",
    "\ufb01ne \ufb02ag o\ufb03ce \u01c5 \u01c4 \u0132 \u2160\u2161 \u2126 \u212b \u24b6", "\uff21\uff22\uff43 \uff11\uff12 \uff76\uff9e\uff8a\uff9f \u30ac\u30d1 \u304b\u3099",
    "\u4e2d\u6587\u5b57 mixed \u4e2d\u6587with latin\u3002 \u65e5\u672c\u8a9e\u30c6\u30b9\u30c8 \uf900 \U00020000\U0002f800",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab \u1100\u1161 \uac00\u11a8", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u0645\u064e\u0631\u0652\u062d\u064e\u0628\u0627 \u202eabc\u202c \u200fx",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0ba8\u0bbf \u1e69",
    "\U0001f600\U0001f914 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f \u263a",
    "soft\u00adhyphen zero\u200bwidth non\u200cjoin\u200der \ufeffbom wo\u2060rd", "a\x00b\x01c\x1fd\x7fe\x80f\x9fg \ufffd \ue000 \U000e0001",
    "nbsp\u00a0thin\u2009ideo\u3000line\u2028para\u2029nel\u0085vt\x0bff\x0ctab\tcr\r\nend",
    "x" * 99, "x" * 100, "x" * 101, "\u00e9" * 100, "\u00e9" * 101, "e\u0301" * 60, "w" * 5000, "ab " * 400,
    "$5.00 + 3 = 8? ~100% #tag @user a_b a-b a/b <x> {y} [z] ^^ `q` | \\ \u00a7 \u00b1 \u20ac \u2026 \u2014 \u00ab\u00bb \u201cq\u201d",
    "1234567890 3.14 1,000 2nd \u00b2 \u00bd \u0663\u0664 \u2167 12ab34", "http://www.example.com/?q=1&b=%20 me@x.org",
    "[CLS] a [SEP] b [MASK] [PAD] [UNK] [cls] [MASK]x x[MASK] [MA SK] [[MASK]]",
    "<s> a </s> b <mask> c <pad> <unk> <MASK> <mask>x   <mask>   y <<mask>>", "##ing ing## # ##", "[unused1] [unused",
    "  two  spaces   three    four \n\n new \n lines\t\ttabs  ", " 's 't 're 'S 'LL '' ' 'x", "a\u0300\u0301\u0302\u0303\u0304\u0305b \u0344 \u0958",
    "i didnt feel humiliated", "im feeling rather rotten so im not very ambitious right now",
    "unbelievableness antidisestablishmentarianism feelings feelingless",
    "\u0600\u0601 \u06dd \u070f \u0890 \u08e2 \U000110cd \u180e \u1734 \u166d", "\u1fb3 \u1fbc \u0345 \u0390 \ufb1d \ufb2a", "\U0001d400\U0001d538 \U0001d15e \U0001d7ce",
]


def reduced_vocabulary(minilm):
    """Special tokens, single characters and the most useful words of MiniLM's vocab.txt, in its order."""
    all_tokens = (minilm / "vocab.txt").read_text(encoding="utf-8").splitlines()
    full = load(minilm / "tokenizer.json")
    wanted = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"}
    wanted |= {t for t in all_tokens if len(t.removeprefix("##")) == 1}
    wanted |= {t for t in all_tokens if t.startswith("##") and len(t) <= 5 and t[2:].isascii()}
    counts = {}
    for text in carer() + TEXTS:
        for token in full.encode(text).tokens:
            counts[token] = counts.get(token, 0) + 1
    wanted |= set(sorted(counts, key=lambda t: (-counts[t], t))[:2500])
    return [t for t in all_tokens if t in wanted]


def load(path):
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def carer():
    rows = []
    for split in ("train", "val", "test"):
        rows += Path(f"data/emotion/{split}.txt").read_text(encoding="utf-8").splitlines()[1:]
    return [row.rsplit(";", 1)[0] for row in rows]


def sst2(folder):
    rows = []
    for split in ("train_full", "dev", "test-labeled"):
        rows += [r for r in (folder / f"{split}.tsv").read_text(encoding="utf-8").split("\n")[1:] if r]
    return [row.rsplit("\t", 1)[0] for row in rows]


def write_wordpiece(minilm):
    folder = OUT / "wordpiece"
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = reduced_vocabulary(minilm)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    document = json.loads((minilm / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {t: i for i, t in enumerate(vocabulary)}
    document["truncation"] = document["padding"] = None
    document["model"]["vocab"] = ids
    for token in document["added_tokens"]:
        token["id"] = ids[token["content"]]
    for token in document["post_processor"]["special_tokens"].values():
        token["ids"] = [ids[t] for t in token["tokens"]]
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return load(folder / "tokenizer.json")


def roberta(model, add_prefix_space):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False, lstrip=t == "<mask>") for t in ROBERTA_SPECIAL])
    cls, sep = ("<s>", tokenizer.token_to_id("<s>")), ("</s>", tokenizer.token_to_id("</s>"))
    tokenizer.post_processor = processors.RobertaProcessing(sep, cls, add_prefix_space=add_prefix_space)
    return tokenizer


def write_byte_level():
    folder = OUT / "byte_level"
    folder.mkdir(parents=True, exist_ok=True)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.train_from_iterator(carer(), trainers.BpeTrainer(
        vocab_size=2000, special_tokens=ROBERTA_SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    trained.model.save(str(folder))
    model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = roberta(model, False)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    return tokenizer


def case(name, tokenizer, text, pair=None, max_length=0):
    if max_length:
        tokenizer.enable_truncation(max_length)
    encoding = tokenizer.encode(text, pair) if pair is not None else tokenizer.encode(text)
    tokenizer.no_truncation()
    return [name, text, pair, max_length, encoding.ids, encoding.type_ids]


def cases(all_tokenizers):
    rng = random.Random(0)
    out = []
    for name, tokenizer in all_tokenizers.items():
        out += [case(name, tokenizer, text) for text in TEXTS]
        if name not in ("wordpiece", "byte_level"):
            continue
        special = tokenizer.num_special_tokens_to_add(False), tokenizer.num_special_tokens_to_add(True)
        short = [t for t in TEXTS if len(t) < 300]
        for length in list(range(special[0], 16)) + [20, 31, 64, 128]:
            out += [case(name, tokenizer, text, None, length) for text in rng.sample(short, 4)]
        for length in [0] + list(range(special[1], 20)) + [25, 40, 64]:
            for _ in range(4):
                out.append(case(name, tokenizer, rng.choice(short), rng.choice(short), length))
    return out


def ids_hash(tokenizer, texts):
    sha = hashlib.sha256()
    for encoding in tokenizer.encode_batch(texts):
        sha.update(struct.pack(f"<{len(encoding.ids) + 1}i", *encoding.ids, -1))
    return sha.hexdigest()


def unicode_hashes():
    """Hash per block of 4096 code points, surrogates left out, of "A" + c + "e\u0301b"."""
    bert = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    cased = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=False)
    words, byte_level = pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False)
    steps = {
        "lowercase": bert.normalize_str,
        "strip_accents": cased.normalize_str,
        "bert_words": lambda text: "|".join(p for p, _ in words.pre_tokenize_str(text)),
        "byte_level": lambda text: "|".join(p for p, _ in byte_level.pre_tokenize_str(text)),
    }
    out = {}
    for block in list(range(0, 0x10)) + [0x1D, 0x1F, 0x2F]:
        for name, step in steps.items():
            sha = hashlib.sha256()
            for c in range(block << 12, (block + 1) << 12):
                if not 0xD800 <= c <= 0xDFFF:
                    sha.update(step("A" + chr(c) + "e\u0301b").encode() + b"\n")
            out.setdefault(name, {})[f"{block:02x}"] = sha.hexdigest()
    return out


def write(name, content):
    meta = {"generator": "scripts/golden/tokenizer.py", "tokenizers": tokenizers.__version__, "seed": 0}
    (OUT / name).write_text(json.dumps({"meta": meta, **content}, separators=(",", ":")) + "\n")


def main():
    minilm = Path(sys.argv[1])
    shared = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    wordpiece, byte_level = write_wordpiece(minilm), write_byte_level()

    def variant(**options):
        tokenizer = load(OUT / "wordpiece/tokenizer.json")
        tokenizer.normalizer = normalizers.BertNormalizer(**options)
        return tokenizer

    model = models.BPE.from_file(str(OUT / "byte_level/vocab.json"), str(OUT / "byte_level/merges.txt"))
    write("cases.json", {"cases": cases({
        "wordpiece": wordpiece,
        "wordpiece_cased": variant(lowercase=False),
        "wordpiece_cased_stripped": variant(lowercase=False, strip_accents=True),
        "wordpiece_accents_kept": variant(lowercase=True, strip_accents=False),
        "wordpiece_no_chinese": variant(handle_chinese_chars=False),
        "byte_level": byte_level,
        "byte_level_prefix": roberta(model, True),
    })})
    write("unicode.json", unicode_hashes())
    corpora = {"minilm": {"carer": ids_hash(load(minilm / "tokenizer.json"), carer())},
               "byte_level": {"carer": ids_hash(byte_level, carer())}}
    if shared:
        corpora["minilm"]["sst2"] = ids_hash(load(minilm / "tokenizer.json"), sst2(shared / "sst2"))
        vocab = json.loads((shared / "tokenizers/gpt2_vocab.json").read_text(encoding="utf-8"))
        gpt2 = roberta_from_gpt2(vocab, shared / "tokenizers/gpt2_merges.txt")
        corpora["gpt2"] = {"carer": ids_hash(gpt2, carer()), "sst2": ids_hash(gpt2, sst2(shared / "sst2"))}
    write("corpora.json", corpora)


def roberta_from_gpt2(vocab, merges_file):
    """GPT-2's vocabulary, its <|endoftext|> as <s> and </s> at once."""
    lines = merges_file.read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    end = ("<|endoftext|>", vocab["<|endoftext|>"])
    tokenizer.post_processor = processors.RobertaProcessing(end, end, add_prefix_space=False)
    return tokenizer


if __name__ == "__main__":
    main()
