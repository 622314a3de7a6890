"""Every kind of picture that chainrule makes, of one network that reads handwritten digits.

python examples/gallery.py
python examples/gallery.py --data mnist

It trains the network, draws it before, while and after it learns, and writes a page that shows all of it: index.html,
which needs nothing but the pictures beside it.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from _common import parser, save
from _digits import Digits, load

import numpy as np
from numpy.typing import NDArray

import chainrule as cr

Array = NDArray[Any]

SIZES = (784, 16, 16, 10)
BATCH_SIZE = 50
DRAWN = 20  # images in the loss that is drawn


class Picture(NamedTuple):
    """One entry of the page: the first file is shown, the others are linked."""

    title: str
    caption: str
    files: Sequence[str]
    wide: bool = False


# The network


class Lesson(NamedTuple):
    """A network that has learned, and what was noted on the way."""

    model: cr.nn.MLP
    history: cr.nn.History
    path: list[dict[str, Array]]  # the parameters after each epoch
    flows: list[cr.nn.GradientFlow]  # the gradients at the end of each epoch


def prepared(images: Array) -> Array:
    """Rows of 784 numbers from 0 to 1."""
    return images.reshape(len(images), -1) / 255


def network(seed: int = 0) -> cr.nn.MLP:
    """784-16-16-10 with ReLU: 13,002 parameters. It ends in scores; softmax is part of the loss."""
    return cr.nn.MLP(SIZES, activation="relu", rng=seed)


def learn(digits: Digits, optimizer: str, rate: float, epochs: int) -> Lesson:
    """Mini-batches, and after each epoch a note of the parameters and their gradients."""
    model = network()
    path, flows = [model.state_dict()], []

    def note(history: cr.nn.History, model: cr.nn.Module) -> None:
        path.append(model.state_dict())
        flows.append(cr.nn.gradient_flow(model))

    history = cr.nn.fit(
        model,
        cr.nn.cross_entropy,
        cr.nn.Batches(prepared(digits.x_train), digits.y_train, batch_size=BATCH_SIZE, rng=0),
        {"SGD": cr.nn.SGD, "Adam": cr.nn.Adam}[optimizer](model.parameters(), lr=rate),
        epochs=epochs,
        validation=(prepared(digits.x_test), digits.y_test),
        callbacks=[note],
        progress=False,
    )
    return Lesson(model, history, path, flows)


# Drawings of the graph


def drawings(folder: Path, model: cr.nn.MLP, x: Array, y: Array) -> Iterator[Picture]:
    """The backward pass through the whole network: an array is a box."""
    loss = cr.nn.cross_entropy(model(x), y)
    loss.name = "loss"
    model.zero_grad()
    loss.backward()
    for theme in ("light", "dark"):
        names = [f"network_{theme}.{suffix}" for suffix in ("svg", "png", "dot", "mmd")]
        for name in names:
            cr.visualize.render(loss, folder / name, theme=theme, direction="TB")
        yield Picture(
            f"The backward pass, {theme}",
            f"The loss of {len(x)} images, back to all {count(model):,} parameters. A box is an array with its data and "
            "its gradient, the darker the larger; a round node is an operation.",
            names,
        )
    (folder / "network.txt").write_text(f"{cr.visualize.diagram(loss)}\n", encoding="utf-8")
    yield Picture(
        "The same as text", "One line for each node. All that is drawn can be read.", ["network.txt"], wide=True
    )


def folds(folder: Path, model: cr.nn.MLP, x: Array, y: Array) -> Iterator[Picture]:
    """A layer as one box; and the same network in single numbers, far too many to draw each."""
    loss = cr.nn.cross_entropy(model(x), y)
    loss.name = "loss"
    score = cr.nn.scalar.unroll(model)(x[0].tolist())[y[0]]
    score.name = f"score of {y[0]}"
    yield folded(folder / "folded", loss, "Folded", "Each layer is a box, which says what it holds.", depth=1)
    yield folded(
        folder / "folded_numbers",
        score,
        "Folded by itself",
        f"The score of the {y[0]} for one image, every weight a node of its own: what has the same structure is one box, and "
        "so thousands of nodes fit a slide.",
    )


def folded(path: Path, root: Any, title: str, caption: str, depth: int | None = None) -> Picture:
    root.backward()
    files = [path.with_suffix(suffix) for suffix in (".svg", ".dot", ".mmd", ".txt")]
    for file in files:
        cr.visualize.render(root, file, depth=depth)
    return Picture(title, caption, [file.name for file in files], wide=True)


def count(model: cr.nn.Module) -> int:
    return sum(p.size for p in model.parameters())


def neuron(model: cr.nn.MLP, x: Array, digit: int) -> cr.Value:
    """The neuron of one digit, for one image, in single numbers: of its sixteen inputs the three that matter most."""
    *before, last = model
    hidden = x
    for layer in before:
        hidden = layer(hidden)
    inputs, weights = hidden.data, last.weight.data[digit]
    total: Any = cr.Value(last.bias.data[digit], name="bias")
    for i in sorted(np.argsort(-np.abs(weights * inputs))[:3].tolist()):
        total = total + cr.Value(weights[i], name=f"w{i}") * cr.Value(inputs[i], name=f"h{i}")
    score = cr.sigmoid(total)
    score.name = f"a {digit}?"
    return score


def one_neuron(folder: Path, model: cr.nn.MLP, x: Array, y: Array) -> Iterator[Picture]:
    score = neuron(model, x[0], int(y[0]))
    score.backward()
    names = ["neuron.svg", "neuron.png", "neuron.dot", "neuron.mmd", "neuron.txt"]
    for name in names:
        cr.visualize.render(score, folder / name)
    yield Picture(
        "One neuron, number by number",
        f"The output neuron of the {y[0]}, for an image of a {y[0]}: three of its inputs. On each edge stands the local "
        "derivative; multiplied along the way back, they give the gradients.",
        names,
        wide=True,
    )


def step_by_step(folder: Path, model: cr.nn.MLP, x: Array, y: Array) -> Iterator[Picture]:
    steps = cr.visualize.step(neuron(model, x[0], int(y[0])), title="One neuron, step by step")
    names = ["neuron_steps.gif", "neuron_steps.html", "neuron_steps.txt"]
    for name in names[:2]:
        steps.save(folder / name)
    (folder / names[2]).write_text(f"{steps}\n", encoding="utf-8")
    yield Picture(
        "The same, step by step",
        "Forward, then backward, one node at a time: a moving picture, a page to play with, and text.",
        names,
        wide=True,
    )


# Checks


def wrong_relu() -> Any:
    """Somebody's own ReLU, whose rule forgets that a negative number passes nothing."""
    return cr.custom("my relu", lambda x: np.maximum(x, 0.0), lambda g, y, x: 1.0 * g)


