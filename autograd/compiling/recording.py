"""A function that is being recorded, to be run again on other data: who watches it, and what must not happen meanwhile.

Recording is sound because nothing escapes it. Whoever asks a variable for its numbers (to branch on them, to convert
them, to store them), or which variable it is, gets an error that says so; and gets it again at the end, if it was swallowed.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np

from ..context import Watcher, recording, watching
from ..graph import NO_PARAMS, Node, ancestry, cotangents
from ..guards.selection import Selection
from ..ops.elementwise import ceil, floor
from ..primitive import Op, born
from ..recording import is_data
from ..tensor import Tensor
from ..value import Value
from .arguments import Stopped
from .following import MONITORING
from .frames import Frames

COPY = Op("copy", np.array, (lambda g, y, x: g,), lambda args, g, y, params: (g,), elementwise=True)
DATA = Op("data", lambda: None, (), lambda *_: ())


class Watched(Watcher):
    """Watches a function run, down to the frames."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames

    def entered(self) -> None:
        self.frames.start()

    def left(self) -> None:
        self.frames.stop()


@final
class Onlooker(Watched):
    """Lets a function run as ever, and notes what speaks against recording it."""

    def made(self, data: Any, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Op:
        return op

    def walk(
        self, root: Node, seed: Any, wanted: Container[Node] | None, create_graph: bool, since: int
    ) -> dict[Node, Any]:
        if wanted is None:
            self.frames.refuse(
                "it calls backward(). Return the loss and call backward() on that, or compile cr.grad of a function"
            )
        return cotangents(root, seed, wanted, create_graph=create_graph, since=since, careful=True)

    def aside(self, what: str) -> None:
        self.frames.refuse(f"{what} happens inside it. Do that outside")

    def read_anew(self, of: Any, read: Callable[[], Any]) -> Any:
        self.frames.keep(of)
        return read()

    def write(self, into: Callable[..., None], of: Sequence[Any], *xs: Any) -> None:
        for x in of:
            self.frames.keep(x)
        into(*xs)


class Input(NamedTuple):
    """What is read anew whenever the program runs."""

    node: Any  # what stands for it while it is recorded
    of: Any  # where that comes from, and what reading it may change
    read: Callable[[], Any]


@final
class Recorder(Watched):
    """Watches a function while it is recorded, and stops it where the record would not tell the whole story."""

    mode = repeats = True

    def __init__(self, frames: Frames) -> None:
        super().__init__(frames)
        self.data: set[Node] = set()  # inputs that are no variables
        self.inputs: list[Input] = []
        self.writes: list[tuple[Callable[..., None], Sequence[Any]]] = []
        self.moved: list[Any] = []  # the arrays that are written into
        self.walking = False  # whether derivatives are being computed
        self.doubtful = False  # whether derivatives were asked for that may be NaN of what was not chosen
        self.refused: str | None = None
        self.written: list[Any] = []  # the arrays that the function has written into, where a new one was made here

    def refuse(self, reason: str) -> None:
        self.refused = self.refused or reason
        self.frames.refuse(self.refused)  # where whoever catches this goes, is not told of besides
        raise Stopped(self.refused)

    def settle_down(self, nodes: Sequence[Node]) -> None:
        """The function has returned: from here on the library alone looks at nodes, or custom rules, which are watched."""
        self.frames.returned()
        self.kinds = {}
        all_nodes = ancestry(*nodes)
        for node in all_nodes:
            if isinstance(node, Recorded):
                object.__setattr__(node, "__class__", Value if isinstance(node, Value) else Tensor)
        if all(node.op is None or node.op.listed for node in all_nodes):
            self.frames.stop()

    def made(self, data: Any, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Op:
        if not recording() and any(isinstance(arg, Node) for arg in args):
            self.refuse(
                f"no_grad() would freeze the result of {op.name} as it is now. Compute that outside the "
                "compiled function, and pass it as an argument"
            )
        sums = self.frames.summing and MONITORING is not None and op.name == "add" and type(data) is float
        if sums and all(map(is_data, args)):
            self.refuse("it adds floats by sum(), which is more exact than one by one. Use cr.sum")
        self.require_unwritten(args)
        return op

    def require_unwritten(self, xs: Sequence[Any]) -> None:
        """Raise an error if one of these is an array that was written into, or a view of such."""
        for array in self.written:
            if any(isinstance(x, Node) and np.may_share_memory(x._raw, array) for x in xs):
                self.refuse(
                    "an array that was written into (by += or its kin) is used again by another name. Write x = x + … instead"
                )

    def walk(
        self, root: Node, seed: Any, wanted: Container[Node] | None, create_graph: bool, since: int
    ) -> dict[Node, Any]:
        if wanted is None:
            self.refuse(
                "backward() inside a compiled function would store gradients but once, while it is recorded. "
                "Return the loss and call backward() on that, or compile cr.grad of a function"
            )
        if not create_graph and any(node.op is None for node in ancestry(root)):
            self.refuse(
                "gradients as plain data would be frozen as they are now; ask for them with "
                "create_graph=True, or by cr.grad"
            )
        self.doubtful = self.doubtful or Selection.doubts(ancestry(root))
        outer, self.walking = self.walking, True
        try:
            return cotangents(root, seed, wanted, create_graph=create_graph, since=since, careful=True)
        finally:
            self.walking = outer

    def read(self, node: Node) -> None:
        self.refuse(
            f"the numbers of {described_variable(node)} were asked for (by .data, .grad, item(), float(), an if, an index or a function of math) while the "
            "function was being compiled, and would be frozen as they are now. Compute with the variable itself (cr.exp for math.exp, "
            "cr.take(table, x) for table[x]), choose with cr.where, or leave out compile"
        )

    def aside(self, what: str) -> None:
        self.refuse(
            f"{what} inside a compiled function would happen but once, while it is recorded. Do that outside, "
            "or leave out compile"
        )

    def weaken(self, x: Any) -> None:
        if self.walking:  # a cotangent is brought to the precision of what it is of
            return
        if any(node._raw.dtype in (np.float16, np.float32) for node in self.data if hasattr(node._raw, "dtype")):
            self.refuse(f"{x!r} makes a plain array more precise, and a Tensor not. Give a Python number (float(x))")

    def read_anew(self, of: Any, read: Callable[[], Any]) -> Any:
        self.frames.keep(of)
        node = variable(read())
        self.data.add(node)
        self.inputs.append(Input(node, of, read))
        return node

    def write(self, into: Callable[..., None], of: Sequence[Any], *xs: Any) -> None:
        for x in of:
            self.frames.keep(x)
        self.moved += of
        self.writes.append((into, xs))


def asks(what: str) -> property:
    """What of a variable is not to be asked for by the user's code while it is recorded: it is another each time."""
    slot: Any = vars(Node)[what]

    def get(self: Any) -> Any:
        refuse_user(self, what)
        return slot.__get__(self)

    def put(self: Any, x: Any) -> None:
        refuse_user(self, what)
        slot.__set__(self, x)

    return property(get, put)


def refuse_user(node: Node, what: str) -> None:
    caller = str(sys._getframe(2).f_globals.get("__name__"))
    if not (caller == "chainrule" or caller.startswith("chainrule.")) and isinstance(by := watching(), Recorder):
        by.refuse(
            f"{what} of {described_variable(node)} was asked for while the function was being compiled, and would be frozen "
            "as it is now. Pass what depends on it as an argument, or leave out compile"
        )


class Recorded:
    """Nodes of a recording: what they are, but for their numbers, is nobody's business."""

    __slots__ = ()
    op, args, birth, name, params, inputs = map(asks, ("op", "args", "birth", "name", "params", "inputs"))

    def __hash__(self) -> int:
        refuse_user(self, "the identity")  # type: ignore[arg-type]
        return object.__hash__(self)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            refuse_user(self, f".{name}")  # type: ignore[arg-type]
        raise AttributeError(f"a variable has no {name}", name=name, obj=self)

    def __int__(self) -> int:
        refuse_user(self, "the number")  # type: ignore[arg-type]
        return int(self._raw)

    def __repr__(self) -> str:
        refuse_user(self, "the text")  # type: ignore[arg-type]
        return super().__repr__()

    def __format__(self, spec: str) -> str:
        refuse_user(self, "the text")  # type: ignore[arg-type]
        return super().__format__(spec)


def augmented(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Of what stands for a plain array, which is written into: a new one, but the old one must not be used again."""

    def assign(self: Any, other: Any) -> Any:
        result = operation(self, other)
        if isinstance(by := watching(), Recorder) and self.ndim and is_data(self):
            if any(np.may_share_memory(self._raw, x._raw) for x in by.data):
                by.refuse("it writes into an argument. Make a new array (x = x + 1 for x += 1) and return it")
            if result.dtype != self.dtype or result.shape != self.shape:
                by.refuse("it writes numbers of another type or shape into an array")
            by.written.append(self._raw)
        return result

    return assign


class RecordedValue(Recorded, Value):
    __slots__ = ()

    def __round__(self, digits: int | None = None) -> Any:
        refuse_whole(self)
        return super().__round__(digits)

    def __floor__(self) -> Any:  # type: ignore[override]
        refuse_whole(self)
        return floor(self)

    def __ceil__(self) -> Any:  # type: ignore[override]
        refuse_whole(self)
        return ceil(self)


def refuse_whole(x: Any) -> None:
    """Python rounds a float to an integer of any size, and to decimals by other rules than NumPy."""
    if isinstance(by := watching(), Recorder) and is_data(x):
        by.refuse("it rounds a float as Python does. Use cr.floor and its kin, or np.round of an array")


class RecordedTensor(Recorded, Tensor):
    __slots__ = ()

    def copy(self) -> Any:
        """Of a plain array; a Tensor has none."""
        if not is_data(self):
            raise AttributeError("a Tensor has no copy()")
        return born(self._raw.copy(), COPY, (self,), NO_PARAMS)

    # fmt: off
    __iadd__, __isub__, __imul__, __itruediv__, __ifloordiv__, __imod__, __ipow__, __imatmul__ = map(
        augmented, (operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow, operator.matmul)
    )
    # fmt: on


for recorded, kind in (RecordedValue, Value), (RecordedTensor, Tensor):
    recorded.__name__ = recorded.__qualname__ = kind.__name__  # in messages
Recorder.kinds = {Value: RecordedValue, Tensor: RecordedTensor}


def variable(data: Any) -> Node:
    """A fresh variable that holds this very data; unlike a Tensor's, also integers and booleans."""
    node: Node = born(np.asarray(data) if isinstance(data, np.generic) else data, DATA, (), NO_PARAMS)
    node.op = None
    return node


def described_variable(node: Node) -> str:
    """A variable, short enough for a message."""
    name = f" {node.name!r}" if node.name else ""
    shape = np.shape(node._raw)
    kind = next(kind for kind in (Value, Tensor) if isinstance(node, kind)).__name__
    return f"a {kind}{name}" + (f" of shape {shape}" if shape else "")
