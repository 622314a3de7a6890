"""A network as people train it, 784-16-16-10 with 13,002 parameters, on one batch of 32: how long its check takes.

Each contender checks the network as it is written in its own library, in a process of its own with a limit on time:
once as it is, and once with a gradient that is 1 % off in one element of the first weights (that of median size), in an
operation that copies them.

python benchmarks/checkers/network.py CONTENDER [wrong]    is what one such process runs
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from tqdm import tqdm

SIZES, BATCH = (784, 16, 16, 10), 32
Check = Callable[[], tuple[bool, str]]  # whether it passed, and the operation that it blames


@dataclass(frozen=True)
class Network:
    parameters: list[Any]
    images: Any
    labels: Any
    factors: Any  # what the gradient of the first weights is multiplied by


def network(wrong: bool) -> Network:
    rng = np.random.default_rng(0)
    images = rng.random((BATCH, SIZES[0])) * (rng.random((BATCH, SIZES[0])) < 0.2)  # most pixels of a digit are 0
    labels = rng.integers(0, SIZES[-1], BATCH)
    parameters = []
    for n, m in pairwise(SIZES):
        parameters += [rng.normal(size=(m, n)) * np.sqrt(2.0 / n), rng.normal(size=m) * 0.1]
    factors = np.ones(parameters[0].shape)
    if wrong:
        factors[median(gradient(parameters, images, labels))] = 1.01
    return Network(parameters, images, labels, factors)


def gradient(parameters: list[Any], images: Any, labels: Any) -> Any:
    """Of the loss by the first weights, by hand."""
    w1, b1, w2, b2, w3, b3 = parameters
    h1 = np.maximum(images @ w1.T + b1, 0.0)
    h2 = np.maximum(h1 @ w2.T + b2, 0.0)
    scores = h2 @ w3.T + b3
    g = np.exp(scores - scores.max(axis=1, keepdims=True))
    g = (g / g.sum(axis=1, keepdims=True) - np.eye(SIZES[-1])[labels]) / BATCH
    g = (g @ w3) * (h2 > 0)
    g = (g @ w2) * (h1 > 0)
    return g.T @ images


def median(g: Any) -> tuple[Any, ...]:
    """Where the element of median size is, among those that are not 0."""
    order = np.argsort(np.abs(g), axis=None)
    return np.unravel_index(order[(np.count_nonzero(g == 0) + g.size) // 2], g.shape)


def with_chainrule(function: bool, elements: int | None = 0) -> Callable[[Network], Check]:
    def prepared(net: Network) -> Check:
        import chainrule as cr

        copy = cr.custom("copy", lambda w: 1.0 * w, lambda g, y, w: g * net.factors)
        names = [f"{layer}.{part}" for layer in (0, 2, 4) for part in ("weight", "bias")]
        parameters = dict(zip(names, map(cr.Tensor, net.parameters), strict=True))

        def loss() -> Any:
            w1, b1, w2, b2, w3, b3 = parameters.values()
            x = cr.relu(cr.linear(net.images, copy(w1), b1))
            x = cr.relu(cr.linear(x, w2, b2))
            return cr.softmax_cross_entropy(cr.linear(x, w3, b3), net.labels)

        def check() -> tuple[bool, str]:
            if function:
                report = cr.gradcheck(loss, parameters=parameters)
            else:
                report = cr.check(loss(), parameters=parameters, elements=elements)
            blamed = report.culprits if function else [row for row in report.wrong if row.node is not None]
            return bool(report), ", ".join(sorted({row.operation for row in blamed}))

        return check

    return prepared


def with_torch(fast: bool) -> Callable[[Network], Check]:
    def prepared(net: Network) -> Check:
        import torch
        from torch.autograd.gradcheck import GradcheckError
        from torch.nn.functional import cross_entropy, linear, relu

        torch.set_num_threads(1)
        parameters = [torch.tensor(p).requires_grad_() for p in net.parameters]
        images, labels, factors = map(torch.tensor, (net.images, net.labels, net.factors))

        class Copy(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, w: Any) -> Any:
                return w.clone()

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return g * factors

        def loss(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
            x = relu(linear(images, Copy.apply(w1), b1))
            return cross_entropy(linear(relu(linear(x, w2, b2)), w3, b3), labels)

        def check() -> tuple[bool, str]:
            try:
                return torch.autograd.gradcheck(loss, parameters, fast_mode=fast), ""
            except GradcheckError:
                return False, ""

        return check

    return prepared


def with_jax(net: Network) -> Check:
    import jax
    import jax.test_util

    jax.config.update("jax_enable_x64", True)
    copy = jax.custom_vjp(lambda w: 1.0 * w)
    copy.defvjp(lambda w: (1.0 * w, None), lambda _, g: (g * net.factors,))

    def loss(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
        x = jax.nn.relu(net.images @ copy(w1).T + b1)
        scores = jax.nn.relu(x @ w2.T + b2) @ w3.T + b3
        return -jax.nn.log_softmax(scores)[np.arange(BATCH), net.labels].mean()

    parameters = [jax.numpy.asarray(p) for p in net.parameters]
    return checked(lambda: jax.test_util.check_grads(loss, parameters, order=1, modes=["rev"]))


def with_hips(net: Network) -> Check:
    import autograd.extend
    import autograd.numpy as anp
    import autograd.test_util
    from autograd.scipy.special import logsumexp

    copy = autograd.extend.primitive(lambda w: 1.0 * w)
    autograd.extend.defvjp(copy, lambda y, w: lambda g: g * net.factors)

    def loss(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
        x = anp.maximum(anp.dot(net.images, copy(w1).T) + b1, 0.0)
        scores = anp.dot(anp.maximum(anp.dot(x, w2.T) + b2, 0.0), w3.T) + b3
        return anp.mean(logsumexp(scores, axis=1) - scores[np.arange(BATCH), net.labels])

    np.random.seed(0)
    check: Any = autograd.test_util.check_grads(loss, tuple(range(6)), ["rev"], 1)
    return checked(lambda: check(*net.parameters))


def checked(check: Callable[[], object]) -> Check:
    def run() -> tuple[bool, str]:
        try:
            check()
        except AssertionError:
            return False, ""
        return True, ""

    return run


CONTENDERS: dict[str, Callable[[Network], Check]] = {
    "chainrule check": with_chainrule(function=False),
    "chainrule check, all elements": with_chainrule(function=False, elements=None),
    "chainrule gradcheck": with_chainrule(function=True),
    "PyTorch gradcheck": with_torch(fast=False),
    "PyTorch gradcheck, fast mode": with_torch(fast=True),
    "JAX check_grads": with_jax,
    "HIPS autograd check_grads": with_hips,
}


@dataclass(frozen=True)
class Run:
    seconds: float
    passed: bool | None  # None where the time was up
    blamed: str


def in_a_process(name: str, wrong: bool, limit: float) -> Run:
    command = [sys.executable, __file__, name, *(["wrong"] if wrong else [])]
    try:
        done = subprocess.run(command, timeout=limit, check=True, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return Run(limit, None, "")
    return Run(*json.loads(done.stdout.splitlines()[-1]))


def run(limit: float) -> list[list[str]]:
    """Seconds of a check that has to pass, what each says of the wrong element, and whom it blames."""
    lines = [
        [
            "784-16-16-10, batch 32, float64",
            "elements",
            "CPU seconds",
            "right network",
            "1 % off in one element",
            "named",
        ]
    ]
    for name in tqdm(CONTENDERS, desc="network", leave=False):
        right = in_a_process(name, False, limit)
        wrong = right if right.passed is None else in_a_process(name, True, limit)
        lines.append(
            [
                name,
                elements(name),
                shown(right, limit),
                said(right),
                said(wrong, "found", "missed"),
                wrong.blamed or "–",
            ]
        )
    return lines


def elements(name: str) -> str:
    if name == "chainrule check, all elements":
        return "each operation, then all 13,002"
    if name == "chainrule check":
        return "each operation, then random directions"
    return "all 13,002" if name in ("chainrule gradcheck", "PyTorch gradcheck") else "random directions"


def shown(one: Run, limit: float) -> str:
    return f"> {limit:.0f}" if one.passed is None else f"{one.seconds:.2f}"


def said(one: Run, failed: str = "called wrong", passed: str = "passed") -> str:
    return "time is up" if one.passed is None else passed if one.passed else failed


if __name__ == "__main__":
    check = CONTENDERS[sys.argv[1]](network("wrong" in sys.argv[2:]))
    start = time.process_time()  # of one thread, so that what else runs on the machine does not count
    verdict, blamed = check()
    print(json.dumps([time.process_time() - start, bool(verdict), blamed]))
