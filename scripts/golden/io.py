"""Golden files of the room io: safetensors of every dtype, a sharded folder, TensorBoard's checksums.

Usage: python scripts/golden/io.py [tests/golden/io]
"""

import json
import struct
import sys
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c, masked_crc32c

SEED = 7


def ramp(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """Values that every dtype holds exactly: element i is i mod 7, and minus that for odd i of a signed dtype."""
    count = int(torch.tensor(shape).prod()) if shape else 1
    index = torch.arange(count)
    value = index % 7
    if dtype == torch.bool:
        value = value % 2
    elif dtype.is_signed:
        value = torch.where(index % 2 == 1, -value, value)
    return value.to(torch.float32).to(dtype).reshape(shape)


DTYPES = {
    "bool": torch.bool, "u8": torch.uint8, "i8": torch.int8, "i16": torch.int16, "u16": torch.uint16,
    "f16": torch.float16, "bf16": torch.bfloat16, "i32": torch.int32, "u32": torch.uint32, "f32": torch.float32,
    "f64": torch.float64, "i64": torch.int64, "u64": torch.uint64, "f8_e4m3": torch.float8_e4m3fn,
    "f8_e5m2": torch.float8_e5m2,
}


def write_all_dtypes(out: Path) -> None:
    tensors = {}
    for name, dtype in DTYPES.items():
        tensors[f"{name}.matrix"] = ramp(dtype, (3, 5))
        tensors[f"{name}.scalar"] = ramp(dtype, ())
        tensors[f"{name}.empty"] = ramp(dtype, (0, 4))
    metadata = {"format": "pt", "seed": str(SEED), "torch": torch.__version__, "safetensors": safetensors.__version__,
                "text": "zwölf \"Boxkämpfer\"\n日本 🙂"}
    save_file(tensors, out / "dtypes.safetensors", metadata)


def write_unaligned(out: Path) -> None:
    """A valid file whose data begins at an odd byte, so that no float in it is aligned."""
    values = torch.arange(6, dtype=torch.float32) - 2.5
    header = {"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
              "b": {"dtype": "F32", "shape": [2, 3], "data_offsets": [3, 27]}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * ((1 - len(text)) % 2)  # an odd length
    data = bytes([1, 2, 3]) + struct.pack("<6f", *values.tolist())
    (out / "unaligned.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_sharded(out: Path) -> None:
    folder = out / "sharded"
    folder.mkdir(exist_ok=True)
    shards = {"model-00001-of-00002.safetensors": {"encoder.a": ramp(torch.float32, (2, 3))},
              "model-00002-of-00002.safetensors": {"encoder.b": ramp(torch.bfloat16, (4,)),
                                                   "head.weight": ramp(torch.float16, (2, 2))}}
    weight_map = {}
    total = 0
    for file, tensors in shards.items():
        save_file(tensors, folder / file, {"format": "pt"})
        for name, tensor in tensors.items():
            weight_map[name] = file
            total += tensor.numel() * tensor.element_size()
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 3}, indent=2) + "\n")


def write_checksums(out: Path) -> None:
    texts = ["", "a", "123456789", "\0" * 32, "brain.Event:2", "x" * 1000]
    rows = [{"text": t, "crc32c": crc32c(t.encode()), "masked": masked_crc32c(t.encode())} for t in texts]
    import tensorboard

    content = {"generator": f"tensorboard {tensorboard.__version__}", "rows": rows}
    (out / "crc32c.json").write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/io")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    write_all_dtypes(out)
    write_unaligned(out)
    write_sharded(out)
    write_checksums(out)


if __name__ == "__main__":
    main()
