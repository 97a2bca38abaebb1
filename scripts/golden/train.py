#!/usr/bin/env python3
"""Golden values of the train room: optimisers, schedules, losses and three ten-step training curves of a tiny BERT.

Writes tests/golden/train/train.safetensors (tensors), train.json (numbers) and tiny_bert/ (a model folder).
"""

import json
import pathlib

import timm.models
import timm.optim
import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification
from transformers.optimization import get_scheduler

SEED = 20
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/train"
STEPS = 6
OPTIMIZERS = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-7),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-7),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.02, momentum=0.9),
}


def decay_groups(parameters, decay):
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def optimizers(tensors):
    weight, bias = torch.randn(5, 7), torch.randn(7)
    # Gradients of very different sizes, so that some steps are clipped and others are not.
    grads = [(torch.randn(5, 7) * s, torch.randn(7) * s) for s in (0.01, 3.0, 0.1, 0.5, 10.0, 0.05)]
    tensors["optimizer.weight"], tensors["optimizer.bias"] = weight, bias
    tensors["optimizer.weight_grads"] = torch.stack([g[0] for g in grads])
    tensors["optimizer.bias_grads"] = torch.stack([g[1] for g in grads])
    for name, make in OPTIMIZERS.items():
        w, b = torch.nn.Parameter(weight.clone()), torch.nn.Parameter(bias.clone())
        optimizer = make(decay_groups([w, b], 0.1))
        seen = []
        for gw, gb in grads:
            w.grad, b.grad = gw.clone(), gb.clone()
            torch.nn.utils.clip_grad_norm_([w, b], 1.0)
            optimizer.step()
            seen.append((w.detach().clone(), b.detach().clone()))
        tensors[f"{name}.weight"] = torch.stack([s[0] for s in seen])
        tensors[f"{name}.bias"] = torch.stack([s[1] for s in seen])


def schedules():
    result = {}
    for name, theirs in [("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=3, num_training_steps=20)
        factors = []
        for _ in range(20):
            factors.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        result[name] = factors
    return result


def losses(tensors):
    student, teacher = torch.randn(4, 6, requires_grad=True), torch.randn(4, 6)
    labels = torch.tensor([0, 5, 2, 2])
    smooth = torch.nn.functional.cross_entropy(student, labels, label_smoothing=0.1)
    (smooth_grad,) = torch.autograd.grad(smooth, student)
    t = 3.0
    kl = torch.nn.functional.kl_div(
        torch.log_softmax(student / t, -1), torch.softmax(teacher / t, -1), reduction="batchmean") * t * t
    (kl_grad,) = torch.autograd.grad(kl, student)
    tensors.update({
        "loss.student": student.detach(), "loss.teacher": teacher, "loss.labels": labels,
        "loss.smooth": smooth.detach(), "loss.smooth_grad": smooth_grad,
        "loss.kl": kl.detach(), "loss.kl_grad": kl_grad,
    })


def soft_labels(tensors):
    """Cross-entropy against shares of the classes, as mixup makes them, with label smoothing."""
    generator = torch.Generator().manual_seed(SEED + 1)
    logits = torch.randn(4, 6, generator=generator, requires_grad=True)
    shares = torch.softmax(2 * torch.randn(4, 6, generator=generator), -1)
    loss = torch.nn.functional.cross_entropy(logits, shares, label_smoothing=0.1)
    (grad,) = torch.autograd.grad(loss, logits)
    tensors.update({"soft.logits": logits.detach(), "soft.shares": shares, "soft.loss": loss.detach(), "soft.grad": grad})


def layer_scales():
    """What timm multiplies the learning rate of each parameter of a ViT with, by our names."""
    model = timm.models.VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=3, num_heads=2, num_classes=3)
    ours = {"cls_token": "embeddings.cls", "pos_embed": "embeddings.positions",
            "patch_embed.proj.weight": "embeddings.patches.weight", "blocks.0.mlp.fc1.weight": "layers.0.ffn.w1",
            "blocks.1.norm1.weight": "layers.1.attention_norm.weight", "blocks.2.mlp.fc2.bias": "layers.2.ffn.b2",
            "norm.weight": "norm.weight", "head.weight": "head.0.weight"}
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = timm.optim.param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.75)
    scales = {names[p]: group["lr_scale"] for group in groups for p in group["params"]}
    return {our: scales[their] for their, our in ours.items()}


