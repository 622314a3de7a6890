"""Mini-batches, the split, IDX files and metrics: every sample once, one order per seed, and errors that say what is wrong."""

from __future__ import annotations

import gzip
import math
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import chainrule as cr

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)


def epoch(batches: cr.nn.Batches) -> list[tuple[Any, ...]]:
    return list(batches)


# Batches


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [10]),
        ({"batch_size": 4}, [4, 4, 2]),
        ({"batch_size": 4, "drop_last": True}, [4, 4]),
        ({"batch_size": 5, "drop_last": True}, [5, 5]),
        ({"batch_size": 1}, [1] * 10),
        ({"batch_size": None}, [10]),
        ({"batch_size": None, "drop_last": True}, [10]),
        ({"batch_size": 11, "drop_last": True}, []),
    ],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_have_their_sizes_and_rows_that_belong_together(options: Any, sizes: list[int], shuffle: bool) -> None:
    batches = cr.nn.Batches(X, Y, shuffle=shuffle, rng=0, **options)
    found = epoch(batches)
    assert [len(x) for x, _ in found] == sizes
    assert len(batches) == len(sizes)
    assert batches.samples == 10
    for x, y in found:
        assert_array_equal(x, X[y])
    seen = np.concatenate([y for _, y in found]) if found else np.array([], int)
    assert len(set(seen.tolist())) == sum(sizes)
    if not shuffle:
        assert_array_equal(seen, Y[: sum(sizes)])


def test_every_epoch_has_a_new_order_and_the_same_seed_the_same_epochs() -> None:
    a, b, other = (cr.nn.Batches(Y, batch_size=3, rng=rng) for rng in (5, np.random.default_rng(5), 6))
    orders = [[np.concatenate([y for (y,) in epoch(x)]).tolist() for _ in range(3)] for x in (a, b, other)]
    assert orders[0] == orders[1] != orders[2]
    assert len({tuple(order) for order in orders[0]}) == 3


def test_a_list_or_any_number_of_arrays_will_do() -> None:
    ((x, y, z),) = epoch(cr.nn.Batches([[1.0], [2.0]], [3, 4], X[:2], shuffle=False))
    assert (x.tolist(), y.tolist(), z.shape) == ([[1.0], [2.0]], [3, 4], (2, 2))
    ((only,),) = epoch(cr.nn.Batches([1, 2], shuffle=False))
    assert only.tolist() == [1, 2]
    assert epoch(cr.nn.Batches([], batch_size=2)) == epoch(cr.nn.Batches([], batch_size=None)) == []


def noisy(rng: np.random.Generator, x: Any, y: Any) -> tuple[Any, Any]:
    return x + rng.random(x.shape), y


@pytest.mark.parametrize("transform", [None, noisy])
def test_two_iterations_at_once_do_not_disturb_each_other(transform: Any) -> None:
    alone, together = (cr.nn.Batches(X, Y, batch_size=3, rng=0, transform=transform) for _ in range(2))
    expected = [epoch(alone), epoch(alone)]
    first, second = iter(together), iter(together)
    found: list[list[Any]] = [[], []]
    for i in (1, 0, 0, 1, 1, 0, 1, 0):
        found[i].append(next((first, second)[i]))
    for a, b in zip(expected, found, strict=True):
        for (xa, ya), (xb, yb) in zip(a, b, strict=True):
            assert xa.tobytes() == xb.tobytes()
            assert ya.tobytes() == yb.tobytes()


def test_a_transform_makes_the_batch_anew_in_every_epoch() -> None:
    pixels = np.array([[0, 255], [51, 102]], np.uint8)
    scaled = cr.nn.Batches(pixels, [0, 1], shuffle=False, transform=lambda rng, x, y: (np.float32(x) / 255, y))
    ((x, _),) = epoch(scaled)
    assert x.dtype == np.float32
    assert_array_equal(x, np.float32([[0, 1], [0.2, 0.4]]))
    batches = cr.nn.Batches(X, Y, batch_size=None, rng=0, transform=noisy)
    ((a, _),), ((b, _),) = epoch(batches), epoch(batches)
    assert not np.array_equal(a, b)
    with pytest.raises(TypeError, match="transform must return a batch as a tuple, got ndarray"):
        epoch(cr.nn.Batches(X, transform=lambda rng, x: x))


def test_the_state_is_put_back_and_the_same_epochs_follow() -> None:
    batches = cr.nn.Batches(Y, batch_size=3, rng=0)
    epoch(batches)
    state = batches.state_dict()
    expected = [epoch(batches), epoch(batches)]
    other = cr.nn.Batches(Y, batch_size=3, rng=9)
    other.load_state_dict(state)
    for a, b in zip(expected, [epoch(other), epoch(other)], strict=True):
        assert [y.tolist() for (y,) in a] == [y.tolist() for (y,) in b]


