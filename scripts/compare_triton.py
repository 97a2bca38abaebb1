#!/usr/bin/env python3
"""Times the routed layer of d2dmoe against the Triton kernels of the method's authors, on the same masks.

Their repository (github.com/bartwojcik/D2DMoE) is named by --authors; from it come the kernels
(architectures/moe/moe_impls.py) and, of utils.py, the functions they call. The lists of rows, which their layer
makes by sorting at every call, are made here as it makes them (moe_layers.py, forward_triton_atomic and
forward_triton). --bench names d2dmoe_bench_cuda_expert_mlp of a CUDA build. Both are given one random mask per
share, in a file. Each of their kernels is tuned by their own lists of configurations, compiled in parallel first.

Their tuner keeps one choice for a number of rows: the first share decides for all. Prints JSON: medians in
milliseconds, and their time (triton.testing.do_bench, one call after a flush of the caches) over ours (one call and
the wait for it); d2dmoe_ms is a call within a CUDA graph.
"""
import argparse
import ast
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HELPERS = ["config_grid", "relu", "leaky_relu", "tanh", "gelu", "row_major", "grouped", "column_major"]


def load_kernels(authors):
    """The authors' kernels as a module, without what the rest of their utils.py imports."""
    source = (authors / "utils.py").read_text()
    lines = source.splitlines()
    parts = ["import math", "from itertools import product", "import triton", "from triton import language as tl"]
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name in HELPERS:
            first = min([node.lineno] + [d.lineno for d in node.decorator_list])
            parts.append("\n".join(lines[first - 1 : node.end_lineno]))
    folder = Path(tempfile.gettempdir()) / "d2dmoe_compare_triton"
    folder.mkdir(exist_ok=True)
    text = "\n\n\n".join(parts) + "\n"
    # A fixed place: the compiler's cache is keyed by what the kernels' files say.
    if not (folder / "utils.py").exists() or (folder / "utils.py").read_text() != text:
        (folder / "utils.py").write_text(text)
    sys.path.insert(0, str(folder))
    import importlib.util

    spec = importlib.util.spec_from_file_location("moe_impls", authors / "architectures/moe/moe_impls.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kernel_calls(m, rows, d, experts, size):
    """Every tuned kernel of theirs with the arguments of one call; pointers as None."""
    sort = [None, experts, 1]
    return {
        "moe_first_kernel": [None, d, 1, None, d * size, size, 1, None, size, 1, None, rows * size, size, 1, *sort,
                             "counts", rows, d, size],
        "moe_second_kernel_atomic": [None, rows * size, size, 1, None, size * d, d, 1, None, d, 1, *sort, "counts",
                                     rows, size, d],
        "moe_second_kernel": [None, rows * size, size, 1, None, size * d, d, 1, None, rows * d, d, 1, "counts",
                              rows, size, d],
    }


def compile_some(task):
    """Compiles configurations first, first + step, ... of a kernel into Triton's cache."""
    authors, name, dtype, shape, first, step = task
    import torch

    m = load_kernels(Path(authors))
    kernel = getattr(m, name)
    args = kernel_calls(m, *shape)[name]
    # int64 rows' indices (argsort), int64 counts (sum of int32).
    typed, pointers = [], 0
    for i, v in enumerate(args):
        if v == "counts":
            typed.append(torch.int64)
        elif v is None:
            is_index = i + 1 < len(args) and args[i + 1] == shape[2] and args[i + 2] == 1 and pointers >= 3
            typed.append(torch.int64 if is_index else getattr(torch, dtype))
            pointers += 1
        else:
            typed.append(v)
    done = 0
    for config in kernel.configs[first::step]:
        extra = {"ACTIVATION": "relu"} if name == "moe_first_kernel" else {}
        try:
            kernel.fn.warmup(*typed, grid=(1,), NUM_EXPERTS=shape[2], **extra, **config.all_kwargs())
            done += 1
        except Exception:  # a configuration that does not fit is left to their tuner
            pass
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", type=Path, required=True, help="checkout of their repository")
    parser.add_argument("--bench", type=Path, required=True, help="d2dmoe_bench_cuda_expert_mlp")
    parser.add_argument("--rows", type=int, default=256 * 197, help="token rows (theirs: 256 images of 197)")
    parser.add_argument("--share", type=float, nargs="+", default=[0.1, 0.2, 0.4])
    parser.add_argument("--dtype", default="float16", choices=["float16", "bfloat16", "float32"])
    parser.add_argument("--modes", nargs="+", default=["triton_atomic", "triton"])
    parser.add_argument("--every", type=int, default=1, help="tune among every so manieth of their configurations")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    d, experts, size = 768, 24, 128
    shape = (args.rows, d, experts, size)
    m = load_kernels(args.authors)
    names = ["moe_first_kernel"]
    names += ["moe_second_kernel_atomic"] if "triton_atomic" in args.modes else []
    names += ["moe_second_kernel"] if "triton" in args.modes else []
    for name in names:
        kernel = getattr(m, name)
        kernel.configs = kernel.configs[:: args.every]
    workers = min(16, len(os.sched_getaffinity(0)))  # each takes memory of the GPU
    tasks = [(str(args.authors), name, args.dtype, shape, i * args.every, workers * args.every)
             for name in names for i in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        compiled = sum(pool.map(compile_some, tasks, chunksize=1))
    if compiled == 0:
        raise SystemExit("no configuration of their kernels could be compiled")
    print(f"{compiled} configurations compiled", file=sys.stderr, flush=True)

    import torch
    from triton.testing import do_bench

    dtype = getattr(torch, args.dtype)
    generator = torch.Generator().manual_seed(args.seed)

    def draw(*sizes, scale=1.0):
        return (torch.randn(*sizes, generator=generator) * scale).to("cuda", dtype)

    x = draw(args.rows, d)
    w1, b1 = draw(experts, d, size, scale=d**-0.5), draw(experts, size)
    w2 = draw(experts, size, d, scale=(experts * size) ** -0.5)

    def theirs(mode, routing):
        chosen = routing.to(torch.int32)
        order, counts = chosen.argsort(dim=0, descending=True), chosen.sum(dim=0)
        h = m.MoeFirstLayerImplementation.apply(x, w1, b1, order, counts, "relu")
        if mode == "triton_atomic":
            return m.MoeSecondLayerAtomicImplementation.apply(h, w2, order, counts)
        return m.MoeSecondLayerMergingImplementation.apply(h, w2, order.argsort(dim=0), counts, routing)

    def wanted(routing):
        h = torch.relu(torch.einsum("nd,edo->neo", x[:512].float(), w1.float()) + b1.float())
        return torch.einsum("neo,eod,ne->nd", h, w2.float(), routing[:512].float())

    points = []
    with torch.inference_mode():
        for share in args.share:
            mask = torch.rand(args.rows, experts, generator=generator) < share
            routing = mask.to("cuda", dtype)
            point = {"share": mask.float().mean().item(), "rows": args.rows}
            for mode in args.modes:
                theirs(mode, routing)  # their tuner runs
                got = theirs(mode, routing)[:512].float()
                error = ((got - wanted(routing)).norm() / wanted(routing).norm()).item()
                if not error < 0.01:
                    raise SystemExit(f"{mode}: relative error {error}: not what the layer should give")
                point[mode + "_ms"] = do_bench(lambda: theirs(mode, routing), warmup=50, rep=300, return_mode="median")
            with tempfile.NamedTemporaryFile(suffix=".mask") as file:
                file.write(mask.to(torch.uint8).numpy().tobytes())
                file.flush()
                out = subprocess.run([args.bench, "--layer", "24x128", "--rows", str(args.rows), "--dtype", args.dtype,
                                      "--mask", file.name, "--without-b2", "--runs", "20", "--seconds", "0.5"],
                                     check=True, stdout=subprocess.PIPE).stdout
            ours = json.loads(out)["points"][0]
            point["dense_ms"] = ours["dense_cublas"]["median_ms"]
            point["d2dmoe_ms"] = ours["routed"]["median_ms"]
            point["d2dmoe_one_call_ms"] = ours["routed_one_call"]["median_ms"]
            for mode in args.modes:
                point[mode + "_over_d2dmoe"] = point[mode + "_ms"] / point["d2dmoe_one_call_ms"]
            points.append(point)
            print(json.dumps(point), file=sys.stderr, flush=True)
    tuned = {name: str(getattr(m, name).best_config) for name in names}
    print(json.dumps({"device": torch.cuda.get_device_name(), "dtype": args.dtype, "d_model": d, "experts": experts,
                      "expert_size": size, "tuned": tuned, "points": points}, indent=2))


if __name__ == "__main__":
    main()
