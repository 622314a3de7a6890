"""compile: a function recorded once for each kind of arguments, and run as straight-line NumPy code from then on.

The compiled function is one operation. On plain data it gives plain data; where variables go in, its result is a node
whose rule is the compiled pass back, so it is differentiated, checked and drawn like every other operation. What the
code cannot do, the function itself does: numbers that overflow, labels out of range.
"""

from __future__ import annotations

import dis
import math
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial, update_wrapper
from itertools import chain, repeat
from operator import is_
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Generic, ParamSpec, TypeVar, cast, final

import numpy as np

from .context import enable_grad, next_birth, recording, suspended, watched, watching
from .derivative import apart, gradients, leaves, rebuilt
from .emit import Code, emit, identifier
from .graph import ALWAYS, Node, ancestry, cotangents
from .parameters import is_model
from .plain import FAILURES, constant, describe
from .primitive import UNRECORDED, Op, new
from .program import Program, program_of, replay, require_same, variable
from .recording import recorded
from .source import of_library
from .tensor import Tensor

Given = ParamSpec("Given")
Result = TypeVar("Result")

RECORDINGS = 32  # that are kept of one function at most
OF_DATA = (ArithmeticError, IndexError, ValueError)  # errors that say something of the numbers, not of the function


def compile(f: Callable[Given, Result]) -> Compiled[Given, Result]:
    """The same function, faster: run from code that was made for it, by recording what it does.

    `f` takes numbers, arrays, Values, Tensors, models (`nn.Module`), and tuples, lists and dicts of them; whatever else it
    is given (integers, text, None, functions) counts as part of the program. Models and variables that `f` names from
    outside are found there. It returns a number or an array, or containers of them. On variables it returns a node to
    differentiate. It is recorded anew for every new combination of types, shapes and such options, and for every change to
    a model; `.source` is the code of the latest recording.

    What is recorded must hold for all data: `f` must not branch on numbers (`cr.where` instead of `if`), draw random
    numbers, or change anything. Most of that is found out: then recording raises `TypeError` and says what to do. Numbers
    that `f` gets by other ways than by its names and what these hold are taken as they were at first: an attribute of an
    imported module, of an instance's class or in `__slots__`, the `.grad` of a variable.

    >>> import chainrule as cr
    >>> slope = cr.compile(cr.grad(lambda x: x * cr.sin(x)))
    >>> slope(0.0)
    0.0
    >>> print(slope.source.strip())
    def forward(x0):
        v1 = math.sin(x0)
        v2 = math.cos(x0)
        v3 = x0 * v2
        v4 = v1 + v3
        return (float(v4),)
    """
    return Compiled(f)


