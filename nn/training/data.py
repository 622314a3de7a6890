"""Data: arrays in, mini-batches out; a part held back for validation; and the files that MNIST comes in.

An epoch's order is drawn when its iteration starts, and from then on the epoch needs the generator no more: iterations
do not disturb one another, and a generator put back gives the same epochs again.
"""

from __future__ import annotations

__all__ = ["Batches", "read_idx", "split"]

import gzip
import math
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Node
from chainrule.autograd.guards.settings import flag
from chainrule.autograd.optional.whole import check_path
from chainrule.autograd.plain import constant, describe, require_function

from ..init import Seed, generator, whole_number
from ..storage.checkpoints import check_generator_state

Batch: TypeAlias = tuple[Any, ...]
Transform: TypeAlias = Callable[..., Batch]


@final
class Batches:
    """Arrays of one length, cut into mini-batches: each iteration is one epoch and yields tuples of arrays.

    `arrays` (or nested lists) agree in their first axis, the samples. `batch_size` is 1 for stochastic descent, None for
    the whole set at once, in its own order. With `shuffle` every epoch has a new order, drawn from `.rng` (made of `rng`, a seed or a NumPy
    generator) when its iteration starts; with `drop_last` a short last batch is left out. `transform(rng, *batch)`
    returns the batch to use instead, as a tuple: for augmentation, or for pixels that are stored as uint8, a quarter of
    the memory, and become numbers batch by batch. Its generator is the epoch's own.

    `len()` is the number of batches in an epoch, `.samples` the number of samples. Batches that are not shuffled are
    read-only views of the arrays, others are copies.
    Raises `ValueError` for lengths that differ or a batch size below 1, `TypeError` for what is no array of numbers.

    >>> import chainrule as cr
    >>> for x, y in cr.nn.Batches([[1.0], [2.0], [3.0]], [0, 1, 1], batch_size=2, shuffle=False):
    ...     print(x.tolist(), y.tolist())
    [[1.0], [2.0]] [0, 1]
    [[3.0]] [1]
    """

    def __init__(
        self,
        *arrays: Any,
        batch_size: int | None = 32,
        shuffle: bool = True,
        drop_last: bool = False,
        rng: Seed = None,
        transform: Transform | None = None,
    ) -> None:
        self.arrays = same_length("Batches", arrays)
        self.samples = len(self.arrays[0])
        self.batch_size = None if batch_size is None else whole_number("Batches: batch_size", batch_size, 1)
        if transform is not None:
            require_function("Batches: transform", transform)
        self.shuffle, self.drop_last = flag("Batches: shuffle", shuffle), flag("Batches: drop_last", drop_last)
        self.transform = transform
        self.rng = generator(rng, "Batches: rng")

    def __len__(self) -> int:
        size = self.batch_size or self.samples
        if not size:
            return 0
        return self.samples // size if self.drop_last else -(-self.samples // size)

    def __iter__(self) -> Iterator[Batch]:
        order = self.rng.permutation(self.samples) if self.shuffle and self.batch_size is not None else None
        if self.transform is None:
            return self.cut(order)
        epoch_rng = np.random.default_rng(self.rng.integers(2**32, size=4))
        return self.transformed(self.cut(order), self.transform, epoch_rng)

    def cut(self, order: NDArray[Any] | None) -> Iterator[Batch]:
        size = self.batch_size or max(self.samples, 1)
        for start in range(0, len(self) * size, size):
            if order is None:
                yield tuple([read_only(array[start : start + size]) for array in self.arrays])
            else:
                rows = order[start : start + size]
                yield tuple([taken(array, rows) for array in self.arrays])

    def transformed(self, batches: Iterator[Batch], transform: Transform, rng: np.random.Generator) -> Iterator[Batch]:
        for batch in batches:
            result = transform(rng, *batch)
            if not isinstance(result, tuple):
                raise TypeError(f"Batches: transform must return a batch as a tuple, got {type(result).__name__}")
            yield result

    def state_dict(self) -> dict[str, Any]:
        """Where the generator stands: with it put back, the same epochs follow."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the generator back to where it stood. Raises `ValueError` for the state of anything else."""
        if set(state) != {"rng"}:
            raise ValueError(f"Batches: expected a state with the one entry 'rng', got {sorted(state)}")
        check_generator_state(self.rng.bit_generator.state, state["rng"])
        self.rng.bit_generator.state = state["rng"]

    def __repr__(self) -> str:
        return f"Batches({self.samples} samples in {len(self)} batches of {self.batch_size or self.samples})"


