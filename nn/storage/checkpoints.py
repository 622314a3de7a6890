"""Checkpoints: the states of all that training is made of, in one file, restored all together or not at all.

A checkpoint is a `.npz` archive: the structure is JSON in a member of its own, the arrays are members beside it, in
which `{"array": 3}` is the one named `3.npy`. Numbers come back bit for bit.
"""

from __future__ import annotations

__all__ = ["load_checkpoint", "save_checkpoint"]

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.random import Generator

from chainrule.autograd.optional.whole import FilePath, blaming, check_path, reading, write_whole

from .files import Array, from_npy, numbers, read_archive, write_archive

FORMAT, VERSION, STRUCTURE = "chainrule checkpoint", 1, "checkpoint.json"
MARGIN = 20  # levels: what is written is read first, a little deeper than it will be


@runtime_checkable
class Stateful(Protocol):
    """What has a state that can be taken and given back: modules, optimizers, schedules, batches."""

    def state_dict(self) -> Any:
        """The state: arrays and plain data, copied."""

    def load_state_dict(self, state: Any, /) -> None:
        """Take over a state whole, or raise and change nothing."""


def save_checkpoint(path: FilePath, /, **parts: Any) -> None:
    """Write all that training needs to go on as if never interrupted, to one `.npz` file.

    A part is something with `state_dict` and `load_state_dict`, a NumPy Generator, a list of those, or plain data:
    dicts with string keys, lists, tuples, arrays of numbers, numbers, strings, None. On any error the old file stands.

    >>> import tempfile
    >>> import chainrule as cr, numpy as np
    >>> model, rng = cr.nn.Linear(2, 1, rng=0), np.random.default_rng(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cr.nn.save_checkpoint(f"{folder}/last.npz", model=model, rng=rng, epoch=7)
    ...     cr.nn.load_checkpoint(f"{folder}/last.npz", model=model, rng=rng)
    {'epoch': 7}
    """
    check_path(path, ".npz")
    objects, plain = sorted_out(parts)
    arrays: list[Array] = []
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION, "objects": {}, "plain": {}}
    for kind, found in (("objects", objects), ("plain", plain)):
        for name, part in found.items():
            state = state_of(part) if kind == "objects" else part
            with bounded(name):
                document[kind][name] = entry = encoded(state, name, arrays)
                deeper = "[" * MARGIN + json.dumps(entry) + "]" * MARGIN
                decoded(json.loads(deeper), {f"{i}.npy": array for i, array in enumerate(arrays)})
    structure = json.dumps(document, allow_nan=False).encode()
    members: list[tuple[str, Array | bytes]] = [(STRUCTURE, structure)]
    members += [(f"{i}.npy", array) for i, array in enumerate(arrays)]
    write_whole(path, lambda file: write_archive(file, members))


def load_checkpoint(path: FilePath, /, **parts: Any) -> dict[str, Any]:
    """Give every part the state that `save_checkpoint` wrote under its name, and return the plain parts.

    The parts must be those that were saved. All are restored or, with a `ValueError`, none is. See `save_checkpoint`
    for an example.
    """
    objects, plain = sorted_out(parts)
    for name, part in plain.items():
        if not (isinstance(part, list | tuple) and len(part) == 0):  # as of generators, of which there may be none
            raise TypeError(f"load_checkpoint: {name!r} is {type(part).__name__}; plain data is returned, not restored")
    states, returned = read_checkpoint(path)
    problems = [f"{name!r} was saved but not given" for name in states if name not in objects]
    problems += [f"{name!r} was given but not saved" for name in objects if name not in states]
    if problems:
        raise ValueError(f"{os.fspath(path)}: nothing was restored: {'; '.join(problems)}")
    with blaming(path):
        restore_all(objects, states)
    return returned


def read_checkpoint(path: FilePath) -> tuple[dict[str, Any], dict[str, Any]]:
    """The states in a checkpoint, of objects and plain, by name."""
    check_path(path, ".npz")
    with reading(path) as file:
        members = dict(read_archive(file))
        if STRUCTURE not in members:
            raise ValueError(f"is no checkpoint: it has no member {STRUCTURE!r}")
        document = json.loads(members.pop(STRUCTURE))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f"{STRUCTURE!r} is not that of a {FORMAT}")
        if document.get("version") != VERSION:
            raise ValueError(f"is a checkpoint of version {document.get('version')!r}; only {VERSION} is known")
        arrays = {name: from_npy(data, name) for name, data in members.items()}
        states, plain = ({k: decoded(x, arrays) for k, x in document[kind].items()} for kind in ("objects", "plain"))
        if arrays:
            raise ValueError(f"has members that belong nowhere: {', '.join(map(repr, arrays))}")
        return states, plain