def checks(folder: Path, model: cr.nn.MLP, x: Array, y: Array) -> Iterator[Picture]:
    """All right; and the same network with one rule that is wrong."""
    parameters = dict(model.named_parameters())
    right = cr.nn.cross_entropy(model(x), y)
    first, _, *others = model
    hidden = wrong_relu()(first(x))
    for layer in others:
        hidden = layer(hidden)
    wrong = cr.nn.cross_entropy(hidden, y)
    for name, title, loss in (("right", "Checked: right", right), ("wrong", "Checked: one wrong rule", wrong)):
        report = cr.check(loss, parameters=parameters)
        cr.visualize.render(loss, folder / f"check_{name}.svg", check=report, direction="TB", names=parameters)
        yield Picture(
            title,
            f"Each operation against its own numeric derivative: {report.summary()}.",
            [f"check_{name}.svg"],
        )
        save(cr.visualize.plot_check(report), folder, f"check_{name}_plot")
        yield Picture(
            f"{title}, as points",
            "Each derivative by the chain rule over the numeric one: on the diagonal where they agree.",
            [f"check_{name}_plot.png"],
        )


# Plots of training


def training(folder: Path, lessons: dict[str, Lesson], loss_of: Any) -> Iterator[Picture]:
    save(cr.visualize.plot_loss({name: lesson.history for name, lesson in lessons.items()}, log=True), folder, "loss")
    yield Picture("Loss", "Two optimizers over the epochs, in training and, dashed, on unseen digits.", ["loss.png"])
    lesson = lessons["Adam"]
    save(lesson.history.plot(), folder, "history")
    yield Picture("One run", "Loss and accuracy of the run with Adam, side by side.", ["history.png"])
    save(lesson.history.plot_confusion(), folder, "confusion")
    yield Picture("Confusion", "Which digits are taken for which, among the unseen ones.", ["confusion.png"])
    save(cr.visualize.plot_gradient_flow(lesson.flows), folder, "flow_over_time")
    yield Picture(
        "Gradient flow over time", "How large each parameter's gradient was, epoch by epoch.", ["flow_over_time.png"]
    )
    save(lesson.flows[-1].plot(), folder, "flow")
    yield Picture("Gradient flow", "The last of these, with the largest elements and a verdict.", ["flow.png"])
    figure = cr.visualize.plot_loss_surface(lambda: loss_of(lesson.model), lesson.model, lesson.path, resolution=21)
    save(figure, folder, "surface")
    yield Picture(
        "Loss surface",
        f"The loss over the plane in which the path through {count(lesson.model):,} dimensions extends furthest, and the path.",
        ["surface.png"],
    )


