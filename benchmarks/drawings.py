"""The same two graphs as five tools draw them: python benchmarks/drawings.py [folder]

A neuron with two inputs, and a network 2-4-1 with tanh, of the same numbers everywhere, after the backward pass where a
tool shows one. micrograd has no tanh and its drawing is a notebook's: both are written here as its users write them.
TensorBoard draws in a browser: it is served to this machine alone, and photographed in headless Chromium.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import graphviz
import micrograd.engine
import micrograd.nn
import numpy as np
import torch
import torchview
import torchviz
from playwright.sync_api import Page, sync_playwright
from torch.utils.tensorboard import SummaryWriter

import chainrule as cr

FOLDER = Path(__file__).parent.parent / "docs" / "drawings"
NUMBERS = {"x1": 2.0, "w1": -3.0, "x2": 0.0, "w2": 1.0, "b": 6.8813735870195432}
POINT = [2.0, -1.0]
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync"]  # fmt: skip


def network() -> cr.nn.MLP:
    return cr.nn.MLP([2, 4, 1], activation="tanh", rng=0)


def weights() -> list[tuple[Any, Any]]:
    """Of each layer, weights by neuron and biases."""
    model = network()
    return [(layer.weight.data, layer.bias.data) for layer in model.modules() if isinstance(layer, cr.nn.Linear)]


# chainrule


def chainrule(folder: Path) -> None:
    x1, w1, x2, w2, b = (cr.Value(x, name) for name, x in NUMBERS.items())
    draw(cr.tanh(x1 * w1 + x2 * w2 + b), folder / "chainrule_neuron.svg")
    draw(network()(cr.Tensor([POINT], name="x")).sum(), folder / "chainrule_network.svg")
    scalars = cr.nn.scalar.MLP(2, [4, 1], activation="tanh", fused=False)
    for layer, (w, b) in zip(scalars.layers, weights(), strict=True):
        for neuron, row, bias in zip(layer.neurons, w, b, strict=True):
            neuron.w = tuple(cr.Value(x, f"w{i}") for i, x in enumerate(row))
            neuron.b = cr.Value(bias, "b")
    draw(scalars([cr.Value(x, f"x{i}") for i, x in enumerate(POINT)]), folder / "chainrule_network_of_numbers.svg")


def draw(root: Any, path: Path) -> None:
    root.backward()
    cr.visualize.render(root, path)


# micrograd, with the drawing of its notebook: a record of data and grad for each value, an ellipse for each operation.


def tanh(x: micrograd.engine.Value) -> micrograd.engine.Value:
    y = micrograd.engine.Value(np.tanh(x.data), (x,), "tanh")

    def back() -> None:
        x.grad += (1 - y.data**2) * y.grad

    y._backward = back
    return y


def notebook(root: micrograd.engine.Value) -> graphviz.Digraph:
    root.backward()
    picture = graphviz.Digraph(graph_attr={"rankdir": "LR"})
    seen, waiting = {root}, [root]
    while waiting:
        value = waiting.pop()
        name = str(id(value))
        picture.node(name, f"{{ data {value.data:.4f} | grad {value.grad:.4f} }}", shape="record")
        if value._op:
            picture.node(f"{name}op", value._op)
            picture.edge(f"{name}op", name)
        for part in value._prev:
            picture.edge(str(id(part)), f"{name}op")
            if part not in seen:
                seen.add(part)
                waiting.append(part)
    return picture


def micrograd_notebook(folder: Path) -> None:
    x1, w1, x2, w2, b = map(micrograd.engine.Value, NUMBERS.values())
    write(notebook(tanh(x1 * w1 + x2 * w2 + b)), folder / "micrograd_neuron.svg")
    hidden, last = (micrograd.nn.Layer(len(w[0]), len(w), nonlin=False) for w, _ in weights())
    for layer, (w, b) in zip((hidden, last), weights(), strict=True):
        for neuron, row, bias in zip(layer.neurons, w, b, strict=True):
            neuron.w, neuron.b = [micrograd.engine.Value(float(x)) for x in row], micrograd.engine.Value(float(bias))
    inputs = [micrograd.engine.Value(x) for x in POINT]
    write(notebook(last([tanh(y) for y in hidden(inputs)])), folder / "micrograd_network.svg")


def write(picture: graphviz.Digraph, path: Path) -> None:
    path.write_bytes(picture.pipe(format="svg"))


# PyTorch


class Neuron(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w1, self.w2, self.b = (torch.nn.Parameter(torch.tensor(NUMBERS[name])) for name in ("w1", "w2", "b"))

    def forward(self, x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x1 * self.w1 + x2 * self.w2 + self.b)


def torch_network() -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    with torch.no_grad():
        for layer, (w, b) in zip((model[0], model[2]), weights(), strict=True):
            layer.weight.copy_(torch.tensor(w))
            layer.bias.copy_(torch.tensor(b))
    return model


def models() -> dict[str, tuple[torch.nn.Module, tuple[torch.Tensor, ...]]]:
    """By name, with the inputs."""
    inputs = tuple(torch.tensor(NUMBERS[name]) for name in ("x1", "x2"))
    return {"neuron": (Neuron(), inputs), "network": (torch_network(), (torch.tensor([POINT]),))}


def torchviz_pictures(folder: Path) -> None:
    for name, (model, inputs) in models().items():
        inputs = tuple(x.requires_grad_() for x in inputs)
        y = model(*inputs)
        named = dict(model.named_parameters()) | {f"x{i}": x for i, x in enumerate(inputs, 1)}
        write(torchviz.make_dot(y, named, show_attrs=True, show_saved=True), folder / f"torchviz_{name}.svg")


def torchview_pictures(folder: Path) -> None:
    for name, (model, inputs) in models().items():
        drawn = torchview.draw_graph(
            model, input_data=inputs, expand_nested=True, hide_inner_tensors=False, hide_module_functions=False
        )
        write(drawn.visual_graph, folder / f"torchview_{name}.svg")


CORNER = (1090, 770)
DRAWN = {"x": 275, "y": 66, "width": 825, "height": 714}  # the page but for its menus
OPENED = {"neuron": ["Neuron"], "network": ["Sequential", "Sequential/Linear[0]"]}  # by double click


def tensorboard_pictures(folder: Path) -> None:
    for name, (model, inputs) in models().items():
        with tempfile.TemporaryDirectory() as log:
            with SummaryWriter(log) as writer, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it traces the model with what PyTorch has deprecated
                writer.add_graph(model, inputs)
            with served(log) as address, page() as shown:
                shown.goto(f"{address}/#graphs", wait_until="networkidle")
                photograph(shown, OPENED[name], folder / f"tensorboard_{name}.png")


def photograph(shown: Page, opened: list[str], path: Path) -> None:
    for name in opened:
        shown.locator(f'g.node[data-name="{name}"] text').last.dblclick(force=True)
        shown.wait_for_timeout(1500)  # it moves about
    shown.mouse.click(*CORNER)  # nothing is selected any more
    shown.get_by_text("Fit to screen").click()
    shown.wait_for_timeout(1500)
    shown.screenshot(path=path, clip=DRAWN)


@contextmanager
def served(log: str) -> Iterator[str]:
    """TensorBoard over these logs, for this machine alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", log, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while server.poll() is None and not answers(port):
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    with socket.socket() as there:
        return there.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        yield browser.new_page(viewport={"width": 1100, "height": 780})
        browser.close()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for pictures in (chainrule, micrograd_notebook, torchviz_pictures, torchview_pictures, tensorboard_pictures):
        pictures(target)
