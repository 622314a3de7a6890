"""Epochs of Adam over all of MNIST, 784-512-256-128-10, batch 128, float32, data handling included, against PyTorch eager.

MNIST_DIR=… python benchmarks/mnist.py [--threads N]

PyTorch runs twice: with its DataLoader, as its tutorials feed a model, and with batches cut by hand from one shuffled
index, as a careful person does. Contenders take turns, an epoch each, from the same weights, until all of them have
classified 98 % of the test digits; the test itself is not timed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import chainrule as cr

SIZES = [784, 512, 256, 128, 10]
GOAL = 0.98
Digits = tuple[Any, Any, Any, Any]


def load(folder: Path) -> Digits:
    """Training and test images as rows of float32 between 0 and 1, and their labels."""
    images = [cr.nn.read_idx(folder / f"{part}-images.idx3-ubyte.gz") for part in ("train", "t10k")]
    labels = [cr.nn.read_idx(folder / f"{part}-labels.idx1-ubyte.gz").astype(np.int64) for part in ("train", "t10k")]
    x_train, x_test = (x.reshape(len(x), -1).astype(np.float32) / np.float32(255) for x in images)
    return x_train, labels[0], x_test, labels[1]


class Ours:
    """An epoch with Batches, the four lines of the loop, and Adam."""

    def __init__(self, model: cr.nn.MLP, digits: Digits) -> None:
        self.model, (x, y, self.x_test, self.y_test) = model, digits
        self.batches = cr.nn.Batches(x, y, batch_size=128, rng=0)
        self.optimizer = cr.nn.Adam(model.parameters(), lr=1e-3)

    def epoch(self) -> None:
        for x, y in self.batches:
            loss = cr.nn.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def accuracy(self) -> float:
        with cr.no_grad():
            return float((self.model(self.x_test).data.argmax(axis=1) == self.y_test).mean())


class Fitted(Ours):
    """The same through `fit`."""

    def epoch(self) -> None:
        cr.nn.fit(self.model, cr.nn.cross_entropy, self.batches, self.optimizer, epochs=1, progress=False)


class Torch:
    """An epoch of PyTorch over the batches that `feed` gives."""

    def __init__(self, state: dict[str, Any], digits: Digits, feed: Callable[[Any, Any], Iterable[Any]]) -> None:
        x, y, self.x_test, self.y_test = map(torch.from_numpy, digits)
        layers: list[torch.nn.Module] = []
        for n_in, n_out in itertools.pairwise(SIZES):
            layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        self.batches = feed(x, y)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def epoch(self) -> None:
        for x, y in self.batches:
            loss = torch.nn.functional.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def accuracy(self) -> float:
        with torch.no_grad():
            return float((self.model(self.x_test).argmax(dim=1) == self.y_test).float().mean())


def loader(x: Any, y: Any) -> Iterable[Any]:
    data = torch.utils.data.TensorDataset(x, y)
    return torch.utils.data.DataLoader(data, batch_size=128, shuffle=True)


class ByHand:
    """One shuffled index an epoch, cut into batches."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __iter__(self) -> Any:
        return ((self.x[rows], self.y[rows]) for rows in torch.randperm(len(self.x)).split(128))


def race(contenders: dict[str, Ours | Torch], most: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    reached: dict[str, tuple[int, float]] = {}
    for n in range(1, most + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender.epoch()
            seconds[name].append(time.perf_counter() - start)
            accuracy = contender.accuracy()
            print(
                f"  epoch {n:2}  {name:<28}{seconds[name][-1]:7.2f} s   {accuracy:.2%} of the test digits", flush=True
            )
            if accuracy >= GOAL and name not in reached:
                reached[name] = n, sum(seconds[name])
        if len(reached) == len(contenders) and n >= 5:
            break
    print(f"\nmedian of {n} epochs; ratios are medians over the epochs")
    ours = seconds["chainrule"]
    for name, times in seconds.items():
        ratio = statistics.median(mine / t for mine, t in zip(ours, times, strict=True))
        epochs, total = reached.get(name, (0, float("nan")))
        print(
            f"  {name:<28}{statistics.median(times):7.2f} s   ours takes {ratio:.2f} of its time; "
            f"{GOAL:.0%} after {total:.1f} s ({epochs} epochs)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of NumPy's and of PyTorch's linear algebra")
    parser.add_argument("--epochs", type=int, default=20, help="at most so many")
    options = parser.parse_args()
    folder = os.environ.get("MNIST_DIR")
    if not folder:
        raise SystemExit("MNIST_DIR must name the folder of the four MNIST files")
    digits = load(Path(folder))
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    models = [cr.nn.MLP(SIZES, dtype="float32", rng=0) for _ in range(2)]
    state = models[0].state_dict()
    print(f"MNIST, {'-'.join(map(str, SIZES))}, batch 128, float32, Adam, {options.threads} thread(s)\n")
    with threadpool_limits(options.threads):
        race(
            {
                "chainrule": Ours(models[0], digits),
                "chainrule, by fit": Fitted(models[1], digits),
                "PyTorch, DataLoader": Torch(state, digits, loader),
                "PyTorch, batches by hand": Torch(state, digits, ByHand),
            },
            options.epochs,
        )


if __name__ == "__main__":
    main()