@pytest.mark.parametrize(
    "state", [{}, {"rng": {}}, {"rng": None}, {"rng": np.random.Generator(np.random.MT19937()).bit_generator.state}]
)
def test_a_foreign_state_changes_nothing(state: Any) -> None:
    batches = cr.nn.Batches(Y, rng=0)
    before = batches.state_dict()
    with pytest.raises(ValueError):
        batches.load_state_dict(state)
    assert batches.state_dict() == before


def test_batches_are_nobody_elses_to_write_into() -> None:
    x = np.zeros((4, 2))
    ((view,),) = epoch(cr.nn.Batches(x, shuffle=False))
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1.0
    ((copy,),) = epoch(cr.nn.Batches(x, rng=0))
    copy[...] = 1.0
    x[0] = 0.0  # still writable
    assert not x.any()


class Foreign:
    """An array as PyTorch's are: not one of NumPy's, but on the way to one."""

    def numpy(self) -> Any:
        return X


BATCHES_ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "lengths": (lambda: cr.nn.Batches(X, Y[:9]), ValueError, "different numbers of samples: 10, 9"),
    "nothing": (lambda: cr.nn.Batches(), TypeError, "at least one array, got none"),
    "a number": (lambda: cr.nn.Batches(X, 3.0), ValueError, "array 1 is a single number"),
    "text": (lambda: cr.nn.Batches(["a", "b"]), TypeError, "expected real numbers"),
    "a variable": (lambda: cr.nn.Batches(cr.Tensor(X)), TypeError, "a variable; data is constant: use its .data"),
    "size 0": (lambda: cr.nn.Batches(X, batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
    "size 2.5": (lambda: cr.nn.Batches(X, batch_size=2.5), TypeError, "batch_size must be a whole number, got 2.5"),
    "size True": (lambda: cr.nn.Batches(X, batch_size=True), TypeError, "batch_size must be a whole number, got True"),
    "no function": (lambda: cr.nn.Batches(X, transform=3), TypeError, "transform must be a function, got 3 (int)"),
    "foreign": (lambda: cr.nn.Batches(Foreign()), TypeError, "use .numpy() to make it a NumPy array"),
    "held back True": (
        lambda: cr.nn.split(X, validation=True),
        TypeError,
        "validation as a number of samples must be a whole number, got True",
    ),
    "split lengths": (lambda: cr.nn.split(X, Y[:9]), ValueError, "split: the arrays have different numbers of samples"),
    "fraction 0": (lambda: cr.nn.split(X, validation=0.0), ValueError, "must lie between 0 and 1, got 0.0"),
    "fraction 1": (lambda: cr.nn.split(X, validation=1.0), ValueError, "must lie between 0 and 1, got 1.0"),
    "all": (lambda: cr.nn.split(X, validation=10), ValueError, "of 10 samples 10 cannot be held back"),
    "none": (lambda: cr.nn.split(X, validation=0), ValueError, "at least 1, got 0"),
    "one sample": (lambda: cr.nn.split(X[:1]), ValueError, "of 1 samples 1 cannot be held back"),
    "classes": (
        lambda: cr.nn.split(X, stratify=[0, 1]),
        ValueError,
        "one class for each of 10 samples, got shape (2,)",
    ),
}


@pytest.mark.parametrize("name", BATCHES_ERRORS)
def test_bad_input_is_refused(name: str) -> None:
    f, kind, message = BATCHES_ERRORS[name]
    with pytest.raises(kind) as error:
        f()
    assert message in str(error.value)


# split


@pytest.mark.parametrize(("validation", "held"), [(0.1, 1), (0.25, 2), (0.5, 5), (3, 3), (9, 9), (0.001, 1)])
def test_split_parts_every_sample(validation: float, held: int) -> None:
    x_train, x_val, y_train, y_val = cr.nn.split(X, Y, validation=validation, rng=0)
    assert len(y_val) == held
    assert sorted([*y_train, *y_val]) == Y.tolist()
    assert_array_equal(x_train, X[y_train])
    assert_array_equal(x_val, X[y_val])
    again = cr.nn.split(X, Y, validation=validation, rng=0)
    assert_array_equal(again[3], y_val)


def test_split_takes_its_samples_everywhere() -> None:
    held = np.concatenate([cr.nn.split(Y, validation=2, rng=seed)[1] for seed in range(100)])
    assert set(held.tolist()) == set(range(10))


@pytest.mark.parametrize("validation", [0.2, 7, 50])
def test_stratified_split_keeps_the_proportions(validation: float) -> None:
    classes = np.repeat(["a", "b", "c"], [60, 30, 10])
    for seed in range(20):
        train, held, c_train, c_held = cr.nn.split(
            np.arange(100), np.repeat([0, 1, 2], [60, 30, 10]), validation=validation, rng=seed, stratify=classes
        )
        count = len(held)
        assert count == (validation if validation > 1 else 100 * validation)
        assert sorted([*train, *held]) == list(range(100))
        assert np.all(np.abs(np.bincount(c_held, minlength=3) - count * np.array([0.6, 0.3, 0.1])) < 1)
    assert np.any(np.diff(c_train) < 0)  # shuffled, not sorted by class
    assert np.any(np.diff(c_held) < 0)


# IDX files

IDX = {"u1": 8, "i1": 9, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx(array: Any, code: int) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", IDX)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0,), (0, 28, 28), ()])
def test_idx_files_are_read(dtype: str, shape: tuple[int, ...], packed: bool, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-100 if dtype != "u1" else 0, 100, shape).astype(dtype)
    path = tmp_path / "file"
    data = idx(array, IDX[dtype])
    path.write_bytes(gzip.compress(data) if packed else data)
    found = cr.nn.read_idx(str(path))
    assert_array_equal(found, array)
    assert found.shape == shape
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.flags.writeable


GOOD = idx(np.arange(6, dtype="u1").reshape(2, 3), 8)
HUGE = 2**32 - 1
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no IDX file: it starts with b''"),
    "short magic": (b"\0\0\x08", "no IDX file: it starts with"),
    "text": (b"%PDF-1.7", "no IDX file: it starts with b'%PDF'"),
    "type": (b"\0\0\x07\x01\0\0\0\x01\0", "type 0x07 is unknown; there are 0x08, 0x09"),
    "header": (GOOD[:9], "ends in its header, before the lengths of 2 axes"),
    "truncated": (GOOD[:-1], "ends early: shape (2, 3) needs 6 bytes of elements, there are 5"),
    "no elements": (GOOD[:12], "ends early: shape (2, 3) needs 6 bytes"),
    "trailing": (GOOD + b"\0", "goes on after the 6 bytes of elements"),
    "axes": (b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\0", "255 axes; an array has at most 64"),
    "huge": (b"\0\0\x0e\x03" + struct.pack(">3I", HUGE, HUGE, HUGE), "more than the file can hold"),
    "large": (b"\0\0\x08\x01" + struct.pack(">I", 10**9) + b"\0" * 10, "promises 1000000000 bytes"),
    "huge nothing at the end": (b"\0\0\x08\x03" + struct.pack(">3I", HUGE, HUGE, 0), "array is too big"),
    "huge nothing": (b"\0\0\x08\x04" + struct.pack(">4I", 0, HUGE, HUGE, HUGE), "array is too big"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_idx_files_are_refused_at_no_cost(name: str, packed: bool, tmp_path: Path) -> None:
    data, message = BROKEN[name]
    path = tmp_path / "broken.idx"
    path.write_bytes(gzip.compress(data) if packed else data)
    tracemalloc.start()
    with pytest.raises(ValueError) as error:
        cr.nn.read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert peak < 1 << 20


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:12], lambda b: b[:-6] + b"\0\0" + b[-4:]])
def test_damaged_gzip_files_are_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "damaged.gz"
    path.write_bytes(damage(gzip.compress(GOOD)))
    with pytest.raises(ValueError, match=r"damaged\.gz: the gzip file is damaged"):
        cr.nn.read_idx(path)


def test_a_small_file_that_unpacks_to_much_more_than_its_header_says(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(GOOD + b"\0" * (1 << 26)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="goes on after"):
        cr.nn.read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_missing_idx_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        cr.nn.read_idx(tmp_path / "nothing")


MNIST = os.environ.get("MNIST_DIR")


@pytest.mark.skipif(not MNIST, reason="MNIST_DIR is not set")
@pytest.mark.parametrize(
    ("part", "n", "first", "counts"), [("train", 60000, [5, 0, 4, 1, 9], 6742), ("t10k", 10000, [7, 2, 1, 0, 4], 1135)]
)
def test_mnist_is_read(part: str, n: int, first: list[int], counts: int) -> None:
    images = cr.nn.read_idx(Path(MNIST or "", f"{part}-images.idx3-ubyte.gz"))
    labels = cr.nn.read_idx(Path(MNIST or "", f"{part}-labels.idx1-ubyte.gz"))
    assert (images.shape, images.dtype) == ((n, 28, 28), np.uint8)
    assert labels.shape == (n,)
    assert labels[:5].tolist() == first
    assert np.bincount(labels)[1] == counts
    assert round(float(images.mean()) / 255, 4) == {"train": 0.1307, "t10k": 0.1325}[part]


# Metrics

SCORES = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0], [5.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("prediction", "target", "expected"),
    [
        (SCORES, [0, 1, 2, 2], 0.75),
        (SCORES.tolist(), [0, 1, 2, 2], 0.75),
        (cr.Tensor(SCORES), np.array([0, 1, 2, 2]), 0.75),
        (SCORES, np.eye(3)[[0, 1, 2, 2]], 0.75),
        (SCORES, np.eye(3, dtype=int)[[0, 1, 2, 2]], 0.75),
        ([0, 1, 2, 0], [0, 1, 2, 2], 0.75),
        (SCORES.reshape(2, 2, 3), [[0, 1], [2, 2]], 0.75),
        (SCORES, [0, -100, 1, -100], 0.5),
        (SCORES, [-100] * 4, math.nan),
        ([-1, 1, 1, -1], [-1, 1, -1, -100], 2 / 3),
        (np.full((2, 3), math.nan), [0, 0], 0.0),
        ([], [], math.nan),
        (np.zeros((0, 3)), np.zeros(0, int), math.nan),
        (SCORES[:, 0] > 1, [1, 0, 1, 1], 0.75),
    ],
)
def test_accuracy(prediction: Any, target: Any, expected: float) -> None:
    assert cr.nn.accuracy(prediction, target) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("prediction", "target"),
    [(SCORES, [0, 1]), (SCORES, [0.0, 1.0, 2.0, 2.0]), (SCORES, np.zeros((4, 2))), ([0.5, 1.5], [0, 1]), (SCORES, 0)],
)
def test_accuracy_of_what_does_not_go_together(prediction: Any, target: Any) -> None:
    with pytest.raises(ValueError, match="accuracy: expected scores"):
        cr.nn.accuracy(prediction, target)