def sorted_out(parts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The objects that have a state, those in lists by number ("rngs.0"), and the plain data."""
    objects: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for name, part in parts.items():
        with bounded(name):
            found = dict(leaves(name, part))
        stateful = [leaf for leaf, x in found.items() if isinstance(x, Generator | Stateful)]
        if 0 < len(stateful) < len(found):
            raise TypeError(f"checkpoint: {name!r} mixes plain data and objects with a state; make them two parts")
        if twice := [leaf for leaf in stateful if leaf in objects]:
            raise ValueError(f"checkpoint: two parts are called {twice[0]!r}; rename one")
        if stateful:
            objects |= found
        else:
            plain[name] = part
    return objects, plain


@contextmanager
def bounded(name: str) -> Iterator[None]:
    """A block that follows a part into its depth, which may have no end."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"checkpoint: {name!r} is nested too deeply, or holds itself") from None


def leaves(name: str, part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, list | tuple):
        for i, x in enumerate(part):
            yield from leaves(f"{name}.{i}", x)
    else:
        yield name, part


def restore_all(objects: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Restore every object; if one fails, all get back the state that they had: what one restores may belong to others too."""
    before: dict[str, Any] = {}
    tried: dict[str, Any] = {}
    try:
        for name, x in objects.items():
            before[name] = state_of(x)
        for name, x in objects.items():
            tried[name] = before[name]
            restore(x, states[name])
    except BaseException as error:
        failures = put_back(objects, tried)
        if isinstance(error, Exception):
            but = f"; but some could not be put back: {'; '.join(failures)}" if failures else ""
            raise ValueError(f"nothing was restored: {name!r}: {error}{but}") from error
        raise


def put_back(objects: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Restore what was before; interrupted once more, as by those who press Ctrl-C twice, start again. What failed is returned."""
    failures = []
    try:
        for name, state in before.items():
            try:
                restore(objects[name], state)
            except Exception as error:
                failures.append(f"{name!r}: {error}")
    except KeyboardInterrupt:
        return put_back(objects, before)
    return failures


def state_of(x: Generator | Stateful) -> Any:
    return x.bit_generator.state if isinstance(x, Generator) else x.state_dict()


def restore(x: Generator | Stateful, state: Any) -> None:
    if isinstance(x, Generator):
        check_generator_state(x.bit_generator.state, state)
        x.bit_generator.state = state
    else:
        x.load_state_dict(state)


POSITIONS = {"pos": 624, "buffer_pos": 4}  # NumPy takes any number and reads its buffers there


def check_generator_state(own: Any, state: Any, name: str = "state") -> None:
    """The state must be built as the generator's own is: of the same kind, with buffers of the same size."""
    if type(own) is not type(state):
        raise ValueError(f"{name} is {type(state).__name__}, expected {type(own).__name__}")
    if isinstance(own, np.ndarray) and (own.shape, own.dtype) != (state.shape, state.dtype):
        raise ValueError(f"{name} is {state.dtype} of shape {state.shape}, expected {own.dtype} of shape {own.shape}")
    if isinstance(own, str) and own != state:
        raise ValueError(f"the generator is {own}, and the state that of {state}")
    if isinstance(own, int) and not 0 <= state <= POSITIONS.get(name, state):
        raise ValueError(f"{name} is out of range: {state}")
    if isinstance(own, dict):
        for key in own:
            check_generator_state(own[key], state.get(key), key)
        if own.keys() != state.keys():
            raise ValueError(f"{name} has entries {sorted(state)}, expected {sorted(own)}")


def encoded(x: Any, name: str, arrays: list[Array]) -> Any:
    """Plain data as JSON: what JSON lacks is an object of one entry that says its kind; arrays are put aside."""
    if (
        isinstance(x, np.generic) and x.dtype.kind in "biufU"
    ):  # of a time the number would come back, of a record a tuple
        x = x.item()
    if x is None or isinstance(x, bool | int | str):
        return x
    if isinstance(x, float):
        return x if math.isfinite(x) else {"float": struct.pack(">d", x).hex()}
    if isinstance(x, np.ndarray):
        arrays.append(numbers(x, name))
        return {"array": len(arrays) - 1}
    if isinstance(x, list | tuple) and not isinstance(x, np.generic):
        items = [encoded(item, f"{name}.{i}", arrays) for i, item in enumerate(x)]
        return items if isinstance(x, list) else {"tuple": items}
    if isinstance(x, Mapping):
        for key in x:
            if not isinstance(key, str):
                raise TypeError(f"save_checkpoint: the keys of {name} must be strings, got {key!r}")
        return {"dict": {key: encoded(item, f"{name}.{key}", arrays) for key, item in x.items()}}
    raise TypeError(f"save_checkpoint: {name} is {type(x).__name__}; expected arrays, numbers, text, lists, dicts")


def decoded(x: Any, arrays: dict[str, Array]) -> Any:
    """The plain data that `encoded` made; each array is taken out of `arrays`, once."""
    if isinstance(x, list):
        return [decoded(item, arrays) for item in x]
    if not isinstance(x, dict):
        return x
    ((kind, content),) = x.items()
    match kind:
        case "float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        case "array":
            if f"{content}.npy" not in arrays:
                raise ValueError(f"there is no member '{content}.npy', or it is used twice")
            return arrays.pop(f"{content}.npy")
        case "tuple":
            return tuple(decoded(content, arrays))
        case "dict":
            return {key: decoded(item, arrays) for key, item in content.items()}
    raise ValueError(f"{STRUCTURE!r} has an entry of unknown kind {kind!r}")
