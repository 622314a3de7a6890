"""The table, part 4: products of vectors, matrices and batches of them, and the fused rows that networks live on."""

from __future__ import annotations

__all__ = ["dot", "einsum", "inner", "linear", "matmul", "outer", "softmax_cross_entropy", "tensordot"]

import operator
from builtins import sum as add_up
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np

from ..graph import FLOATS, Node
from ..guards.settings import whole
from ..plain import Saved
from ..primitive import op_of, primitive, shown
from .elementwise import any_, mul
from .reduction import softmax, sum
from .shape import (
    broadcast_to,
    diagonal,
    expand_dims,
    holds_integers,
    ndim_of,
    normalized,
    reshape,
    several,
    shape_of,
    squeeze,
    swapaxes,
)

FEW = 1024  # so many numbers a product with ones adds up as well as the sum of them one by one


def matmul_rule_a(g: Any, y: Any, a: Any, b: Any) -> Any:
    if ndim_of(b) == 1:
        return g * b if ndim_of(a) == 1 else expand_dims(g, -1) * b
    if ndim_of(a) == 1:
        return squeeze(matmul(b, expand_dims(g, -1)), -1)
    return g @ (b.T if ndim_of(b) == 2 else swapaxes(b, -1, -2))


def matmul_rule_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    if ndim_of(a) == 1:
        return g * a if ndim_of(b) == 1 else expand_dims(a, -1) * expand_dims(g, -2)
    if ndim_of(b) == 1:
        return squeeze(matmul(swapaxes(a, -1, -2), expand_dims(g, -1)), -1)
    return (a.T if ndim_of(a) == 2 else swapaxes(a, -1, -2)) @ g


def einsum_rule(g: Any, i: int, operands: Sequence[Any], subscripts: str) -> Any:
    """The cotangent of operand i: the product of `g` with all other operands, summed to i's own letters."""
    terms, out = parsed(subscripts)
    own = terms[i]
    others = [x for j, x in enumerate(operands) if j != i]
    letters = [t for j, t in enumerate(terms) if j != i]
    found = "".join(c for c in own if c in out or any(c in t for t in letters))
    d = einsum_(g, *others, subscripts=f"{','.join([out, *letters])}->{found}")
    if found != own:  # letters of this operand alone were summed over: every element counts alike
        shape = shape_of(operands[i])
        d = broadcast_to(reshape(d, tuple(n if c in found else 1 for c, n in zip(own, shape, strict=True))), shape)
    return d


