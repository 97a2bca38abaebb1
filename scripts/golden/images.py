#!/usr/bin/env python3
"""Golden values for the images of tests/data: files of every colour kind, what Pillow makes of them, how Pillow resizes
them, and what the image processors of transformers give.

    scripts/golden/images.py [--out tests/golden/images]

Writes the image files (drawn from a seed, no photographs), processors.json (a list of {"name", "file", "channels",
"config"}) and golden.safetensors: "<file>.rgb" [H, W, 3] and "<file>.grey" [H, W, 1] from convert("RGB") and
convert("L"), "<file>.<height>x<width>.<filter>" from resize, "processor.<name>" [C, H, W] float32. Versions and seed
stand in the metadata.
"""

import argparse
import io
import json
import pathlib
import struct
import zlib

import numpy as np
import PIL
import PIL.features
import safetensors.torch
import torch
import transformers
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

SEED = 20240611
PROCESSORS = {"ViT": ViTImageProcessorPil, "DeiT": DeiTImageProcessorPil, "CLIP": CLIPImageProcessorPil}


def picture(rng, height, width, channels):
    """Waves with noise: smooth parts, edges and saturated pixels."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (3 + k)) * 90 + np.cos(y / (2 + 2 * k)) * 70 + 128 for k in range(channels)]
    noisy = np.stack(waves, -1) + rng.normal(0, 25, (height, width, channels))
    return noisy.clip(0, 255).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, extra=b"", interlaced=False):
    """A PNG from raw rows (bytes, unfiltered) or, interlaced, from the rows of its seven passes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def adam7(pixels):
    """The rows of the passes of [H, W, C] uint8 pixels."""
    for y0, x0, dy, dx in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)):
        part = pixels[y0::dy, x0::dx]
        if part.size:
            yield from (row.tobytes() for row in part)


def big_endian(values):
    return [row.astype(">u2").tobytes() for row in values]


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "jpeg", **options)
    return out.getvalue()


def adobe_marker(data):
    start = data.index(b"\xff\xee")
    return start, start + 2 + struct.unpack(">H", data[start + 2 : start + 4])[0]


