"""Handwritten digits by a network that learns well: ReLU, softmax, cross-entropy; beside a random forest and an SVM.

python examples/digits_relu.py
python examples/digits_relu.py --images 1000 --shifts 0 --dropout 0 --no-batch-norm      # what each part is good for
python examples/digits_relu.py --images 1000 --init xavier_uniform --l2 1e-4

The network, 784-512-256-128-10, learns from 1,000 images, and then from all; so do scikit-learn's RandomForestClassifier
and SVC, in the same run, from the same images, each on one core. All are tested on digits that none of them has seen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from _common import BLUE, GREEN, ORANGE, SKY, parser, save, show_table
from _digits import Digits, load

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

import chainrule as cr

Array = NDArray[Any]

SIZES = (784, 512, 256, 128, 10)
BATCH_SIZE = 128
FEW = 1000  # images, in the first contest
WATCHED = 1000  # unseen digits that are looked at after each epoch, for the curves alone: nothing is decided by them


# The images


def prepared(images: Array) -> Array:
    """Pixels from 0 to 255 as rows of 784 numbers from 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def shifted(rng: np.random.Generator, images: Array, most: int) -> Array:
    """Each image moved by up to `most` pixels up or down, and left or right; 0 comes in at the border."""
    n, height, width = images.shape
    padded = np.pad(images, ((0, 0), (most, most), (most, most)))
    windows = sliding_window_view(padded, (height, width), axis=(1, 2))  # a view: all shifts of all images, no copy
    top, left = rng.integers(2 * most + 1, size=(2, n))
    return windows[np.arange(n), top, left]


def augment(most: int) -> Callable[..., tuple[Array, Array]]:
    """What `Batches` does to each batch: shift it, anew in every epoch, and prepare the pixels."""
    return lambda rng, images, labels: (prepared(shifted(rng, images, most)), labels)


# The network


class Settings(NamedTuple):
    """What the switches on the command line say."""

    init: str = "he_normal"
    batch_norm: bool = True
    dropout: float = 0.2
    l1: float = 0.0
    l2: float = 0.0
    shifts: int = 2
    learning_rate: float = 0.003
    seed: int = 0


def network(settings: Settings) -> cr.nn.MLP:
    """784-512-256-128-10. It ends in scores: softmax is part of the loss, where it cannot overflow."""
    return cr.nn.MLP(
        SIZES,
        activation="relu",
        init=settings.init,
        batch_norm=settings.batch_norm,
        dropout=settings.dropout,
        dtype=np.float32,
        rng=settings.seed,
    )


def penalty(model: cr.nn.Module, settings: Settings) -> Any:
    """What large weights cost, added to the loss. Biases and the scales of batch normalisation are free."""
    weights = [p for p in model.parameters() if p.ndim == 2]
    return settings.l1 * cr.nn.l1_penalty(weights) + settings.l2 * cr.nn.l2_penalty(weights)