def square_hoyer(a):
    return (a.abs().sum(-1).square() / (a.square().sum(-1) + 1e-15)).mean()


def hidden_states(model, mask):
    """A list that each forward pass of the model fills with what enters its feed-forward networks, real tokens only."""
    seen = []
    for layer in model.bert.encoder.layer:
        layer.attention.register_forward_hook(lambda m, i, out: seen.append(out[0][mask.bool()]))
    return seen


def distillation(logits, target, features, target_features):
    """KL of the classes at temperature 2, and the relative squared distance of the hidden states."""
    kl = torch.nn.functional.kl_div(
        torch.log_softmax(logits / 2, -1), torch.softmax(target / 2, -1), reduction="batchmean") * 4
    distances = [((s - t).square().sum(-1) / t.square().sum(-1)).mean() for s, t in zip(features, target_features)]
    return kl, torch.stack(distances).mean()


def curve(model, ids, mask, labels, alpha, teacher=None):
    """Ten full-batch steps: AdamW, clipping at 1, linear decay after two steps of warm-up; total and task loss.

    With a teacher the loss is 0.3 * task + 0.7 * KL + 0.4 * distance of the hidden states + alpha * penalty.
    """
    model.train()
    if teacher:
        features, target_features = hidden_states(model, mask), hidden_states(teacher.eval(), mask)
        with torch.no_grad():
            target = teacher(input_ids=ids, attention_mask=mask).logits
    optimizer = torch.optim.AdamW(decay_groups(list(model.parameters()), 0.01), lr=2e-3)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=2, num_training_steps=10)
    seen = []
    hooks = [layer.intermediate.register_forward_hook(lambda m, i, out: seen.append(out))
             for layer in model.bert.encoder.layer]
    points = []
    for _ in range(10):
        seen.clear()
        if teacher:
            features.clear()
        output = model(input_ids=ids, attention_mask=mask, labels=labels)
        task = output.loss
        penalty = torch.stack([square_hoyer(a[mask.bool()]) for a in seen]).mean()
        loss = task + alpha * penalty
        more = {}
        if teacher:
            kl, distance = distillation(output.logits, target, features, target_features)
            loss = 0.3 * task + 0.7 * kl + 0.4 * distance + alpha * penalty
            more = {"distillation": kl.item(), "features": distance.item()}
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        points.append({"loss": loss.item(), "task_loss": task.item(), "penalty": penalty.item(),
                       "grad_norm": norm.item(), **more})
    for hook in hooks:
        hook.remove()
    return points


def curves(tensors):
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=32, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        initializer_range=0.15)
    model = BertForSequenceClassification(config)
    model.save_pretrained(OUT / "tiny_bert")
    lengths = [3, 4, 4, 7, 9, 12, 12, 16]
    ids = torch.randint(5, 60, (8, 16))
    mask = (torch.arange(16)[None] < torch.tensor(lengths)[:, None]).long()
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 1, 0])
    tensors.update({"curve.ids": ids * mask, "curve.lengths": torch.tensor(lengths), "curve.labels": labels})
    result = {"gelu": curve(model, ids * mask, mask, labels, 0.0)}
    config.hidden_act = "relu"
    relu = BertForSequenceClassification.from_pretrained(OUT / "tiny_bert", config=config)
    result["relu_square_hoyer"] = curve(relu, ids * mask, mask, labels, 0.05)
    student = BertForSequenceClassification.from_pretrained(OUT / "tiny_bert", config=config)
    teacher = BertForSequenceClassification.from_pretrained(OUT / "tiny_bert")
    result["relu_distilled"] = curve(student, ids * mask, mask, labels, 0.05, teacher)
    return result


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    tensors = {}
    optimizers(tensors)
    losses(tensors)
    soft_labels(tensors)
    about = {"torch": torch.__version__, "transformers": transformers.__version__, "timm": timm.__version__,
             "seed": str(SEED)}
    numbers = {"about": about, "schedules": schedules(), "curves": curves(tensors), "layer_scales": layer_scales()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, OUT / "train.safetensors", metadata=about)
    (OUT / "train.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
