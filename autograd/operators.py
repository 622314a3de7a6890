"""Which operator, method and NumPy function is which row: assignments only. Both number types share them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np

from .context import blocks, repeated, tell_of_reading
from .graph import Node
from .guards.settings import whole
from .ops import elementwise as e
from .ops import linalg, reduction, shape
from .primitive import table

rows: Any = e  # whose types depend on what they are given; here they are those of the class


def reflected(row: Callable[[Any, Any], Any]) -> Any:
    """The row for `other ∘ self`, which Python calls as `self.__rop__(other)`."""

    def function(b: Any, a: Any) -> Any:
        return row(a, b)

    return function


def comparison(compare: Callable[[Any, Any], Any], row: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A comparison is not differentiable: its answer is plain booleans, unless it is recorded."""

    def function(a: Any, b: Any) -> Any:
        if blocks and repeated():
            return row(a, b)
        return compare(plain(a), plain(b))

    return function


def rounded(x: Any, decimals: int = 0) -> Any:
    """NumPy's spelling of `round`."""
    return round(x, decimals) if decimals else e.rint(x)


def product(a: Any, b: Any, out: None = None) -> Any:
    """NumPy's spelling of `dot`, whose third argument is no bias."""
    if out is not None:
        raise TypeError("numpy.dot on a Value or Tensor: out= has no derivative; assign what is returned instead")
    return linalg.dot(a, b)


def float_power(a: Any, b: Any) -> Any:
    """NumPy's power in double precision at least."""
    return e.pow(doubled(a), doubled(b))


def doubled(x: Any) -> Any:
    """The same in double precision; an array of another library stays one."""
    dtype = np.result_type(getattr(x, "dtype", float), float)
    if getattr(x, "dtype", dtype) == dtype:
        return x
    return shape.astype(x, dtype) if isinstance(x, Node) else x.astype(dtype)


def plain(x: Any) -> Any:
    """The data of a node, also inside lists and tuples; anything else as it is."""
    if isinstance(x, Node):
        if blocks:
            tell_of_reading(x)
        return x._raw
    if type(x) in (list, tuple):
        return type(x)(plain(part) for part in x)
    return x


Operator = TypeVar("Operator")  # `self ∘ other`
Method = TypeVar("Method")  # one without arguments


