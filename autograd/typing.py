"""What type checkers know of rows and operators: a Value stays a Value, and whatever meets a Tensor becomes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, overload

from numpy.typing import NDArray

if TYPE_CHECKING:
    from .tensor import Tensor
    from .value import Value


class Unary(Protocol):
    """A function of one number or array, element by element."""

    @overload
    def __call__(self, x: Value, /) -> Value: ...
    @overload
    def __call__(self, x: Tensor, /) -> Tensor: ...
    @overload
    def __call__(self, x: float, /) -> float: ...
    @overload
    def __call__(self, x: NDArray[Any], /) -> NDArray[Any]: ...
    @overload
    def __call__(self, x: Any, /) -> Any: ...


class Binary(Protocol):
    """A function of two numbers or arrays, with broadcasting."""

    @overload
    def __call__(self, a: Tensor, b: Any, /) -> Tensor: ...
    @overload
    def __call__(self, a: Any, b: Tensor, /) -> Tensor: ...
    @overload
    def __call__(self, a: Value, b: Value | float, /) -> Value: ...
    @overload
    def __call__(self, a: float, b: Value, /) -> Value: ...
    @overload
    def __call__(self, a: float, b: float, /) -> float: ...
    @overload
    def __call__(self, a: Any, b: Any, /) -> Any: ...


class ValueOperator(Protocol):
    """`value ∘ other`."""

    @overload
    def __call__(self, other: Value | float, /) -> Value: ...
    @overload
    def __call__(self, other: Tensor | NDArray[Any] | list[Any], /) -> Tensor: ...


class ToValue(Protocol):
    """A method without arguments."""

    def __call__(self) -> Value: ...


class TensorOperator(Protocol):
    """`tensor ∘ other`."""

    def __call__(self, other: Any, /) -> Tensor: ...


class ToTensor(Protocol):
    """A method without arguments."""

    def __call__(self) -> Tensor: ...
