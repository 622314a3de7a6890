"""State to and from PyTorch: the same names, the same numbers, the same outputs, and nothing shared."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr

torch = pytest.importorskip("torch")
nn = torch.nn

X = np.random.default_rng(0).normal(size=(6, 4))
TOKENS = np.array([[0, 4, 2], [1, 1, 3]])

MODELS: dict[str, tuple[Callable[[], Any], Callable[[], Any], Any]] = {
    "MLP": (
        lambda: cr.nn.MLP([4, 5, 3], activation="tanh"),
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
        X,
    ),
    "Sequential": (
        lambda: cr.nn.Sequential(cr.nn.Linear(4, 3, bias=False), cr.nn.Sequential(cr.nn.GELU(), cr.nn.Linear(3, 2))),
        lambda: nn.Sequential(nn.Linear(4, 3, bias=False), nn.Sequential(nn.GELU(), nn.Linear(3, 2))),
        X,
    ),
    "BatchNorm1d": (
        lambda: cr.nn.Sequential(cr.nn.Linear(4, 3), cr.nn.BatchNorm1d(3), cr.nn.ReLU(), cr.nn.Dropout(0.5)),
        lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.5)),
        X,
    ),
    "LayerNorm": (
        lambda: cr.nn.Sequential(cr.nn.LayerNorm(4), cr.nn.Linear(4, 2)),
        lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)),
        X,
    ),
    "Embedding": (
        lambda: cr.nn.Sequential(cr.nn.Embedding(5, 4), cr.nn.Flatten(), cr.nn.Linear(12, 2)),
        lambda: nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 2)),
        TOKENS,
    ),
}
PAIRS = pytest.mark.parametrize(("ours", "theirs", "x"), MODELS.values(), ids=MODELS)


def randomised(state: dict[str, Any]) -> dict[str, Any]:
    """Other numbers in the places of these, positive as variances are, and whole where they were."""
    rng = np.random.default_rng(1)
    return {name: rng.uniform(1.0, 9.0, x.shape).astype(x.dtype) for name, x in state.items()}


def assert_same_outputs(ours: Any, theirs: Any, x: Any) -> None:
    ours.eval()
    theirs.eval()
    assert_allclose(
        ours(x).data, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-12, atol=1e-14
    )  # terms of size 1 may cancel


@PAIRS
def test_a_pytorch_module_takes_our_state(ours: Callable[[], Any], theirs: Callable[[], Any], x: Any) -> None:
    model, other = ours(), theirs().double()
    model.load_state_dict(randomised(model.state_dict()))
    other.load_state_dict(cr.nn.to_torch(model.state_dict()))
    assert_same_outputs(model, other, x)


@PAIRS
def test_our_module_takes_a_pytorch_state(ours: Callable[[], Any], theirs: Callable[[], Any], x: Any) -> None:
    model, other = ours(), theirs().double()
    other.load_state_dict({k: torch.tensor(v) for k, v in randomised(cr.nn.from_torch(other.state_dict())).items()})
    model.load_state_dict(cr.nn.from_torch(other.state_dict()))
    assert_same_outputs(model, other, x)


@PAIRS
def test_the_names_are_the_same_in_the_same_order(ours: Callable[[], Any], theirs: Callable[[], Any], x: Any) -> None:
    assert list(cr.nn.to_torch(ours().state_dict())) == list(theirs().state_dict())


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3)])
def test_arrays_go_there_and_back_with_dtype_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, dtype)
    tensors = cr.nn.to_torch({"a": array})
    assert tuple(tensors["a"].shape) == shape
    back = cr.nn.from_torch(tensors)["a"]
    assert isinstance(back, np.ndarray)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert_array_equal(back, array)


@pytest.mark.parametrize(
    "array",
    [X[::-1, ::2], np.asfortranarray(X), X.astype(">f8"), np.broadcast_to(X[0], (3, 4))],
    ids=["negative strides", "fortran", "big-endian", "broadcast"],
)
def test_any_layout_is_converted(array: Any) -> None:
    assert_array_equal(cr.nn.to_torch({"a": array})["a"].numpy(), array)


def test_nothing_is_shared() -> None:
    array, tensor = np.ones(2), nn.Parameter(torch.ones(2))
    cr.nn.to_torch({"a": array})["a"][0] = 5.0
    cr.nn.from_torch({"a": tensor})["a"][0] = 5.0
    assert_array_equal(array, 1.0)
    assert_array_equal(tensor.detach().numpy(), 1.0)


TENSORS: dict[str, tuple[Callable[[], Any], Any]] = {
    "bfloat16": (lambda: torch.tensor([1.0, -0.1]).bfloat16(), np.array([1.0, -0.10009765625], np.float32)),
    "float16": (lambda: torch.tensor([1.0, 0.5]).half(), np.array([1.0, 0.5], np.float16)),
    "with a gradient": (lambda: torch.ones(2, requires_grad=True) * 2, np.array([2.0, 2.0], np.float32)),
    "a view": (lambda: torch.arange(6.0).reshape(2, 3).T[1:], np.array([[1, 4], [2, 5]], np.float32)),
    "conjugate": (lambda: torch.tensor([1 + 2j]).conj(), np.array([1 - 2j], np.complex64)),
}


@pytest.mark.parametrize(("tensor", "expected"), TENSORS.values(), ids=TENSORS)
def test_tensors_of_all_kinds_become_plain_arrays(tensor: Callable[[], Any], expected: Any) -> None:
    array = cr.nn.from_torch({"a": tensor()})["a"]
    assert array.dtype == expected.dtype
    assert_array_equal(array, expected)


REFUSED: dict[str, tuple[Callable[[Any], Any], Callable[[], Any], type[Exception], str]] = {
    "an array, from": (cr.nn.from_torch, lambda: np.ones(2), TypeError, "'a': expected a PyTorch tensor, got ndarray"),
    "extra state": (cr.nn.from_torch, dict, TypeError, "'a': expected a PyTorch tensor, got dict"),
    "float8": (cr.nn.from_torch, lambda: torch.ones(2).to(torch.float8_e4m3fn), TypeError, "'a': torch.float8_e4m3fn"),
    "sparse": (cr.nn.from_torch, lambda: torch.eye(2).to_sparse(), TypeError, "'a': .*torch.sparse_coo"),
    "without data": (cr.nn.from_torch, lambda: torch.ones(2, device="meta"), TypeError, "'a': .*on meta"),
    "a tensor, to": (cr.nn.to_torch, lambda: torch.ones(2), TypeError, "'a': expected an array of numbers, got Tensor"),
    "text": (cr.nn.to_torch, lambda: np.array(["x"]), ValueError, "'a': expected an array of numbers, got dtype <U1"),
    "nested": (cr.nn.to_torch, dict, TypeError, "'a': expected an array of numbers, got dict"),
}


@pytest.mark.parametrize(("convert", "entry", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_converted_is_named(
    convert: Callable[[Any], Any], entry: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        convert({"a": entry()})


@pytest.mark.parametrize(("convert", "module"), [(cr.nn.to_torch, cr.nn.Linear), (cr.nn.from_torch, nn.Linear)])
def test_a_module_in_place_of_its_state_is_refused(convert: Callable[[Any], Any], module: Any) -> None:
    with pytest.raises(TypeError, match=r"_torch: expected a state, got Linear; of a module, give its state_dict\(\)"):
        convert(module(2, 1))


def tied(linear: Any, sequential: Any) -> Any:
    first, second = linear(4, 4), linear(4, 4)
    second.weight = first.weight
    return sequential(first, second, first)


def test_tied_weights_there_and_back() -> None:
    ours, theirs = tied(cr.nn.Linear, cr.nn.Sequential), tied(nn.Linear, nn.Sequential).double()
    ours.load_state_dict(cr.nn.from_torch(theirs.state_dict()))
    assert_same_outputs(ours, theirs, X)
    ours.load_state_dict(randomised(ours.state_dict()))
    theirs.load_state_dict(cr.nn.to_torch(ours.state_dict()), strict=False)
    assert_same_outputs(ours, theirs, X)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is double here")
def test_a_dtype_that_pytorch_lacks_is_named() -> None:
    with pytest.raises(TypeError, match=r"'a': can't convert .*longdouble"):
        cr.nn.to_torch({"a": np.ones(2, np.longdouble)})


@pytest.mark.parametrize("convert", [cr.nn.to_torch, cr.nn.from_torch])
def test_without_pytorch_the_error_says_what_to_install(
    convert: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        convert({})
