"""Checkpoints: everything comes back bit for bit, into all parts or into none; damage is one clear error."""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupts import at_every_line
from numpy.testing import assert_array_equal

import chainrule as cr

BIT_GENERATORS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.npz"


class Counter:
    """A part with a state of its own. It takes over any state and only then looks whether it can be."""

    def __init__(self, state: Any = None) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state
        if state == "impossible":
            raise KeyError("impossible")


def assert_identical(x: Any, y: Any) -> None:
    """The same types all the way down, and the same bits at the end."""
    assert type(x) is type(y)
    if isinstance(x, dict):
        assert list(x) == list(y)
        for key in x:
            assert_identical(x[key], y[key])
    elif isinstance(x, list | tuple):
        assert len(x) == len(y)
        for a, b in zip(x, y, strict=True):
            assert_identical(a, b)
    elif isinstance(x, np.ndarray):
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
        assert x.flags.f_contiguous == y.flags.f_contiguous
    elif isinstance(x, float):
        assert struct.pack("d", x) == struct.pack("d", y)
    else:
        assert x == y


# Everything comes back

PLAIN = [
    None, True, False, 0, -1, 2**127 + 1, -(2**200), 0.1, 5e-324, -0.0, 1e308, math.inf, -math.inf, math.nan, -math.nan,
    struct.unpack("d", struct.pack("Q", 0x7FF8_0000_DEAD_BEEF))[0],
    "", "text", "ü☃\0\ud800\"\\", "NaN", [], {}, (), [[]], [1, 1.0, True, None, "1"], (0.9, 0.999), [(1, [2]), {"a": (3,)}],
    {"": 1, "a.b": 2, "dict": {"array": 0}, "float": "7ff0000000000000"}, {"tuple": [1]}, {"array": 3},
    np.array(2.5), np.array(7), np.zeros((0, 3), np.float32), np.arange(6, dtype=np.uint8).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array([math.nan, -0.0], np.float16), np.array([True, False]),
    np.array([1 + 2j]), {"a": [np.ones(2), {"b": np.zeros(())}]},
]  # fmt: skip


@pytest.mark.parametrize("plain", PLAIN, ids=repr)
def test_plain_data_comes_back_bit_for_bit(path: Path, plain: Any) -> None:
    cr.nn.save_checkpoint(path, part=plain, first=1)
    read = cr.nn.load_checkpoint(path)
    assert list(read) == ["part", "first"]
    assert_identical(read["part"], plain)


def test_numpy_scalars_become_the_numbers_of_python(path: Path) -> None:
    cr.nn.save_checkpoint(path, x=[np.float64(0.1), np.float32(0.1), np.int64(3), np.bool_(True), np.str_("a")])
    assert_identical(cr.nn.load_checkpoint(path)["x"], [0.1, float(np.float32(0.1)), 3, True, "a"])


def test_truth_values_are_0_or_1_whatever_their_bits(path: Path) -> None:
    odd = np.frombuffer(b"\x02\x00\xff\x01", bool)
    given = {"row": odd, "square": odd.reshape(2, 2).T, "point": odd[:1].reshape(())}
    cr.nn.save_checkpoint(path, x=given)
    expected = {name: np.where(array, True, False) for name, array in given.items()}
    assert_identical(cr.nn.load_checkpoint(path)["x"]["row"], expected["row"])
    for read in (cr.nn.load_checkpoint(path)["x"], (cr.nn.save_weights(given, path), cr.nn.read_weights(path))[1]):
        for name, array in expected.items():
            assert_array_equal(read[name].view(np.uint8), array.view(np.uint8))


@pytest.mark.parametrize("kind", BIT_GENERATORS)
def test_a_generator_goes_on_where_it_was(path: Path, kind: Any) -> None:
    def draws(rng: np.random.Generator) -> list[Any]:
        return [rng.integers(0, 100, 5, dtype=np.uint32), rng.normal(size=700), rng.permutation(50)]

    rng = np.random.Generator(kind(1))
    rng.integers(0, 100, 3, dtype=np.uint32)  # half of a 64-bit number is left over
    cr.nn.save_checkpoint(path, rng=rng)
    expected = draws(rng)
    for other in np.random.Generator(kind(2)), rng:
        assert cr.nn.load_checkpoint(path, rng=other) == {}
        for x, y in zip(draws(other), expected, strict=True):
            assert_array_equal(x, y)


