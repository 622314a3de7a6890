"""Files of weights: what is written comes back, whole or not at all; damage is one clear error and changes nothing."""

from __future__ import annotations

import errno
import gc
import io
import itertools
import json
import os
import pickle
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupts import at_every_line
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr
from chainrule.autograd.optional.whole import write_whole

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3))
SUFFIXES = [".npz", ".safetensors"]


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return tmp_path / f"model{request.param}"


def model(rng: int = 0, dtype: Any = None) -> cr.nn.Module:
    return cr.nn.Sequential(
        cr.nn.Linear(3, 4, rng=rng, dtype=dtype), cr.nn.ReLU(), cr.nn.Linear(4, 2, rng=rng, dtype=dtype)
    )


def assert_same_state(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """The same names in any order, and the same arrays: dtype, shape and every bit."""
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        assert actual[name].tobytes() == array.tobytes(), name


# What is written comes back


def test_a_model_gets_its_weights_back(path: Path) -> None:
    trained, other = model(1, np.float32), model(2, np.float32)
    cr.nn.save_weights(trained, path)
    cr.nn.load_weights(other, path)
    assert_same_state(other.state_dict(), trained.state_dict())
    assert_array_equal(other(X).data, trained(X).data)


@pytest.mark.parametrize("dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8"])
def test_arrays_keep_dtype_shape_and_bits(path: Path, dtype: str) -> None:
    shapes = [(), (1,), (0,), (2, 0, 3), (2, 3, 4)]
    state = {str(shape): RNG.integers(0, 2, shape, dtype="u1").astype(dtype) for shape in shapes}
    cr.nn.save_weights(state, path)
    assert_same_state(cr.nn.read_weights(path), state)


def test_special_numbers_keep_their_bits(path: Path) -> None:
    quiet_nan_with_a_payload = np.array(0x7FF8_0000_DEAD_BEEF, np.uint64).view(np.float64)
    state = {"a": np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324, quiet_nan_with_a_payload])}
    cr.nn.save_weights(state, path)
    assert_same_state(cr.nn.read_weights(path), state)


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(RNG.normal(size=(3, 4))),
        RNG.normal(size=(6, 8))[::2, ::-2],
        np.broadcast_to(RNG.normal(size=4), (3, 4)),
        RNG.normal(size=(3, 4)).astype(">f8"),
    ],
    ids=["fortran", "strided", "broadcast", "big-endian"],
)
def test_any_layout_is_written_and_is_native_and_writable_afterwards(path: Path, array: Any) -> None:
    cr.nn.save_weights({"a": array}, path)
    (read,) = cr.nn.read_weights(path).values()
    assert_array_equal(read, array)
    assert read.dtype == np.dtype(float)
    assert read.dtype.isnative
    assert read.flags.writeable


@pytest.mark.parametrize(
    "name", ["", "a/b", "../../x", "/etc/passwd", "ü☃", "a.npy", " ", "heads.0.weight", 'a"b', "a\\b"]
)
def test_a_name_is_a_name_and_no_path(path: Path, name: str) -> None:
    before = sorted(path.parent.parent.rglob("*"))
    cr.nn.save_weights({name: np.ones(2)}, path)
    assert list(cr.nn.read_weights(path)) == [name]
    assert sorted(path.parent.parent.rglob("*")) == sorted([*before, path])
    with pytest.raises(ValueError, match="unexpected"):
        cr.nn.load_weights(model(), path)


def test_an_empty_state_is_a_state(path: Path) -> None:
    cr.nn.save_weights(cr.nn.ReLU(), path)
    cr.nn.load_weights(cr.nn.ReLU(), path)
    assert cr.nn.read_weights(path) == {}


def test_numbers_and_numpy_scalars_are_arrays_without_axes(path: Path) -> None:
    cr.nn.save_weights({"a": 2.5, "b": np.float32(1.5), "c": 3, "d": True}, path)
    assert {name: (x.shape, x.item()) for name, x in cr.nn.read_weights(path).items()} == {
        "a": ((), 2.5), "b": ((), 1.5), "c": ((), 3), "d": ((), True),
    }  # fmt: skip


def test_the_same_state_gives_the_same_bytes(path: Path) -> None:
    cr.nn.save_weights(model(3), path)
    first = path.read_bytes()
    path.unlink()
    cr.nn.save_weights(model(3), path)
    assert path.read_bytes() == first


