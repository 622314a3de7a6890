"""Thirty layers: gradients that vanish, gradients that explode, and what helps against which.

python examples/vanishing_exploding.py

On its way back the gradient is multiplied, at each layer, by the weights and by the slope of the activation. Thirty
factors a little too small leave nothing for the first layers; thirty a little too large, far too much.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from _common import BLUE, GREEN, GREY, ORANGE, PINK, parser, save, show_table

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import chainrule as cr

Array = NDArray[Any]

LAYERS, WIDTH, CLASSES = 30, 64, 10
LEARNING_RATE = 0.1


def normal(spread: float) -> cr.nn.init.Initializer:
    """Weights that would, without an activation, multiply the size of a signal by `spread`."""
    return lambda rng, n_in, n_out: rng.normal(0.0, spread / np.sqrt(n_in), (n_out, n_in))


def squared_error(scores: Any, labels: Array) -> Any:
    """Of the sigmoid of each score: the slope of that sigmoid, at most 1/4, is one more factor in every gradient."""
    return cr.nn.mse_loss(cr.sigmoid(scores), np.eye(CLASSES)[labels])


class Setting(NamedTuple):
    activation: str
    init: cr.nn.init.Initializer
    loss: Callable[[Any, Any], Any] = squared_error
    batch_norm: bool = False
    clip_norm: float | None = None


SIGMOID_SMALL = Setting("sigmoid", normal(1.0))
SIGMOID_LARGE = Setting("sigmoid", normal(40.0))
RELU_HE = Setting("relu", cr.nn.init.he_normal)
BETTER_LOSS: dict[str, Any] = {"loss": cr.nn.cross_entropy}

SETTINGS = {
    "sigmoid, small weights": {
        "as it is": SIGMOID_SMALL,
        "better loss": SIGMOID_SMALL._replace(**BETTER_LOSS),
        "normalised": SIGMOID_SMALL._replace(batch_norm=True),
        "normalised, better loss": SIGMOID_SMALL._replace(batch_norm=True, **BETTER_LOSS),
    },
    "sigmoid, large weights": {
        "as it is": SIGMOID_LARGE,
        "clipped": SIGMOID_LARGE._replace(clip_norm=1.0),
        "normalised": SIGMOID_LARGE._replace(batch_norm=True),
        "normalised, better loss": SIGMOID_LARGE._replace(batch_norm=True, **BETTER_LOSS),
    },
    "ReLU, He's weights": {
        "as it is": RELU_HE,
        "better loss": RELU_HE._replace(**BETTER_LOSS),
        "clipped, better loss": RELU_HE._replace(clip_norm=1.0, **BETTER_LOSS),
    },
}


def data() -> tuple[Array, Array, Array, Array]:
    """Scikit-learn's bundled 8x8 digits, each pixel less its mean: images and labels to learn from, and unseen ones."""
    pixels, labels = load_digits(return_X_y=True)
    x_train, x_unseen, y_train, y_unseen = cr.nn.split(pixels / 16, labels, validation=0.2, rng=0, stratify=labels)
    mean = x_train.mean(axis=0)
    return x_train - mean, y_train, x_unseen - mean, y_unseen


def network(setting: Setting) -> cr.nn.MLP:
    """Thirty Linear layers, with an activation after all but the last."""
    sizes = [64, *[WIDTH] * (LAYERS - 1), CLASSES]
    return cr.nn.MLP(sizes, setting.activation, init=setting.init, batch_norm=setting.batch_norm, rng=0)


def gradient_norms(model: cr.nn.MLP, setting: Setting, x: Array, y: Array) -> Array:
    """(30,): the length of the gradient of each layer's weights, first layer first, as a step would use it."""
    model.zero_grad()
    setting.loss(model(x), y).backward()
    if setting.clip_norm is not None:
        cr.nn.clip_grad_norm(model.parameters(), setting.clip_norm)
    return np.array([float(cr.norm(layer.weight.grad)) for layer in model if isinstance(layer, cr.nn.Linear)])


