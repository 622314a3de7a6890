"""What the examples share: one thread for BLAS, two options on the command line, a table in the terminal, a picture in a file."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

# Products of small matrices take longer on several threads. NumPy's BLAS asks once, when it is loaded; what it has a variable of
# its own for, as OPENBLAS_NUM_THREADS, goes first.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib as mpl

mpl.use("Agg")  # pictures go to files; no window is needed
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's colours, which remain distinct for colour-blind readers.
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GREY = "#6B7280"
COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY)
# One line style for each colour, so that curves can be told apart in grey too.
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))

mpl.rcParams.update(
    {
        "axes.prop_cycle": mpl.cycler(color=COLOURS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
        "savefig.dpi": 110,
    }
)

NUMBER = re.compile(r"[-+]?(\d[\d,]*\.?\d*(e[-+]?\d+)?|inf|nan) ?%?|–|")


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with `--quick` and `--out`; an example may add options of its own."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="small settings: a few seconds, worse results")
    made.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where pictures go (default: out)")
    return made


def show_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their header, columns of numbers aligned on the right, others on the left."""
    body = [[str(cell) for cell in row] for row in rows]
    columns = list(zip(header, *body, strict=True))
    widths = [max(map(len, column)) for column in columns]
    aligns = [">" if all(map(NUMBER.fullmatch, column[1:])) else "<" for column in columns]
    for line in (header, ["-" * width for width in widths], *body):
        cells = [f"{cell:{align}{width}}" for cell, align, width in zip(line, aligns, widths, strict=True)]
        print("  " + "  ".join(cells).rstrip())
    print()


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write the figure to folder/name.png, close it, and say where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure.savefig(path)
    plt.close(figure)
    with Image.open(path) as image:  # 256 colours are enough, and the file is a third of the size
        method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
        image.convert("RGB").quantize(256, method, kmeans=3, dither=dither).save(path, optimize=True)
    print(f"picture: {path}")
    return path