def same_length(name: str, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as arrays that agree in their first axis, or an error that says how they do not."""
    if not arrays:
        raise TypeError(f"{name}: expected at least one array, got none")
    found = tuple([samples_of(name, array) for array in arrays])
    for i, array in enumerate(found):
        if np.ndim(array) == 0:
            raise ValueError(f"{name}: array {i} is a single number, expected an axis of samples")
    if len({len(array) for array in found}) > 1:
        lengths = ", ".join(str(len(array)) for array in found)
        raise ValueError(f"{name}: the arrays have different numbers of samples: {lengths}")
    return found


def samples_of(name: str, data: Any) -> Any:
    if isinstance(data, Node):
        raise TypeError(f"{name}: got {describe(data)}, a variable; data is constant: use its .data")
    if isinstance(data, list | tuple) and not data:
        return np.asarray(data)
    try:
        return constant(data, name)
    except TypeError:
        if isinstance(data, ArrayOfAnother):
            raise TypeError(f"{name}: got {describe(data)}; use .numpy() to make it a NumPy array") from None
        raise


@runtime_checkable
class ArrayOfAnother(Protocol):
    """An array that does not speak NumPy's protocols, such as PyTorch's, but can become a NumPy array."""

    def numpy(self) -> NDArray[Any]: ...


def taken(array: Any, rows: NDArray[Any]) -> Any:
    """NumPy's own method does not look for other libraries first: a microsecond in every batch."""
    return array.take(rows, axis=0) if type(array) is np.ndarray else np.take(array, rows, axis=0)


def read_only(view: Any) -> Any:
    if isinstance(view, np.ndarray):
        view.flags.writeable = False
    return view


def split(*arrays: Any, validation: float = 0.1, rng: Seed = None, stratify: Any = None) -> tuple[Any, ...]:
    """The samples of all arrays, shuffled and parted: `x_train, x_val, y_train, y_val = split(x, y)`.

    `validation` is the fraction to hold back, or, as an integer, the number of samples. `stratify` gives the class of
    each sample; each class is then held back in the same proportion, as nearly as whole samples allow. Both parts are
    copies. Raises `ValueError` where a part would be empty or lengths differ.

    >>> import chainrule as cr
    >>> x_train, x_val, y_train, y_val = cr.nn.split([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], validation=0.5, rng=0)
    >>> x_train.shape, y_val.shape
    ((2, 1), (2,))
    """
    found = same_length("split", arrays)
    held, kept = parted(len(found[0]), validation, generator(rng, "split: rng"), stratify)
    return tuple([np.take(array, rows, axis=0) for array in found for rows in (kept, held)])


def parted(n: int, validation: float, rng: np.random.Generator, stratify: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """The rows held back and the rows kept, in random order."""
    count = held_back(n, validation)
    order = rng.permutation(n)
    if stratify is None:
        return order[:count], order[count:]
    classes = np.asarray(stratify)
    if classes.shape != (n,):
        raise ValueError(f"split: stratify must give one class for each of {n} samples, got shape {classes.shape}")
    # Sorted by class, every n/count-th sample is held back: each class gets its share, and the total is exact.
    by_class = order[np.argsort(classes[order], kind="stable")]
    places = (np.arange(count) * n + rng.integers(n)) // count
    held = np.zeros(n, dtype=bool)
    held[by_class[places]] = True
    return order[held[order]], order[~held[order]]


def held_back(n: int, validation: float) -> int:
    """How many samples validation gets."""
    if isinstance(validation, float | np.floating):
        if not 0.0 < validation < 1.0:
            raise ValueError(f"split: validation as a fraction must lie between 0 and 1, got {validation}")
        count = max(1, round(n * float(validation)))
    else:
        count = whole_number("split: validation as a number of samples", validation, 1)
    if not 0 < count < n:
        raise ValueError(f"split: of {n} samples {count} cannot be held back: both parts need at least one")
    return count


IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_LIMIT = 1032  # no deflated byte stands for more bytes than that
MOST_AXES = 64  # that a NumPy array can have
PIECE = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array in an IDX file, the format of MNIST: plain or gzipped, which its first bytes tell.

    Two zero bytes, one for the type, one for the number of axes, then each length as four bytes, then the elements, all
    big-endian (LeCun, "The MNIST database of handwritten digits"). Returns a new array in the machine's byte order.
    Raises `ValueError`, naming the file, where the header is wrong or the elements are fewer or more than it says;
    nothing larger than the file can hold is allocated.

    >>> import chainrule as cr, tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels.idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     cr.nn.read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    check_path(path)
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        try:
            if not packed:
                return idx_array(file, size)
            with gzip.open(file) as unpacked:
                return idx_array(unpacked, size * DEFLATE_LIMIT)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: the gzip file is damaged: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def idx_array(file: BinaryIO | gzip.GzipFile, limit: int) -> NDArray[Any]:
    """The array in a stream that holds no more than `limit` bytes."""
    dtype, shape = idx_header(file)
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise ValueError(f"the header promises {size} bytes for shape {shape}, more than the file can hold")
    if math.prod(n for n in shape if n) * dtype.itemsize > sys.maxsize:
        raise ValueError(f"the header promises shape {shape}: such an array is too big, even without elements")
    data = bytearray()
    while piece := file.read(min(PIECE, size + 1 - len(data))):
        data += piece
    if len(data) < size:
        raise ValueError(f"the file ends early: shape {shape} needs {size} bytes of elements, there are {len(data)}")
    if len(data) > size:
        raise ValueError(f"the file goes on after the {size} bytes of elements that shape {shape} needs")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def idx_header(file: BinaryIO | gzip.GzipFile) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"no IDX file: it starts with {magic!r}, not with two zero bytes, a type and a number of axes")
    kind, axes = magic[2:]
    if kind not in IDX_TYPES:
        known = ", ".join(f"0x{code:02X}" for code in IDX_TYPES)
        raise ValueError(f"no IDX file: type 0x{kind:02X} is unknown; there are {known}")
    if axes > MOST_AXES:
        raise ValueError(f"the header promises {axes} axes; an array has at most {MOST_AXES}")
    lengths = file.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise ValueError(f"the file ends in its header, before the lengths of {axes} axes")
    return np.dtype(IDX_TYPES[kind]), tuple(np.frombuffer(lengths, ">u4").tolist())
