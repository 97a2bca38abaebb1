"""What the comparisons with Hugging Face share: the peer's virtual environment, sentences, and medians."""

import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEER = ROOT / "build" / "peer"
READY = PEER / "transformers-ready"
PACKAGES = ["torch==2.11.0", "transformers==5.23.0", "accelerate==1.15.0", "safetensors==0.8.0", "sentencepiece==0.2.3"]


def enter_environment():
    """Goes on in the virtual environment that has the peer, making it first if need be."""
    python = PEER / "bin" / "python"
    if pathlib.Path(sys.prefix) == PEER:
        return
    if not READY.exists():
        print(f"installing torch, transformers and accelerate into {PEER.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", PEER], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
        READY.touch()
    os.execv(python, [str(python), *sys.argv])


def sentences(file, count):
    """The first texts of a file of "text;label" lines with a header, and their labels."""
    lines = pathlib.Path(file).read_text().splitlines()[1 : count + 1]
    return [tuple(line.rsplit(";", 1)) for line in lines]


def median(values):
    return statistics.median(values)


def spread(values):
    """"123 (118–125)": the median, and the smallest and largest where there are several."""
    text = f"{median(values):.1f}"
    return text if len(values) == 1 else f"{text} ({min(values):.1f}–{max(values):.1f})"


def require(path, hint):
    if not pathlib.Path(path).exists():
        sys.exit(f"{path} is not there. Hint: {hint}")
