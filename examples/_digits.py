"""Handwritten digits for the examples: MNIST where it can be had, else scikit-learn's small digits, enlarged.

MNIST comes from a folder of IDX files (`--data DIR`, or the environment variable MNIST_DIR), or from openml.org.
"""

from __future__ import annotations

import os
import socket
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import fetch_openml, get_data_home, load_digits
from sklearn.model_selection import train_test_split

import chainrule as cr

PATIENCE = 10.0  # seconds that a silent server is waited for


class Digits(NamedTuple):
    """Images (n, 28, 28) of pixels 0 to 255, and labels (n,) 0 to 9; to learn from, and to be tested on."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[Any]
    x_test: NDArray[np.uint8]
    y_test: NDArray[Any]


def load(folder: str | os.PathLike[str] | None = None, *, download: bool = True) -> Digits:
    """The digits, and a line that says which they are. A folder that was named must hold MNIST's four files."""
    folder = folder or os.environ.get("MNIST_DIR")
    if folder:
        digits, source = from_idx(Path(folder)), f"MNIST, from {folder}"
    else:
        try:
            if not download:
                raise OSError("no download was asked for")
            digits, source = from_openml(), "MNIST, from openml.org"
        except Exception as error:  # whatever goes wrong on a network, the example can go on
            digits, source = enlarged(), "scikit-learn's bundled 8x8 digits, enlarged to 28x28: NOT MNIST"
            print(f"MNIST is not here ({error}); --data DIR or MNIST_DIR can name a folder with its files.")
    print(f"digits: {source}; {len(digits.x_train):,} to learn from, {len(digits.x_test):,} for the test\n")
    return digits


def from_idx(folder: Path) -> Digits:
    """MNIST's own files, gzipped or not, with '-' or '.' before 'idx'."""
    files = []
    for stem in ("train-images", "train-labels", "t10k-images", "t10k-labels"):
        found = sorted(folder.glob(f"{stem}[-.]idx?-ubyte*"))
        if not found:
            raise SystemExit(f"{folder} has no {stem}-idx…-ubyte[.gz], one of MNIST's four files")
        files.append(cr.nn.read_idx(found[0]))
    return Digits(*files)


def from_openml() -> Digits:
    """Downloaded once by scikit-learn; kept beside its own data, since its text takes long to read."""
    kept = Path(get_data_home()) / "mnist_784.npz"
    if not kept.exists():
        patience = socket.getdefaulttimeout()
        socket.setdefaulttimeout(PATIENCE)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns before it tries again
                pixels, labels = fetch_openml(
                    "mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff", n_retries=1, delay=0.1
                )
        finally:
            socket.setdefaulttimeout(patience)
        unfinished = kept.with_suffix(".unfinished.npz")
        np.savez_compressed(unfinished, x=pixels.astype(np.uint8).reshape(-1, 28, 28), y=labels.astype(np.uint8))
        unfinished.replace(kept)
    with np.load(kept) as arrays:
        x, y = arrays["x"], arrays["y"]
    return Digits(x[:60_000], y[:60_000], x[60_000:], y[60_000:])


def enlarged() -> Digits:
    """1,797 digits of 8x8 pixels 0 to 16: each pixel becomes 3x3, with a margin of 2; a sixth is for the test."""
    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=1 / 6, random_state=0, stratify=labels
    )
    return Digits(x_train, y_train, x_test, y_test)
