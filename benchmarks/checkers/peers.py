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

import autograd.extend
import autograd.test_util
import jax
import jax.extend
import jax.test_util
import numpy as np
import torch
from case import Arrays, Case
from torch.autograd.gradcheck import GradcheckError

import autograd
import chainrule as cr

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"


@dataclass(frozen=True)
class Outcome:
    """What a contender said: whether the check passed, and whether it blamed the right operation and argument.

    `undecided` where it says of some derivative that it cannot tell.
    """

    verdict: str
    named: bool = False
    undecided: bool = False
    said: str = ""


# chainrule.


def judged(report: cr.Report, blamed: Sequence[Any], case: Case) -> Outcome:
    """Named is what it blames one of the culprits and nobody else, or the wiring where that is at fault."""
    who = {(row.operation, row.argument) for row in blamed}
    wiring = any("every operation is right by itself" in note for note in report.notes)
    named = bool(who) and who <= case.culprits if case.culprits else wiring and not who
    worst = report.worst_first()[0] if len(report) else ""
    undecided = bool(report.by_verdict("too noisy"))
    return Outcome(PASSED if report else FAILED, named, undecided, f"{report.summary()}; {worst}")


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


def host_primitive(name: str, compute: Callable[..., Sequence[Any]], shapes: Callable[..., Sequence[Any]]) -> Any:
    """An operation of JAX that is computed by NumPy, without compiling anything."""
    primitive = jax.extend.core.Primitive(name)
    primitive.multiple_results = True

    def abstract(*inputs: Any, case: Case) -> list[Any]:
        return [jax.core.ShapedArray(np.shape(x), np.asarray(x).dtype) for x in shapes(case)]

    def run(*inputs: Any, case: Case) -> list[Any]:
        found = compute(case, *map(np.asarray, inputs))
        return [jax.numpy.asarray(d, np.asarray(x).dtype) for d, x in zip(found, shapes(case), strict=True)]

    primitive.def_impl(run)
    primitive.def_abstract_eval(abstract)
    return primitive


def second_of(case: Case, *inputs: Any) -> Arrays:
    n = len(case.args)
    return case.second(inputs[:n], *inputs[n:])


VALUE = host_primitive("value", lambda case, *xs: [case.value(*xs)], lambda case: [case.value(*case.args)])
GRADIENT = host_primitive("gradient", Case.gradient, lambda case: case.args)
SECOND = host_primitive("second", second_of, lambda case: [case.value(*case.args), *case.args])


def jax_function(case: Case) -> Callable[..., Any]:
    """The case as a function with a derivative rule whose derivative has a rule as well."""

    @jax.custom_vjp
    def f(*xs: Any) -> Any:
        return VALUE.bind(*xs, case=case)[0]

    @jax.custom_vjp
    def gradient(g: Any, *xs: Any) -> Any:
        return tuple(GRADIENT.bind(g, *xs, case=case))

    gradient.defvjp(
        lambda *inputs: (gradient(*inputs), inputs), lambda inputs, u: tuple(SECOND.bind(*u, *inputs, case=case))
    )
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