def test_lists_of_parts_and_a_part_called_path(path: Path) -> None:
    rngs = [np.random.default_rng(i) for i in range(3)]
    cr.nn.save_checkpoint(path, rngs=rngs, none=[], path=Counter({"n": 1}), self=(Counter(2),))
    expected = [rng.random() for rng in rngs]
    counter, inner = Counter(), Counter()
    assert cr.nn.load_checkpoint(path, rngs=rngs, none=[], path=counter, self=[inner]) == {"none": []}
    assert [rng.random() for rng in rngs] == expected
    assert (counter.state, inner.state) == ({"n": 1}, 2)


def loss(model: cr.nn.Module, rng: np.random.Generator) -> Any:
    x = rng.normal(size=(8, 3)).astype(np.float32)
    return cr.nn.mse_loss(model(x), x[:, :2] ** 2)


def train(parts: dict[str, Any], steps: int) -> None:
    for _ in range(steps):
        parts["optimizer"].zero_grad()
        loss(parts["model"], parts["rng"]).backward()
        parts["optimizer"].step()


def training(seed: int, optimizer: Callable[..., Any]) -> dict[str, Any]:
    model = cr.nn.MLP([3, 5, 2], dtype=np.float32, rng=seed)
    return {
        "model": model,
        "optimizer": optimizer(model.parameters()),
        "rng": np.random.default_rng(seed),
    }


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "SGD": lambda parameters: cr.nn.SGD(parameters, lr=0.01, momentum=0.9),
    "Adam": lambda parameters: cr.nn.Adam(parameters, lr=0.01),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_resumed_training_is_the_uninterrupted_one(path: Path, optimizer: Callable[..., Any]) -> None:
    whole = training(1, optimizer)
    train(whole, 5)
    cr.nn.save_checkpoint(path, **whole, step=5)
    train(whole, 5)

    resumed = training(2, optimizer)
    train(resumed, 3)
    assert cr.nn.load_checkpoint(path, **resumed) == {"step": 5}
    train(resumed, 5)
    assert_identical(resumed["model"].state_dict(), whole["model"].state_dict())


def test_the_same_state_gives_the_same_bytes_and_no_file_but_one(path: Path) -> None:
    cr.nn.save_checkpoint(path, rng=np.random.default_rng(1), x=[np.ones(2), 1.0])
    first = path.read_bytes()
    cr.nn.save_checkpoint(path, rng=np.random.default_rng(1), x=[np.ones(2), 1.0])
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path]


# What cannot be written

CYCLIC: list[Any] = []
CYCLIC.append(CYCLIC)
BAD_PARTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": {1: 2}}, TypeError, "keys of x must be strings, got 1"),
    ({"x": {"a": [0, {1, 2}]}}, TypeError, r"x\.a\.1 is set"),
    ({"x": b"bytes"}, TypeError, "x is bytes"),
    ({"x": 1j}, TypeError, "x is complex"),
    ({"x": cr.Tensor([1.0])}, TypeError, "x is Tensor"),
    ({"x": {"model": cr.nn.ReLU()}}, TypeError, r"x\.model is ReLU"),
    ({"x": [cr.nn.ReLU(), 1]}, TypeError, "'x' mixes plain data and objects"),
    ({"x": Counter({"a": object()})}, TypeError, r"x\.a is object"),
    ({"x": [np.array(["a"])]}, ValueError, r"x\.0: expected an array of numbers"),
    ({"x": np.timedelta64(5, "ns")}, TypeError, "x is timedelta64"),
    ({"x": [np.datetime64(5, "ns")]}, TypeError, r"x\.0 is datetime64"),
    ({"x": np.datetime64("2020-01-01")}, TypeError, "x is datetime64"),
    ({"x": np.zeros(1, "i4,f8")[0]}, TypeError, "x is void"),
    ({"x": np.zeros(1, "i4,f8").view(np.recarray)[0]}, TypeError, "x is record"),
    ({"x": np.longdouble(1) / 3}, TypeError, "x is longdouble"),
    ({"x": np.complex64(1)}, TypeError, "x is complex64"),
    ({"x": np.bytes_(b"a")}, TypeError, "x is bytes_"),
    ({"x": CYCLIC}, ValueError, "'x' is nested too deeply, or holds itself"),
    ({"x": {"a": CYCLIC}}, ValueError, "'x' is nested too deeply, or holds itself"),
    ({"x": Counter(CYCLIC)}, ValueError, "'x' is nested too deeply, or holds itself"),
    ({"x": [np.random.default_rng(0)], "x.0": Counter(0)}, ValueError, r"two parts are called 'x\.0'; rename one"),
    ({"x": [[Counter(0)]], "x.0": [Counter(0)]}, ValueError, r"two parts are called 'x\.0\.0'; rename one"),
    ({"x": np.array([None])}, ValueError, "x: expected an array of numbers"),
]