def test_numpy_reads_what_is_written_and_the_other_way_round(tmp_path: Path) -> None:
    state = model().state_dict()
    cr.nn.save_weights(state, tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz", allow_pickle=False) as archive:
        assert_same_state(dict(archive), state)
    np.savez(tmp_path / "theirs.npz", **state)
    assert_same_state(cr.nn.read_weights(tmp_path / "theirs.npz"), state)


def test_long_double_stays_in_npz_and_is_refused_by_safetensors(path: Path) -> None:
    state = {"a": np.array([np.longdouble(1) / 3])}
    if path.suffix == ".npz":
        cr.nn.save_weights(state, path)
        assert_array_equal(cr.nn.read_weights(path)["a"], state["a"])
    else:
        with pytest.raises(ValueError, match=r"use \.npz"):
            cr.nn.save_weights(state, path)
        assert list(path.parent.iterdir()) == []


# PyTorch


def test_pytorch_loads_the_same_safetensors_file_and_we_its_own(tmp_path: Path) -> None:
    torch, theirs_on_disk = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    path = tmp_path / "model.safetensors"
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()

    ours = model(1)
    cr.nn.save_weights(ours, path)
    theirs.load_state_dict(theirs_on_disk.load_file(path))
    assert_allclose(theirs(torch.tensor(X)).detach().numpy(), ours(X).data, rtol=1e-12)

    theirs[0].weight.data += 1.0
    theirs_on_disk.save_file(theirs.state_dict(), path)
    cr.nn.load_weights(ours, path)
    assert_allclose(ours(X).data, theirs(torch.tensor(X)).detach().numpy(), rtol=1e-12)


def test_half_precision_of_pytorch_is_read(tmp_path: Path) -> None:
    torch, theirs_on_disk = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    path = tmp_path / "model.safetensors"
    numbers = torch.tensor([[1.0, -2.5, 1e-3], [float("inf"), -0.0, 3e4]])
    state = {"half": numbers.half(), "brain": numbers.bfloat16(), "scalar": torch.tensor(0.1).bfloat16()}
    theirs_on_disk.save_file(state, path)
    read = cr.nn.read_weights(path)
    assert {name: x.dtype for name, x in read.items()} == {"half": "f2", "brain": "f4", "scalar": "f4"}
    for name, tensor in state.items():
        assert isinstance(read[name], np.ndarray)
        assert_array_equal(read[name], tensor.float().numpy())


def test_numbers_that_numpy_lacks_are_refused(tmp_path: Path) -> None:
    torch, theirs_on_disk = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    theirs_on_disk.save_file({"w": torch.zeros(2, dtype=torch.float8_e4m3fn)}, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"m\.safetensors: 'w' holds F8_E4M3, which NumPy does not have"):
        cr.nn.read_weights(tmp_path / "m.safetensors")


# What cannot be written


@pytest.mark.parametrize("name", ["model", "model.pt", "model.npz.gz", "model.NPZ", "npz", ".npz"])
@pytest.mark.parametrize("function", [cr.nn.save_weights, cr.nn.load_weights])
def test_the_suffix_says_the_format(tmp_path: Path, name: str, function: Callable[[Any, Path], None]) -> None:
    with pytest.raises(ValueError, match=r"ends in \.npz or \.safetensors"):
        function(model(), tmp_path / name)
    with pytest.raises(ValueError, match=r"ends in \.npz or \.safetensors"):
        cr.nn.read_weights(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


BAD_STATES: list[tuple[Any, type[Exception], str]] = [
    ([1.0], TypeError, "expected a Module or a mapping"),
    ({1: np.ones(2)}, TypeError, "names are strings, got 1"),
    ({"a": "text"}, TypeError, "'a': expected an array of numbers, got str"),
    ({"a": [1.0, 2.0]}, TypeError, "got list"),
    ({"a": {"b": np.ones(2)}}, TypeError, "got dict"),
    ({"a": cr.Tensor([1.0])}, TypeError, "got Tensor"),
    ({"a": np.ma.masked_invalid([1.0, np.nan])}, TypeError, "got MaskedArray"),
    ({"a": np.array([None])}, ValueError, "got dtype object"),
    ({"a": np.array(["text"])}, ValueError, "got dtype <U4"),
    ({"a": np.zeros(2, [("x", "f8")])}, ValueError, "got dtype"),
    ({"a": 10**30}, ValueError, "got dtype object"),
    ({"a": np.array("2020-01-01", "M8[D]")}, ValueError, "got dtype datetime64"),
]


@pytest.mark.parametrize(("state", "error", "message"), BAD_STATES, ids=[message for *_, message in BAD_STATES])
def test_what_is_no_state_leaves_the_old_file(path: Path, state: Any, error: type[Exception], message: str) -> None:
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        cr.nn.save_weights(state, path)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a\0b", "a" * 70_000, "\ud800"], ids=["null", "long", "surrogate"])
def test_a_name_that_no_archive_can_hold_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    with pytest.raises(ValueError):
        cr.nn.save_weights({"first": np.ones(3), name: np.ones(3)}, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_no_file_and_a_missing_one_is_not_made(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        cr.nn.save_weights(model(), path.parent / "missing" / path.name)
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=path.name):
        cr.nn.save_weights(model(), path)
    assert list(path.parent.iterdir()) == [path]
    assert list(path.iterdir()) == []


# Whole or not at all


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_in_the_middle_leaves_the_old_file_and_no_other(path: Path) -> None:
    cr.nn.save_weights(model(1), path)
    old = path.read_bytes()
    with files_no_larger_than(200_000), pytest.raises(OSError) as caught:
        cr.nn.save_weights({"small": np.ones(10), "large": np.ones(100_000)}, path)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


SAVES = """
import itertools, sys, numpy, chainrule
for i in itertools.count():
    chainrule.nn.save_weights({f"w{k}": numpy.full(20_000, i) for k in range(5)}, sys.argv[1])
"""


def test_a_kill_in_the_middle_leaves_a_whole_file(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SAVES, str(path)])
    try:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.005)
        for _ in range(20):  # while they are being replaced, too
            assert_whole(cr.nn.read_weights(path))
    finally:
        process.kill()
        process.wait()
    assert_whole(cr.nn.read_weights(path))
    seen = len(list(path.parent.iterdir()))
    assert seen <= 2, "one whole file and at most the one that was being written"
    cr.nn.save_weights(model(), path)
    assert list(path.parent.iterdir()) == [path]


def assert_whole(state: dict[str, Any]) -> None:
    assert sorted(state) == ["w0", "w1", "w2", "w3", "w4"]
    assert len({number for array in state.values() for number in array.tolist()}) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of a file that a stopped `with` leaves for Python to close
@pytest.mark.parametrize("there", [True, False])
def test_ctrl_c_anywhere_in_saving_leaves_a_whole_file_and_no_other(
    path: Path, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    states = [{"a": np.full(9, number)} for number in (1.0, 2.0)]
    cr.nn.save_weights(states[0], path)
    old = path.read_bytes()
    if not there:
        path.unlink()
    for error in at_every_line(lambda: cr.nn.save_weights(states[1], path)):
        assert error is None or type(error) is KeyboardInterrupt
        assert list(path.parent.iterdir()) in ([path], [path] if there else [])
        if path.exists():
            read = cr.nn.read_weights(path)
            assert_same_state(read, states[int(read["a"][0]) - 1])
            path.unlink()
        if there:
            path.write_bytes(old)
    gc.collect()
    assert ignored == []


def test_ctrl_c_anywhere_in_loading_leaves_a_module_all_old_or_all_new(path: Path) -> None:
    module = cr.nn.Sequential(cr.nn.Linear(2, 2, rng=0), cr.nn.BatchNorm1d(2))
    old = {name: np.ones_like(x) for name, x in module.state_dict().items()}
    cr.nn.save_weights({name: 2 * x for name, x in old.items()}, path)
    module.load_state_dict(old)
    for error in at_every_line(lambda: cr.nn.load_weights(module, path), step=11):
        assert error is None or type(error) is KeyboardInterrupt
        assert len({number for x in module.state_dict().values() for number in x.ravel().tolist()}) == 1
        module.load_state_dict(old)


KILLED = """
import os, signal, sys, numpy, chainrule
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
chainrule.nn.save_weights({"a": numpy.ones(1000)}, sys.argv[1])
"""

locks = pytest.mark.skipif(find_spec("fcntl") is None, reason="leftovers are known by their locks")


def left_by_a_killed_save(path: Path) -> Path:
    """What is in the folder afterwards and was not there before."""
    before = set(path.parent.iterdir())
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -signal.SIGKILL
    (left,) = set(path.parent.iterdir()) - before
    return left


@locks
@pytest.mark.parametrize("name", ["w.npz", "model [1] (*)+.npz", "ü☃\n.npz", "☃" * 80 + ".npz"])
def test_what_a_killed_save_left_is_named_after_its_target_and_cleared_by_the_next(tmp_path: Path, name: str) -> None:
    path, other = tmp_path / name, tmp_path / "other.npz"
    left, of_another = left_by_a_killed_save(path), left_by_a_killed_save(other)
    assert left.name.startswith(f".{name[:60]}")
    assert of_another.name.startswith(".other.npz.")
    token = left.name.split("-")[-1]
    of_users = {
        tmp_path / f"{left.name}.bak",
        tmp_path / left.name.replace(".tmp", ""),
        tmp_path / left.name.removeprefix("."),
        tmp_path / left.name.replace(token, "notes.tmp"),
        tmp_path / left.name.replace(token, token.upper().replace("TMP", "tmp").replace("0", "A")),
    }
    for users in of_users:
        users.write_text("mine")
    folder, link = (
        left.with_name(left.name.replace(token, f"{0:016x}.tmp")),
        left.with_name(left.name.replace(token, f"{1:016x}.tmp")),
    )
    folder.mkdir()
    link.symlink_to(other)
    cr.nn.save_weights({"a": np.ones(3)}, path)
    assert set(tmp_path.iterdir()) == {path, of_another, folder, link, *of_users}
    cr.nn.save_checkpoint(other)
    assert set(tmp_path.iterdir()) == {path, other, folder, link, *of_users}


SAVES_AND_ENDS = """
import sys, numpy, chainrule
for i in range(100):
    chainrule.nn.save_weights({f"w{k}": numpy.full(500, i) for k in range(5)}, sys.argv[1])
"""


@pytest.mark.slow
def test_several_who_save_to_one_file_do_not_disturb_each_other(path: Path) -> None:
    command = [sys.executable, "-c", SAVES_AND_ENDS, str(path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    while any(process.poll() is None for process in processes):
        if path.exists():
            assert_whole(cr.nn.read_weights(path))
    assert [process.communicate()[1] for process in processes] == ["", "", ""]
    assert_whole(cr.nn.read_weights(path))
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_vanishes_before_it_can_be_moved_is_written_again(tmp_path: Path) -> None:
    """As somebody else may take it for a leftover, where locks do not hold."""
    path, seen = tmp_path / "w.npz", list[Path]()

    def write(file: Any) -> None:
        file.write(b"whole")
        seen.extend(tmp_path.iterdir())
        if len(seen) < 3:
            seen[-1].unlink()

    write_whole(path, write)
    assert len(set(seen)) == 3
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"whole"


def test_a_target_that_vanishes_while_it_is_replaced_leaves_no_other_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copymode(target: Path, temporary: Path) -> None:
        target.unlink()
        copy(target, temporary)

    copy = shutil.copymode
    cr.nn.save_weights(model(), path)
    monkeypatch.setattr(shutil, "copymode", copymode)
    cr.nn.save_weights(model(), path)
    assert_same_state(cr.nn.read_weights(path), model().state_dict())
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_the_system_s_errors_name_the_file_that_was_to_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r": '/proc/self/x\.npz'$") as caught:
        cr.nn.save_weights(model(), "/proc/self/x.npz")
    assert type(caught.value) is not OSError

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=re.escape(f"No space left on device: {str(path)!r}")) as caught:
        cr.nn.save_weights(model(), path)
    assert caught.value.errno == errno.ENOSPC
    assert list(path.parent.iterdir()) == []


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"x.npz"


@pytest.mark.parametrize("given", [5, None, b"x.npz", BytesPath(), 1.5, ["x.npz"]], ids=lambda x: type(x).__name__)
def test_what_is_no_path_is_said(given: Any) -> None:
    layer = cr.nn.Linear(1, 1)
    calls: list[Callable[[], Any]] = [
        lambda: cr.nn.save_weights(layer, given),
        lambda: cr.nn.load_weights(layer, given),
        lambda: cr.nn.read_weights(given),
        lambda: cr.nn.save_checkpoint(given, x=1),
        lambda: cr.nn.load_checkpoint(given),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="expected the path of a file, as text or a Path, got "):
            call()


def test_a_file_and_its_folder_are_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = list[tuple[bool, bool]](), os.fsync

    def noted(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    cr.nn.save_weights(model(), path)
    assert synced == [(False, False), (True, True)] if os.name == "posix" else [(False, False)]


def test_a_name_may_be_as_long_as_the_file_system_allows(path: Path) -> None:
    path = path.with_name("a" * (255 - len(path.suffix)) + path.suffix)
    for _ in range(2):
        cr.nn.save_weights(model(), path)
    assert_same_state(cr.nn.read_weights(path), model().state_dict())
    assert list(path.parent.iterdir()) == [path]


posix = pytest.mark.skipif(os.name != "posix", reason="permissions and links as POSIX has them")


@posix
def test_a_new_file_follows_the_umask_and_an_old_one_keeps_its_permissions(path: Path) -> None:
    before = os.umask(0o027)
    try:
        cr.nn.save_weights(model(), path)
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        cr.nn.save_weights(model(), path)
        assert path.stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(before)


@posix
def test_a_link_stays_a_link_and_the_file_it_names_is_replaced(path: Path) -> None:
    folder = path.parent / "elsewhere"
    folder.mkdir()
    target = folder / "a model of any name"
    path.symlink_to(target)
    for rng in 1, 2:  # of a file that is not there yet, and of one that is
        cr.nn.save_weights(model(rng), path)
        assert path.is_symlink()
        assert list(folder.iterdir()) == [target]
        assert_same_state(cr.nn.read_weights(path), model(rng).state_dict())


def test_without_the_library_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"chainrule\[train\]"):
        cr.nn.save_weights(model(), path)
    with pytest.raises(ImportError, match=r"chainrule\[train\]"):
        cr.nn.read_weights(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# Damaged, foreign and hostile files


def npy(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text + data


def claim(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


def saved(x: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, x, **options)
    return stream.getvalue()


def archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
    return stream.getvalue()


def weights(data: bytes) -> bytes:
    return archive(("w.npy", data))


def zip_that_lies(data: bytes, size: int) -> bytes:
    """An archive whose directory claims that its only member has so many bytes."""
    whole = bytearray(weights(data))
    entry = whole.index(b"PK\x01\x02")
    whole[entry + 20 : entry + 28] = struct.pack("<II", size, size)
    return bytes(whole)


def overlapping(n: int) -> bytes:
    """n entries in the directory that all mean the same bytes of the file: a bomb without compression."""
    name, data = b"w000.npy", saved(np.zeros(10_000))
    crc = zlib.crc32(data)
    common = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, crc, len(data), len(data), len(name), 0)
    body = b"PK\x03\x04" + common + name + data
    entries = b"".join(
        b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + b"w%03d.npy" % i
        for i in range(n)
    )
    return body + entries + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, n, n, len(entries), len(body), 0)


def encrypted() -> bytes:
    whole = bytearray(weights(saved(np.ones(2))))
    for signature, offset in (b"PK\x03\x04", 6), (b"PK\x01\x02", 8):
        whole[whole.index(signature) + offset] |= 1
    return bytes(whole)


class Bomb:
    """Pickled so that unpickling it leaves a file behind."""

    def __reduce__(self) -> Any:
        return open, ("exploded", "w")


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(200))
TERA = 10**12

BAD_NPZ: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a zip file"),
    "a text": (b"Dear model,\n" * 100, "not a zip file"),
    "a picture": (PNG, "not a zip file"),
    "an array": (saved(np.ones(3)), "not a zip file"),
    "a pickle": (pickle.dumps(Bomb()), "not a zip file"),
    "pickled objects": (weights(saved(np.array([Bomb()], object), allow_pickle=True)), "'w.npy' holds object"),
    "pickle as a member": (weights(pickle.dumps(Bomb())), "magic string"),
    "texts": (weights(saved(np.array(["a", "b"]))), "'w.npy' holds <U1, expected numbers"),
    "dates": (weights(saved(np.array("2020-01-01", "M8[D]"))), "expected numbers"),
    "structured": (weights(saved(np.zeros(2, [("x", "f8"), ("y", "O")]), allow_pickle=True)), "expected numbers"),
    "sub-arrays": (weights(npy(claim("('<f8', (10000, 10000))", "(1,)"), b"12345678")), "expected numbers"),
    "void of a terabyte": (weights(npy(claim(f"'|V{2**31 - 1}'", "(1000,)"))), "expected numbers"),
    "terabytes": (
        weights(npy(claim("'<f8'", f"({TERA},)"), b"12345678")),
        r"claims float64 of shape \(1000000000000,\)",
    ),
    "a shape that overflows": (weights(npy(claim("'<f8'", f"({2**61}, 8, 2)"))), "'w.npy' has 0 bytes of data"),
    "a negative shape": (weights(npy(claim("'|u1'", "(-2, -4)"), b"12345678")), "'w.npy' has 8 bytes of data"),
    "empty and immense": (weights(npy(claim("'<f8'", f"(0, {2**70})"))), "model.npz"),
    "empty and large": (weights(npy(claim("'<f8'", f"(0, {2**62}, {2**62})"))), "model.npz"),
    "a hundred axes": (weights(npy(claim("'|u1'", f"({'1, ' * 100})"), b"1")), "model.npz"),
    "too little data": (weights(npy(claim("'<f8'", "(2,)"), b"12345678")), "8 bytes of data"),
    "too much data": (weights(npy(claim("'<f8'", "(1,)"), b"123456789")), "9 bytes of data"),
    "an unknown dtype": (weights(npy(claim("'<q77'", "(1,)"))), "descr"),
    "no truth values": (weights(npy(claim("'|b1'", "(2,)"), b"\x01\x07")), "neither 0 nor 1"),
    "code for a header": (weights(npy("__import__('os').abort()")), "malformed node or string"),
    "a header of other keys": (weights(npy("{'shape': (1,)}")), "keys"),
    "a deep header": (weights(npy("(" * 9_000)), "model.npz"),
    "a deep sum for a header": (weights(npy("-" * 9_000 + "1")), "model.npz"),
    "a long header": (weights(npy(" " * 60_000)), "large"),
    "a header of 4 GB": (weights(b"\x93NUMPY\2\0" + b"\xff" * 4), "EOF"),
    "another version": (weights(npy(claim("'<f8'", "(1,)"), b"12345678", (3, 0))), r"version \(3, 0\)"),
    "no array at all": (weights(b""), "EOF"),
    "a member that is no array": (archive(("w.npy", saved(np.ones(2))), ("setup.py", b"")), "'setup.py' is no array"),
    "a folder": (archive(("folder/", b"")), "'folder/' is no array"),
    "an archive in the archive": (archive(("inner.npz", weights(saved(np.ones(2))))), "'inner.npz' is no array"),
    "compressed": (archive(("w.npy", saved(np.zeros(10**6))), compression=zipfile.ZIP_DEFLATED), "is compressed"),
    "compressed by lzma": (archive(("w.npy", saved(np.zeros(10**6))), compression=zipfile.ZIP_LZMA), "is compressed"),
    "encrypted": (encrypted(), "encrypted"),
    "larger than the file": (zip_that_lies(saved(np.ones(2)), 2**32 - 2), "larger than the file"),
    "overlapping": (overlapping(500), "larger than the file"),
}


def tensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(*offsets: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BAD_SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "header too small"),
    "a text": (b"Dear model,\n" * 100, "header too large"),
    "a picture": (PNG, "header too large"),
    "a pickle": (pickle.dumps(Bomb()), "header"),
    "an archive": (weights(saved(np.ones(2))), "header too large"),
    "a header of exabytes": (struct.pack("<Q", 2**63) + b"{}", "header too large"),
    "a header of 90 MB": (struct.pack("<Q", 90_000_000) + b"{}", "invalid header length"),
    "no JSON": (tensors(b"{'w': 1}"), "header"),
    "another JSON": (tensors([1, 2]), "header"),
    "deep JSON": (tensors(b'{"w":' * 10_000), "header"),
    "overlapping": (tensors({"a": tensor(0, 4), "b": tensor(0, 4)}, b"1234"), "offset"),
    "beyond the end": (tensors({"a": tensor(0, 4 * TERA, shape=(TERA,))}, b"1234"), "SafetensorError"),
    "too much data": (tensors({"a": tensor(0, 4)}, b"12345678"), "SafetensorError"),
    "a hole": (tensors({"a": tensor(4, 8)}, b"12345678"), "offset"),
    "another shape": (tensors({"a": tensor(0, 4, shape=(TERA,))}, b"1234"), "SafetensorError"),
    "a negative shape": (tensors({"a": tensor(0, 4, shape=(-1,))}, b"1234"), "header"),
    "a shape that overflows": (tensors({"a": tensor(0, 0, shape=(2**63, 2))}), "overflow"),
    "empty and immense": (tensors({"a": tensor(0, 0, shape=(0, 2**64 - 1))}), "model.safetensors"),
    "empty and large": (tensors({"a": tensor(0, 0, shape=(0, 2**62, 2**62))}), "model.safetensors"),
    "a hundred axes": (tensors({"a": tensor(0, 4, shape=(1,) * 100)}, b"1234"), "model.safetensors"),
    "an unknown dtype": (tensors({"a": tensor(0, 4, dtype="PICKLE")}, b"1234"), "unknown variant"),
    "no truth values": (tensors({"a": tensor(0, 1, dtype="BOOL")}, b"\x07"), "neither 0 nor 1"),
}

