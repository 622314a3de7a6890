"""Networks whose parameters are single numbers, in micrograd's call shapes: `MLP(2, [16, 16, 1])` on lists.

A `Neuron` is one `dot` node and its activation: to read, to draw, to step through. A layer of several neurons computes
them together, as one `linear` node over its stacked weights, unless it is told to keep them apart (`fused=False`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import is_
from typing import Any

import numpy as np

from chainrule.autograd import Value, enable_grad, linear, reshape
from chainrule.autograd.graph import latest_change
from chainrule.autograd.ops.linalg import dot_
from chainrule.autograd.ops.shape import item, stack_

from .init import Seed, generator
from .layers import Activation, Identity, Linear, Sequential, activation_called
from .module import Module


class Neuron(Module):
    """activation(w · x + b), with ReLU or, where `nonlin` is false, no activation.

    >>> import chainrule as cr
    >>> neuron = cr.nn.scalar.Neuron(2, rng=0)
    >>> len(neuron.parameters())
    3
    """

    def __init__(self, n_in: int, nonlin: bool = True, *, activation: str = "relu", rng: Seed = None) -> None:
        self.w = [Value(x) for x in generator(rng).uniform(-1.0, 1.0, n_in).tolist()]
        self.b = Value(0.0)
        self.activation: Activation = activation_called(activation)() if nonlin else Identity()

    def forward(self, x: Sequence[Any]) -> Any:
        if len(x) != len(self.w):
            raise ValueError(f"Neuron: expected {len(self.w)} inputs, got {len(x)}")
        return self.activation.function(dot_(*self.w, *x, self.b))

    def __repr__(self) -> str:
        return f"{type(self.activation).__name__}Neuron({len(self.w)})"


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """The weights and biases of a layer as one Tensor each. No container, so no parameter is found in it again."""

    parameters: list[Value]
    weights: Any
    biases: Any

    def still_of(self, neurons: list[Neuron]) -> bool:
        """Whether it was made from the very Values that the neurons have, unchanged since."""
        return (
            self.weights.birth > latest_change[0]
            and sum([len(neuron.w) + 1 for neuron in neurons]) == len(self.parameters)
            and all(map(is_, values_of(neurons), self.parameters))
        )


def values_of(neurons: list[Neuron]) -> Iterator[Value]:
    """The weights of all neurons, then their biases."""
    return chain(chain.from_iterable([neuron.w for neuron in neurons]), [neuron.b for neuron in neurons])


class Layer(Module):
    """Neurons side by side, all on the same inputs; a list of outputs, or the one output of a single neuron.

    With `fused` (the default) they are computed together: the same numbers, from a small graph. Without, each neuron is
    a node of its own, as in a drawing that shows them.
    """

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
        rng = generator(rng)
        self.neurons = [Neuron(n_in, nonlin, activation=activation, rng=rng) for _ in range(n_out)]
        self.fused = fused
        self.cache: Stacked | None = None

    def forward(self, x: Sequence[Any]) -> Any:
        if self.fused and len(self.neurons) > 1 and self.alike():
            return values(self.together(vector(x)))
        outputs = [neuron(x) for neuron in self.neurons]
        return outputs[0] if len(outputs) == 1 else outputs

    def alike(self) -> bool:
        """Whether the neurons differ in their numbers only."""
        kinds = {(type(neuron), type(neuron.activation)) for neuron in self.neurons}
        return len(kinds) == 1

    def together(self, x: Any) -> Any:
        """All outputs as one Tensor, from the inputs as one."""
        stacked = self.stacked()
        n_in = stacked.weights.shape[1]
        if x.shape[0] != n_in:
            raise ValueError(f"Layer: expected {n_in} inputs, got {x.shape[0]}")
        activation = self.neurons[0].activation.function
        return activation(linear(x, stacked.weights, stacked.biases))

    def stacked(self) -> Stacked:
        """Weights and biases as one Tensor each: the same nodes for every sample, until a parameter changes."""
        if self.cache is None or not self.cache.still_of(self.neurons):
            n = len(self.neurons)
            parameters = list(values_of(self.neurons))
            with enable_grad():  # a first call under no_grad must not leave constants behind
                weights = reshape(stack_(*parameters[:-n], axis=0), (n, -1))
                self.cache = Stacked(parameters, weights, stack_(*parameters[-n:], axis=0))
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
        rng = generator(rng)
        sizes = [n_in, *n_outs]
        last = len(n_outs) - 1
        self.layers = [
            Layer(sizes[i], sizes[i + 1], nonlin=i != last, activation=activation, rng=rng, fused=fused)
            for i in range(len(n_outs))
        ]

    def forward(self, x: Sequence[Any]) -> Any:
        if all(layer.fused and layer.alike() for layer in self.layers):
            array = vector(x)
            for layer in self.layers:
                array = layer.together(array)
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
    twin = MLP(0, [], fused=False)
    for name, layer in vars(mlp).items():
        if isinstance(layer, Linear):
            twin.layers.append(unrolled_layer(layer, name))
        elif twin.layers and isinstance(layer, Activation):
            for neuron in twin.layers[-1].neurons:
                neuron.activation = layer
        else:
            raise TypeError(f"unroll: expected Linear layers, each followed by an activation, got {name}: {layer!r}")
    return twin


def unrolled_layer(layer: Linear, name: str) -> Layer:
    n_out, n_in = layer.weight.shape
    scalar = Layer(n_in, n_out, nonlin=False, fused=False)
    for i, neuron in enumerate(scalar.neurons):
        row = layer.weight.data[i].tolist()
        neuron.w = [Value(w, name=f"{name}.weight[{i},{j}]") for j, w in enumerate(row)]
        bias = 0.0 if layer.bias is None else layer.bias.data[i].item()
        neuron.b = Value(bias, name=f"{name}.bias[{i}]")
    return scalar