# Plots of parameters


def parameters(folder: Path, model: cr.nn.MLP) -> Iterator[Picture]:
    save(cr.visualize.plot_weights(model[0].weight), folder, "weights")
    yield Picture(
        "Weights", "What each of the first layer's 16 neurons looks for: orange below 0, blue above.", ["weights.png"]
    )
    save(cr.visualize.plot_weights(model[0].weight.grad, label="gradient"), folder, "weight_gradients")
    yield Picture(
        "Their gradients",
        "In which direction the last loss would change each pixel's weight.",
        ["weight_gradients.png"],
    )
    save(cr.visualize.plot_histograms(model, log=True), folder, "histograms")
    yield Picture(
        "Histograms", "How the numbers of each parameter are spread, and those of its gradient.", ["histograms.png"]
    )


def boundaries(folder: Path, digits: Digits, steps: int) -> Iterator[Picture]:
    """Two numbers of each image, so that there is a plane to be looked at: its principal components."""
    x, y = prepared(digits.x_train[:600]), digits.y_train[:600].astype(int)
    directions = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:2]
    few = y <= 3
    points, labels = (x - x.mean(axis=0))[few] @ directions.T, y[few]
    several = taught(cr.nn.MLP([2, 24, 24, 4], activation="tanh", rng=0), cr.nn.cross_entropy, points, labels, steps)
    save(cr.visualize.plot_decision_boundary(several, points, labels), folder, "boundary_digits")
    yield Picture(
        "Decision boundaries",
        "0, 1, 2 and 3 told apart by the two principal components of their pixels; a black ring: wrong.",
        ["boundary_digits.png"],
    )
    two = labels <= 1
    model = cr.nn.MLP([2, 8, 1], activation="tanh", rng=0)
    one = taught(model, cr.nn.binary_cross_entropy_with_logits, points[two], labels[two][:, None], steps)
    save(cr.visualize.plot_decision_boundary(one, points[two], labels[two]), folder, "boundary")
    yield Picture("Decision boundary", "0 and 1 by one score, and how sure it is.", ["boundary.png"])


def taught(model: cr.nn.MLP, loss: Any, x: Array, y: Array, steps: int) -> cr.nn.MLP:
    optimizer = cr.nn.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return model