def test_what_is_nested_too_deeply_to_be_read_is_not_written(path: Path) -> None:
    def nested(depth: int) -> Any:
        x: Any = 1
        for i in range(depth):
            x = {"a": x} if i % 2 else [x]
        return x

    refused = []
    for depth in (*range(50, 1500, 150), *range(310, 345)):
        try:
            cr.nn.save_checkpoint(path, x={"deep": nested(depth)})
        except ValueError:
            refused.append(depth)
        else:
            cr.nn.load_checkpoint(path)
    assert 1400 in refused
    assert 50 not in refused


@pytest.mark.parametrize(("parts", "error", "message"), BAD_PARTS, ids=[message for *_, message in BAD_PARTS])
def test_what_is_no_part_leaves_the_old_file(path: Path, parts: Any, error: type[Exception], message: str) -> None:
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        cr.nn.save_checkpoint(path, first=1, **parts)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_checkpoint_is_an_npz_file(tmp_path: Path) -> None:
    for function in cr.nn.save_checkpoint, cr.nn.load_checkpoint:
        with pytest.raises(ValueError, match=r"ends in \.npz, got '\.safetensors'"):
            function(tmp_path / "last.safetensors")
    with pytest.raises(FileNotFoundError):
        cr.nn.load_checkpoint(tmp_path / "missing.npz")
    assert list(tmp_path.iterdir()) == []


# All parts or none


def test_names_must_be_those_that_were_saved(path: Path) -> None:
    cr.nn.save_checkpoint(path, a=Counter(1), b=[Counter(2), Counter(3)], epoch=4)
    a, b, c = Counter(0), Counter(0), Counter(0)
    for parts, message in (
        ({"a": a}, r"'b\.0' was saved but not given; 'b\.1' was saved but not given"),
        ({"a": a, "b": [b]}, r"'b\.1' was saved but not given"),
        ({"a": a, "b": [b, b], "c": c}, "'c' was given but not saved"),
        ({"a": a, "b": [b, b], "epoch": c}, "'epoch' was given but not saved"),
        ({"a": a, "b": c}, "'b' was given but not saved"),
    ):
        with pytest.raises(ValueError, match=rf"last\.npz: nothing was restored: .*{message}"):
            cr.nn.load_checkpoint(path, **parts)
    with pytest.raises(TypeError, match="'epoch' is int; plain data is returned, not restored"):
        cr.nn.load_checkpoint(path, a=a, b=[b, b], epoch=0)
    with pytest.raises(TypeError, match="'epoch' is ndarray; plain data is returned, not restored"):
        cr.nn.load_checkpoint(path, a=a, b=[b, b], epoch=np.ones(2))
    assert (a.state, b.state, c.state) == (0, 0, 0)


@pytest.mark.parametrize("reverse", [False, True])
def test_if_one_part_cannot_be_restored_none_is(path: Path, reverse: bool) -> None:
    cr.nn.save_checkpoint(
        path, model=cr.nn.MLP([2, 3, 1], rng=0), rng=np.random.default_rng(0), counter=Counter("impossible")
    )
    model, rng, counter = cr.nn.MLP([2, 3, 1], rng=5), np.random.default_rng(5), Counter("before")
    before = model.state_dict()
    parts = {"model": model, "rng": rng, "counter": counter}
    with pytest.raises(ValueError, match=r"last\.npz: nothing was restored: 'counter': 'impossible'"):
        cr.nn.load_checkpoint(path, **dict(reversed(parts.items())) if reverse else parts)
    assert_identical(model.state_dict(), before)
    assert rng.random() == np.random.default_rng(5).random()
    assert counter.state == "before"


