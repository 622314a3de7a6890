"""Weights on disk: numbers by name, never code.

The suffix says the format. A file is read with suspicion: what its headers claim is compared with its size before
anything of that size is allocated, its numbers with their checksum, and whatever is wrong with it is one `ValueError` that
names the file, before anything is changed.
"""

from __future__ import annotations

__all__ = ["load_weights", "read_weights", "save_weights"]

import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd.optional.extra import extra
from chainrule.autograd.optional.whole import FilePath, blaming, check_path, reading, write_whole

from ..module import Module

Array: TypeAlias = NDArray[Any]


# Weights


def save_weights(weights: Module | Mapping[str, Any], path: FilePath) -> None:
    """Write a module's state, or arrays by name, to a `.npz` or a `.safetensors` file; the suffix decides.

    `.npz` is what `np.savez` writes and `np.load` reads; `.safetensors` (extra `train`) is shared with PyTorch: a module
    of the same structure has the same names. Both carry checksums. The same state gives the same bytes. On any error, and if
    it is interrupted or killed, the old file stands.

    >>> import tempfile
    >>> import chainrule as cr
    >>> model = cr.nn.MLP([2, 3, 1], rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cr.nn.save_weights(model, f"{folder}/model.npz")
    ...     cr.nn.load_weights(cr.nn.MLP([2, 3, 1]), f"{folder}/model.npz")
    ...     list(cr.nn.read_weights(f"{folder}/model.npz"))
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    check_path(path, ".npz", ".safetensors")
    state = weights.state_dict() if isinstance(weights, Module) else weights
    if not isinstance(state, Mapping):
        raise TypeError(f"save_weights: expected a Module or a mapping of names to arrays, got {type(state).__name__}")
    for name in state:
        if not isinstance(name, str):
            raise TypeError(f"save_weights: names are strings, got {name!r}")
    arrays = {name: numbers(x, repr(name)) for name, x in state.items()}
    if is_npz(path):
        members = [(f"{name}.npy", array) for name, array in arrays.items()]
        write_whole(path, lambda file: write_archive(file, members))
    else:
        write_whole(path, lambda file: file.write(to_safetensors(arrays)))


def read_weights(path: FilePath) -> dict[str, Array]:
    """The arrays in a `.npz` or `.safetensors` file, by name; a damaged or foreign file is a `ValueError`.

    So are numbers whose checksum, if the file has one, is not theirs. Compressed archives and arrays of anything but
    numbers are refused. bfloat16, which NumPy lacks, becomes float32,
    which holds all its numbers. See `save_weights` for an example.
    """
    check_path(path, ".npz", ".safetensors")
    with reading(path) as file:
        return from_archive(file) if is_npz(path) else from_safetensors(file.read())


def load_weights(module: Module, path: FilePath) -> None:
    """Give a module the weights in a `.npz` or `.safetensors` file. See `save_weights` for an example.

    Names and shapes must agree in full, else `ValueError` and the module is as it was.
    """
    state = read_weights(path)
    with blaming(path):
        module.load_state_dict(state)


def is_npz(path: FilePath) -> bool:
    return Path(path).suffix == ".npz"


def numbers(x: Any, name: str) -> Array:
    """An array of numbers, in this machine's byte order."""
    if not isinstance(x, np.ndarray | np.generic | bool | int | float) or isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array of numbers, got {type(x).__name__}")
    array = np.asarray(x)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{name}: expected an array of numbers, got dtype {array.dtype}")
    if array.dtype.kind == "b":  # what NumPy takes for True, whatever its bits, as 1
        return np.asarray(np.not_equal(array.view(np.uint8), 0))
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# .npz: a zip archive of arrays


class Archive(zipfile.ZipFile):
    """An archive in a file that somebody else closes; what is given up in the middle gets no end, by nobody."""

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()

    __del__ = object.__init__  # nothing, and that in C: a Ctrl-C that came in it would be lost


def write_archive(file: BinaryIO, members: Iterable[tuple[str, Array | bytes]]) -> None:
    with Archive(file, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)  # dated 1980, always: the same state gives the same bytes
            if info.filename != name or len(name.encode()) > 0xFFFF:
                raise ValueError(
                    f"a name in an archive has no null character and at most 65,535 bytes, got {name!r:.80}"
                )
            with archive.open(info, "w", force_zip64=True) as member:
                if isinstance(content, bytes):
                    member.write(content)
                else:
                    np.lib.format.write_array(member, content, allow_pickle=False)


