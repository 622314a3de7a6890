"""The contenders: one function of nodes with its gradient, right or wrong, as each of them wants it.

Every contender gets the same numbers. A case computes its result and its gradient with NumPy arrays; for the others
both are wrapped in the way that each documents for code of one's own, so what they judge is the very same function
with the very same fault. They are called with their documented defaults.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import autograd
import autograd.extend
import autograd.test_util
import jax
import jax.test_util
import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.gradcheck import GradcheckError

import chainrule as cr

Arrays = tuple[NDArray[Any], ...]
Culprits = frozenset[tuple[str, int | None]]

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"


@dataclass(frozen=True)
class Case:
    """A function of nodes, where it is to be checked, and what is wrong with it.

    `culprits` are the operations and their arguments that may be blamed; none where nothing is wrong, or where all
    operations are right and what lies between them is not.
    """

    name: str
    f: Callable[..., Any]
    args: tuple[Any, ...]
    culprits: Culprits = frozenset()
    order: int = 1

    def nodes(self, arrays: Sequence[Any] | None = None) -> list[cr.Node]:
        """Fresh variables: Values for the numbers among the arguments, else Tensors."""
        arrays = self.args if arrays is None else arrays
        return [
            cr.Value(float(np.asarray(x))) if type(like) is float else cr.Tensor(np.array(x))
            for like, x in zip(self.args, arrays, strict=True)
        ]

    def value(self, *arrays: Any) -> NDArray[Any]:
        return data_of(self.f(*self.nodes(arrays)))

    def gradient(self, g: Any, *arrays: Any) -> Arrays:
        """The cotangents of the arguments under a cotangent of the result."""
        nodes = self.nodes(arrays)
        return pulled_back(self.f(*nodes), nodes, np.array(g))

    def second(self, u: Sequence[Any], g: Any, *arrays: Any) -> Arrays:
        """The cotangents of `g` and of the arguments under cotangents `u` of the gradient."""
        nodes = self.nodes(arrays)
        y = self.f(*nodes)
        seed = cr.Value(float(np.asarray(g))) if isinstance(y, cr.Value) else cr.Tensor(np.array(g))
        found = cr.gradients(y, nodes, seed=seed, create_graph=True)
        total: Any = sum((cr.sum(d * np.asarray(u_i)) for d, u_i in zip(found, u, strict=True)), cr.sum(seed) * 0.0)
        return pulled_back(total, [seed, *nodes], None)


def data_of(y: Any) -> NDArray[Any]:
    return np.array(y.data if isinstance(y, cr.Node) else y)


def pulled_back(y: Any, nodes: Sequence[cr.Node], g: Any) -> Arrays:
    if not isinstance(y, cr.Node) or not y.args:
        return tuple([np.zeros_like(x.data) for x in nodes])
    if g is not None and isinstance(y, cr.Value):
        g = float(g)
    return tuple([np.array(d) for d in cr.gradients(y, nodes, seed=g)])


@dataclass(frozen=True)
class Outcome:
    """What a contender said: whether the check passed, and whether it blamed the right operation and argument."""

    verdict: str
    named: bool = False
    said: str = ""


# chainrule.


def judged(report: cr.Report, blamed: Sequence[Any], case: Case) -> Outcome:
    """Named is what it blames one of the culprits and nobody else, or the wiring where that is at fault."""
    who = {(row.operation, row.argument) for row in blamed}
    wiring = any("every operation is right by itself" in note for note in report.notes)
    named = bool(who) and who <= case.culprits if case.culprits else wiring and not who
    worst = report.worst_first()[0] if len(report) else ""
    return Outcome(PASSED if report else FAILED, named, f"{report.summary()}; {worst}")


def chainrule_check(case: Case) -> Outcome:
    y = case.f(*case.nodes())
    if not isinstance(y, cr.Node) or not y.args:
        return Outcome(NOT_APPLICABLE)
    report = cr.check(y, order=case.order)
    return judged(report, [row for row in report.wrong if row.node is not None], case)


def chainrule_gradcheck(case: Case) -> Outcome:
    if case.order > 1:
        return Outcome(NOT_APPLICABLE)
    report = cr.gradcheck(case.f, *case.nodes())
    return judged(report, report.culprits, case)


# PyTorch.


class Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, case: Case, *xs: Any) -> Any:
        ctx.case = case
        ctx.save_for_backward(*xs)
        return torch.tensor(case.value(*[x.detach().numpy() for x in xs]))

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return None, *Gradient.apply(ctx.case, g, *ctx.saved_tensors)


class Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, case: Case, *inputs: Any) -> Any:
        ctx.case = case
        ctx.save_for_backward(*inputs)
        return tuple([torch.tensor(d) for d in case.gradient(*[x.detach().numpy() for x in inputs])])

    @staticmethod
    def backward(ctx: Any, *u: Any) -> Any:
        found = ctx.case.second([x.numpy() for x in u], *[x.detach().numpy() for x in ctx.saved_tensors])
        return None, *[torch.tensor(d) for d in found]


def torch_gradcheck(case: Case, fast_mode: bool = False) -> Outcome:
    inputs = [torch.tensor(np.array(x)).requires_grad_() for x in case.args]
    check: Any = torch.autograd.gradcheck if case.order == 1 else torch.autograd.gradgradcheck

    def f(*xs: Any) -> Any:
        return Function.apply(case, *xs)

    try:
        check(f, inputs, fast_mode=fast_mode)
    except GradcheckError as error:
        return Outcome(FAILED, said=str(error))
    return Outcome(PASSED)


def torch_fast(case: Case) -> Outcome:
    return torch_gradcheck(case, fast_mode=True)


# JAX.


def jax_function(case: Case) -> Callable[..., Any]:
    """The case as a function with a derivative rule whose derivative has a rule as well."""
    like = case.value(*case.args)
    args = tuple([np.array(x) for x in case.args])
    of_value = jax.ShapeDtypeStruct(like.shape, like.dtype)
    of_args = tuple([jax.ShapeDtypeStruct(x.shape, x.dtype) for x in args])

    def value_on_host(*xs: Any) -> Any:
        return case.value(*xs)

    def gradient_on_host(g: Any, *xs: Any) -> Any:
        return tuple([d.astype(x.dtype) for d, x in zip(case.gradient(g, *xs), args, strict=True)])

    def second_on_host(u: Any, g: Any, *xs: Any) -> Any:
        return tuple([d.astype(x.dtype) for d, x in zip(case.second(u, g, *xs), (like, *args), strict=True)])

    @jax.custom_vjp
    def f(*xs: Any) -> Any:
        return jax.pure_callback(value_on_host, of_value, *xs)

    @jax.custom_vjp
    def gradient(g: Any, *xs: Any) -> Any:
        return jax.pure_callback(gradient_on_host, of_args, g, *xs)

    def pull_gradient(inputs: Any, u: Any) -> Any:
        return jax.pure_callback(second_on_host, (of_value, *of_args), u, *inputs)

    gradient.defvjp(lambda *inputs: (gradient(*inputs), inputs), pull_gradient)
    f.defvjp(lambda *xs: (f(*xs), xs), lambda xs, g: gradient(g, *xs))
    return f


def jax_check_grads(case: Case) -> Outcome:
    args = [jax.numpy.asarray(x) for x in case.args]
    try:
        jax.test_util.check_grads(jax_function(case), args, order=case.order, modes=["rev"])
    except AssertionError as error:
        return Outcome(FAILED, said=str(error))
    return Outcome(PASSED)


# HIPS autograd.


def hips_function(case: Case) -> Callable[..., Any]:
    places = range(len(case.args))

    @autograd.extend.primitive
    def f(*xs: Any) -> Any:
        return case.value(*xs)

    def gradient_by(i: int) -> Any:
        @autograd.extend.primitive
        def gradient(g: Any, *xs: Any) -> Any:
            return case.gradient(g, *xs)[i]

        def rule(place: int) -> Any:
            def pull(y: Any, g: Any, *xs: Any) -> Any:
                zeros = [np.zeros_like(np.asarray(x)) for x in xs]
                return lambda u: case.second([*zeros[:i], u, *zeros[i + 1 :]], g, *xs)[place]

            return pull

        autograd.extend.defvjp(gradient, *map(rule, range(len(places) + 1)))
        return lambda y, *xs: lambda g: gradient(g, *xs)

    autograd.extend.defvjp(f, *map(gradient_by, places))
    f.__name__ = "f"
    return f  # type: ignore[no-any-return]


def hips_check_grads(case: Case) -> Outcome:
    args = [np.array(x) for x in case.args]
    check = autograd.test_util.check_grads(hips_function(case), tuple(range(len(args))), ["rev"], case.order)
    try:
        check(*args)
    except AssertionError as error:
        return Outcome(FAILED, said=str(error))
    return Outcome(PASSED)


CONTENDERS: dict[str, Callable[[Case], Outcome]] = {
    "check": chainrule_check,
    "gradcheck": chainrule_gradcheck,
    "PyTorch": torch_gradcheck,
    "PyTorch fast": torch_fast,
    "JAX": jax_check_grads,
    "HIPS": hips_check_grads,
}


def prepared() -> None:
    """The settings that the others need: float64 in JAX, one thread, no warnings about their defaults."""
    jax.config.update("jax_enable_x64", True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def asked(contender: str, case: Case) -> Outcome:
    """What a contender says; an error that is no verdict means that it cannot run the case."""
    np.random.seed(0)
    torch.manual_seed(0)
    with np.errstate(all="ignore"):
        try:
            return CONTENDERS[contender](case)
        except Exception as error:  # whatever stops it
            return Outcome(NOT_APPLICABLE, said=f"{type(error).__name__}: {error}")