# The page

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<title>chainrule: a gallery</title>
<style>
  body {{ margin: 0 auto; max-width: 90rem; padding: 1rem; font: 16px/1.4 system-ui, sans-serif; color: #1f2933; background: #f6f7f9 }}
  main {{ display: grid; grid-auto-flow: dense; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); gap: 1rem }}
  figure {{ margin: 0; padding: 1rem; background: white; border: 1px solid #d5dae1; border-radius: 8px; display: flex; flex-direction: column }}
  figure > a {{ flex: 1; display: flex; align-items: center; justify-content: center; min-height: 10rem }}
  .wide {{ grid-column: 1 / -1 }}
  img {{ max-width: 100%; max-height: 26rem }}
  pre {{ overflow: auto; max-height: 26rem; margin: 0; font-size: 11px }}
  h2 {{ font-size: 1rem; margin: .8rem 0 .2rem }}
  p {{ margin: 0 }}
  h1 + p {{ margin-bottom: 1rem }}
  .files {{ font-size: .85rem; margin-top: .4rem }}
  a {{ color: #1d5f9e }}
</style>
</head>
<body>
<h1>chainrule: a gallery</h1>
<p>{about}</p>
<main>
{figures}
</main>
</body>
</html>
"""


def entry(picture: Picture, folder: Path) -> str:
    first = html.escape(picture.files[0])
    if first.endswith(".txt"):
        text = html.escape((folder / first).read_text(encoding="utf-8"))
        shown = f'<pre tabindex="0" aria-label="{html.escape(picture.title)}">{text}</pre>'
    else:
        shown = f'<a href="{first}"><img src="{first}" alt="{html.escape(picture.title)}"></a>'
    links = ", ".join(f'<a href="{html.escape(name)}">{html.escape(name)}</a>' for name in picture.files)
    words = f"<h2>{html.escape(picture.title)}</h2><p>{html.escape(picture.caption)}</p>"
    kind = " class=wide" if picture.wide else ""
    return f'<figure{kind}>{shown}<figcaption>{words}<p class="files">{links}</p></figcaption></figure>'


def write_page(folder: Path, about: str, pictures: Sequence[Picture]) -> Path:
    path = folder / "index.html"
    figures = "\n".join(entry(picture, folder) for picture in pictures)
    path.write_text(PAGE.format(about=html.escape(about), figures=figures), encoding="utf-8")
    return path


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--data", type=Path, metavar="DIR", help="a folder with MNIST's four files")
    options = made.parse_args()
    digits = load(options.data, download=not options.quick)
    n, epochs = (1000, 4) if options.quick else (6000, 12)
    digits = Digits(digits.x_train[:n], digits.y_train[:n], digits.x_test[:1000], digits.y_test[:1000])
    folder = options.out / "gallery"
    folder.mkdir(parents=True, exist_ok=True)

    lessons = {"SGD": learn(digits, "SGD", 0.1, epochs), "Adam": learn(digits, "Adam", 0.003, epochs)}
    model, history = lessons["Adam"].model, lessons["Adam"].history
    about = (
        f"A network 784-16-16-10 with {count(model):,} parameters, {len(digits.x_train):,} handwritten digits to learn from, {epochs} epochs: "
        f"{history['validation_accuracy'][-1]:.1%} of {len(digits.x_test):,} unseen digits are classified right."
    )
    print(f"{about}\n")

    x, y = prepared(digits.x_test[:DRAWN]), digits.y_test[:DRAWN]
    many, their_labels = prepared(digits.x_train[:500]), digits.y_train[:500]
    pictures = [
        *one_neuron(folder, model, x, y),
        *step_by_step(folder, model, x, y),
        *drawings(folder, model, x, y),
        *folds(folder, model, x, y),
        *checks(folder, model, x, y),
        *training(folder, lessons, lambda model: cr.nn.cross_entropy(model(many), their_labels)),
        *parameters(folder, model),
        *boundaries(folder, digits, 50 if options.quick else 400),
    ]
    print(f"\npage: {write_page(folder, about, pictures)}, with {len(pictures)} pictures")


if __name__ == "__main__":
    main()
