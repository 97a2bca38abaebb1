#!/usr/bin/env python3
"""Golden values for tests/eval and tests/data: what transformers makes of the real stories260k.

    scripts/golden/language.py [--model data/stories260k] [--out tests/golden/language.json]

- greedy continuations of ragged prompts (one batch, left-padded), with and without a repetition penalty;
- the distribution of the next token under temperature, top-k, top-p and repetition penalty;
- summed losses of running text in windows, each token counted in the first window that predicts it;
- log-likelihoods of answers behind their contexts, as lm-evaluation-harness defines them (context and answer tokenised
  together, the context's trailing space moved to the answer; loss over the answer's tokens).
Everything is float32 on the CPU. Versions stand in the file.
"""

import argparse
import json
import pathlib

import sentencepiece
import torch
import transformers
from transformers import AutoModelForCausalLM, LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

PROMPTS = ["Once upon a time", "Lily and her mom", "The big red ball", "One day, Tim went to the park. He saw a", "A"]
TEXT = ("Once upon a time, there was a little dog named Max. Max liked to run in the park. One day he saw a big cat. "
        "The cat was not nice. Max said, \"Do you want to play?\" The cat said no. Max was sad and went home to his mom. ") * 3
QUESTIONS = [
    {"context": "Lily was very thirsty, so she wanted to drink some", "answers": ["water", "stones", "a big red car"], "right": 0},
    {"context": "It was night. Tom was tired and went to ", "answers": ["bed", "the moon and the sun and the sky"], "right": 0},
    {"context": "The cat said", "answers": ["\"Meow!\"", "\"Woof!\"", "nothing", "the the the"], "right": 0},
    {"context": "", "answers": ["Once upon a time there was a girl", "Time a upon once"], "right": 0},
]


def greedy(model, sp, penalty):
    ids = [[sp.bos_id()] + sp.encode(p) for p in PROMPTS]
    width = max(map(len, ids))
    padded = torch.tensor([[0] * (width - len(i)) + i for i in ids])
    mask = torch.tensor([[0] * (width - len(i)) + [1] * len(i) for i in ids])
    # The penalty of a padded batch would see the padding token: one prompt at a time then.
    if penalty == 1:
        out = model.generate(padded, attention_mask=mask, max_new_tokens=60, do_sample=False, pad_token_id=0, eos_token_id=None)
        return [row[width:].tolist() for row in out]
    return [model.generate(torch.tensor([i]), max_new_tokens=60, do_sample=False, repetition_penalty=penalty, pad_token_id=0,
                           eos_token_id=None)[0, len(i):].tolist() for i in ids]


def distributions(model, sp):
    ids = torch.tensor([[sp.bos_id()] + sp.encode(PROMPTS[3])])
    logits = model(ids).logits[0, -1:]
    cases = []
    for temperature, top_k, top_p, penalty in [(1.0, 0, 1.0, 1.0), (0.7, 0, 1.0, 1.0), (1.0, 5, 1.0, 1.0), (1.3, 0, 0.9, 1.0),
                                               (0.8, 40, 0.5, 1.2), (1.0, 0, 0.01, 1.0)]:
        chain = LogitsProcessorList()
        if penalty != 1:
            chain.append(RepetitionPenaltyLogitsProcessor(penalty))
        chain.append(TemperatureLogitsWarper(temperature))
        if top_k:
            chain.append(TopKLogitsWarper(top_k))
        if top_p < 1:
            chain.append(TopPLogitsWarper(top_p))
        cases.append(dict(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty,
                          probabilities=chain(ids, logits.clone()).softmax(-1)[0].tolist()))
    return dict(prompt=PROMPTS[3], ids=ids[0].tolist(), logits=logits[0].tolist(), cases=cases)


def losses(model, ids):
    logits = model(torch.tensor([ids[:-1]])).logits[0].double()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")


def windows(model, sp):
    ids = [sp.bos_id()] + sp.encode(TEXT.strip())
    cases = []
    for length, stride in [(64, 64), (64, 16), (100, 37), (len(ids) + 5, 7)]:
        total, counted, done = 0.0, 0, 1  # ids before `done` are counted
        for start in range(0, len(ids), stride):
            part = ids[start : start + length + 1]
            if len(part) < 2 or done >= len(ids):
                break
            new = losses(model, part)[done - start - 1 :]
            total, counted, done = total + new.sum().item(), counted + len(new), done + len(new)
        cases.append(dict(length=length, stride=stride, loss=total, tokens=counted))
    return dict(text=TEXT.strip(), tokens=len(ids), cases=cases)


def choices(model, sp, shots=""):
    out = []
    for question in QUESTIONS:
        scores = []
        for answer in question["answers"]:
            context, continuation = question["context"], " " + answer
            spaces = len(context) - len(context.rstrip())
            if spaces:
                context, continuation = context[:-spaces], context[-spaces:] + continuation
            before = [sp.bos_id()] + sp.encode(context)
            whole = [sp.bos_id()] + sp.encode(context + continuation)
            scores.append(-losses(model, whole)[len(before) - 1 :].sum().item())
        out.append(question | dict(scores=scores))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default="data/stories260k")
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden/language.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sp = sentencepiece.SentencePieceProcessor(model_file=str(arguments.model / "tokenizer.model"))
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    with torch.no_grad():
        result = dict(versions=dict(torch=torch.__version__, transformers=transformers.__version__,
                                    sentencepiece=sentencepiece.__version__),
                      prompts=PROMPTS, greedy=greedy(model, sp, 1), penalised=greedy(model, sp, 1.3),
                      sampling=distributions(model, sp), windows=windows(model, sp), choices=choices(model, sp))
    arguments.out.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
