"""Networks whose parameters are single numbers, in micrograd's call shapes: `MLP(2, [16, 16, 1])` on lists.

A `Neuron` is one `dot` node and its activation: to read, to draw, to step through. A layer of several neurons computes
them together, as one `linear` node over its stacked weights, unless it is told to keep them apart (`fused=False`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.autograd import Value, enable_grad, linear, reshape
from chainrule.autograd.context import latest_change, note_change
from chainrule.autograd.guards.settings import flag
from chainrule.autograd.ops.linalg import dot_
from chainrule.autograd.ops.shape import item, stack_
from chainrule.autograd.plain import describe

from .activations import Activation, Identity, activation_called
from .init import Seed, generator, whole_number, whole_numbers
from .layers import Linear, Sequential
from .module import Module


class Neuron(Module):
    """activation(w · x + b), with ReLU or, where `nonlin` is false, no activation.

    >>> import chainrule as cr
    >>> neuron = cr.nn.scalar.Neuron(2, rng=0)
    >>> len(neuron.parameters())
    3
    """

    def __init__(self, n_in: int, nonlin: bool = True, *, activation: str = "relu", rng: Seed = None) -> None:
        n_in = whole_number("Neuron: n_in", n_in, 0)
        kind = activation_called(activation, "Neuron")
        numbers = generator(rng, "Neuron: rng").uniform(-1.0, 1.0, n_in).tolist()
        self.w = tuple([Value(x, name=f"w{i}") for i, x in enumerate(numbers)])
        self.b = Value(0.0, name="b")
        self.activation: Activation = kind() if flag("Neuron: nonlin", nonlin) else Identity()

    def __setattr__(self, name: str, part: Any) -> None:
        super().__setattr__(name, part)
        note_change()  # what was computed from the neuron's parts no longer stands

    def forward(self, x: Sequence[Any]) -> Any:
        if len(x) != len(self.w):
            raise ValueError(f"Neuron: expected {len(self.w)} inputs, got {len(x)}")
        return self.activation.function(dot_(*self.w, *x, self.b))

    def __repr__(self) -> str:
        return f"{type(self.activation).__name__}Neuron({len(self.w)})"


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """What computes the neurons of a layer together: their weights and biases as one Tensor each.

    No container, so no parameter is found in it again. Weights are a tuple and a neuron says when one of its parts is
    replaced, so that none can be exchanged unnoticed.
    """

    neurons: list[Neuron]
    weights: Any
    biases: Any
    activation: Callable[[Any], Any]

    def stands(self, neurons: list[Neuron]) -> bool:
        """Whether it was made from these very neurons, and nothing has changed since."""
        return bool(self.weights.birth > latest_change[0]) and neurons == self.neurons

    def __call__(self, x: Any) -> Any:
        """All outputs as one Tensor, from the inputs as one."""
        n_in = self.weights.shape[1]
        if x.shape[0] != n_in:
            raise ValueError(f"Layer: expected {n_in} inputs, got {x.shape[0]}")
        return self.activation(linear(x, self.weights, self.biases))


def joint_of(neurons: list[Neuron]) -> Joint | None:
    """None where the neurons differ in more than their numbers."""
    function = neurons[0].activation.function
    kinds = {(type(neuron), type(neuron.w), len(neuron.w)) for neuron in neurons}
    if kinds != {(Neuron, tuple, len(neurons[0].w))} or not neurons[0].w:
        return None
    if any(neuron.activation.function is not function for neuron in neurons):
        return None
    with enable_grad():  # a first call under no_grad must not leave constants behind
        weights = stack_(*[w for neuron in neurons for w in neuron.w], axis=0)
        biases = stack_(*[neuron.b for neuron in neurons], axis=0)
        matrix = reshape(weights, (len(neurons), -1))
    return Joint(list(neurons), matrix, biases, function)


class Layer(Module):
    """Neurons side by side, all on the same inputs; a list of outputs, or the one output of a single neuron.

    With `fused` (the default) they are computed together: the same numbers, from a small graph. Without, each neuron is
    a node of its own, as in a drawing that shows them.
    """

    caches = ("cache",)

    def __init__(
        self,
        n_in: int,
        n_out: int,
        nonlin: bool = True,
        *,
        activation: str = "relu",
        rng: Seed = None,
        fused: bool = True,
    ) -> None:
        n_in, n_out = whole_number("Layer: n_in", n_in, 0), whole_number("Layer: n_out", n_out, 0)
        activation_called(activation, "Layer")
        rng = generator(rng, "Layer: rng")
        self.neurons = [Neuron(n_in, nonlin, activation=activation, rng=rng) for _ in range(n_out)]
        self.fused = flag("Layer: fused", fused)
        self.cache: Joint | None = None

    def forward(self, x: Sequence[Any]) -> Any:
        joint = self.joint()
        if joint is not None and len(self.neurons) > 1:
            return values(joint(vector(x)))
        outputs = [neuron(x) for neuron in self.neurons]
        return outputs[0] if len(outputs) == 1 else outputs

    def joint(self) -> Joint | None:
        """All neurons as one, the same for every sample until something changes; None if they are kept apart."""
        if not self.fused:
            return None
        if self.cache is None or not self.cache.stands(self.neurons):
            self.cache = joint_of(self.neurons)
        return self.cache

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"cache": None}

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(repr, self.neurons))}]"


class MLP(Module):
    """Layers of neurons: `n_in` inputs, then layers of the sizes in `n_outs`; the last one has no activation.

    >>> import chainrule as cr
    >>> model = cr.nn.scalar.MLP(2, [16, 16, 1], rng=0)
    >>> len(model.parameters())
    337
    >>> y = model([1.0, -1.0])
    """

    def __init__(
        self,
        n_in: int,
        n_outs: Sequence[int],
        *,
        activation: str = "relu",
        rng: Seed = None,
        fused: bool = True,
    ) -> None:
        sizes = [whole_number("MLP: n_in", n_in, 0), *whole_numbers("MLP: n_outs", n_outs, 0)]
        activation_called(activation, "MLP")
        rng = generator(rng, "MLP: rng")
        last = len(sizes) - 2
        self.layers = [
            Layer(sizes[i], sizes[i + 1], nonlin=i != last, activation=activation, rng=rng, fused=fused)
            for i in range(len(sizes) - 1)
        ]

    def forward(self, x: Sequence[Any]) -> Any:
        joints = [layer.joint() for layer in self.layers]
        if None not in joints:
            array = vector(x)
            for joint in joints:
                array = joint(array)  # type: ignore[misc]
            return values(array)
        for layer in self.layers:
            x = layer([x] if isinstance(x, Value) else x)
        return x

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(repr, self.layers))}]"


def vector(x: Sequence[Any]) -> Any:
    """The inputs as one array or Tensor."""
    return stack_(*x, axis=0) if len(x) else np.zeros(0)


def values(array: Any) -> Any:
    """The elements of a vector as Values; the one element itself."""
    return item(array) if array.shape == (1,) else [item(x) for x in array]


def unroll(mlp: Sequential) -> MLP:
    """The scalar twin of a small Tensor network of Linear layers and activations, with the same weights.

    Each Value is named after its place in the Tensor, such as `0.weight[1,2]`.

    >>> import chainrule as cr
    >>> mlp = cr.nn.MLP([2, 3, 1], activation="tanh", rng=0)
    >>> twin = cr.nn.scalar.unroll(mlp)
    >>> bool(abs(twin([0.5, -0.5]).data - mlp([[0.5, -0.5]]).item()) < 1e-15)
    True
    """
    if not isinstance(mlp, Sequential):
        raise TypeError(f"unroll: mlp must be a Sequential, such as an MLP, got {describe(mlp)}")
    twin = MLP(0, [], fused=False)
    open_for_activation = False
    for name, layer in enumerate(mlp):
        if isinstance(layer, Linear):
            twin.layers.append(unrolled_layer(layer, str(name)))
            open_for_activation = True
        elif open_for_activation and isinstance(layer, Activation):
            for neuron in twin.layers[-1].neurons:
                neuron.activation = layer
            open_for_activation = False
        else:
            raise TypeError(
                f"unroll: expected Linear layers, each followed by at most one activation, got {name}: {layer!r}"
            )
    return twin


def unrolled_layer(layer: Linear, name: str) -> Layer:
    n_out, n_in = layer.weight.shape
    scalar = Layer(n_in, n_out, nonlin=False, fused=False)
    for i, neuron in enumerate(scalar.neurons):
        row = layer.weight.data[i].tolist()
        neuron.w = tuple([Value(w, name=f"{name}.weight[{i},{j}]") for j, w in enumerate(row)])
        bias = 0.0 if layer.bias is None else layer.bias.data[i].item()
        neuron.b = Value(bias, name=f"{name}.bias[{i}]")
    return scalar