@pytest.mark.parametrize("order", ["model head optimizer schedule", "head model schedule optimizer"])
def test_what_belongs_to_two_parts_is_as_it_was_if_a_third_fails(path: Path, order: str) -> None:
    def parts(seed: int, rng: np.random.Generator, lr: float) -> dict[str, Any]:
        model = cr.nn.MLP([2, 3, 1], rng=seed)
        optimizer = cr.nn.SGD(model.parameters(), lr=1.0)
        found = {"model": model, "head": model[0], "optimizer": optimizer, "schedule": cr.nn.StepLR(optimizer, 2)}
        optimizer.lr = lr
        return {name: found[name] for name in order.split()} | {"rng": rng}

    cr.nn.save_checkpoint(path, **parts(0, np.random.default_rng(0), 0.001))
    given = parts(5, np.random.Generator(np.random.MT19937(0)), 0.25)
    states = {name: part.state_dict() for name, part in given.items() if name != "rng"}
    with pytest.raises(ValueError, match="nothing was restored: 'rng'"):
        cr.nn.load_checkpoint(path, **given)
    for name, state in states.items():
        assert_identical(given[name].state_dict(), state)


def test_a_part_that_takes_nothing_back_keeps_no_other_from_what_it_had(path: Path) -> None:
    class Stubborn(Counter):
        def load_state_dict(self, state: Any) -> None:
            if state == "old":
                raise KeyError("never again")
            super().load_state_dict(state)

    first, stubborn, last = Counter("old"), Stubborn("old"), Counter("old")
    cr.nn.save_checkpoint(path, stubborn=Counter("new"), first=Counter("new"), last=Counter("impossible"))
    with pytest.raises(
        ValueError, match=r"nothing was restored: 'last': .*; but some could not be put back: 'stubborn'"
    ):
        cr.nn.load_checkpoint(path, stubborn=stubborn, first=first, last=last)
    assert (first.state, stubborn.state, last.state) == ("old", "new", "old")


def test_ctrl_c_anywhere_leaves_all_parts_old_or_all_new(path: Path) -> None:
    def look() -> tuple[Any, ...]:
        state = model.state_dict()["bias"], optimizer.lr, rng.bit_generator.state["state"]["state"], counter.state
        return float(state[0][0]), *state[1:]

    model, rng, counter = cr.nn.Linear(1, 1, rng=0), np.random.default_rng(1), Counter("new")
    optimizer = cr.nn.SGD(model.parameters(), lr=0.1)
    parts = {"model": model, "optimizer": optimizer, "rng": rng, "counter": counter}
    cr.nn.save_checkpoint(path, **parts)
    new = look()
    model.bias.data, optimizer.lr, counter.state = [5.0], 0.2, "old"
    rng.random()
    cr.nn.save_checkpoint(path.with_name("old.npz"), **parts)
    old = look()
    for error in at_every_line(lambda: cr.nn.load_checkpoint(path, **parts), step=7):
        assert error is None or type(error) is KeyboardInterrupt
        assert look() in (old, new)
        cr.nn.load_checkpoint(path.with_name("old.npz"), **parts)


def test_ctrl_c_again_and_again_leaves_all_parts_old(path: Path) -> None:
    class Slow(Counter):
        """Whoever waits for its state presses Ctrl-C three times."""

        presses = 0

        def load_state_dict(self, state: Any) -> None:
            self.state = "half"
            if self.presses < 3:
                self.presses += 1
                raise KeyboardInterrupt
            self.state = state

    first, slow, last = Counter("old"), Slow("old"), Counter("old")
    cr.nn.save_checkpoint(path, first=Counter("new"), slow=Counter("new"), last=Counter("new"))
    with pytest.raises(KeyboardInterrupt):
        cr.nn.load_checkpoint(path, first=first, slow=slow, last=last)
    assert (first.state, slow.state, last.state) == ("old", "old", "old")


