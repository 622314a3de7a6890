"""Training that is watched on a page in the browser, where it can be paused and stepped. Open the address that it prints.

python examples/watch_training.py

784-16-16-10 on digits. What the page reads can be read by a program too: the example asks its own page how training went.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _common import parser, show_table
from _digits import Digits, load

import numpy as np

import chainrule as cr


def train(digits: Digits, epochs: int, *, keep: bool) -> dict[str, Any]:
    """Tell the page of each batch and each epoch; returns what it shows in the end."""
    x, x_test = (images.reshape(-1, 784) / np.float32(255) for images in (digits.x_train, digits.x_test))
    model = cr.nn.MLP([784, 16, 16, 10], dtype="float32", rng=0)
    optimizer = cr.nn.SGD(model.parameters(), lr=0.05)
    batches = cr.nn.Batches(x, digits.y_train, batch_size=32, rng=0)
    with cr.visualize.live(model, optimizer, title="Digits", image_shape=(28, 28), keep=keep) as page:
        cr.nn.fit(
            model, cr.nn.cross_entropy, batches, optimizer, epochs=epochs, validation=(x_test, digits.y_test),
            progress=False, after_batch=page.update, callbacks=[page.epoch],
        )  # fmt: skip
        page.measure()
        shown = shown_by(page.url)
        report(shown)
    return shown


def shown_by(url: str) -> dict[str, Any]:
    """The numbers behind a page."""
    where = urlsplit(url)
    connection = HTTPConnection(where.netloc)
    connection.request("GET", f"{where.path}state")
    numbers: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return numbers


def report(shown: dict[str, Any]) -> None:
    print("what the page shows:\n")
    show_table(("", "in the end"), ((tile["name"], tile["text"]) for tile in shown["tiles"]))


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--data", type=Path, metavar="DIR", help="a folder with MNIST's files (default: MNIST_DIR)")
    options = command.parse_args()
    digits = load(options.data, download=not options.quick)
    shown = train(digits, 2 if options.quick else 20, keep=not options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "watch_training.json").write_text(json.dumps(shown), encoding="utf-8")


if __name__ == "__main__":
    main()
