"""What `fit` costs over the four-line loop that it replaces, on a network so small that nothing else hides it.

python benchmarks/fit.py
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import redirect_stderr

import numpy as np
from measure import interleaved, report
from threadpoolctl import threadpool_limits

import chainrule as cr

SIZES, BATCH, STEPS = [784, 16, 16, 10], 32, 1875
RNG = np.random.default_rng(0)
X = RNG.random((STEPS * BATCH, SIZES[0]), dtype=np.float32)
LABELS = RNG.integers(0, SIZES[-1], STEPS * BATCH)

Epoch = Callable[[cr.nn.MLP, cr.nn.Batches, cr.nn.Optimizer], None]


def by_hand(model: cr.nn.MLP, batches: cr.nn.Batches, optimizer: cr.nn.Optimizer) -> None:
    for x, labels in batches:
        loss = cr.nn.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def by_step(model: cr.nn.MLP, batches: cr.nn.Batches, optimizer: cr.nn.Optimizer) -> None:
    step = cr.nn.compiled_step(model, cr.nn.cross_entropy, optimizer)
    for x, labels in batches:
        step(x, labels)


def by_fit(model: cr.nn.MLP, batches: cr.nn.Batches, optimizer: cr.nn.Optimizer) -> None:
    cr.nn.fit(model, cr.nn.cross_entropy, batches, optimizer, epochs=1, progress=False)


def by_fit_compiled(model: cr.nn.MLP, batches: cr.nn.Batches, optimizer: cr.nn.Optimizer) -> None:
    cr.nn.fit(model, cr.nn.cross_entropy, batches, optimizer, epochs=1, progress=False, compile=True)


def by_fit_with_bar(model: cr.nn.MLP, batches: cr.nn.Batches, optimizer: cr.nn.Optimizer) -> None:
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        cr.nn.fit(model, cr.nn.cross_entropy, batches, optimizer, epochs=1)


def epochs_of(epoch: Epoch) -> tuple[cr.nn.MLP, Callable[[], None]]:
    """A model of its own, and a function that trains it for one more epoch."""
    model = cr.nn.MLP(SIZES, dtype="float32", rng=0)
    batches = cr.nn.Batches(X, LABELS, batch_size=BATCH, rng=0)
    optimizer = cr.nn.SGD(model.parameters(), lr=0.01)
    return model, lambda: epoch(model, batches, optimizer)


def main() -> None:
    contenders = {
        "four lines by hand": by_hand,
        "fit": by_fit,
        "fit with a progress bar": by_fit_with_bar,
        "compiled_step by hand": by_step,
        "fit, compiled": by_fit_compiled,
    }
    pairs = {name: epochs_of(epoch) for name, epoch in contenders.items()}
    with threadpool_limits(1):
        seconds = interleaved({name: run for name, (_, run) in pairs.items()}, rounds=20)
    title = (
        f"A step of an epoch of {STEPS}, {'-'.join(map(str, SIZES))}, batch {BATCH}, data included; ours is the loop"
    )
    report(title, seconds, ours="four lines by hand", unit=STEPS)
    weights = [
        b"".join(p.data.tobytes() for p in model.parameters())
        for name, (model, _) in pairs.items()
        if "compiled" not in name
    ]
    print(f"  the same weights afterwards, byte for byte (but for compiled ones): {len(set(weights)) == 1}")


if __name__ == "__main__":
    main()