def lowered(optimizer: cr.nn.Optimizer, epochs: int) -> cr.nn.Schedule:
    """The learning rate: a short rise, since the first steps are rough, then half a wave of the cosine, down to 0."""
    rise = max(1, epochs // 10)
    warm_up = cr.nn.LinearLR(optimizer, start_factor=0.2, total_iters=rise)
    cosine = cr.nn.CosineAnnealingLR(optimizer, T_max=max(1, epochs - rise))
    return cr.nn.SequentialLR(optimizer, [warm_up, cosine], milestones=[rise])


def epochs_for(images: int) -> int:
    """100 for 1,000 images, 10 for 60,000: few images need more epochs."""
    return max(10, 100_000 // images)


# The contest


class Result(NamedTuple):
    """How one contestant did."""

    name: str
    images: int  # that it learned from
    accuracy: float  # on the unseen digits
    seconds: float  # of training alone
    history: cr.nn.History | None = None


def by_network(digits: Digits, settings: Settings, epochs: int, name: str = "network") -> Result:
    """Train the network and test it."""
    model = network(settings)
    batches = cr.nn.Batches(
        digits.x_train, digits.y_train, batch_size=BATCH_SIZE, rng=settings.seed, transform=augment(settings.shifts)
    )
    optimizer = cr.nn.Adam(model.parameters(), lr=settings.learning_rate)
    x_test = prepared(digits.x_test)

    start = time.perf_counter()
    history = cr.nn.fit(
        model,
        cr.nn.cross_entropy,
        batches,
        optimizer,
        epochs=epochs,
        schedule=lowered(optimizer, epochs),
        penalty=(lambda model: penalty(model, settings)) if settings.l1 or settings.l2 else None,
        validation=(x_test[:WATCHED], digits.y_test[:WATCHED]),
    )
    seconds = time.perf_counter() - start

    accuracy = cr.nn.evaluate(model, cr.nn.cross_entropy, (x_test, digits.y_test)).accuracy
    assert accuracy is not None
    return Result(name, len(digits.x_train), accuracy, seconds, history)


def by_sklearn(digits: Digits, name: str, classifier: Any) -> Result:
    """Train one of scikit-learn's classifiers, and test it, on pixels prepared in the same way."""
    x_train, x_test = prepared(digits.x_train), prepared(digits.x_test)
    start = time.perf_counter()
    classifier.fit(x_train, digits.y_train)
    seconds = time.perf_counter() - start
    return Result(name, len(x_train), float(classifier.score(x_test, digits.y_test)), seconds)


def forest(seed: int) -> RandomForestClassifier:
    """100 trees, scikit-learn's defaults."""
    return RandomForestClassifier(n_jobs=1, random_state=seed)


def svm() -> SVC:
    """The default kernel, rbf, and its default width; C=10 is better on these digits than the default of 1."""
    return SVC(C=10.0, cache_size=1000)


def contest(digits: Digits, settings: Settings, epochs: int) -> list[Result]:
    """The network, and scikit-learn's two, learn from the same images; of few images the network also as they are."""
    results = [by_network(digits, settings, epochs)]
    if settings.shifts and len(digits.x_train) <= FEW:
        results.append(by_network(digits, settings._replace(shifts=0), epochs, "network, no shifts"))
    results.append(by_sklearn(digits, "random forest", forest(settings.seed)))
    results.append(by_sklearn(digits, "SVM", svm()))
    return results


def first(digits: Digits, images: int, tested: int | None = None) -> Digits:
    """The first of the images to learn from, and of those to be tested on."""
    return Digits(digits.x_train[:images], digits.y_train[:images], digits.x_test[:tested], digits.y_test[:tested])


# Table and picture


def show(results: Sequence[Result], tested: int) -> None:
    show_table(
        ("learned from", "by", f"accuracy on {tested:,} unseen", "seconds to train"),
        ((f"{r.images:,}", r.name, f"{r.accuracy:.2%}", f"{r.seconds:.1f}") for r in results),
    )


def draw_curves(axes: Axes, result: Result) -> None:
    history = result.history
    assert history is not None
    axes.plot(history["epoch"], history["loss"], "--", color=ORANGE, label="in training")
    axes.plot(history["epoch"], history["validation_loss"], color=BLUE, label=f"{WATCHED:,} unseen digits")
    axes.set(title=f"Network on {result.images:,} images", xlabel="epoch", yscale="log")
    axes.legend()


COLOURS = {"network": BLUE, "network, no shifts": SKY, "random forest": GREEN, "SVM": ORANGE}


def draw_bars(axes: Axes, results: Sequence[Result], values: Sequence[float], texts: Sequence[str]) -> None:
    """A bar for each result, from the top down, with its number beside it."""
    places = [i + 0.6 * (r.images != results[0].images) for i, r in enumerate(results)]
    bars = axes.barh(places, values, color=[COLOURS[r.name] for r in results], height=0.75)
    axes.bar_label(bars, texts, padding=3)
    axes.set_yticks(places, [f"{r.name} ({r.images:,})" for r in results])
    axes.set_xlim(0, 1.15 * max(values))
    axes.tick_params(axis="y", length=0)


def draw(folder: Path, results: Sequence[Result]) -> None:
    trained = [r for r in results if r.name == "network"]
    figure = plt.figure(figsize=(10.5, 7))
    curves, bars = figure.subfigures(2, 1)
    for axes, result in zip(curves.subplots(1, len(trained), sharey=True, squeeze=False)[0], trained, strict=True):
        draw_curves(axes, result)
    curves.axes[0].set_ylabel("cross-entropy")
    left, right = bars.subplots(1, 2, sharey=True)
    wrong = [100 * (1 - r.accuracy) for r in results]
    draw_bars(left, results, wrong, [f"{x:.2f}" for x in wrong])
    left.set_title("Wrong, of 100 unseen digits")
    seconds = [r.seconds for r in results]
    draw_bars(right, results, seconds, [f"{x:.1f}" for x in seconds])
    right.set_title("Seconds to train")
    left.invert_yaxis()  # both share it
    save(figure, folder, "digits_relu")


def arguments() -> argparse.Namespace:
    made, default = parser(__doc__), Settings()
    made.add_argument("--data", type=Path, metavar="DIR", help="a folder with MNIST's four files")
    made.add_argument(
        "--images", type=int, nargs="+", metavar="N", help="how many to learn from (default: 1000, and all)"
    )
    made.add_argument("--init", choices=sorted(cr.nn.init.INITIALIZERS), default=default.init, help="initial weights")
    made.add_argument("--batch-norm", action=argparse.BooleanOptionalAction, default=default.batch_norm)
    made.add_argument("--dropout", type=float, default=default.dropout, help="share of the activations to drop")
    made.add_argument("--l1", type=float, default=default.l1, help="cost of the sum of |weight|, such as 1e-5")
    made.add_argument("--l2", type=float, default=default.l2, help="cost of the sum of weight², such as 1e-4")
    made.add_argument("--shifts", type=int, default=default.shifts, help="most pixels to shift an image by")
    made.add_argument("--learning-rate", type=float, default=default.learning_rate, help="Adam's, at its highest")
    made.add_argument("--seed", type=int, default=default.seed)
    return made.parse_args()


def main() -> None:
    options = arguments()
    settings = Settings(**{name: getattr(options, name) for name in Settings._fields})
    digits = load(options.data, download=not options.quick)
    sizes = options.images or ([FEW] if options.quick else [FEW, len(digits.x_train)])
    tested = 2000 if options.quick else None
    print(f"settings: {', '.join(f'{name} {value}' for name, value in settings._asdict().items())}\n")

    results: list[Result] = []
    with threadpool_limits(1):  # one core for each
        for images in sizes:
            part = first(digits, images, tested)
            results += contest(part, settings, 15 if options.quick else epochs_for(images))
    show(results, len(part.x_test))
    draw(options.out, results)


if __name__ == "__main__":
    main()