def test_a_model_of_another_shape_and_a_generator_of_another_kind_are_refused(path: Path) -> None:
    rng = np.random.default_rng(5)
    cr.nn.save_checkpoint(path, rng=rng, model=cr.nn.MLP([2, 3, 1]))
    with pytest.raises(ValueError, match=r"last\.npz: nothing was restored: 'model': .*'0.weight' has shape \(3, 2\)"):
        cr.nn.load_checkpoint(path, rng=rng, model=cr.nn.MLP([2, 4, 1]))
    other = np.random.Generator(np.random.MT19937(0))
    with pytest.raises(ValueError, match="'rng': the generator is MT19937, and the state that of PCG64"):
        cr.nn.load_checkpoint(path, rng=other, model=cr.nn.MLP([2, 3, 1]))
    assert other.random() == np.random.Generator(np.random.MT19937(0)).random()


# Damaged, foreign and hostile files


def changed(path: Path, change: Callable[[Any], Any], arrays: dict[str, Any] | None = None) -> None:
    """Write a checkpoint's structure anew, as `change` returns it, with other arrays beside it if any are given."""
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    structure = json.loads(members.pop("checkpoint.json"))
    with zipfile.ZipFile(path, "w") as file:
        text = change(structure)
        file.writestr("checkpoint.json", text if isinstance(text, bytes) else json.dumps(text))
        for name, array in (members if arrays is None else arrays).items():
            stream = io.BytesIO()
            np.save(stream, array)
            file.writestr(f"{name}.npy", stream.getvalue())


def plain(x: Any) -> Callable[[Any], Any]:
    return lambda structure: structure | {"plain": {"x": x}}


ONES = {"0": np.ones(1)}
CHANGES: dict[str, tuple[Callable[[Any], Any], dict[str, Any] | None, str]] = {
    "no JSON": (lambda structure: b"{'a': 1}", None, "Expecting property name"),
    "no text": (lambda structure: b"\xff\xfe\xfd", None, "decode"),
    "a list": (lambda structure: [], None, "is not that of a chainrule checkpoint"),
    "another format": (lambda structure: {"format": "others"}, None, "is not that of a chainrule checkpoint"),
    "a later version": (lambda structure: structure | {"version": 2}, None, "of version 2; only 1 is known"),
    "no version": (lambda structure: {"format": structure["format"]}, None, "of version None; only 1 is known"),
    "no parts": (lambda structure: {"format": structure["format"], "version": 1}, None, "objects"),
    "parts of another kind": (lambda structure: structure | {"plain": [1]}, None, "no attribute"),
    "deep": (lambda structure: b"[" * 100_000, None, "recursion"),
    "deep, and closed": (lambda structure: b"[" * 100_000 + b"]" * 100_000, None, "recursion"),
    "an immense number": (lambda structure: b"1" * 10_000, None, "4300 digits"),
    "an unknown kind": (plain({"python": "os.abort()"}), None, "entry of unknown kind 'python'"),
    "two kinds in one": (plain({"array": 0, "tuple": []}), None, "too many values"),
    "no kind": (plain({}), None, "not enough values"),
    "a float of text": (plain({"float": "0.1"}), None, "hexadecimal"),
    "a float of three bytes": (plain({"float": "7ff000"}), None, "8 bytes"),
    "a dict of numbers": (plain({"dict": 1}), None, "no attribute"),
    "an array that is not there": (plain({"array": 7}), None, "no member '7.npy'"),
    "an array used twice": (plain([{"array": 0}, {"array": 0}]), ONES, "no member '0.npy', or it is used twice"),
    "an array used never": (
        plain(1),
        {"0": np.ones(1), "evil": np.ones(1)},
        "members that belong nowhere: '0.npy', 'ev",
    ),
    "a path": (plain({"array": "../../etc/passwd"}), ONES, "no member"),
}


@pytest.mark.parametrize(("change", "arrays", "message"), CHANGES.values(), ids=CHANGES)
def test_a_bad_structure_is_a_clear_error_and_changes_nothing(
    path: Path, change: Callable[[Any], Any], arrays: dict[str, Any] | None, message: str
) -> None:
    counter = Counter("before")
    cr.nn.save_checkpoint(path, counter=Counter(1))
    changed(path, change, arrays)
    with pytest.raises(ValueError, match=rf"^{path}: .*{message}"):
        cr.nn.load_checkpoint(path, counter=counter)
    assert counter.state == "before"