def files(rng):
    rgb = Image.fromarray(picture(rng, 29, 37, 3))
    yield "rgb.jpg", jpeg(rgb, quality=90)
    yield "rgb_444.jpg", jpeg(rgb, quality=70, subsampling=0)
    yield "rgb_422.jpg", jpeg(rgb, quality=70, subsampling=1)
    yield "progressive.jpg", jpeg(rgb, quality=80, progressive=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    yield "rotated.jpg", jpeg(rgb, quality=80, exif=exif)
    yield "grey.jpg", jpeg(Image.fromarray(picture(rng, 23, 17, 1)[..., 0]), quality=85)
    cmyk = jpeg(Image.fromarray(picture(rng, 16, 21, 4), "CMYK"), quality=90)
    yield "cmyk.jpg", cmyk
    start, end = adobe_marker(cmyk)
    yield "cmyk_plain.jpg", cmyk[:start] + cmyk[end:]
    yield "ycck.jpg", cmyk[: end - 1] + b"\x02" + cmyk[end:]  # the marker's last byte is the colour transform
    yield "rgb.png", png(37, 29, 8, 2, [r.tobytes() for r in np.asarray(rgb)])
    rgba = picture(rng, 19, 13, 4)
    yield "rgba.png", png(13, 19, 8, 6, [r.tobytes() for r in rgba])
    yield "interlaced.png", png(13, 19, 8, 6, adam7(rgba), interlaced=True)
    yield "grey_alpha.png", png(13, 19, 8, 4, [r.tobytes() for r in rgba[..., :2]])
    yield "rgb_transparent.png", png(13, 19, 8, 2, [r.tobytes() for r in rgba[..., :3]],
                                     chunk(b"tRNS", b"".join(struct.pack(">H", v) for v in rgba[3, 4, :3])))
    grey = picture(rng, 11, 14, 1)[..., 0]
    yield "grey.png", png(14, 11, 8, 0, [r.tobytes() for r in grey])
    wide = rng.integers(0, 700, (11, 14)).astype(np.uint16)
    yield "grey_16.png", png(14, 11, 16, 0, big_endian(wide))
    yield "rgb_16.png", png(14, 11, 16, 2, big_endian(rng.integers(0, 65536, (11, 42))))
    yield "grey_alpha_16.png", png(14, 11, 16, 4, big_endian(rng.integers(0, 65536, (11, 28))))
    yield "rgba_16.png", png(14, 11, 16, 6, big_endian(rng.integers(0, 65536, (11, 56))))
    for depth in (1, 2, 4):
        packed = [rng.integers(0, 256, (14 * depth + 7) // 8).astype(np.uint8).tobytes() for _ in range(11)]
        yield f"grey_{depth}.png", png(14, 11, depth, 0, packed)
        colours = rng.integers(0, 256, 3 * 2**depth).astype(np.uint8).tobytes()
        yield f"palette_{depth}.png", png(14, 11, depth, 3, packed, chunk(b"PLTE", colours))
    indices = [rng.integers(0, 200, 14).astype(np.uint8).tobytes() for _ in range(11)]
    colours = chunk(b"PLTE", rng.integers(0, 256, 3 * 180).astype(np.uint8).tobytes())  # some indices have no colour
    yield "palette.png", png(14, 11, 8, 3, indices, colours)
    yield "palette_alpha.png", png(14, 11, 8, 3, indices, colours + chunk(b"tRNS", bytes(range(100))))
    yield "dot.png", png(1, 1, 8, 2, [b"\x10\x80\xf0"])
    tall = picture(rng, 61, 7, 3)
    yield "tall.png", png(7, 61, 8, 2, [r.tobytes() for r in tall])


# Growing, shrinking, both, by odd amounts; the same size; one edge alone; to one pixel and from one.
SIZES = {
    "rgb.jpg": [(29, 37), (32, 32), (13, 50), (50, 13), (7, 5), (1, 1), (29, 20), (90, 37)],
    "grey.png": [(8, 8), (30, 31)],
    "tall.png": [(10, 20), (24, 24)],
    "dot.png": [(3, 2)],
}

SMALL = {"height": 20, "width": 24}
PROCESSOR_CASES = [
    ("vit", "rgb.jpg", 3, {"image_processor_type": "ViTImageProcessor", "size": SMALL}),
    ("vit_int", "tall.png", 3, {"feature_extractor_type": "ViTFeatureExtractor", "size": 18, "resample": 2,
                                "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}),
    ("vit_nearest", "cmyk.jpg", 3, {"image_processor_type": "ViTImageProcessorFast", "size": SMALL, "resample": 0}),
    ("vit_plain", "rgb.jpg", 3, {"image_processor_type": "ViTImageProcessor", "do_resize": False, "do_normalize": False}),
    ("vit_raw", "rgb.jpg", 3, {"image_processor_type": "ViTImageProcessor", "size": SMALL, "do_rescale": False,
                               "do_normalize": False}),
    ("vit_factor", "rgb.jpg", 3, {"image_processor_type": "ViTImageProcessor", "size": SMALL, "rescale_factor": 0.0078125,
                                  "do_convert_rgb": True}),
    ("vit_grey", "grey.jpg", 1, {"image_processor_type": "ViTImageProcessor", "size": 28, "image_mean": [0.1307],
                                 "image_std": [0.3081]}),
    ("deit", "rgb.jpg", 3, {"image_processor_type": "DeiTImageProcessor", "size": 32, "crop_size": 27, "resample": 3,
                            "do_center_crop": True}),
    ("deit_lanczos", "rgba.png", 3, {"feature_extractor_type": "DeiTFeatureExtractor", "size": {"shortest_edge": 21},
                                     "resample": 1, "crop_size": {"height": 16, "width": 20}}),
    ("deit_padded", "rgb.jpg", 3, {"image_processor_type": "DeiTImageProcessor", "size": {"height": 15, "width": 30},
                                   "crop_size": {"height": 22, "width": 25}}),
    ("clip", "rgb.jpg", 3, {"image_processor_type": "CLIPImageProcessor", "size": 24, "crop_size": 20}),
    ("clip_longest", "tall.png", 3, {"image_processor_type": "CLIPImageProcessor", "do_center_crop": False,
                                     "size": {"shortest_edge": 12, "longest_edge": 40}}),
    ("vit_default", "palette.png", 3, {"image_processor_type": "ViTImageProcessor"}),
]


def process(folder, file, channels, config):
    name = config.get("image_processor_type", config.get("feature_extractor_type"))
    cls = next(cls for prefix, cls in PROCESSORS.items() if name.startswith(prefix))
    arguments = {key: value for key, value in config.items() if not key.endswith("_type")}
    image = Image.open(folder / file).convert("RGB" if channels == 3 else "L")
    pixels = cls(**arguments)(images=image, return_tensors="pt")["pixel_values"][0]
    return pixels.float().contiguous()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden/images")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, data in files(np.random.default_rng(SEED)):
        (out / name).write_bytes(data)
        for kind, mode, channels in (("rgb", "RGB", 3), ("grey", "L", 1)):
            pixels = np.array(Image.open(out / name).convert(mode))
            tensors[f"{name}.{kind}"] = torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels).copy())
    for name, sizes in SIZES.items():
        image = Image.open(out / name).convert("RGB")
        for height, width in sizes:
            for filter in range(6):
                resized = np.array(image.resize((width, height), resample=filter))
                tensors[f"{name}.{height}x{width}.{filter}"] = torch.from_numpy(resized.copy())
    cases = []
    for name, file, channels, config in PROCESSOR_CASES:
        pixels = process(out, file, channels, config)
        # The default size would be half a megabyte: every seventh row and column tells as much.
        tensors[f"processor.{name}"] = pixels[:, ::7, ::7].contiguous() if pixels.shape[1] > 100 else pixels
        cases.append({"name": name, "file": file, "channels": channels, "config": config})
    (out / "processors.json").write_text(json.dumps(cases, indent=1) + "\n")
    metadata = {"pillow": PIL.__version__, "libjpeg_turbo": PIL.features.version("libjpeg_turbo"),
                "transformers": transformers.__version__, "seed": str(SEED)}
    safetensors.torch.save_file(tensors, out / "golden.safetensors", metadata)


if __name__ == "__main__":
    main()