class Outcome(NamedTuple):
    norms: Array  # (30,): before training
    accuracies: list[float]  # on unseen images, after each epoch


def try_out(setting: Setting, images: tuple[Array, Array, Array, Array], epochs: int) -> Outcome:
    x, y, x_unseen, y_unseen = images
    model = network(setting)
    norms = gradient_norms(model, setting, x[:256], y[:256])
    history = cr.nn.fit(
        model,
        setting.loss,
        cr.nn.Batches(x, y, batch_size=64, rng=1),
        cr.nn.SGD(model.parameters(), lr=LEARNING_RATE),
        epochs=epochs,
        validation=(x_unseen, y_unseen),
        clip_norm=setting.clip_norm,
        metrics="accuracy",
        progress=False,
    )
    return Outcome(norms, history["validation_accuracy"])


def kind(norms: Array) -> str:
    """What happens to the gradient on its way from the last layer to the first."""
    ratio = norms[0] / norms[-1]
    return "vanishes" if ratio < 1e-3 else "explodes" if ratio > 1e3 else "arrives"


def show(outcomes: dict[str, dict[str, Outcome]]) -> None:
    epochs = len(outcomes["ReLU, He's weights"]["as it is"].accuracies)
    print(f"the gradient of the first and of the last layer's weights, before training; then {epochs} epochs of SGD:\n")
    show_table(
        ("network", "remedy", "first layer", "last layer", "first / last", "the gradient", "accuracy, unseen digits"),
        (
            (
                name if remedy == "as it is" else "",
                remedy,
                f"{found.norms[0]:.1e}",
                f"{found.norms[-1]:.1e}",
                f"{found.norms[0] / found.norms[-1]:.1e}",
                kind(found.norms),
                f"{found.accuracies[-1]:.1%}",
            )
            for name, group in outcomes.items()
            for remedy, found in group.items()
        ),
    )
    print("against vanishing: normalisation, or ReLU with He's weights. A better loss only gives the last layer more.")
    print("against exploding: normalisation. Clipping bounds the step, but divides all layers by the same number.\n")


# The picture

LOOKS = {
    "as it is": (ORANGE, "-", "o"),
    "better loss": (BLUE, "--", "s"),
    "clipped": (PINK, ":", "^"),
    "clipped, better loss": (PINK, ":", "^"),
    "normalised": (GREEN, "-.", "v"),
    "normalised, better loss": ("black", (0, (4, 1)), "D"),
}


def draw(folder: Path, outcomes: dict[str, dict[str, Outcome]]) -> None:
    figure, rows = plt.subplots(2, len(outcomes), figsize=(11, 7), sharex="row", sharey="row")
    for (name, group), above, below in zip(outcomes.items(), *rows, strict=True):
        for remedy, found in group.items():
            colour, line, marker = LOOKS[remedy]
            look = {"color": colour, "linestyle": line, "marker": marker, "markersize": 3.5, "linewidth": 1.2}
            above.semilogy(np.arange(1, LAYERS + 1), found.norms, label=remedy, **look)
            below.plot(np.arange(1, len(found.accuracies) + 1), found.accuracies, label=remedy, **look)
        above.set(title=name, xlabel="layer")
        above.legend(fontsize="small", loc="lower right")
        below.axhline(1 / CLASSES, color=GREY, linewidth=0.8)
        below.set(xlabel="epoch", ylim=(0, 1))
    rows[0, 0].set_ylabel("length of the gradient, before training")
    rows[1, 0].set_ylabel("accuracy on unseen digits (grey: guessing)")
    save(figure, folder, "vanishing_exploding")


def main() -> None:
    options = parser(__doc__).parse_args()
    images = data()
    epochs = 1 if options.quick else 8
    outcomes = {
        name: {remedy: try_out(setting, images, epochs) for remedy, setting in group.items()}
        for name, group in SETTINGS.items()
    }
    show(outcomes)
    draw(options.out, outcomes)


if __name__ == "__main__":
    main()
