"""How each operation is written: the operators and NumPy's functions as such, everything else as a call of its row's forward."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..ops.elementwise import FEW as CHOSEN
from ..ops.linalg import is_int64
from ..plain import Saved
from .lines import MIXED, Writer, escaped, identifier, literal
from .program import Kind, Step

Spelling: TypeAlias = Callable[[Writer, Step, Sequence[str], Sequence[Kind], Kind], "str | None"]

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
    if forward is operator.neg and is_number(result):
        return negative(w, parts[0])
    if forward in INFIX:
        if is_number(result) and forward in (operator.add, operator.sub):
            forward, parts = without_minus(w, forward, *parts)
        if is_number(result) and any(map(w.is_float, parts)):
            parts = [
                f"{part}.0" if part.isdigit() and len(part) < 16 else part for part in parts
            ]  # spares Python the conversion
        sign = INFIX[forward].replace("{}", "").strip() if forward in SIGNS and kinds[0] == result else ""
        return w.let(INFIX[forward], *parts, sign=sign, is_new=not is_number(result))
    options = [f"{name}={written_param(w, name, x)}" for name, x in step.params.items() if name.isidentifier()]
    if len(options) < len(step.params):  # names that Python can pass on, but not read
        options = [f"**{w.constant(step.params, 'params')}"]
    function = w.function(forward, op.name)
    return w.let(f"{function}({', '.join(['{}'] * len(parts) + list(map(escaped, options)))})", *parts)


def negative(w: Writer, x: str) -> str:
    return w.negated.get(x) or w.let("-{}", x)


def without_minus(w: Writer, forward: Callable[..., Any], a: str, b: str) -> tuple[Callable[..., Any], Sequence[str]]:
    """What a sum or a difference is, without the sign of one of its parts: exactly the same."""
    if b in w.negated:
        return operator.sub if forward is operator.add else operator.add, (a, w.negated[b])
    if a in w.negated and forward is operator.add:
        return operator.sub, (b, w.negated[a])
    return forward, (a, b)


def written_param(w: Writer, name: str, x: Any) -> str:
    return "{}" if isinstance(x, Saved) else w.constant(x, identifier(name))


def as_written(template: str) -> Spelling:
    """Alike on numbers and arrays."""

    def spelling(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
        return w.let(template, *parts)

    return spelling


def of_numbers(template: str, of_arrays: Spelling | None = None, then: str | None = None) -> Spelling:
    """What the row's forward does on numbers, without the call; arrays otherwise."""

    def spelling(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
        if all(map(is_number, kinds)):
            return w.let(template, *parts, then=then)
        return of_arrays and of_arrays(w, step, parts, kinds, result)

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
    return None if total is None else divided(w, total, count)


def divided(w: Writer, total: str, count: int) -> str:
    return total if count == 1 else w.let(f"{{}} / {count}", total)


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
        row = "[None]" if kinds[0].shape[:-1] == (1,) else ""  # arrays of one shape are added in half the time
        return w.let("{}.dot({}.T)", *parts, then=f"{{0}} += {{3}}{row}", is_new=True)
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
    if batch == [1]:
        return w.let("{}[0]", losses)
    few = n <= FEW and kinds[0].dtype.char in "fd"
    loss = w.let("{}.dot({})", ones(w, n, kinds[0].dtype), losses) if few else w.let("np.add.reduce({})", losses)
    return divided(w, loss, n) if step.params["reduction"] == "mean" else loss


def spell_softmax_error(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    logits, labels = parts
    _, total, exps = softmax_parts(w, logits, kinds[0])
    dtype = kinds[0].dtype
    one = w.shared(f"one_{dtype.name}", lambda: np.ones((), dtype))
    less_one = "{0}.put({3}, {0}.take({3}) - {4})"
    return w.let("{} / {}[..., None]", exps, total, picked(w, labels, kinds), one, then=less_one, is_new=True)


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
    if batch == [1]:
        return labels
    rows = w.shared(f"rows_{n}x{classes}", lambda: np.arange(0, n * classes, classes))
    return w.let("{} + {}", rows, labels if len(batch) == 1 else w.let("{}.reshape(-1)", labels))


def spell_mul(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    """Not what only makes the same anew."""
    for one, other in (0, 1), (1, 0):
        if kinds[other] != result or not (w.is_float(parts[other]) if is_number(result) else w.is_new(parts[other])):
            continue
        if parts[one] in ("1", "1.0"):
            return parts[other]
        if parts[one] in ("(-1)", "(-1.0)") and is_number(result):
            return negative(w, parts[other])
    return None


def spell_square(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    return w.let("{} * {}", *parts, *parts)


def spell_pow(w: Writer, step: Step, parts: Sequence[str], kinds: Sequence[Kind], result: Kind) -> str | None:
    """Small powers as products."""
    x, kind = parts[0], kinds[0]
    power = POWERS.get(parts[1])
    if power is None or kind != result or not (is_number(kind) or kind.dtype.char in "fd"):
        return None
    if power == 1:
        return x if is_number(kind) else None
    is_new = not is_number(kind)
    squared = w.let("{} * {}", x, x, is_new=is_new)
    return squared if power == 2 else w.let("{} * {}", squared, x if power == 3 else squared, is_new=is_new)


POWERS = {text: n for n in (1, 2, 3, 4) for text in (f"{n}", f"{n}.0")}


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
    "relu": of_numbers("0.0 if {0} <= 0.0 else {0}", against_zero("np.maximum({}, {})")),
    "step": of_numbers("0.0 if {0} <= 0.0 else 1.0"),
    "sigmoid": of_numbers("1.0 / (1.0 + math.exp(-{}))"),
    "is_zero": of_numbers("1.0 if {} == 0.0 else 0.0"),
    "gate": of_numbers("{0} if {1} else 0.0", spell_gate),
    "select": of_numbers("{0} * {1} if {1} else 0.0"),
    "where": of_numbers("{1} if {0} else {2}"),
    "maximum": of_numbers("{0} if {0} >= {1} or {0} != {0} else {1}"),
    "minimum": of_numbers("{0} if {0} <= {1} or {0} != {0} else {1}"),
    "square": spell_square,
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
    "pow": spell_pow,
    "getitem": spell_getitem,
    "class_labels": spell_class_labels,
    "softmax_cross_entropy": spell_cross_entropy,
    "softmax_error": spell_softmax_error,
    "variable": lambda w, step, parts, kinds, result: parts[0],
}


PLAINLY = {**SPELLINGS}  # on plain data, where x ** 2 raises errors that x * x does not,
del PLAINLY["pow"]
JITTED = {
    **PLAINLY,
    "pow": of_numbers("math.pow({}, {})", then="if {0} - {0} != 0.0: raise OverflowError"),
}  # also here


def spelled(
    w: Writer,
    step: Step,
    parts: Sequence[str],
    kinds: Sequence[Kind],
    result: Kind,
    spellings: Mapping[str, Spelling],
) -> str:
    """The name of a step's result."""
    op, before = step.op, len(w.lines)
    spelling = spellings.get(op.name) if op.listed else None
    written = None if spelling is None else spelling(w, step, parts, kinds, result)
    name = as_call(w, step, parts, kinds, result) if written is None else written
    if not is_number(result):
        return name
    of_numbers = all(map(is_number, kinds))
    if name not in w.types:
        kind = type_of_result(step, [w.type_of(part) for part in parts], written is not None) if of_numbers else ""
        if not kind:
            name = w.let("float({})", name)
        w.types[name] = kind or "float"
    if of_numbers:
        w.numbers.update(line.name for line in w.lines[before:])
    return name


def type_of_result(step: Step, types: Sequence[str], written: bool) -> str:
    """The name of Python's type of what numbers become; empty where that is not known."""
    op = step.op
    forward = (op.forwards or [op.forward])[0]
    if not op.listed:
        return ""
    if op.name in COMPARISONS:
        return "bool"
    if op.name in ("where", "maximum", "minimum"):
        return one_of(types[1:] if op.name == "where" else types)
    if op.name in ("relu", "gate"):
        return one_of(["float", types[0]])
    if forward is operator.truediv or getattr(math, op.name, None) is forward:
        return "float"
    if forward in INFIX or op.name == "select":
        return "float" if "float" in types else "int" if {*types} <= {"int", "bool"} else ""
    return "float" if (written or op.forwards is not None) and {*types} == {"float"} else ""


def one_of(types: Sequence[str]) -> str:
    return types[0] if len({*types}) == 1 else MIXED