BAD_FILES = [
    pytest.param(suffix, content, message, id=f"{suffix}: {name}")
    for suffix, table in ((".npz", BAD_NPZ), (".safetensors", BAD_SAFETENSORS))
    for name, (content, message) in table.items()
]


@pytest.mark.parametrize(("suffix", "content", "message"), BAD_FILES)
def test_a_bad_file_is_a_clear_error_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, content: bytes, message: str
) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    own = cr.nn.Sequential(cr.nn.Linear(1, 1, rng=0))
    before = own.state_dict()

    tracemalloc.start()
    try:
        reads: list[Callable[[], Any]] = [lambda: cr.nn.read_weights(path), lambda: cr.nn.load_weights(own, path)]
        for read in reads:
            with pytest.raises(ValueError, match=message) as caught:
                read()
            assert str(caught.value).startswith(f"{path}: ")
            assert len(str(caught.value)) < 20_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000 + 10 * len(content)
    finally:
        tracemalloc.stop()
    assert_same_state(own.state_dict(), before)
    assert list(tmp_path.iterdir()) == [path], "something ran or was unpacked"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(archive(("w.npy", saved(np.ones(1))), ("w.npy", saved(np.zeros(1)))))
    with pytest.raises(ValueError, match=r"model\.npz: two members have the same name"):
        cr.nn.read_weights(path)


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    cr.nn.save_weights({"w": np.ones((2, 2)), "b": np.ones(2, np.float32)}, path)
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=path.name):
            cr.nn.read_weights(path)


