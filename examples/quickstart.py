"""Train a network on real handwritten digits, draw its backward pass, and check its gradients against numeric ones.

python examples/quickstart.py
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: on several threads, small products take longer
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import chainrule as cr

OUT = Path("out")


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """1,797 digits of 8 x 8 pixels, scaled to the range 0 to 1; a quarter of them held out."""
    pixels, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(pixels / 16.0, labels, test_size=0.25, random_state=0)
    return x_train, x_test, y_train, y_test


def neuron() -> cr.Value:
    """One neuron with two inputs, differentiated."""
    x1, x2 = cr.Value(2.0, name="x1"), cr.Value(0.0, name="x2")
    w1, w2 = cr.Value(-3.0, name="w1"), cr.Value(1.0, name="w2")
    b = cr.Value(6.8813735870195432, name="b")
    output = cr.tanh(x1 * w1 + x2 * w2 + b)
    output.name = "output"
    output.backward()
    return output


def main(epochs: int) -> None:
    x_train, x_test, y_train, y_test = load()
    model = cr.nn.MLP([64, 32, 10], rng=0)
    print(model)
    print(f"{sum(p.data.size for p in model.parameters()):,} parameters, {len(x_train):,} digits to learn from\n")
    optimizer = cr.nn.Adam(model.parameters(), lr=3e-3)
    batches = cr.nn.Batches(x_train, y_train, batch_size=32, rng=0)
    cr.nn.fit(model, cr.nn.cross_entropy, batches, optimizer, epochs=epochs)
    accuracy = cr.nn.evaluate(model, cr.nn.cross_entropy, (x_test, y_test)).accuracy
    print(f"\naccuracy on {len(x_test)} held-out digits: {accuracy:.1%}\n")

    OUT.mkdir(exist_ok=True)
    for name, parameter in model.named_parameters():
        parameter.name = name
    loss = cr.nn.cross_entropy(model(x_test[:16]), y_test[:16])
    loss.name = "loss"
    model.zero_grad()
    loss.backward()
    pictures = [
        cr.visualize.render(root, OUT / f"{name}.{suffix}")
        for name, root in (("neuron", neuron()), ("network", loss))
        for suffix in ("svg", "png")
    ]

    def loss_again() -> cr.Tensor:
        return cr.nn.cross_entropy(model(x_test[:16]), y_test[:16])

    report = cr.gradcheck(loss_again, parameters=dict(model.named_parameters()), sample=12, seed=0)
    print("gradients of 12 parameters drawn at random, by autograd and numerically:\n")
    print(report)
    if not report:
        raise SystemExit("a gradient is wrong")
    print("\npictures of the backward pass, with data and gradients, and local derivatives between single numbers:")
    for picture in pictures:
        print(f"  {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 epochs instead of 30")
    main(5 if parser.parse_args().quick else 30)
