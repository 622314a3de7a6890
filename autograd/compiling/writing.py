"""A program as Python source: the straight-line NumPy code that a person would have written for these shapes.

Each operation is written in its own spelling: the operators and NumPy's functions as such, everything else as a call of
its row's forward. What is computed twice is written once, what nobody needs is not written at all.
"""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, final

import numpy as np

from ..ops.elementwise import FEW as CHOSEN
from ..ops.linalg import is_int64
from ..plain import Saved
from .program import Kind, Part, Place, Program, Step, kind_of

Spelling: TypeAlias = Callable[["Writer", Step, Sequence[str], Sequence[Kind], Kind], "str | None"]


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One value computed: its name, an expression over other names, and how it is then changed in place."""

    name: str
    template: str
    uses: tuple[str, ...]
    then: str | None = None
    sign: str = ""  # of an operator between two arrays, the first of which is like the result
    is_new: bool = False  # an array of its own, that shares no memory

    def statements(self) -> list[str]:
        if self.sign and self.uses[0] == self.name:
            return [f"{self.name} {self.sign}= {self.uses[1]}"]
        first = f"{self.name} = {self.template.format(*self.uses)}"
        return [first] if self.then is None else [first, self.then.format(self.name, *self.uses)]


@final
@dataclass(slots=True)
class Writer:
    """Lines under construction, and what their names stand for."""

    namespace: dict[str, Any] = field(default_factory=lambda: {"np": np, "math": math})
    named: dict[int, str] = field(default_factory=dict)  # the names of constants by their identity
    lines: list[Line] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)  # a statement, and the name of its result
    values: int = 0

    def let(self, template: str, *parts: str, then: str | None = None, sign: str = "", is_new: bool = False) -> str:
        """A name for the value of an expression over other names; `then` changes that value, {0}, in place."""
        text = template.format(*parts)
        key = text if then is None else f"{text}; {then.format('_', *parts)}"
        if key not in self.written:
            self.values += 1
            name = self.written[key] = f"v{self.values}"
            self.lines.append(Line(name, template, parts, then, sign, is_new))
        return self.written[key]

    def constant(self, x: Any, name: str = "c") -> str:
        """How a constant is written: literally if that can be read, else by a name."""
        text = literal(x)
        if text is not None:
            return text
        if id(x) not in self.named:
            unused = name if name not in self.namespace else f"{name}{len(self.namespace)}"
            while unused in self.namespace:
                unused += "_"
            self.namespace[unused] = x
            self.named[id(x)] = unused
        return self.named[id(x)]

    def shared(self, name: str, make: Callable[[], Any]) -> str:
        """A constant of our own making, whose name says it all."""
        if name not in self.namespace:
            self.namespace[name] = make()
        return name

    def function(self, f: Callable[..., Any], name: str) -> str:
        """How a function is called: as NumPy's or Python's own where it is one of those."""
        own = getattr(f, "__name__", "")
        for library in np, math:
            if getattr(library, own, None) is f:
                return f"{library.__name__.replace('numpy', 'np')}.{own}"
        return self.constant(f, identifier(name))


def identifier(name: str) -> str:
    """A name that Python can read, made of one that a person chose."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "x"
    if not text.isidentifier():
        text = f"_{text}"
    return f"{text}_" if keyword.iskeyword(text) or text in RESERVED or OURS.fullmatch(text) else text


RESERVED = frozenset(
    {"np", "math", "abs", "float", "slice", "ValueError"}
)  # and what stands for values and functions here
OURS = re.compile(r"[gv]\d*|forward|backward\d*|zero_\w*|ones_\w*|rows_\w*")


def literal(x: Any) -> str | None:
    """Numbers, text and tuples of them as Python writes them; None for what must go by a name."""
    if type(x) is float:
        return repr(x) if math.isfinite(x) else f"math.{'nan' if x != x else 'inf'}" if not x < 0 else "-math.inf"
    if x is None or type(x) in (int, bool, str):
        return repr(x)
    if type(x) is slice:
        texts = [literal(part) for part in (x.start, x.stop, x.step)]
        return None if None in texts else f"slice({', '.join(map(str, texts))})"
    if type(x) is tuple:
        texts = [literal(part) for part in x]
        return None if None in texts else f"({', '.join(map(str, texts))}{',' if len(x) == 1 else ''})"
    return None