def test_a_byte_changed_anywhere_is_refused_or_changes_no_number(path: Path) -> None:
    state = {"w": np.ones((2, 2)), "b": np.ones(2, np.float32)}
    cr.nn.save_weights(state, path)
    whole = path.read_bytes()
    refused = 0
    for i, change in itertools.product(range(len(whole)), (0x01, 0x80, 0xFF)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ change]) + whole[i + 1 :])
        read = refusal_or(lambda: cr.nn.read_weights(path))
        if isinstance(read, ValueError):
            assert path.name in str(read)
            refused += 1
        else:
            assert_same_state(read, state)
    assert refused > len(whole)


def refusal_or(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except ValueError as error:
        return error


def test_a_checksum_is_looked_at_where_there_is_one(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    state = {"w": np.ones((2, 3)), "b": np.ones(2, np.float32)}
    cr.nn.save_weights(state, path)
    (checksum,) = metadata_of(path).items()
    for others in None, {}, {"format": "pt"}, {"chainrule.crc32 ": "0"}:
        library.save_file({"w": np.zeros(2)}, path, others)
        assert_array_equal(cr.nn.read_weights(path)["w"], np.zeros(2))
    library.save_file(state, path, dict([checksum, ("format", "pt")]))
    assert_same_state(cr.nn.read_weights(path), state)
    for other in (
        {"w": np.ones((3, 2)), "b": state["b"]},
        {"w": state["w"].view(np.int64), "b": state["b"]},
        {"v": state["w"], "b": state["b"]},
        {"w": state["w"]},
        {**state, "more": np.zeros(0)},
        {"w": -state["w"], "b": state["b"]},
    ):
        library.save_file(other, path, dict([checksum]))
        with pytest.raises(ValueError, match=r"model\.safetensors: is damaged, or was changed by a program that kept"):
            cr.nn.read_weights(path)


def metadata_of(path: Path) -> dict[str, str]:
    with pytest.importorskip("safetensors").safe_open(path, "numpy") as file:
        return dict(file.metadata())


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    cr.nn.save_weights(model(), tmp_path / "model.safetensors")
    assert_same_state(library.load_file(tmp_path / "model.safetensors"), model().state_dict())


@pytest.mark.parametrize("read", [cr.nn.read_weights, lambda path: cr.nn.load_weights(model(), path)])
def test_a_missing_file_and_a_folder_are_named(path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(FileNotFoundError, match=path.name):
        read(path)
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=path.name):
        read(path)


FILES: dict[str, Callable[[Path], Any]] = {
    "save_weights": lambda path: cr.nn.save_weights(model(), path),
    "read_weights": cr.nn.read_weights,
    "load_weights": lambda path: cr.nn.load_weights(model(), path),
    "save_checkpoint": lambda path: cr.nn.save_checkpoint(path, epoch=1),
    "load_checkpoint": cr.nn.load_checkpoint,
    "read_idx": cr.nn.read_idx,
}


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(os.path.relpath(path))  # a short path: there is room for about 100 characters


def device(path: Path) -> None:
    """One of our own: who replaced the system's in a test that fails would break the system."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make a device")


NO_FILES: dict[str, Callable[[Path], Any]] = {
    "a pipe": lambda path: os.mkfifo(path),
    "a socket": listening,
    "a folder": lambda path: path.mkdir(),
    "a device": device,
    "a link to a device": lambda path: (device(path.with_name("device")), path.symlink_to("device")),
    "a link to a pipe": lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe")),
    "a link to a folder": lambda path: path.symlink_to("."),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "links to each other": lambda path: (path.symlink_to("b"), path.with_name("b").symlink_to(path.name)),
}


def left_in(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What is there, and whether it is what it was."""
    entries = [(entry.name, entry.lstat()) for entry in folder.iterdir()]
    return {name: (status.st_mode, status.st_ino, status.st_mtime_ns) for name, status in entries}


@posix
@pytest.mark.parametrize("function", FILES.values(), ids=FILES)
@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_regular_file_is_refused_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Callable[[Path], Any], make: Callable[[Path], Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.npz"
    make(path)
    before = left_in(tmp_path)
    with pytest.raises((OSError, ValueError), match=re.escape(str(path))):
        function(path)
    assert left_in(tmp_path) == before


@pytest.mark.parametrize("function", FILES.values(), ids=FILES)
@pytest.mark.parametrize("name", ["weights\0.npz", "a\0b/w.npz", "\ud800.npz", "weights.npz\0"])
def test_what_is_no_path_is_named(tmp_path: Path, function: Callable[[Any], Any], name: str) -> None:
    for path in f"{tmp_path}/{name}", tmp_path / name:
        with pytest.raises(ValueError, match=re.escape(f"{str(path)!r}: is no path: ")):
            function(path)
    assert list(tmp_path.iterdir()) == []


OTHER_MODELS: list[tuple[dict[str, Any], str]] = [
    ({"weight": np.ones((2, 3))}, "missing 'bias'"),
    ({"weight": np.ones((2, 3)), "bias": np.ones(2), "more": np.ones(1)}, "unexpected 'more'"),
    ({"weight": np.ones((3, 2)), "bias": np.ones(2)}, r"'weight' has shape \(3, 2\), expected \(2, 3\)"),
    ({"weight": np.ones((2, 3)), "bias": np.ones(2, complex)}, "real numbers"),
    ({"weight": np.ones((2, 3)), "bias": np.array([1.0, 1e300])}, "too large for float32"),
]


@pytest.mark.parametrize(("state", "message"), OTHER_MODELS, ids=[message for _, message in OTHER_MODELS])
def test_the_weights_of_another_model_change_nothing(tmp_path: Path, state: dict[str, Any], message: str) -> None:
    path = tmp_path / "model.npz"
    cr.nn.save_weights(state, path)
    layer = cr.nn.Linear(3, 2, rng=0, dtype=np.float32)
    before = layer.state_dict()
    with pytest.raises(ValueError, match=rf"model\.npz: .*{message}"):
        cr.nn.load_weights(layer, path)
    assert_same_state(layer.state_dict(), before)


def test_a_model_reads_numbers_of_another_precision_in_its_own(path: Path) -> None:
    cr.nn.save_weights({"weight": np.full((2, 3), 0.1, np.float16), "bias": np.arange(2)}, path)
    layer = cr.nn.Linear(3, 2, dtype=np.float32)
    cr.nn.load_weights(layer, path)
    expected = {"weight": np.full((2, 3), np.float32(np.float16(0.1))), "bias": np.array([0, 1], np.float32)}
    assert_same_state(layer.state_dict(), expected)