def read_archive(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The members, once their claims are checked: nothing compressed, no name twice, no more bytes than the file has."""
    size = file.seek(0, os.SEEK_END)
    with Archive(file) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) < len(members):
            raise ValueError("two members have the same name")
        file.seek(-22 - len(archive.comment), os.SEEK_END)  # the record at the end, which says how many there are
        if int.from_bytes(file.read(22)[10:12], "little") != min(len(members), 0xFFFF):
            raise ValueError("the directory does not have as many members as it says")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename!r} is compressed; only what np.savez writes is read")
        if sum(max(member.file_size, member.compress_size) for member in members) > size:
            raise ValueError("the members claim to be larger than the file")
        for member in members:
            yield member.filename, archive.read(member)


def from_archive(file: BinaryIO) -> dict[str, Array]:
    arrays = {}
    for member, data in read_archive(file):
        if not member.endswith(".npy"):
            raise ValueError(f"{member!r} is no array, so this is no file of weights")
        arrays[member.removesuffix(".npy")] = from_npy(data, member)
    return arrays


HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def from_npy(data: bytes, name: str) -> Array:
    """An array from the bytes of a `.npy` file, whose header must promise numbers and exactly the bytes that follow."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"{name!r} has format version {version}, expected 1.0 or 2.0")
    shape, fortran, dtype = HEADERS[version](stream)  # reads literals only, and no header beyond 10,000 characters
    if dtype.kind not in "biufc":
        raise ValueError(f"{name!r} holds {dtype}, expected numbers")
    start = stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"{name!r} has {len(data) - start} bytes of data, but claims {dtype} of shape {shape}")
    return from_bytes(memoryview(data)[start:], dtype, name).reshape(shape, order="F" if fortran else "C")


# .safetensors


CHECKSUM = "chainrule.crc32"  # its name among the metadata, which other libraries pass over


def to_safetensors(arrays: Mapping[str, Array]) -> bytes:
    save = extra("safetensors.numpy", "train", "writing .safetensors").save
    for name, array in arrays.items():
        if name == "__metadata__" or array.dtype.newbyteorder("<").str not in SAFETENSORS.values():
            raise ValueError(f"{name!r} of dtype {array.dtype} cannot be written as .safetensors; use .npz")
    ordered = {name: np.array(array, order="C") for name, array in arrays.items()}
    written: bytes = save(ordered, {CHECKSUM: checksum(ordered)})
    return written


def from_safetensors(data: bytes) -> dict[str, Array]:
    library = extra("safetensors", "train", "reading .safetensors")
    arrays = {name: from_view(view, name) for name, view in library.deserialize(data)}
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    expected = header.get("__metadata__", {}).get(CHECKSUM)
    if expected not in (None, checksum(arrays)):
        raise ValueError("is damaged, or was changed by a program that kept the old checksum")
    return arrays


def checksum(arrays: Mapping[str, Array]) -> str:
    """Of names, dtypes, shapes and bits."""
    crc = 0
    for name, array in sorted(arrays.items()):
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        crc = zlib.crc32(little.data, zlib.crc32(ascii((name, little.dtype.str, little.shape)).encode(), crc))
    return f"{crc:08x}"


SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1", "C64": "<c8",
}  # fmt: skip


def from_view(view: Mapping[str, Any], name: str) -> Array:
    if view["dtype"] == "BF16":  # the upper half of a float32
        bits = np.frombuffer(view["data"], "<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(view["shape"])
    if view["dtype"] not in SAFETENSORS:
        raise ValueError(f"{name!r} holds {view['dtype']}, which NumPy does not have")
    return from_bytes(view["data"], np.dtype(SAFETENSORS[view["dtype"]]), name).reshape(view["shape"])


def from_bytes(data: bytes | memoryview, dtype: np.dtype[Any], name: str) -> Array:
    if dtype.kind == "b" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise ValueError(f"{name!r} holds truth values that are neither 0 nor 1")
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