@pytest.mark.parametrize("metric", [cr.nn.accuracy, cr.nn.confusion_matrix])
@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (
            SCORES[:, :1],
            [0, 1, 0, 1],
            r"one score per sample, shape \(4, 1\), is no choice between classes; threshold it",
        ),
        (SCORES[:, :1], np.ones((4, 1)), "one score per sample"),
        (cr.Tensor(SCORES[:, :1]), np.ones((4, 1), int), "one score per sample"),
        (SCORES, SCORES, "its rows do not sum to 1"),
        (SCORES, np.array([[2.0, -1.0, 0.0]] * 4), "its rows do not sum to 1"),
        (SCORES, np.ones((4, 1)), r"a column of labels, shape \(4, 1\).*give target.reshape\(-1\)"),
        (SCORES[:, 0] > 1, np.ones((4, 1), int), "a column of labels"),
        (SCORES, [0, 1, -1, 2], "a label is -1, but classes are numbered from 0"),
        (SCORES[:, 0] > 1, [1, -1, 1, -1], "booleans beside numbers other than 0 and 1"),
    ],
)
def test_metrics_of_what_is_no_choice_between_classes(metric: Any, prediction: Any, target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(prediction, target)


def test_confusion_matrix() -> None:
    expected = [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    for prediction in (SCORES, [0, 1, 2, 0]):
        found = cr.nn.confusion_matrix(prediction, [0, 1, 2, 2])
        assert found.tolist() == expected
        assert found.dtype == np.int64
    assert cr.nn.confusion_matrix([0], [1], classes=3).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert cr.nn.confusion_matrix([3], [0]).shape == (4, 4)
    assert cr.nn.confusion_matrix(SCORES, [1, -100, 1, -100]).sum() == 2
    assert cr.nn.confusion_matrix(SCORES, [1, 0, 1, 0], ignore_index=0).sum() == 2
    assert cr.nn.confusion_matrix([], []).shape == (0, 0)
    assert cr.nn.confusion_matrix([], [], classes=2).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match="a score is NaN"):
        cr.nn.confusion_matrix(SCORES * [1.0, math.nan, 1.0], [0, 1, 2, 2])
    for prediction, target in ([0], [10**9]), ([10**9], [0]):
        with pytest.raises(ValueError, match="class 1000000000 occurs"):
            cr.nn.confusion_matrix(prediction, target)
    small = np.array([200, 255], np.uint8)
    assert cr.nn.confusion_matrix(small, small)[255, 255] == 1
    for prediction, target in ([0, 3], [0, 0]), ([0, 0], [0, 3]), ([0, -1], [0, 0]):
        with pytest.raises(ValueError, match="expected 0 to 2"):
            cr.nn.confusion_matrix(prediction, target, classes=3)