def generator_state(**entries: Any) -> Callable[[Any], Any]:
    """A change of entries of the state of the part called rng, at whatever depth they are."""

    def change(structure: Any) -> Any:
        whole = structure["objects"]["rng"]["dict"]
        for name, x in entries.items():
            (whole if name in whole else whole["state"]["dict"])[name] = x
        return structure

    return change


KEY = np.arange(624, dtype=np.uint32)
HOSTILE_STATES: list[tuple[Any, Callable[[Any], Any], dict[str, Any] | None, str]] = [
    (np.random.MT19937, generator_state(pos=10**6), None, "pos is out of range: 1000000"),
    (np.random.MT19937, generator_state(pos=-1), None, "pos is out of range: -1"),
    (np.random.MT19937, generator_state(pos=2.0), None, "pos is float, expected int"),
    (np.random.MT19937, generator_state(), {"0": KEY[:5]}, r"key is uint32 of shape \(5,\), expected uint32 of shape \(624,\)"),
    (np.random.MT19937, generator_state(), {"0": KEY.astype(float)}, "key is float64"),
    (np.random.MT19937, generator_state(state=None), {}, "state is NoneType, expected dict"),
    (np.random.Philox, generator_state(buffer_pos=9), None, "buffer_pos is out of range: 9"),
    (np.random.PCG64, generator_state(has_uint32=-1), None, "has_uint32 is out of range"),
    (np.random.PCG64, generator_state(state={"dict": {}}), None, "state is NoneType, expected int"),
    (np.random.PCG64, generator_state(state={"dict": {"state": 1, "inc": 1, "more": 1}}), None, "state has entries"),
    (np.random.PCG64, generator_state(inc=2**130), None, "too large"),
    (np.random.PCG64, generator_state(uinteger=2**33), None, "too large"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "arrays", "message"), HOSTILE_STATES, ids=[m for *_, m in HOSTILE_STATES])
def test_a_generator_takes_no_state_that_is_not_one(
    path: Path, kind: Any, change: Callable[[Any], Any], arrays: dict[str, Any] | None, message: str
) -> None:
    cr.nn.save_checkpoint(path, rng=np.random.Generator(kind(1)))
    changed(path, change, arrays)
    rng = np.random.Generator(kind(2))
    with pytest.raises(ValueError, match=rf"last\.npz: nothing was restored: 'rng': .*{message}"):
        cr.nn.load_checkpoint(path, rng=rng)
    assert_array_equal(rng.normal(size=700), np.random.Generator(kind(2)).normal(size=700))


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    cr.nn.save_checkpoint(path, counter=Counter({"w": np.ones(2)}), epoch=1)
    whole, counter = path.read_bytes(), Counter("before")
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"last\.npz"):
            cr.nn.load_checkpoint(path, counter=counter)
    assert counter.state == "before"


def test_a_byte_changed_anywhere_is_refused_or_changes_nothing(path: Path) -> None:
    state = {"counter": {"w": np.ones(2)}, "epoch": 1}
    cr.nn.save_checkpoint(path, **state)
    whole, refused = path.read_bytes(), 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            read = cr.nn.load_checkpoint(path)
        except ValueError:
            refused += 1
        else:
            assert_identical(read, state)
    assert refused > len(whole) // 2


def test_weights_are_no_checkpoint_and_a_checkpoint_is_no_weights(path: Path) -> None:
    cr.nn.save_weights(cr.nn.Linear(2, 1), path)
    with pytest.raises(ValueError, match=r"is no checkpoint: it has no member 'checkpoint\.json'"):
        cr.nn.load_checkpoint(path, model=cr.nn.Linear(2, 1))
    cr.nn.save_checkpoint(path, model=cr.nn.Linear(2, 1))
    with pytest.raises(ValueError, match=r"'checkpoint\.json' is no array"):
        cr.nn.load_weights(cr.nn.Linear(2, 1), path)