# Spellings: how an operation is written, given the writer, the step, its arguments as text, and what they and the result are.

INFIX = {
    operator.add: "{} + {}", operator.sub: "{} - {}", operator.mul: "{} * {}", operator.truediv: "{} / {}",
    operator.floordiv: "{} // {}", operator.mod: "{} % {}", operator.pow: "{} ** {}", operator.neg: "-{}",
    operator.abs: "abs({})",
}  # fmt: skip
SIGNS = (operator.add, operator.sub, operator.mul, operator.truediv)


def is_number(kind: Kind) -> bool:
    return kind.dtype is None


def as_call(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str:
    """A call of the row's forward: of that for numbers, or that for arrays, where it has both."""
    op = step.op
    forward = op.forward
    if op.forwards is not None:
        forward = op.forwards[0] if all(map(is_number, kinds)) else op.forwards[1]
    if forward in INFIX:
        sign = INFIX[forward].replace("{}", "").strip() if forward in SIGNS and kinds[0] == result else ""
        return w.let(INFIX[forward], *parts, sign=sign, is_new=not is_number(result))
    options = [f"{name}={written_param(w, name, x)}" for name, x in step.params.items() if name.isidentifier()]
    if len(options) < len(step.params):  # names that Python can pass on, but not read
        options = [f"**{w.constant(step.params, 'params')}"]
    function = w.function(forward, op.name)
    return w.let(f"{function}({', '.join(['{}'] * len(parts) + list(map(escaped, options)))})", *parts)


def written_param(w: Writer, name: str, x: Any) -> str:
    return "{}" if isinstance(x, Saved) else w.constant(x, identifier(name))


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def as_written(template: str) -> Spelling:
    """Alike on numbers and arrays."""

    def spelling(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
        return w.let(template, *parts)

    return spelling


def against_zero(template: str) -> Spelling:
    """An array beside a zero of its own type: that spares NumPy half the work of a small one."""

    def spelling(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
        dtype = kinds[0].dtype
        if is_number(kinds[0]) or dtype.kind != "f":
            return None
        return w.let(template, parts[0], w.shared(f"zero_{dtype.name}", lambda: np.zeros((), dtype)))

    return spelling


OVER_ROWS = {"axis": 0, "keepdims": False}
FEW = 1024  # so many numbers are added up by a product with ones, which takes less than half the time; more, pairwise


def ones(w: Writer, n: int, dtype: Any) -> str:
    return w.shared(f"ones_{n}_{dtype.name}", lambda: np.ones(n, dtype))


def spell_reduction(ufunc: str) -> Spelling:
    """Without the detour through NumPy's Python."""

    def spelling(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
        if is_number(kinds[0]) or math.prod(kinds[0].shape) == 0 or kinds[0].dtype.kind != "f":
            return None
        (array,) = kinds
        if ufunc == "add" and len(array.shape) == 2 and array.dtype.char in "fd" and step.params == OVER_ROWS:
            return w.let("{}.dot({})", ones(w, array.shape[0], array.dtype), *parts, is_new=True)
        keep = ", keepdims=True" if step.params["keepdims"] else ""
        return w.let(f"np.{ufunc}.reduce({{}}, axis={literal(step.params['axis'])}{keep})", *parts)

    return spelling


def spell_mean(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    total = None if kinds[0].dtype == np.float16 else spell_reduction("add")(w, step, parts, kinds, result)
    count = math.prod(kinds[0].shape) // max(math.prod(result.shape), 1)
    return None if total is None else w.let(f"{{}} / {count}", total)


def spell_dot(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    n = len(parts) // 2
    if not all(map(is_number, kinds)) or n > 500:  # Python's compiler is recursive
        return None
    return w.let(" + ".join([f"{{{2 * n}}}", *(f"{{{i}}} * {{{n + i}}}" for i in range(n))]), *parts)


def spell_reshape(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    if is_number(kinds[0]):
        return None
    return parts[0] if kinds[0].shape == result.shape else w.let(f"{{}}.reshape({literal(result.shape)})", *parts)


def spell_transpose(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    axes = tuple(step.params["axes"])
    if is_number(kinds[0]):
        return None
    if axes == tuple(range(len(axes))):
        return parts[0]
    reverses = axes == tuple(range(len(axes)))[::-1]
    return w.let("{}.T", *parts) if reverses else w.let(f"{{}}.transpose({literal(axes)})", *parts)


def spell_matmul(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    return w.let("{}.dot({})" if all(len(kind.shape) == 2 for kind in kinds) else "{} @ {}", *parts, is_new=True)


def spell_linear(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    bias = kinds[2]
    product = np.result_type(kinds[0].dtype, kinds[1].dtype)
    if len(bias.shape) == 1 and bias.dtype == product == result.dtype and len(kinds[0].shape) > 1:
        return w.let("{}.dot({}.T)", *parts, then="{0} += {3}", is_new=True)
    return w.let("{}.dot({}.T) + {}", *parts)


def spell_getitem(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    index = step.params["index"]
    return None if is_number(kinds[0]) else w.let(f"{{}}[{escaped(w.constant(index, 'index'))}]", *parts)


def spell_class_labels(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    """See `labels_of`: what is negative becomes huge. The function itself says what is wrong, and so may this not."""
    if not is_int64(kinds[0].dtype) or math.prod(kinds[0].shape) == 0:
        return None
    huge = "np.maximum.reduce({0}.view(np.uint64), axis=None)"
    return w.let("{}", *parts, then=f"if {huge} >= {step.params['classes']}: raise ValueError")


def spell_cross_entropy(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    logits, labels = parts
    *batch, _ = kinds[0].shape
    shifted, total, _ = softmax_parts(w, logits, kinds[0])
    at_label = w.let("{}.take({})", shifted, picked(w, labels, kinds))
    losses = w.let("np.log({}) - {}", total if len(batch) == 1 else w.let("{}.reshape(-1)", total), at_label)
    if step.params["reduction"] == "none":
        return losses if len(batch) == 1 else w.let(f"{{}}.reshape({literal(result.shape)})", losses)
    n = math.prod(batch)
    few = n <= FEW and kinds[0].dtype.char in "fd"
    loss = w.let("{}.dot({})", ones(w, n, kinds[0].dtype), losses) if few else w.let("np.add.reduce({})", losses)
    return w.let(f"{{}} / {n}", loss) if step.params["reduction"] == "mean" else loss


def spell_softmax_error(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    logits, labels = parts
    _, total, exps = softmax_parts(w, logits, kinds[0])
    minus_one = "{0}.put({3}, {0}.take({3}) - 1.0)"
    return w.let("{} / {}[..., None]", exps, total, picked(w, labels, kinds), then=minus_one, is_new=True)


def softmax_parts(w: Writer, logits: str, kind: Kind) -> tuple[str, str, str]:
    """Logits less their maximum; the sums of their exponentials; and these."""
    shifted = w.let("{0} - np.maximum.reduce({0}, axis=-1, keepdims=True)", logits)
    exps = w.let("np.exp({})", shifted)
    *batch, classes = kind.shape
    if len(batch) == 1 and classes <= FEW and kind.dtype.char in "fd":
        return shifted, w.let("{}.dot({})", exps, ones(w, classes, kind.dtype)), exps
    return shifted, w.let("np.add.reduce({}, axis=-1)", exps), exps


def picked(w: Writer, labels: str, kinds: Sequence[Kind]) -> str:
    """The place of each label among all logits laid end to end; see `at_labels`."""
    *batch, classes = kinds[0].shape
    n = math.prod(batch)
    rows = w.shared(f"rows_{n}x{classes}", lambda: np.arange(0, n * classes, classes))
    return w.let("{} + {}", rows, labels if len(batch) == 1 else w.let("{}.reshape(-1)", labels))


def spell_mul(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    """Of numbers, not what only makes them anew."""
    if is_number(result) and "1.0" in parts:
        return parts[1 - parts.index("1.0")]
    return None


def spell_gate(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    """Of few, by choosing; more have to be multiplied, and looked at."""
    g, y = kinds
    if is_number(y) or g != y or result.dtype.kind != "f" or math.prod(result.shape) > CHOSEN:
        return None
    zero = w.shared(f"zero_{result.dtype.name}", lambda: np.zeros((), result.dtype))
    return w.let("np.where({1}, {0}, {2})", *parts, zero, is_new=True)


COMPARISONS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!="}

SPELLINGS: Mapping[str, Spelling] = {
    **{name: as_written(f"{{}} {sign} {{}}") for name, sign in COMPARISONS.items()},
    "relu": against_zero("np.maximum({}, {})"),
    "gate": spell_gate,
    "square": as_written("{0} * {0}"),
    "reciprocal": as_written("1.0 / {}"),
    "sum": spell_reduction("add"),
    "mean": spell_mean,
    "dot": spell_dot,
    "max": spell_reduction("maximum"),
    "min": spell_reduction("minimum"),
    "reshape": spell_reshape,
    "transpose": spell_transpose,
    "matmul": spell_matmul,
    "linear": spell_linear,
    "mul": spell_mul,
    "getitem": spell_getitem,
    "class_labels": spell_class_labels,
    "softmax_cross_entropy": spell_cross_entropy,
    "softmax_error": spell_softmax_error,
    "variable": lambda w, step, parts, kinds, result: parts[0],
}


def spelled(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str:
    """The name of a step's result."""
    spelling = SPELLINGS.get(step.op.name) if step.op.listed else None
    name = None if spelling is None else spelling(w, step, parts, kinds, result)
    return as_call(w, step, parts, kinds, result) if name is None else name


def broadcast_later(program: Program, args: Sequence[Part], result: Kind, elementwise: bool) -> list[Part]:
    """The arguments.

    One that was only broadcast to meet another of the result's shape is given un-broadcast: NumPy does that itself.
    """
    if not elementwise:
        return list(args)
    first = program.inputs
    kept = list(args)
    for i, x in enumerate(args):
        step = program.steps[x.number - first] if isinstance(x, Place) and x.number >= first else None
        others = [kind_at(program, y).shape for j, y in enumerate(kept) if j != i]
        if step is not None and step.op.name == "broadcast_to" and step.op.listed and result.shape in others:
            kept[i] = step.args[0]
    return kept


def kind_at(program: Program, x: Part) -> Kind:
    return program.kinds[x.number] if isinstance(x, Place) else kind_of(x)


def needed(lines: Sequence[Line], wanted: Iterable[str]) -> list[Line]:
    """The lines that lead to the wanted names, in order."""
    names = set(wanted)
    kept = []
    for line in reversed(lines):
        if line.name in names:
            names.update(line.uses)
            kept.append(line)
    return kept[::-1]


@final
@dataclass(frozen=True, slots=True)
class Code:
    """The source of a function and of the one that pulls back through it, and both ready to be called."""

    source: str
    forward: Callable[..., Any]  # (*inputs) -> results; with a backward: a list of them, and what that asks for
    constants: Sequence[Any]  # arrays of others that are read whenever it runs
    backward: Sequence[
        Callable[..., Any]
    ]  # one for each cotangent: (g, *inputs, *what it asks for) -> those of the inputs


def emit(program: Program, names: Sequence[str], inputs: int, casts: Sequence[str], pulled: Sequence[int]) -> Code:
    """Write a program down.

    Behind so many of its inputs come cotangents. Behind as many outputs as there are casts, which say how each is returned, come
    those that each cotangent becomes, so many of each.
    """
    w = Writer()
    at = list(names)
    w.namespace |= dict.fromkeys(names)
    for step, kind in zip(program.steps, program.kinds[program.inputs :], strict=True):
        args = broadcast_later(program, step.args, kind, step.op.elementwise)
        at.append(spelled(w, step, [text_of(w, x, at) for x in args], [kind_at(program, x) for x in args], kind))
    results = len(casts)
    found = [text_of(w, x, at) for x in program.outputs]
    texts = [as_output(text, x, program) for text, x in zip(found, program.outputs, strict=True)]
    texts[:results] = [cast.format(text) for cast, text in zip(casts, found, strict=False)]
    for i in range(results):  # each is an array of its own
        if found[i] in found[:i] and not is_number(kind_at(program, program.outputs[i])):
            texts[i] += ".copy()"
    given, seeds = names[:inputs], names[inputs:]
    ahead = needed(w.lines, found[:results])
    known = {line.name for line in ahead}
    asked = set(found[results:])
    backs = []
    end = results
    for count in pulled:
        own = slice(end, end := end + count)
        lines = [line for line in needed(w.lines, found[own]) if line.name not in known]
        asked.update(name for line in lines for name in line.uses)
        backs.append((in_place(lines, found[own]), tuple_of(texts[own])))
    saved = [line.name for line in ahead if line.name in asked]
    # What is computed where nothing was chosen is thrown away: no warnings of that.
    chooses = any(step.op.listed and step.op.name == "where" for step in program.steps)
    quiet = '@np.errstate(all="ignore")\n' if chooses else ""
    returned = f"[{', '.join(texts[:results])}], {tuple_of(saved)}" if seeds else tuple_of(texts[:results])
    functions = {"forward": function("forward", given, in_place(ahead, saved + found[:results]), returned)}
    for i, (g, (lines, result)) in enumerate(zip(seeds, backs, strict=True)):
        name = f"backward{i}" if len(seeds) > 1 else "backward"
        functions[name] = function(name, [g, *given, *saved], lines, result)
    source = "\n".join(quiet + text for text in functions.values())
    taken = set(names)
    namespace = {key: x for key, x in w.namespace.items() if key not in taken}
    exec(compile(source, "<compiled by chainrule>", "exec"), namespace)
    forward, *backward = map(namespace.pop, functions)  # no function shall hold itself
    constants = [w.namespace[name] for name in w.named.values() if isinstance(w.namespace.get(name), np.ndarray)]
    return Code(source, forward, constants, backward)


def in_place(lines: Sequence[Line], kept: Iterable[str]) -> list[Line]:
    """The same lines, but a new array that nobody needs any more becomes the result of an operator that it is like."""
    users: dict[str, list[Line]] = {}
    for line in lines:
        for name in line.uses:
            users.setdefault(name, []).append(line)
    kept = set(kept)
    free = {line.name for line in lines if line.is_new and line.name not in kept}
    written: list[Line] = []
    renamed: dict[str, str] = {}
    for line in lines:
        uses = tuple([renamed.get(name, name) for name in line.uses])
        left = line.uses[0] if line.uses else ""
        if (
            line.sign
            and line.name not in kept
            and left in free
            and users[left][-1] is line
            and line.uses.count(left) == 1
            and all(user.is_new for user in users[left])  # what is no new array may be a view
        ):
            renamed[line.name] = uses[0]
            written.append(replace(line, name=uses[0], uses=uses))
        else:
            written.append(replace(line, uses=uses))
    return written


def function(name: str, parameters: Sequence[str], lines: Iterable[Line], result: str) -> str:
    statements = [statement for line in lines for statement in line.statements()]
    body = "".join(f"    {text}\n" for text in [*statements, f"return {result}"])
    return f"def {name}({', '.join(parameters)}):\n{body}"


def as_output(text: str, x: Part, program: Program) -> str:
    """A number as Python's own; of a constant array, a copy that the caller may write into."""
    if isinstance(x, Place):
        return f"float({text})" if is_number(kind_at(program, x)) else text
    return f"{text}.copy()" if isinstance(x, np.ndarray) else text


def tuple_of(texts: Sequence[str]) -> str:
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def text_of(w: Writer, x: Part, at: Sequence[str]) -> str:
    if isinstance(x, Place):
        return at[x.number]
    text = w.constant(x)
    return f"({text})" if text.startswith("-") else text