class Operators(Node, Generic[Operator, Method]):
    """What Values and Tensors have in common with numbers and arrays."""

    __slots__ = ()

    # fmt: off
    __add__:      Operator = rows.add;       __radd__:      Operator = reflected(rows.add)
    __sub__:      Operator = rows.sub;       __rsub__:      Operator = reflected(rows.sub)
    __mul__:      Operator = rows.mul;       __rmul__:      Operator = reflected(rows.mul)
    __truediv__:  Operator = rows.div;       __rtruediv__:  Operator = reflected(rows.div)
    __floordiv__: Operator = rows.floordiv;  __rfloordiv__: Operator = reflected(rows.floordiv)
    __mod__:      Operator = rows.mod;       __rmod__:      Operator = reflected(rows.mod)
    __pow__:      Operator = rows.pow;       __rpow__:      Operator = reflected(rows.pow)
    __matmul__:   Any = linalg.matmul;       __rmatmul__:   Any = reflected(linalg.matmul)
    __neg__:      Method = rows.neg
    __abs__:      Method = rows.abs
    __floor__    = e.floor
    __ceil__     = e.ceil

    __lt__ = comparison(operator.lt, e.less);    __le__ = comparison(operator.le, e.less_equal)
    __gt__ = comparison(operator.gt, e.greater); __ge__ = comparison(operator.ge, e.greater_equal)
    __eq__ = comparison(operator.eq, e.equal);   __ne__ = comparison(operator.ne, e.not_equal)
    __hash__ = object.__hash__  # equal data does not make two variables one

    exp:  Method = rows.exp;   expm1:  Method = rows.expm1;   log:  Method = rows.log;   log1p:   Method = rows.log1p
    sqrt: Method = rows.sqrt;  square: Method = rows.square;  log2: Method = rows.log2;  log10:   Method = rows.log10
    sin:  Method = rows.sin;   cos:    Method = rows.cos;     tan:  Method = rows.tan;   sigmoid: Method = rows.sigmoid
    sinh: Method = rows.sinh;  cosh:   Method = rows.cosh;    tanh: Method = rows.tanh;  relu:    Method = rows.relu
    abs:  Method = rows.abs;   sign:   Method = rows.sign;    clip = e.clip;             floor = e.floor;  ceil = e.ceil
    # fmt: on

    def __pos__(self) -> Any:
        return self

    def __round__(self: Any, digits: int | None = None) -> Any:
        scale = 10.0 ** whole("round: digits", 0 if digits is None else digits)
        return e.rint(self) if digits is None else e.rint(self * scale) / scale

    def __bool__(self) -> bool:
        return bool(plain(self))

    def __float__(self) -> float:
        number = plain(self)
        if self.op is None or self.args:
            raise TypeError(
                f"float() of {self!r} would silently drop its gradient (so would math.exp and its kin). "
                "Use .item() or .data for the plain number, cr.exp and its kin to compute."
            )
        return float(number)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        data: Any = self.data  # type: ignore[attr-defined]  # as it is handed out
        if self.op is None or self.args:
            raise TypeError(
                f"making a plain array of {self!r} would silently drop its gradient. "
                "Use .data for the plain array, cr.stack to join nodes into one Tensor."
            )
        return np.array(data, dtype=dtype, copy=copy)

    @property
    def _data(self) -> NoReturn:
        """numpy.ma takes its operands apart by this name, and would drop their gradients."""
        raise TypeError(
            f"numpy.ma would compute with {self!r} without a gradient, as a masked array's mask has none. Use x.filled(…), "
            "or cr.where with the mask; or `.data` to compute without a gradient."
        )

    def __dir__(self) -> Iterable[str]:
        return [name for name in super().__dir__() if name != "_data"]  # so that looking around raises nothing

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs:
            if ufunc in UFUNCS:
                return UFUNCS[ufunc](*inputs)
            if ufunc in COMPARISONS and blocks and repeated() and ufunc.__name__ in table:
                return table[ufunc.__name__](*inputs)
            if ufunc in COMPARISONS:
                return ufunc(*(plain(x) for x in inputs))
        raise TypeError(f"numpy.{ufunc.__name__}{'.' + method if method != '__call__' else ''} {no_row(kwargs)}")

    def __array_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        if func in FUNCTIONS:
            try:
                return FUNCTIONS[func](*args, **kwargs)
            except TypeError as error:
                if "unexpected keyword" in str(error):
                    raise TypeError(f"numpy.{func.__name__} on a Value or Tensor: {error}") from error
                raise
        if func in OF_SHAPE:
            return func(*[x._raw if isinstance(x, Node) else x for x in args], **kwargs)
        if func in QUESTIONS:
            return func(*plain(tuple(args)), **{key: plain(x) for key, x in kwargs.items()})
        raise TypeError(f"numpy.{func.__name__} {no_row({})}")


def no_row(kwargs: Mapping[str, Any]) -> str:
    """Why a NumPy function refuses, and what to do."""
    options = f" with {', '.join(kwargs)}=" if kwargs else ""
    return (
        f"has no derivative here{options}. Use `.data` to compute without a gradient, "
        "or give the operation a row with cr.custom."
    )


ALIASES = {
    "add": e.add, "subtract": e.sub, "multiply": e.mul, "divide": e.div, "floor_divide": e.floordiv,
    "remainder": e.mod, "power": e.pow, "float_power": float_power, "negative": e.neg, "absolute": e.abs, "fabs": e.abs,
    "positive": Operators.__pos__, "rint": e.rint, "matmul": linalg.matmul,
}  # fmt: skip

COMPARISONS = {np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal} | {
    np.isnan, np.isinf, np.isfinite, np.signbit, np.logical_and, np.logical_or, np.logical_not, np.logical_xor
}  # fmt: skip

UFUNCS: dict[Any, Any] = {
    getattr(np, name): row
    for name, row in table.items()
    if isinstance(getattr(np, name, None), np.ufunc) and getattr(np, name) not in COMPARISONS
} | {getattr(np, name): row for name, row in ALIASES.items()}

FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    getattr(np, name): getattr(module, name)
    for module in (e, reduction, shape, linalg)
    for name in module.__all__
    if callable(getattr(np, name, None)) and not isinstance(getattr(np, name), np.ufunc)
} | {np.dot: product, np.linalg.norm: reduction.norm, np.amax: reduction.max, np.amin: reduction.min, np.round: rounded, np.around: rounded}  # fmt: skip

# Functions that ask for shape and type only, and functions whose answer has no gradient: they may see the plain data.
OF_SHAPE = {
    np.shape, np.ndim, np.size, np.result_type, np.zeros_like, np.ones_like, np.full_like, np.empty_like
}  # fmt: skip
QUESTIONS = {
    np.argmax, np.argmin, np.argsort, np.nonzero, np.argwhere, np.flatnonzero, np.searchsorted, np.count_nonzero,
    np.all, np.any, np.isclose, np.allclose, np.array_equal, np.array_repr, np.array_str, np.array2string,
}  # fmt: skip