@final
class Compiled(Generic[Given, Result]):
    """What `compile` returns: call it like the function it was made of."""

    def __init__(self, f: Callable[Given, Result]) -> None:
        if not callable(f):
            raise TypeError(f"compile: expected a function, got {describe(f)}")
        update_wrapper(self, f, updated=())  # what a model or another object holds stays its own
        self.f = f
        self.name = f"compile({getattr(f, '__name__', type(f).__name__)})"
        self.outside: list[Callable[[], Any]] = []
        self.recordings: dict[tuple[Any, ...], list[Recording]] = {}
        self.latest: Recording | None = None

    @property
    def source(self) -> str:
        """The Python code of the latest recording: a function for the results, and one that pulls cotangents back."""
        if self.latest is None:
            raise ValueError(f"{self.name}: nothing is compiled before the first call")
        return self.latest.code.source

    def __repr__(self) -> str:
        count = sum(map(len, self.recordings.values()))
        return f"<{self.name}, {count} {'recording' if count == 1 else 'recordings'}>"

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        if watched and watching.get() is not None:  # who watches wants to see each operation
            return self.f(*args, **kwargs)
        given = self.given(args, kwargs)
        found = self.latest
        if found is None or found.key != given.key or not found.snapshot.holds():
            try:
                if self.known(given) is None:  # functions and numbers may be defined after the function that names them
                    self.outside = outside(self.f)
                    given = self.given(args, kwargs)
                found = self.latest = self.known(given) or self.record(given, args, kwargs)
            except OF_DATA:
                found = None
        if found is not None:
            try:
                return cast("Result", found.run(given.parts))
            except Exception:
                pass
        return self.f(*args, **kwargs)  # which can do it, or says what is wrong

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: bound to the instance, as functions are."""
        return self if instance is None else MethodType(self, instance)

    def given(self, args: Any, kwargs: Any) -> Arguments:
        given = Arguments()
        given.take(args)
        if kwargs:
            given.key.append("by name")
            given.take([kwargs])
        given.own = len(given.parts)
        for read in self.outside:
            given.take_named(read())
        return given

    def known(self, given: Arguments) -> Recording | None:
        """What was recorded before for such arguments, if it still holds."""
        return next((made for made in self.recordings.get(tuple(given.key), ()) if made.snapshot.holds()), None)

    def record(self, given: Arguments, args: Any, kwargs: Any) -> Recording:
        made = Recording(self.name, self.f, given, args, kwargs)
        count = sum(map(len, self.recordings.values()))
        if count == RECORDINGS:
            warnings.warn(
                f"{self.name}: recorded {RECORDINGS} times, for other shapes, options or models each time. That costs more than "
                "it saves: give numbers that change as floats or arrays, not as integers",
                stacklevel=3,
            )
            self.recordings = {}
        self.recordings.setdefault(tuple(given.key), []).append(made)
        return made


@final
class Arguments:
    """What a function is called with: its parts, which are data and variables, and a key that stands for all else."""

    __slots__ = ("kept", "key", "own", "parts")

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.key: list[Any] = []
        self.kept: list[Any] = []  # what the key knows by its identity
        self.own = 0  # how many parts are arguments; the others are variables that the function names from outside

    def take(self, xs: Iterable[Any]) -> None:
        parts, key = self.parts, self.key
        for x in xs:
            kind = type(x)
            if kind is np.ndarray:
                parts.append(x)
                key += x.shape, x.dtype
            elif kind is float:
                parts.append(x)
                key.append(float)
            elif isinstance(x, Node):
                self.take_node(x)
            elif kind is tuple or kind is list:
                key += kind, len(x)
                self.take(x)
            elif kind is dict:
                key += dict, tuple(x)
                self.take(x.values())
            elif is_model(kind):
                self.take_named(x)
            else:
                self.take_other(x)

    def take_node(self, x: Node) -> None:
        data = x._data
        self.parts.append(x)
        if type(data) is float:
            self.key.append(Node)
        elif isinstance(data, np.ndarray | np.generic):
            self.key += Node, data.shape, data.dtype
        else:
            raise not_numpy(f"a Tensor of {type(data).__name__}")

    def take_other(self, x: Any) -> None:
        if isinstance(x, np.floating):
            self.take([float(x)])
        elif hasattr(x, "__array_function__") and not isinstance(x, np.generic):
            raise not_numpy(f"{type(x).__name__}")
        elif is_namedtuple(x):
            self.key += type(x), len(x)
            self.take(x)
        elif has_attributes(x):
            self.take_named(x)
        else:
            try:
                hash(x)
            except TypeError:
                raise TypeError(
                    f"compile: cannot tell one {type(x).__name__} from another; give numbers, arrays, variables, models, "
                    "tuples, lists and dicts of them, or what can be hashed"
                ) from None
            self.key += type(x), x
            self.kept.append(x)

    def take_named(self, x: Any) -> None:
        """What counts as itself: a model, or what the function names from outside, unless that is a variable."""
        if isinstance(x, Node) and x.op is None:
            self.take_node(x)
        self.key.append(id(x))
        self.kept.append(x)


def not_numpy(what: str) -> TypeError:
    return TypeError(f"compile: knows NumPy's own arrays only, got {what}; np.asarray(…) makes one")


def is_namedtuple(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields")


def is_part(x: Any) -> bool:
    """Whether this is data or a variable, to be replaced by other such."""
    return type(x) is float or isinstance(x, Node | np.ndarray | np.floating)


def filled(x: Any, parts: Iterator[Any]) -> Any:
    """The same arguments with other parts."""
    if type(x) in (tuple, list):
        return type(x)([filled(part, parts) for part in x])
    if type(x) is dict:
        return {key: filled(part, parts) for key, part in x.items()}
    if is_namedtuple(x):
        return type(x)(*[filled(part, parts) for part in x])
    return next(parts) if is_part(x) else x


# What a function names from outside


def outside(f: Any) -> list[Callable[[], Any]]:
    """How to read what a function names: in the scopes around it, among its globals; for an object, the object.

    Functions of the user's own that it names are looked through as well, and so are the methods of models.
    """
    readers: list[Callable[[], Any]] = []
    seen: set[int] = set()
    stack = [f]
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, MethodType):
            readers.append(partial(itself, x.__self__))
            stack += [x.__func__, *own_methods(type(x.__self__))]
        elif isinstance(x, Compiled):
            stack.append(x.f)
        elif isinstance(x, partial):
            held = (*x.args, *x.keywords.values())
            readers += [partial(itself, part) for part in held]
            stack += [x.func, *held]
        elif isinstance(x, FunctionType):
            found = [partial(contents, cell) for cell in x.__closure__ or ()]
            found += [
                partial(itself, default) for default in (*(x.__defaults__ or ()), *(x.__kwdefaults__ or {}).values())
            ]
            if not of_library(x.__globals__):
                names = sorted(set(globals_of(x.__code__)) & x.__globals__.keys())
                found += [partial(x.__globals__.get, name) for name in names]
            readers += [read for read in found if not isinstance(read(), ModuleType)]
            stack += [read() for read in found]
        elif x is f or is_model(type(x)):
            readers += [partial(itself, x)] if x is f else []  # any other has been read on the way here
            stack += own_methods(type(x))
    return readers


def own_methods(kind: type) -> Iterator[FunctionType]:
    """The methods that users wrote."""
    for base in kind.__mro__:
        if not of_library({"__name__": base.__module__}):
            yield from (x for x in vars(base).values() if isinstance(x, FunctionType))


def itself(x: Any) -> Any:
    return x


def contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def globals_of(code: CodeType) -> Iterator[str]:
    yield from (x.argval for x in dis.get_instructions(code) if x.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from globals_of(inner)


def parts_inside(x: Any) -> Collection[Any] | None:
    """What is directly inside a container or an object, as it changes; None for anything else."""
    if isinstance(x, dict):
        return x.values()
    if isinstance(x, list | tuple | set | deque):
        return x
    return vars(x).values() if has_attributes(x) else None


@final
class Snapshot:
    """What models hold, and containers and objects that the function names: and whether it still is."""

    def __init__(self, roots: Iterable[Any]) -> None:
        self.views, self.variables, arrays = inside(roots)
        self.lengths = list(map(len, self.views))
        self.before = list(chain.from_iterable(self.views))
        self.arrays = [(array, array.tobytes()) for array in arrays]

    def holds(self) -> bool:
        return (
            list(map(len, self.views)) == self.lengths
            and all(map(is_, chain.from_iterable(self.views), self.before))
            and (not self.arrays or all(array.tobytes() == before for array, before in self.arrays))
        )


def has_attributes(x: Any) -> bool:
    return hasattr(x, "__dict__") and not isinstance(x, FunctionType | MethodType | ModuleType | Compiled | Node)


def inside(roots: Iterable[Any]) -> tuple[list[Collection[Any]], dict[int, Node], list[Any]]:
    """What the containers inside `roots` hold, themselves included; the variables found there, and the arrays."""
    views: list[Collection[Any]] = []
    variables: dict[int, Node] = {}
    arrays: list[Any] = []
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, Node):
            variables[id(x)] = x
        elif isinstance(x, np.ndarray):
            arrays.append(x)
        elif (parts := parts_inside(x)) is not None:
            views.append(parts)
            if isinstance(x, dict):
                views.append(x.keys())
            stack += parts
    return views, variables, arrays


# One recording


@final
class Recording:
    """A function compiled for one kind of arguments."""

    def __init__(self, name: str, f: Callable[..., Any], given: Arguments, args: Any, kwargs: Any) -> None:
        self.key, self.kept = given.key, given.kept  # as long as these live, no other has their identity
        self.snapshot = Snapshot(given.kept)
        first, second = (Trace(name, f, given, args, kwargs, self.snapshot.variables) for _ in range(2))
        require_same(name, first.program, second.program)
        self.parameters = first.parameters
        self.tree = rebuilt(first.tree, repeat(None))  # the containers alone: no graph is kept
        self.kinds: list[type[Node]] = []
        self.code = emit(
            first.program, names_for(f, first, args, kwargs, self.kept), len(first.inputs), len(first.outputs)
        )
        passes = [Passes(self.code, i, place, first.alone(name, i)) for i, place in enumerate(first.places)]
        self.nodes = [
            (p.place, Op(name, p.forward, (), p.pull, elementwise=first.elementwise(p.place), exact=ALWAYS))
            for p in passes
        ]
        self.verify(name, f, given, args, kwargs)

    def run(self, parts: list[Any]) -> Any:
        """What the function returns for other parts of the same kind."""
        args = (*parts, *self.parameters)
        found = self.code.forward(*[x._data if isinstance(x, Node) else x for x in args])
        if not self.nodes:
            return rebuilt(self.tree, iter(apart(list(found))))
        outputs, saved = found
        params = {"_kept": {"saved": saved}}
        for place, op in self.nodes:
            # As `born` makes it, which would have to find out what a NumPy number becomes.
            node = new(self.kinds[place])
            node._data, node.params = outputs[place], params
            node.op, node.args = (UNRECORDED, ()) if suspended and not recording.get() else (op, args)
            node.grad = node.name = node.call = None
            node.birth = next_birth()
            if self.tree is None:
                return node
            outputs[place] = node
        return rebuilt(self.tree, iter(outputs))

    def verify(self, name: str, f: Callable[..., Any], given: Arguments, args: Any, kwargs: Any) -> None:
        """Raise an error unless the code agrees with the function, which runs as it is, here and on other data."""
        own, named = given.parts[: given.own], given.parts[given.own :]

        def compared(data: Iterable[Any]) -> list[tuple[Any, Any]]:
            parts = [variable(x) if isinstance(old, Node) else x for x, old in zip(data, own, strict=True)]
            new = iter(parts)
            return self.compared(list(leaves(f(*filled(args, new), **filled(kwargs, new)))), parts, named)

        with enable_grad():
            try:
                pairs = compared(map(locked, own))
            except ValueError as error:
                if "read-only" in str(error):
                    raise writes(name) from error
                raise
            with suppress(Exception), np.errstate(all="ignore"):  # the function may not be made for such data
                pairs += compared([moved(raw(x)) for x in own])
        for y, z in pairs:
            if not agree(raw(y), raw(z)):
                raise RuntimeError(
                    f"{name}: compiled, it gives {describe(raw(z))} where the function gives {describe(raw(y))} (for these arguments, "
                    "or for others like them). Leave out compile, if the function asks for types (isinstance) or writes "
                    "into arrays; else arguments of one dtype may help"
                )

    def compared(self, expected: list[Any], parts: list[Any], named: list[Any]) -> list[tuple[Any, Any]]:
        """What the function gives and what the code gives, and their gradients."""
        self.kinds = self.kinds or [type(y) if isinstance(y, Node) else Tensor for y in expected]
        found = list(leaves(self.run([*parts, *named])))
        pairs = list(zip(expected, found, strict=True))
        variables = [x for x in (*parts, *named, *self.parameters) if isinstance(x, Node)]
        for y, z in [pairs[place] for place, _ in self.nodes]:
            seed = z.seed(np.cos(np.arange(np.size(raw(z)), dtype=float)).reshape(np.shape(raw(z))))
            pairs += zip(gradients(y, variables, seed), gradients(z, variables, seed), strict=True)
        return pairs


@final
class Passes:
    """The two passes of a compiled function, for one of its outputs, as a row of the table has them."""

    def __init__(self, code: Code, i: int, place: int, program: Program) -> None:
        self.code, self.place, self.backward = code, place, code.backward[i]
        self.program = program  # of that output and its cotangents alone

    def forward(self, *inputs: Any, _kept: dict[str, Any]) -> Any:
        outputs, saved = self.code.forward(*inputs)
        if not _kept:
            _kept["saved"] = saved
        return outputs[self.place]

    def pull(self, args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> Sequence[Any]:
        if isinstance(y, Node):
            return replay(self.program, [*args, g])[1:]
        inputs = [x._data if isinstance(x, Node) else x for x in args]
        try:
            found: Sequence[Any] = self.backward(g, *inputs, *params["_kept"]["saved"])
        except FAILURES:  # numbers that overflow: by IEEE 754, step by step
            found = replay(self.program, [*inputs, g])[1:]
        return found


@final
class Trace:
    """A function run once on fresh variables: what it returned, and its program, forward and back."""

    def __init__(
        self,
        name: str,
        f: Callable[..., Any],
        given: Arguments,
        args: Any,
        kwargs: Any,
        known: Mapping[int, Node],
    ) -> None:
        own, named = given.parts[: given.own], given.parts[given.own :]
        for x in own:
            if isinstance(x, np.ndarray) and x.dtype.kind not in "fiub":
                raise TypeError(f"{name}: expected real numbers, got an array of dtype {x.dtype}")
        fresh = [variable(raw(x)) for x in own]
        data = {new for new, x in zip(fresh, own, strict=True) if not isinstance(x, Node)}
        with recorded(name, data):
            parts = iter(fresh)
            self.tree = f(*filled(args, parts), **filled(kwargs, parts))
            self.outputs = [x if isinstance(x, Node) else constant(x, f"{name}: the result") for x in leaves(self.tree)]
            nodes = [x for x in self.outputs if isinstance(x, Node)]
            apart = set(named)  # not a list: `in` would ask whether their numbers are equal
            self.parameters = [x for x in ancestry(*nodes)[::-1] if id(x) in known and x not in apart]
            self.inputs = [*fresh, *named, *self.parameters]
            variables = {x for x in self.inputs if x not in data}
            # Where the outputs are that depend on variables: those are nodes. Each has a cotangent of its own.
            self.places = [i for i, y in enumerate(self.outputs) if not variables.isdisjoint(nodes_behind(y))]
            self.seeds = [variable(ones_like(raw(self.outputs[i]))) for i in self.places]
            self.pulled = [
                cotangents(self.outputs[i], seed, variables, create_graph=True)
                for i, seed in zip(self.places, self.seeds, strict=True)
            ]
        pulled = [found.get(x) for found in self.pulled for x in self.inputs]
        self.program = program_of(name, [*self.inputs, *self.seeds], [*self.outputs, *pulled])

    def elementwise(self, place: int) -> bool:
        """Whether an output was made element by element."""
        return all(x.op.elementwise for x in nodes_behind(self.outputs[place]) if x.op is not None)

    def alone(self, name: str, i: int) -> Program:
        """The program of one of these outputs, and of what its cotangent becomes for each input."""
        pulled = map(self.pulled[i].get, self.inputs)
        return program_of(name, [*self.inputs, self.seeds[i]], [self.outputs[self.places[i]], *pulled])


def nodes_behind(y: Any) -> list[Node]:
    return ancestry(y) if isinstance(y, Node) else []


def ones_like(data: Any) -> Any:
    return 1.0 if type(data) is float else np.ones_like(data)


def raw(x: Any) -> Any:
    return x._data if isinstance(x, Node) else x


def locked(x: Any) -> Any:
    """The same data; an array that cannot be written into."""
    x = raw(x)
    if isinstance(x, np.ndarray):
        x = x.view()
        x.flags.writeable = False
    return x


def moved(x: Any) -> Any:
    """Other data of the same kind, also of the other sign. Integers stand for places and classes, and stay."""
    return x if isinstance(x, np.ndarray) and x.dtype.kind != "f" else 0.7 - 1.3 * x


def writes(name: str) -> TypeError:
    return TypeError(
        f"{name}: the function writes into an argument, which compiled code would not do. Make a new array (x = x + 1 for "
        "x += 1) and return it, or leave out compile"
    )


def agree(a: Any, b: Any) -> bool:
    """Whether two results are of one kind, and equal but for rounding."""
    a, b = (np.asarray(x) for x in (a, b))
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    tolerance = math.sqrt(np.finfo(a.dtype).eps)
    a, b = a[finite].astype(float), b[finite].astype(float)
    return bool(np.all(np.abs(a - b) <= tolerance * np.max(np.abs(a), initial=0.0)))


def names_for(f: Callable[..., Any], trace: Trace, args: Any, kwargs: Any, models: Iterable[Any]) -> list[str]:
    """Names for the inputs of a program and its cotangent: those of arguments, variables and parameters."""
    code = getattr(f, "__code__", None)
    places = code.co_varnames[: code.co_argcount] if code is not None else ()
    given = [label for name, x in (*zip(places, args, strict=False), *kwargs.items()) for label in labels(name, x)]
    paths = {id(x): path for model in models if is_model(type(model)) for path, x in model.named_parameters()}
    names: dict[str, None] = {}
    for i, node in enumerate(trace.inputs):
        label = given[i] if i < len(given) else paths.get(id(node), node.name)
        name = identifier(label) if label else f"x{i}"
        while name in names:
            name = f"x{i}_{name}"
        names[name] = None
    return [*names, *(f"g{i}" if len(trace.seeds) > 1 else "g" for i, _ in enumerate(trace.seeds))]


def labels(name: str, x: Any) -> Iterator[str]:
    """A name for each part of an argument."""
    if isinstance(x, tuple | list):
        for i, part in enumerate(x):
            yield from labels(f"{name}_{i}", part)
    elif isinstance(x, dict):
        for key, part in x.items():
            yield from labels(f"{name}_{key}", part)
    elif is_part(x):
        yield name
