"""What is inside a module: found by structure, each part with its path; and what it reaches and cannot find: an error.

Attributes are searched, and in them lists, tuples, dicts, namespaces and dataclasses. Through everything else (functions
and what they close over, bound methods, generators, arrays of objects, objects of any class) the interpreter says what
is referred to: a variable or a module that only such a way leads to would be neither trained nor saved nor switched.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections import UserDict, UserList
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from types import FrameType, FunctionType, GeneratorType, ModuleType, SimpleNamespace
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from chainrule.autograd import Tensor, Value
from chainrule.autograd.graph import Node
from chainrule.autograd.plain import describe

Parameter = Value | Tensor
Path: TypeAlias = tuple[Any, ...]  # (the path to the container, the key in it), or () for the root


class Searched:
    """The base of what is searched, attribute by attribute."""

    slots: ClassVar[tuple[str, ...]] = ()  # the attributes that are kept outside `__dict__`
    overrides: ClassVar[frozenset[str]] = frozenset()  # the methods that are to be asked, in place of looking inside
    caches: ClassVar[tuple[str, ...]] = ()  # the attributes that hold what is made of the others: not searched


# Objects that lead nowhere, or to all that is loaded, or to what is another's
CLOSED = (
    type(None), bool, int, float, complex, str, bytes, np.dtype, Generator, ModuleType, FrameType,
    weakref.ref, weakref.ProxyType, weakref.CallableProxyType,
)  # fmt: skip
LEAVES = frozenset([Value, Tensor])
PLAIN = frozenset(CLOSED)
LIBRARIES = frozenset([*sys.stdlib_module_names, "chainrule", "numpy"])
MOST = 1_000_000  # objects that are looked at in search of what is hidden


def slots_of(cls: type) -> list[str]:
    """The attributes of its instances that are not in their `__dict__`, by the names that they really have."""
    own = vars(cls).get("__slots__", ())
    names = [own] if isinstance(own, str) else list(own)
    private = f"_{cls.__name__.lstrip('_')}"
    return [
        private + name if name.startswith("__") and not name.endswith("__") else name
        for name in names
        if name not in ("__dict__", "__weakref__")
    ]


def items_of(x: Any) -> Iterable[tuple[Any, Any]] | None:
    """The parts directly inside what is searched, with their keys; None for anything else."""
    if isinstance(x, list | tuple):
        return enumerate(x)
    if isinstance(x, Searched):
        if not x.slots and not x.caches:
            return vars(x).items()
        slots = [(name, getattr(x, name)) for name in x.slots if hasattr(x, name)]
        return [(name, part) for name, part in (*vars(x).items(), *slots) if name not in x.caches]
    if isinstance(x, dict | UserDict):
        return x.items()
    if isinstance(x, UserList):
        return enumerate(x)
    if isinstance(x, SimpleNamespace):
        return vars(x).items()
    if is_dataclass(x) and not isinstance(x, type):
        own = {field.name: getattr(x, field.name) for field in fields(x) if hasattr(x, field.name)}
        return (own | getattr(x, "__dict__", {})).items()
    return None


def walk(
    root: Any, methods: frozenset[str] = frozenset(), sought: tuple[type, ...] = (), searching: bool = True
) -> Iterator[tuple[Path, Any]]:
    """Everything inside `root`, itself included, with its path, in order of definition; each container once.

    What is inside a part that overrides one of the methods is left to that. If `searching`, raises `TypeError` at the end
    where a leaf, a module, or what else is `sought`, is hidden.
    """
    seen: dict[int, Any] = {}  # what was made for this walk only must live as long as its identity counts
    others: list[tuple[Path, Any]] = []
    containers: list[tuple[Path, Any]] = []
    stack: list[tuple[Path, Any]] = [((), root)]
    while stack:
        path, part = stack.pop()
        kind = type(part)
        if kind in LEAVES or (sought and isinstance(part, sought)):
            seen[id(part)] = part
        elif kind not in PLAIN:
            if id(part) in seen:
                continue
            items = items_of(part)
            if items is not None:
                seen[id(part)] = part
                if part is root or not is_asked(part, methods):
                    stack.extend([((path, key), x) for key, x in items][::-1])
            if items is None:
                others.append((path, part))
            elif not (kind in (list, tuple) or isinstance(part, Searched)):
                containers.append((path, part))  # which may hold more than its items: keys, attributes
        yield path, part
    for path, other in others + containers if searching else ():
        for x in reached_from(dotted(path), other, seen, sought):
            raise TypeError(
                f"{dotted(path)!r} is {a_or_an(other)} with {a_or_an(x)} inside, which is not found there: it would be neither "
                "trained nor saved. Keep it in an attribute, a list, a tuple, a dict or a dataclass; freeze() it, if it is "
                "not to be trained"
            )


def is_asked(part: Any, methods: frozenset[str]) -> bool:
    """Whether a part overrides one of the methods."""
    return isinstance(part, Searched) and bool(part.overrides) and not part.overrides.isdisjoint(methods)


def reached_from(name: str, root: Any, known: dict[int, Any], sought: tuple[type, ...]) -> Iterator[Any]:
    """The leaves, the modules, and what else is sought, that `root` refers to, directly or not, but what is known."""
    seen = {id(root): root}
    stack = [root]
    while stack:
        if len(seen) > MOST:
            raise TypeError(
                f"{name!r} is {a_or_an(root)} that is too large to be searched for variables; name it among the caches"
            )
        for x in referents(stack.pop()):
            if id(x) in seen or id(x) in known or (type(x) in PLAIN and not (sought and isinstance(x, sought))):
                continue
            if isinstance(x, (Searched, *sought)) or (isinstance(x, Node) and x.op is None):
                yield x
            elif not isinstance(x, (Node, *CLOSED)):
                seen[id(x)] = x
                stack.append(x)


def referents(x: Any) -> Iterable[Any]:
    """What an object refers to; of a function not its globals, of a class not its subclasses: they lead to all that is loaded."""
    if isinstance(x, type):
        return () if x.__module__.partition(".")[0] in LIBRARIES else (*vars(x).values(), *x.__bases__)
    if isinstance(x, FunctionType):
        return [*(x.__closure__ or ()), *(x.__defaults__ or ()), *(x.__kwdefaults__ or {}).values(), *vars(x).values()]
    if isinstance(x, GeneratorType):
        return x.gi_frame.f_locals.values() if x.gi_frame is not None else ()
    if isinstance(x, np.ndarray | np.void):
        held = np.asarray(x).ravel().tolist() if x.dtype.hasobject else []
        return [*held, *getattr(x, "__dict__", {}).values()]
    return gc.get_referents(x)


def leaf(path: Path, node: Parameter) -> Parameter:
    """A parameter, or an error: what was computed once would pass for a constant that follows nothing."""
    if node.op is not None:
        raise TypeError(
            f"{dotted(path)!r} holds {describe(node)}, the result of an operation, and so no parameter. Compute it in "
            "forward(), or keep its .data: as it is for a constant, as a new Tensor or Value for a parameter"
        )
    return node


def unused(names: set[str], name: str) -> str:
    """A name that is new among the names, which it joins."""
    if name in names:
        raise ValueError(f"two parts of the module are called {name!r}; rename a key on the way to one")
    names.add(name)
    return name


def array_of(x: Any, name: str) -> NDArray[Any]:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name!r} is among the buffers of its module, and must be an array, got {describe(x)}")
    return x


def restorer(root: Searched) -> Callable[[], None]:
    """How to put back what a module and those inside it hold now, but the data of parameters."""
    held = list(walk(root, searching=False))
    attributes = [(part, dict(vars(part))) for _, part in held if isinstance(part, Searched)]
    arrays = [(part, part.copy()) for _, part in held if isinstance(part, np.ndarray) and part.flags.writeable]
    contents = [(part, type(part)(part)) for _, part in held if type(part) in (list, dict)]
    states = [(part, part.bit_generator.state) for _, part in held if isinstance(part, Generator)]
    parameters = [(part, part.grad, part.frozen) for _, part in held if isinstance(part, Parameter)]

    def put_back() -> None:
        for module, before in attributes:
            vars(module).update(before)
            for name in vars(module).keys() - before.keys():
                del vars(module)[name]
        for container, parts in contents:
            container.clear()
            container.extend(parts) if isinstance(container, list) else container.update(parts)
        for array, numbers in arrays:
            array[...] = numbers
        for rng, state in states:
            rng.bit_generator.state = state
        for parameter, grad, frozen in parameters:
            parameter.grad, parameter.frozen = grad, frozen

    return put_back


def part_at(root: Any, name: Any) -> Any:
    """What a dotted path leads to, or None. Unlike in `walk`, every path to what is shared counts."""
    stack = [(root, str(name))]
    while stack:
        part, rest = stack.pop()
        for key, x in items_of(part) or ():
            if str(key) == rest:
                return x
            if rest.startswith(f"{key}."):
                stack.append((x, rest.removeprefix(f"{key}.")))
    return None


def children(module: Any) -> Iterator[tuple[str, Any]]:
    """The modules directly inside, also those in its lists and dicts."""
    for key, part in items_of(module) or ():
        if isinstance(part, Searched):
            yield key, part
        else:
            yield from ((f"{key}.{i}", x) for i, x in items_of(part) or () if isinstance(x, Searched))


def a_or_an(x: Any) -> str:
    name = type(x).__name__
    return f"an {name}" if name[0] in "AEIOUaeiou" else f"a {name}"


def dotted(path: Path) -> str:
    keys: list[str] = []
    while path:
        path, key = path
        keys.append(str(key))
    return ".".join(reversed(keys))
