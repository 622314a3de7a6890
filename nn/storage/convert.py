"""State to and from PyTorch: the same names, the numbers copied, so that neither side can change the other's."""

from __future__ import annotations

__all__ = ["from_torch", "to_torch"]

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import numbers


def to_torch(state: Mapping[str, Any]) -> dict[str, Any]:
    """A `state_dict` of arrays as one of PyTorch tensors, which a PyTorch module of the same structure loads.

    Dtypes stay as they are; one that PyTorch lacks is a `TypeError`, and so is an entry that holds no numbers. A shared
    parameter is listed once, where PyTorch expects it under each of its names: load such a state with `strict=False`.

    >>> import chainrule as cr
    >>> ours = cr.nn.Linear(2, 1, rng=0)
    >>> theirs = torch.nn.Linear(2, 1).double()  # doctest: +SKIP
    >>> theirs.load_state_dict(cr.nn.to_torch(ours.state_dict()))  # doctest: +SKIP
    <All keys matched successfully>
    """
    torch = torch_itself()
    check_state("to_torch", state)
    tensors = {}
    for name, x in state.items():
        array = np.array(numbers(x, f"to_torch: {name!r}"), order="C")
        try:
            tensors[name] = torch.from_numpy(array)
        except TypeError as error:
            raise TypeError(f"to_torch: {name!r}: {error}") from error
    return tensors


def from_torch(state: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """A PyTorch `state_dict` as one of arrays, which `load_state_dict` of a module of the same structure takes.

    bfloat16, which NumPy lacks, becomes float32, which holds all its numbers; another dtype or layout that NumPy lacks
    is a `TypeError`, and so is an entry that is no tensor. What PyTorch lists under several names, being shared, stays so,
    and `load_state_dict` takes it if it is shared there too.

    >>> import chainrule as cr
    >>> theirs = torch.nn.Linear(2, 1)  # doctest: +SKIP
    >>> cr.nn.Linear(2, 1).load_state_dict(cr.nn.from_torch(theirs.state_dict()))  # doctest: +SKIP
    """
    torch = torch_itself()
    check_state("from_torch", state)
    return {name: array_from(torch, tensor, f"from_torch: {name!r}") for name, tensor in state.items()}


def check_state(name: str, state: Any) -> None:
    if not isinstance(state, Mapping):
        raise TypeError(f"{name}: expected a state, got {type(state).__name__}; of a module, give its state_dict()")


def array_from(torch: Any, tensor: Any, name: str) -> NDArray[Any]:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}: expected a PyTorch tensor, got {type(tensor).__name__}")
    widened = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    try:
        return np.array(widened.detach().cpu().resolve_conj().resolve_neg().numpy())
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name}: {tensor.dtype} of layout {tensor.layout} on {tensor.device}: {error}") from error


def torch_itself() -> Any:
    try:
        return import_module("torch")
    except ImportError as error:
        raise ImportError(
            "converting to and from PyTorch needs torch, which is not installed: pip install torch"
        ) from error