def einsum_back(args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> list[Any]:
    xs = shown(args, y)
    return [einsum_rule(g, i, xs, **params) if isinstance(arg, Node) else None for i, arg in enumerate(args)]


def parsed(subscripts: str) -> tuple[list[str], str]:
    left, out = subscripts.split("->")
    return left.split(","), out


def linear_of(x: Any, weight: Any, bias: Any = None) -> Any:
    if bias is None:
        raise TypeError("a bias is missing; the product without one is x @ weight.T")
    if getattr(weight, "ndim", 0) != 2:
        raise ValueError(f"weight must be a matrix of shape (n_out, n_in), got shape {shape_of(weight)}")
    if getattr(x, "ndim", 0) == 0:
        raise ValueError("x must have features on its last axis, got a single number")
    y = x.dot(weight.T)
    if isinstance(bias, np.ndarray) and bias.dtype == y.dtype and bias.ndim == 1:
        return np.add(y, bias, y)
    biased = y + bias
    if biased.shape != y.shape:
        raise ValueError(f"a bias of shape {shape_of(bias)} would widen the product, which has shape {y.shape}")
    return biased


def linear_back(args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> list[Any]:
    x, weight, bias = shown(args, y)
    grad_x = grad_weight = None
    if isinstance(args[0], Node):  # the data of a first layer asks for none
        grad_x = g.dot(weight) if are_matrices(g, weight) else g @ weight
    if x.ndim == 1:
        return [grad_x, g[:, None] * x, g]
    rows = g
    if x.ndim > 2:
        rows, x = rows_of(g), rows_of(x)
    if isinstance(args[1], Node):
        grad_weight = rows.T.dot(x) if are_matrices(rows, x) else rows.T @ x
    return [grad_x, grad_weight, sum_of_rows(rows) if getattr(bias, "ndim", 0) == 1 else g]


def are_matrices(a: Any, b: Any) -> bool:
    """Whether `a.dot(b)` is a shorter way to a @ b. Of columns with rows it may warn of what is infinite, where @ does not."""
    return type(a) is type(b) is np.ndarray and a.ndim == b.ndim == 2 and len(b) > 1


def sum_of_rows(x: Any) -> Any:
    """The sum over the first axis of a matrix; of few rows by a product with ones, in a third of the time."""
    if type(x) is np.ndarray and len(x) <= FEW and x.dtype.char in "fd" and x.flags.c_contiguous:
        return ones(len(x), x.dtype).dot(x)
    return x.sum(axis=0)


@lru_cache(64)  # sizes of batches and numbers of classes
def ones(n: int, dtype: Any) -> Any:
    return np.ones(n, dtype)


def rows_of(x: Any) -> Any:
    """All axes but the last made one."""
    return x.reshape(-1, x.shape[-1])


def dot_of(*terms: float) -> float:
    n = len(terms) // 2
    return add_up(map(operator.mul, terms[:n], terms[n:]), terms[-1])


def dot_back(args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> list[Any]:
    terms = shown(args, y)
    n = len(terms) // 2
    products = list(map(operator.mul, repeat(g), terms))
    return [*products[n:-1], *products[:n], g]


def at_labels(labels: Any, classes: int) -> Any:
    """The place of each sample's label among all logits laid end to end."""
    return np.arange(0, labels.size * classes, classes) + labels.reshape(-1).astype(np.intp, copy=False)


def less_one(p: Any, picked: Any) -> Any:
    """The same but for 1 less at these places, among all laid end to end: in p itself only where it lies in memory so."""
    flat = p.reshape(-1)
    flat[picked] -= 1.0
    return flat.reshape(p.shape)


def sums(x: Any) -> Any:
    """The sums over the last axis; of few numbers by a product with ones."""
    n = x.shape[-1]
    if type(x) is np.ndarray and n <= FEW and x.dtype.char in "fd":
        return x.dot(ones(n, x.dtype))
    return x.sum(axis=-1)


def is_int64(dtype: Any) -> bool:
    """Whether integers are of 8 bytes in the machine's own order."""
    return bool(dtype.itemsize == 8 and dtype.isnative)


def labels_of(labels: Any, classes: int) -> Any:
    """The labels, if each is a class: of a recorded function, those of each call."""
    huge = (
        labels.view(np.uint64) if is_int64(labels.dtype) else labels.astype(np.uint64)
    )  # what is negative becomes huge
    if labels.size and np.maximum.reduce(huge, axis=None) >= classes:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, but there are {classes} classes, from 0")
    return labels


def cross_entropy_of(logits: Any, labels: Any, reduction: str, saved: Saved) -> Any:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    picked = at_labels(labels, logits.shape[-1])
    at_label = shifted.reshape(-1)[picked]
    p = np.exp(shifted)
    total = sums(p)
    losses = np.log(total).reshape(-1) - at_label
    if not saved:  # the rule can have what is computed anyway
        p /= total[..., None]
        saved["error"] = less_one(p, picked)
    if reduction == "none":
        return losses.reshape(labels.shape)
    return sums(losses) / losses.size if reduction == "mean" else sums(losses)


def cross_entropy_back(args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> list[Any]:
    logits, labels = args
    reduction = params["reduction"]
    d = softmax_error(logits, labels) if isinstance(y, Node) else params["saved"]["error"]
    if reduction == "none":
        return [expand_dims(g, -1) * d, None]
    return [d * (g / labels.size if reduction == "mean" else g), None]


def softmax_error_of(logits: Any, labels: Any) -> Any:
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= sums(p)[..., None]
    return less_one(p, at_labels(labels, logits.shape[-1]))


def softmax_error_rule(g: Any, y: Any, logits: Any, labels: Any) -> Any:
    p = softmax(logits)
    return p * (g - sum(g * p, axis=-1, keepdims=True))


def in_matmul(alive: Any, place: int, args: Sequence[Any], y: Any, params: Mapping[str, Any]) -> Any:
    """A row of a has a share in a row of the result, and a column of b in a column."""
    if ndim_of(args[1 - place]) == 1:
        return alive if ndim_of(args[place]) == 1 else expand_dims(alive, -1 if place == 0 else -2)
    if ndim_of(args[place]) == 1:
        return any_(alive, axis=None, keepdims=False)
    return any_(alive, axis=-1 if place == 0 else -2, keepdims=True)


def in_linear(alive: Any, place: int, args: Sequence[Any], y: Any, params: Mapping[str, Any]) -> Any:
    """A sample has a share in its own result, and an output's weights and bias in that output of all samples."""
    if place == 0:
        return any_(alive, axis=-1, keepdims=True)
    by_output = any_(alive, axis=tuple(range(ndim_of(alive) - 1)), keepdims=False)
    return expand_dims(by_output, -1) if place == 1 else by_output


def in_einsum(alive: Any, place: int, args: Sequence[Any], y: Any, params: Mapping[str, Any]) -> Any:
    """As if all factors were 1."""
    return einsum_rule(alive, place, [np.ones(shape_of(x)) for x in args], params["subscripts"])


def in_cross_entropy(alive: Any, place: int, args: Sequence[Any], y: Any, params: Mapping[str, Any]) -> Any:
    return expand_dims(alive, -1) if params["reduction"] == "none" else alive


# fmt: off
matmul  = primitive("matmul",  np.matmul,  matmul_rule_a, matmul_rule_b, symbol="@",
                    doc="a @ b: the product of matrices, of vectors, or of batches of matrices, as in NumPy.")
linear  = primitive("linear",  linear_of,  pull=linear_back,
                    doc="x @ weight.T + bias in one node: `weight` has shape (n_out, n_in), `x` (..., n_in).")
dot_    = primitive("dot",     dot_of,     pull=dot_back, symbol="w·x+b", fits=FLOATS)
einsum_ = primitive("einsum",  lambda *xs, subscripts: np.einsum(subscripts, *xs, optimize=len(xs) > 1), pull=einsum_back)
class_labels = primitive("class_labels", labels_of, None, listed=False)
op_of(class_labels).listed = True  # ours, but nothing to differentiate
cross_entropy_ = primitive("softmax_cross_entropy", cross_entropy_of, pull=cross_entropy_back, symbol="cross-entropy")
softmax_error = primitive("softmax_error", softmax_error_of, softmax_error_rule, None,
                    doc="softmax(logits) less 1 at the label: the gradient of softmax_cross_entropy.")
# fmt: on

for row, share in (matmul, in_matmul), (linear, in_linear), (einsum_, in_einsum):
    op_of(row).reach, op_of(row).sums = share, True
op_of(cross_entropy_).reach = in_cross_entropy
op_of(softmax_error).reach = lambda alive, place, args, y, params: any_(alive, axis=-1, keepdims=True) * 1.0
op_of(linear).reads = (0, 1)
op_of(cross_entropy_).reads = ()  # the labels are a copy


def softmax_cross_entropy(logits: Any, labels: Any, reduction: str = "mean") -> Any:
    """-log softmax(logits)[label] in one node: `logits` of shape (..., classes), integer `labels` of shape (...).

    `reduction` is "mean", "sum", or "none" for one number a sample. Never overflows. Raises `TypeError` for labels that
    are not integers, `ValueError` for a wrong shape, a label out of range, or a mean over no samples.

    >>> import chainrule as cr
    >>> cr.softmax_cross_entropy(cr.Tensor([[0.0, 0.0]]), [1], reduction="none")
    Tensor([0.69314718])
    """
    shape = shape_of(logits)
    recorded = holds_integers(labels) and shape
    labels = class_labels(labels, classes=shape[-1]) if recorded else np.array(labels)  # a copy: the rule looks again
    if labels.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: labels must be integers (class numbers), got {labels.dtype}")
    if not shape or labels.shape != shape[:-1]:
        raise ValueError(f"cross_entropy: labels of shape {labels.shape} for logits of shape {shape}")
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise ValueError(f"cross_entropy: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if labels.size == 0:
        if reduction == "mean":
            raise ValueError("cross_entropy: there are no samples to average over")
    elif not isinstance(labels, Node) and labels.astype(np.uint64).max() >= shape[-1]:  # what is negative becomes huge
        low, high = labels.min(), labels.max()
        raise ValueError(f"cross_entropy: labels run from {low} to {high}, but there are {shape[-1]} classes, from 0")
    return cross_entropy_(logits, labels, reduction=reduction, saved=Saved())


def dot(a: Any, b: Any, bias: Any = None) -> Any:
    """The dot product as NumPy defines it; of two lists of numbers and Values, a single node.

    A neuron is one such node: `dot(weights, inputs, bias)`.

    >>> import chainrule as cr
    >>> w = [cr.Value(2.0), cr.Value(3.0)]
    >>> cr.dot(w, [1.0, -1.0], bias=0.5).data
    -0.5
    """
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and ndim_of_terms(a, b) == 0:
        if len(a) != len(b):
            raise ValueError(f"dot: {len(a)} terms on the left and {len(b)} on the right")
        return dot_(*a, *b, 0.0 if bias is None else bias)
    if ndim_of(a) == 0 or ndim_of(b) == 0:
        y = mul(a, b)
    elif ndim_of(b) <= 2:
        y = matmul(a, b)
    else:
        y = tensordot(a, b, axes=([-1], [-2]))
    return y if bias is None else y + bias


def ndim_of_terms(*lists: Sequence[Any]) -> int:
    return max((ndim_of(x) for terms in lists for x in terms), default=1)


def inner(a: Any, b: Any) -> Any:
    """The sum of products over the last axes of both."""
    return mul(a, b) if ndim_of(a) == 0 or ndim_of(b) == 0 else tensordot(a, b, axes=([-1], [-1]))


def outer(a: Any, b: Any) -> Any:
    """All products of an element of `a` with an element of `b`, as a matrix."""
    return mul(reshape(a, (-1, 1)), reshape(b, (1, -1)))


def tensordot(a: Any, b: Any, axes: int | Sequence[Any] = 2) -> Any:
    """The sum of products over the given axes of `a` and `b`: the last n and first n, or two lists of axes."""
    na, nb = ndim_of(a), ndim_of(b)
    left: Sequence[int]
    right: Sequence[int]
    if not isinstance(axes, list | tuple | np.ndarray) or len(axes) != 2:
        n = whole("tensordot: axes", axes)
        left, right = range(-n, 0), range(n)
    else:
        left, right = (several(x) for x in axes)
    if len(left) != len(right):
        raise ValueError(f"tensordot: {len(left)} axes on the left and {len(right)} on the right")
    left = [normalized(i, na, "tensordot") for i in left]
    right = [normalized(i, nb, "tensordot") for i in right]
    a_letters = [chr(97 + i) for i in range(na)]
    b_letters = [chr(65 + i) for i in range(nb)]
    for i, j in zip(left, right, strict=True):
        if shape_of(a)[i] != shape_of(b)[j]:
            raise ValueError(f"tensordot: axis {i} of {shape_of(a)} does not match axis {j} of {shape_of(b)}")
        b_letters[j] = a_letters[i]
    out = [c for c in a_letters if c not in b_letters] + [c for c in b_letters if c not in a_letters]
    return einsum_(a, b, subscripts=f"{''.join(a_letters)},{''.join(b_letters)}->{''.join(out)}")


def einsum(subscripts: str, *operands: Any) -> Any:
    """Sums of products in Einstein's notation, as `numpy.einsum` reads it.

    >>> import chainrule as cr
    >>> a = cr.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> cr.einsum("ij,ij->", a, a)
    Tensor(30.)
    """
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: expected subscripts such as 'ij,jk->ik' first, got {type(subscripts).__name__}")
    left, arrow, out = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, but {len(operands)} were given")
    spare = [chr(c) for c in (*range(65, 91), *range(97, 123)) if chr(c) not in subscripts]
    widest = 0
    for term, x in zip(terms, operands, strict=True):
        named = len(term.replace("...", ""))
        if ("..." not in term and named != ndim_of(x)) or named > ndim_of(x):
            raise ValueError(f"einsum: {term!r} in {subscripts!r} does not fit an operand of shape {shape_of(x)}")
        widest = max(widest, ndim_of(x) - named)
    dots = "".join(spare.pop() for _ in range(widest))
    terms = [
        t.replace("...", dots[widest - (ndim_of(x) - len(t.replace("...", ""))) :] if "..." in t else "")
        for t, x in zip(terms, operands, strict=True)
    ]
    if not arrow:
        joined = "".join(terms)
        out = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))
    else:
        out = out.replace("...", dots)
    xs = list(operands)
    for i, term in enumerate(terms):
        xs[i], terms[i] = without_repeats(xs[i], term, subscripts)
    return einsum_(*xs, subscripts=f"{','.join(terms)}->{out}")


def without_repeats(x: Any, term: str, subscripts: str) -> tuple[Any, str]:
    """An operand and its letters with each letter once: a letter that repeats means a diagonal."""
    for c in sorted(set(term)):
        while term.count(c) > 1:
            i, j = term.index(c), term.rindex(c)
            if shape_of(x)[i] != shape_of(x)[j]:
                raise ValueError(f"einsum: {c!r} in {subscripts!r} has lengths {shape_of(x)[i]} and {shape_of(x)[j]}")
            x, term = diagonal(x, 0, i, j), term[:i] + term[i + 1 : j] + term[j + 1 :] + c
    return x, term
