"""compiled_step: the loop that a person writes, and what is left behind after each step, from one piece of generated code."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose

import chainrule as cr
from chainrule import nn

STEPS = 30
EXACT = 1e-12


class Parts(NamedTuple):
    """All that a step is made of."""

    model: Any
    loss: Any
    optimizer: Any
    clip_norm: float | None = None
    clip_value: float | None = None
    penalty: Any = None
    others: tuple[Any, ...] = ()  # variables that neither the model nor the optimizer holds


def eager(parts: Parts) -> Callable[..., float]:
    """The loop that a person writes."""
    model, loss, optimizer, clip_norm, clip_value, penalty, _ = parts

    def objective(*batch: Any) -> Any:
        *inputs, target = batch
        optimizer.zero_grad()
        total = loss(model(*inputs), target)
        if penalty is not None:
            total = total + penalty(model)
        total.backward()
        if clip_norm is not None:
            nn.clip_grad_norm(optimizer.parameters, clip_norm)
        if clip_value is not None:
            nn.clip_grad_value(optimizer.parameters, clip_value)
        return total

    def step(*batch: Any) -> float:
        if isinstance(optimizer, nn.LBFGS):
            return float(optimizer.step(lambda: objective(*batch)).item())
        total = objective(*batch)
        optimizer.step()
        return float(total.item())

    return step


def compiled(parts: Parts) -> Any:
    model, loss, optimizer, clip_norm, clip_value, penalty, _ = parts
    return nn.compiled_step(model, loss, optimizer, clip_norm=clip_norm, clip_value=clip_value, penalty=penalty)


def left_behind(parts: Parts) -> Iterator[tuple[str, Any]]:
    """All that a step may change, by name."""
    yield from parts.model.named_state()
    for i, p in enumerate((*parts.optimizer.parameters, *parts.others)):
        yield f"variable {i}", p
    for i, state in parts.optimizer.state_dict()["state"].items():
        yield from ((f"state {i} {name}", x) for name, x in state.items())
    for k, group in enumerate(parts.optimizer.param_groups):
        yield from ((f"group {k} {name}", x) for name, x in group.items() if name != "params")
    for i, rng in enumerate(parts.model.generators()):
        yield f"generator {i}", str(rng.bit_generator.state)


def require_alike(what: str, x: Any, y: Any, tolerance: float = EXACT) -> None:
    if isinstance(x, cr.Value | cr.Tensor):
        require_alike(f"{what}.grad", x.grad, y.grad, tolerance)
        if isinstance(y.grad, np.ndarray):
            assert y.grad.base is None, what
            assert y.grad.dtype == y.data.dtype, what
        assert type(x.grad) is type(y.grad), what
        x, y = x.data, y.data
    if isinstance(x, float | np.ndarray):
        assert np.asarray(x).dtype == np.asarray(y).dtype, what
        scale = float(np.max(np.abs(x), initial=1e-2, where=np.isfinite(x)))  # what cancels out is of rounding
        assert_allclose(y, x, rtol=tolerance, atol=tolerance * scale, err_msg=what)
    else:
        assert x == y, what


def require_same(one: Parts, other: Parts, tolerance: float = EXACT) -> None:
    for (name, x), (name_, y) in zip(left_behind(one), left_behind(other), strict=True):
        assert name == name_
        require_alike(name, x, y, tolerance)


Change = Callable[[int, Parts], None]


def nothing(t: int, parts: Parts) -> None: ...


def batches(dtype: Any = float, features: int = 4, classes: int = 3, sizes: tuple[int, ...] = (8, 5)) -> Iterator[Any]:
    rng = np.random.default_rng(7)
    for t in range(STEPS):
        n = sizes[t % len(sizes)]
        yield rng.normal(size=(n, features)).astype(dtype), rng.integers(0, classes, n)


def compare(
    made: Callable[[], Parts], change: Change = nothing, data: Any = None, least: int = 12, tolerance: float = EXACT
) -> Any:
    """Train twins by both, and compare all that is left behind after each step."""
    one, other = made(), made()
    by_hand, step = eager(one), compiled(other)
    for t, batch in enumerate(data if data is not None else batches()):
        change(t, one)
        change(t, other)
        require_alike(f"loss {t}", by_hand(*batch), step(*batch), tolerance)
        require_same(one, other, tolerance)
    assert step.descent.compiled_calls >= least, step
    return step


def mlp(dtype: Any = float, **options: Any) -> nn.MLP:
    return nn.MLP([4, 6, 3], rng=0, dtype=dtype, **options)


RULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "SGD": (nn.SGD, {"lr": 0.1}),
    "SGD, weight decay": (nn.SGD, {"lr": 0.1, "weight_decay": 0.1}),
    "momentum": (nn.SGD, {"lr": 0.05, "momentum": 0.9}),
    "dampened momentum": (nn.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    "Nesterov": (nn.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "Adam": (nn.Adam, {"lr": 0.01}),
    "AMSGrad": (nn.Adam, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
    "AdamW": (nn.AdamW, {"lr": 0.01}),
    "Adagrad": (nn.Adagrad, {"lr": 0.05, "lr_decay": 0.1}),
    "RMSprop": (nn.RMSprop, {"lr": 0.01}),
    "RMSprop, everything": (
        nn.RMSprop,
        {"lr": 0.003, "momentum": 0.7, "centered": True, "weight_decay": 0.1},
    ),
}


ONE_SIZE, TWO_SIZES = (8,), (8, 5)  # of the first, a step is one function; the second go back and forth


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("sizes", [ONE_SIZE, TWO_SIZES])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_step_by_every_rule_is_that_of_the_loop(name: str, dtype: Any, sizes: Any) -> None:
    kind, options = RULES[name]

    def made() -> Parts:
        model = mlp(dtype)
        groups = [{"params": model.parameters()[:2]}, {"params": model.parameters()[2:], "lr": 0.02}]
        return Parts(model, nn.cross_entropy, kind(groups, **options))

    data = batches(dtype, sizes=sizes)
    step = compare(made, data=data, tolerance=EXACT if dtype is np.float64 else 1e-5)  # rounding adds up
    assert step.descent.entry is not None


def test_an_optimizer_that_asks_often_is_given_all_of_it_as_its_closure() -> None:
    def made() -> Parts:
        model = nn.MLP([4, 3, 1], rng=0, activation="tanh")
        return Parts(model, nn.mse_loss, nn.LBFGS(model.parameters(), max_iter=3), clip_norm=10.0)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)), rng.normal(size=(20, 1))
    one, other = made(), made()
    by_hand, step = eager(one), compiled(other)
    for _ in range(8):
        before = other.model(x).data.copy()
        assert_allclose(step(x, y), by_hand(x, y), rtol=1e-9)
        assert_allclose(step.output, before, rtol=1e-12)
        for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
            assert_allclose(q.data, p.data, rtol=1e-7)
    assert step.descent.compiled_calls > 10


# What may be part of a step


class Two(nn.Module):
    """Two inputs, a shared layer, numbers as parameters, and some that are used nowhere."""

    def __init__(self) -> None:
        self.one, self.two = nn.Linear(4, 3, rng=0), nn.Linear(3, 3, rng=1)
        self.again = self.two
        self.factor = cr.Value(0.7)
        self.unused = nn.Linear(2, 2, rng=2)
        self.bias = self.one.bias

    def forward(self, x: Any, y: Any) -> Any:
        return self.again(cr.tanh(self.two(self.one(x)))) * self.factor + self.two(self.one(y)) + self.bias


def two_inputs() -> Iterator[Any]:
    for x, y in batches():
        yield x, x[::-1] * 0.5, y


class Sum(nn.Module):
    """One gradient belongs to two parameters, and a view of it to a third."""

    def __init__(self) -> None:
        self.a, self.b, self.c = (cr.Tensor(x) for x in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [[0.1], [0.1], [0.1]]))

    def forward(self, x: Any) -> Any:
        return x[:, :3] * 0.5 + self.a + self.b + self.c.reshape(3)


def penalty(model: Any) -> Any:
    return 1e-2 * nn.l2_penalty(model.parameters())


def with_scale() -> Parts:
    """The loss and the penalty have variables of their own: one is nobody's, one the optimizer's."""
    model, scale, other = mlp(), cr.Value(1.5), cr.Tensor([0.3, 0.2])
    return Parts(
        model,
        lambda out, y: nn.cross_entropy(out * scale, y),
        nn.SGD([*model.parameters(), other], lr=0.1),
        penalty=lambda model: cr.sum(other * other) * scale,
        others=(scale,),
    )


def some_of(kind: Callable[[], Any], **options: Any) -> Callable[[], Parts]:
    def made() -> Parts:
        model = kind()
        return Parts(model, nn.cross_entropy, nn.SGD(model.parameters(), lr=0.1, momentum=0.5), **options)

    return made


def first_layer_alone() -> Parts:
    model = mlp()
    return Parts(model, nn.cross_entropy, nn.SGD(model.parameters()[:2], lr=0.1))


def frozen_layer() -> Parts:
    model = mlp(batch_norm=True)
    model[0].freeze()
    model[1].freeze()
    return Parts(model, nn.cross_entropy, nn.SGD(model.parameters(), lr=0.1, weight_decay=0.1))


PARTS: dict[str, tuple[Callable[[], Parts], Any]] = {
    "clip_norm": (some_of(mlp, clip_norm=0.1), batches),
    "clip_value": (some_of(mlp, clip_value=0.01), batches),
    "both": (some_of(mlp, clip_norm=0.1, clip_value=0.02), batches),
    "penalty": (some_of(mlp, penalty=penalty), batches),
    "all three": (some_of(mlp, clip_norm=0.3, clip_value=0.1, penalty=penalty), batches),
    "BatchNorm": (some_of(lambda: mlp(batch_norm=True)), batches),
    "Dropout": (some_of(lambda: mlp(dropout=0.3)), batches),
    "BatchNorm, Dropout": (some_of(lambda: mlp(batch_norm=True, dropout=0.3), clip_norm=0.1, penalty=penalty), batches),
    "several inputs": (some_of(Two), two_inputs),
    "one gradient of two": (some_of(Sum), batches),
    "one gradient of two, clipped": (some_of(Sum, clip_value=0.01), batches),
    "variables of the loss": (with_scale, batches),
    "some that the optimizer does not hold": (first_layer_alone, batches),
    "a frozen layer": (frozen_layer, batches),
    "lists": (some_of(mlp), lambda: ((x.tolist(), y.tolist()) for x, y in batches())),
    "a tuple and an array": (some_of(mlp), lambda: ((tuple(x.tolist()), y) for x, y in batches())),
    "a last batch that is smaller": (some_of(mlp), lambda: batches(sizes=(4, 4, 4, 3))),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_step_leaves_behind_what_the_loop_does(name: str) -> None:
    made, data = PARTS[name]
    compare(made, data=data())


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.filterwarnings("ignore:compile.*it changes model.cache")
def test_single_numbers_learn_too(fused: bool) -> None:
    def made() -> Parts:
        model = nn.scalar.MLP(2, [3, 1], rng=0, fused=fused)
        return Parts(model, lambda out, y: (out - y) ** 2, nn.Adam(model.parameters(), lr=0.05))

    rng = np.random.default_rng(0)
    data = [([float(a), float(b)], float(a - b)) for a, b in rng.normal(size=(STEPS, 2))]
    compare(made, data=data, least=0 if fused else 20)


# What may change meanwhile


def rate_by_hand(t: int, parts: Parts) -> None:
    if t == 9:
        parts.optimizer.lr = 0.01
    if t == 17:
        parts.optimizer.param_groups[0]["lr"] = 0.2


def momentum_meanwhile(t: int, parts: Parts) -> None:
    parts.optimizer.param_groups[0]["momentum"] = 0.9 if 8 <= t < 20 else 0.0


def freezing(t: int, parts: Parts) -> None:
    if t in (5, 19):
        parts.model[0].freeze()
    if t in (13, 24):
        parts.model[0].unfreeze()


def freezing_by_turns(t: int, parts: Parts) -> None:
    one, other = parts.model[0], parts.model[2]
    (one if t % 2 else other).freeze()
    (other if t % 2 else one).unfreeze()


def freezing_by_hand(t: int, parts: Parts) -> None:
    parts.model[0].bias.frozen = 6 <= t < 17
    parts.model[2].bias.frozen = t < 9


def replacing(t: int, parts: Parts) -> None:
    if t == 11:
        vars(parts.model)["0"] = nn.Linear(4, 6, rng=5)
    if t == 15:
        parts.optimizer.add_param_group({"params": parts.model[0].parameters(), "lr": 0.05})


def new_data(t: int, parts: Parts) -> None:
    if t in (7, 8):
        parts.model[0].weight.data = np.full((6, 4), 0.1 * t) + np.arange(4)
    if t == 12:
        parts.model[0].weight.data[0] = 0.5


def loading(t: int, parts: Parts) -> None:
    if t == 10:
        parts.model.load_state_dict({name: 0.9 * x for name, x in parts.model.state_dict().items()})
    if t == 14:
        saved = copy.deepcopy(parts.optimizer.state_dict())
        saved["param_groups"][0]["lr"] = 0.03
        parts.optimizer.load_state_dict(saved)


def modes(t: int, parts: Parts) -> None:
    if t in (9, 21):
        parts.model.eval()
    if t == 15:
        parts.model.train()


def writing(t: int, parts: Parts) -> None:
    parts.model[0].weight.data[0] = 0.1 * t


def groups_replaced(t: int, parts: Parts) -> None:
    groups = parts.optimizer.param_groups
    if t == 7:
        groups[0] = {**groups[0], "lr": 0.01}
    if t == 11:
        groups[0]["lr"] = 0.0
    if t == 19:
        parts.optimizer.param_groups = [{**group, "lr": 0.2} for group in groups]
    if t == 22:
        parts.optimizer.param_groups[0]["lr"] = 0.05


def stepping_by_hand(t: int, parts: Parts) -> None:
    if t in (6, 10, 11):
        parts.optimizer.zero_grad()
        parts.model[2].bias.grad = np.ones(3)
        parts.optimizer.step()


def forgetting_wrapped(t: int, parts: Parts) -> None:
    if t == 6:
        parts.optimizer.zero_grad = lambda: None
    if t == 14:
        del parts.optimizer.zero_grad


def rule_wrapped(t: int, parts: Parts) -> None:
    real = type(parts.optimizer).update
    if t == 6:
        parts.optimizer.update = lambda p, g, *more: real(parts.optimizer, p, 2.0 * g, *more)
    if t == 14:
        del parts.optimizer.update


class Forgetful(nn.SGD):  # type: ignore[misc]
    """It forgets every second time."""

    def zero_grad(self) -> None:
        self.times = vars(self).get("times", 0) + 1
        if self.times % 2:
            super().zero_grad()


def forgetful() -> Parts:
    model = mlp()
    return Parts(model, nn.cross_entropy, Forgetful(model.parameters(), lr=0.05))


def gradients_given(t: int, parts: Parts) -> None:
    for p in parts.model.parameters():
        p.grad = None if t % 3 else np.ones(p.shape)


MEANWHILE: dict[str, tuple[Callable[[], Parts], Change]] = {
    "a learning rate": (some_of(mlp), rate_by_hand),
    "momentum": (some_of(mlp), momentum_meanwhile),
    "freeze and unfreeze": (some_of(lambda: mlp(batch_norm=True)), freezing),
    "frozen by turns": (some_of(mlp), freezing_by_turns),
    "frozen by hand": (some_of(mlp), freezing_by_hand),
    "a layer": (some_of(mlp), replacing),
    "data": (some_of(mlp), new_data),
    "data that is written into": (some_of(mlp), writing),
    "states that are loaded": (some_of(lambda: mlp(batch_norm=True)), loading),
    "train and eval": (some_of(lambda: mlp(batch_norm=True, dropout=0.2)), modes),
    "gradients": (some_of(mlp), gradients_given),
    "gradients of those that it does not hold": (first_layer_alone, gradients_given),
    "groups": (some_of(mlp), groups_replaced),
    "steps by hand": (some_of(mlp), stepping_by_hand),
    "how gradients are forgotten": (some_of(mlp), forgetting_wrapped),
    "how gradients are forgotten, by its kind": (forgetful, nothing),
    "the rule": (some_of(mlp), rule_wrapped),
}


@pytest.mark.parametrize("name", MEANWHILE)
@pytest.mark.parametrize("sizes", [ONE_SIZE, TWO_SIZES])
def test_what_changes_between_two_steps_holds_from_the_next(name: str, sizes: Any) -> None:
    made, change = MEANWHILE[name]
    compare(made, change, data=batches(sizes=sizes), least=8)


def test_two_sizes_by_turns_make_nothing_anew() -> None:
    parts = mlp_by_sgd()
    step = compiled(parts)
    sizes = []
    for _ in range(4):
        for x, y in batches():
            step(x, y)
        sizes.append(len(step.descent.entered.guard.space))
    assert sizes[1] == sizes[-1]


def test_many_parameters_do_not_stand_in_for_each_other() -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            self.ps = [cr.Tensor(np.full((4, 3), 0.01 * (i + 1), np.float32)) for i in range(60)]

        def forward(self, x: Any) -> Any:
            total = cr.sum(cr.stack([x @ p for p in self.ps]), axis=0)
            return total * 100.0 if x.dtype == np.float32 else total

    model = Many()
    step = nn.compiled_step(model, nn.mse_loss, nn.SGD(model.parameters(), lr=1e-9))
    x, y = np.ones((8, 4)), np.ones((8, 3))
    for _ in range(6):
        step(x, y)
    x, y = x.astype(np.float32), y.astype(np.float32)
    expected = nn.mse_loss(model(x), y).item()
    assert step(x, y) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("place", range(4))
def test_a_parameter_that_became_read_only_leaves_all_where_they_are(place: int) -> None:
    parts = mlp_by_sgd()
    step = compiled(parts)
    for _ in range(5):
        step(X, Y)
    parts.optimizer.parameters[place].data.flags.writeable = False
    nn.cross_entropy(parts.model(X), Y).backward()
    before = weights(parts)
    with pytest.raises(ValueError, match="is read-only; to train it no more, leave it out"):
        step(X, Y)
    assert weights(parts) == before


def test_layers_may_hold_lists_that_they_do_not_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            self.layer, self.names = nn.Linear(4, 3, rng=0), ["a", 2.0]

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    model = Named()
    step = nn.compiled_step(model, nn.cross_entropy, nn.SGD(model.parameters(), lr=0.1))
    for _ in range(6):
        step(X, Y)
    assert step.descent.compiled_calls == 3


def test_buffers_that_came_meanwhile_are_put_back_after_an_error() -> None:
    parts = mlp_by_sgd()
    step = compiled(parts)
    for t in range(8):
        if t == 5:
            vars(parts.model)["1"] = nn.Sequential(cr.tanh)
        step(X, Y)
    vars(parts.model)["1"] = norm = nn.BatchNorm1d(6)
    with pytest.raises(ValueError, match="label"):
        step(X, Y + 2)
    assert norm.running_mean.tolist() == [0.0] * 6


@pytest.mark.parametrize("kind", [nn.SGD, nn.Adam])
def test_a_schedule_goes_on_meanwhile(kind: Any) -> None:
    schedules: dict[int, Any] = {}

    def made() -> Parts:
        parts = some_of(mlp)()._replace()
        optimizer = kind(parts.model.parameters(), lr=0.1)
        schedules[id(optimizer)] = nn.CosineAnnealingLR(optimizer, STEPS)
        return parts._replace(optimizer=optimizer)

    compare(made, lambda t, parts: schedules[id(parts.optimizer)].step() if t else None)


# Errors


def normed(**options: Any) -> Parts:
    model = mlp(batch_norm=True)
    return Parts(model, nn.cross_entropy, nn.SGD(model.parameters(), lr=0.1, momentum=0.9), **options)


def with_loss(loss: Any) -> Callable[[], Parts]:
    return lambda: normed()._replace(loss=loss)


def read_only(parts: Parts) -> None:
    parts.model[0].weight.data.flags.writeable = False


def wrong_rate(parts: Parts) -> None:
    parts.optimizer.param_groups[0]["lr"] = -1.0


def lost_parameters(parts: Parts) -> None:
    parts.optimizer.param_groups[0]["params"] = ()


def raising(out: Any, y: Any) -> Any:
    if y[0] > 90:
        raise KeyError("nothing is known of this label")
    return nn.cross_entropy(out, y)


X, Y = np.random.default_rng(3).normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])
Fault = Callable[[Parts], object]
FAULTS: dict[str, tuple[Callable[[], Parts], Fault, Any]] = {
    "a label out of range": (normed, lambda parts: None, (X, Y + 1)),
    "labels of another shape": (normed, lambda parts: None, (X, Y[:4])),
    "features of another number": (normed, lambda parts: None, (X[:, :3], Y)),
    "a batch of nothing": (normed, lambda parts: None, (X[:0], Y[:0])),
    "text": (normed, lambda parts: None, ("text", Y)),
    "ragged lists": (normed, lambda parts: None, ([[1.0], [1.0, 2.0]], Y)),
    "a vector": (with_loss(lambda out, y: cr.sum(out * out, axis=1)), lambda parts: None, (X, Y)),
    "no node": (with_loss(lambda out, y: 1.0), lambda parts: None, (X, Y)),
    "None": (with_loss(lambda out, y: None), lambda parts: None, (X, Y)),
    "a read-only parameter": (normed, read_only, (X, Y)),
    "a wrong option": (normed, wrong_rate, (X, Y)),
    "parameters that went": (normed, lost_parameters, (X, Y)),
    "an error of the loss": (with_loss(raising), lambda parts: None, (X, Y + 100)),
}


@pytest.mark.parametrize("steps", [0, 6])
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.filterwarnings("ignore:compile")
def test_an_error_is_that_of_the_loop_and_nothing_has_moved(name: str, steps: int) -> None:
    made, fault, batch = FAULTS[name]
    one, other = made(), made()
    by_hand, step = eager(one), compiled(other)
    if steps and name not in ("a vector", "no node", "None"):
        for x, y in list(batches())[:steps]:
            by_hand(x, y)
            step(x, y)
    fault(one)
    fault(other)
    before = [(what, np.array(x.data if isinstance(x, cr.Tensor) else x)) for what, x in left_behind_of_data(other)]
    with pytest.raises(Exception) as expected:
        by_hand(*batch)
    with pytest.raises(expected.type) as found:
        step(*batch)
    assert str(found.value) == str(expected.value)
    for (what, x), (_, y) in zip(before, left_behind_of_data(other), strict=True):
        assert np.array_equal(x, y.data if isinstance(y, cr.Tensor) else y), what


def left_behind_of_data(parts: Parts) -> list[tuple[str, Any]]:
    """What an error leaves as it is; an option that is wrong stays so, and nothing is said of that."""
    saved = dict(parts.model.named_state())
    memories = [m for group in parts.optimizer.memories for m in group]
    return [*saved.items(), *((f"memory {i}", x) for i, m in enumerate(memories) for x in m.arrays)]


def test_under_no_grad_nothing_is_learned_but_an_error_raised_as_in_the_loop() -> None:
    parts = normed()
    step = compiled(parts)
    for _ in range(6):
        step(X, Y)
    before = {name: x.copy() for name, x in parts.model.state_dict().items()}
    with cr.no_grad(), pytest.raises(RuntimeError, match="nothing is recorded"):
        step(X, Y)
    assert all(np.array_equal(x, before[name]) for name, x in parts.model.state_dict().items())


def test_numbers_that_are_not_finite_go_the_way_of_the_loop() -> None:
    bad = X.copy()
    bad[2, 1] = np.nan
    data = [*list(batches())[:6], (bad, Y), (X, Y)]
    compare(some_of(mlp), data=data, least=2)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_where_numpy_raises_an_error_half_way_all_is_put_back() -> None:
    parts = some_of(mlp)()
    step = compiled(parts)
    for x, y in list(batches())[:6]:
        step(x, y)
    parts.optimizer.lr = 1e308
    before = weights(parts)
    with pytest.raises(RuntimeWarning, match="overflow"):
        step(X * 1e10, Y)
    assert weights(parts) == before


def weights(parts: Parts) -> list[bytes]:
    return [p.data.tobytes() for p in parts.model.parameters()]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model": abs}, TypeError, "expected a Module"),
        ({"loss": 1.0}, TypeError, "compiled_step: loss"),
        ({"optimizer": None}, TypeError, "compiled_step: optimizer is None"),
        ({"penalty": 1.0}, TypeError, "compiled_step: penalty"),
        ({"clip_norm": "1"}, TypeError, "compiled_step: clip_norm must be a number"),
        ({"clip_value": -1.0}, ValueError, "compiled_step: clip_value must not be negative"),
    ],
)
def test_what_does_not_go_together_is_an_error_before_the_first_step(
    change: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        compiled(mlp_by_sgd()._replace(**change))


def mlp_by_sgd() -> Parts:
    return some_of(mlp)()


def test_a_step_needs_inputs_and_a_target() -> None:
    with pytest.raises(TypeError, match="expected inputs and a target, got 1"):
        compiled(mlp_by_sgd())(X)


# What is seen of it


def test_the_code_is_one_function_and_the_output_is_of_before_the_update() -> None:
    parts = mlp_by_sgd()
    step = compiled(parts)
    assert step.output is None
    with pytest.raises(ValueError, match="before the first call"):
        step.source  # noqa: B018
    for _ in range(3):
        expected = parts.model(X).data.copy()
        loss = step(X, Y)
        assert type(loss) is float
        assert type(step.output) is np.ndarray
        assert_allclose(step.output, expected, rtol=1e-12)
        assert_allclose(loss, nn.cross_entropy(expected, Y), rtol=1e-12)
    assert step.source.count("def ") == 1
    assert repr(step) == "<compiled_step of a MLP by SGD, 1 of 3 calls compiled>"


def test_a_model_may_give_several_outputs() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            self.one, self.two = nn.Linear(4, 3, rng=0), nn.Linear(4, 1, rng=1)

        def forward(self, x: Any) -> Any:
            return {"classes": self.one(x), "value": self.two(x)}

    def loss(out: Any, y: Any) -> Any:
        return nn.cross_entropy(out["classes"], y) + cr.mean(out["value"] ** 2)

    def made() -> Parts:
        model = Heads()
        return Parts(model, loss, nn.Adam(model.parameters(), lr=0.01))

    step = compare(made)
    assert {name: type(x) for name, x in step.output.items()} == {"classes": np.ndarray, "value": np.ndarray}


def test_an_output_that_is_a_view_of_weights_does_not_move_with_them() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            self.rows = cr.Tensor(np.zeros((3, 2)))

        def forward(self, x: Any) -> Any:
            return self.rows[1:]

    model = Table()
    step = nn.compiled_step(model, nn.mse_loss, nn.SGD(model.parameters(), lr=0.1))
    for _ in range(5):
        before = model.rows.data[1:].copy()
        step(X, np.ones((2, 2)))
        assert np.array_equal(step.output, before)
        assert not np.array_equal(step.output, model.rows.data[1:])


def test_data_may_be_given_to_parameters_in_the_model() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            self.weight = cr.Tensor(np.random.default_rng(0).normal(size=(4, 3)))

        def forward(self, x: Any) -> Any:
            self.weight.data /= np.linalg.norm(self.weight.data)
            return x @ self.weight

    with pytest.warns(UserWarning, match=r"compile\(compiled_step\) runs as it is"):
        compare(some_of(Normed), least=0)


def test_a_step_that_somebody_has_wrapped_is_called() -> None:
    parts = mlp_by_sgd()
    real, calls = parts.optimizer.step, []
    step = compiled(parts)
    step(X, Y)
    parts.optimizer.step = lambda: (calls.append(1), real())
    before = weights(parts)
    step(X, Y)
    assert calls == [1]
    assert weights(parts) != before


def test_graphs_from_before_a_step_refuse_to_be_differentiated() -> None:
    parts = mlp_by_sgd()
    step = compiled(parts)
    for _ in range(5):
        stale = nn.cross_entropy(parts.model(X), Y)
        step(X, Y)
        with pytest.raises(RuntimeError, match="was changed after"):
            stale.backward()


def test_what_cannot_be_compiled_runs_as_the_loop_and_one_warning_says_why() -> None:
    def loss(out: Any, y: Any) -> Any:
        value = nn.cross_entropy(out, y)
        return value * 2.0 if value.item() > 1.0 else value

    def made() -> Parts:
        return mlp_by_sgd()._replace(loss=loss)

    with pytest.warns(UserWarning, match=r"compile\(compiled_step\) runs as it is") as found:
        compare(made, least=0)
    assert len(found) == 1
    assert found[0].filename == __file__


def test_there_is_one_warning_whatever_is_frozen_meanwhile() -> None:
    def made() -> Parts:
        hidden = cr.tanh(cr.Tensor(np.ones(3)))  # made from a variable that nobody sees
        return mlp_by_sgd()._replace(loss=lambda out, y: nn.cross_entropy(out + hidden, y))

    with pytest.warns(UserWarning, match=r"compile\(compiled_step\) runs as it is") as found:
        compare(made, freezing_by_turns, least=0)
    assert len(found) == 1


def test_variables_in_a_batch_run_as_the_loop() -> None:
    one, other = mlp_by_sgd(), mlp_by_sgd()
    by_hand, step = eager(one), compiled(other)
    with pytest.warns(UserWarning, match="Give arrays"):
        step(cr.Tensor(X), Y)
    by_hand(cr.Tensor(X), Y)
    for x, y in batches():
        inputs = cr.Tensor(x), cr.Tensor(x)
        assert_allclose(by_hand(inputs[0], y), step(inputs[1], y), rtol=1e-12)
        require_same(one, other)
        require_alike("the input", *inputs)


def test_a_branch_that_reaches_others_is_another_piece_of_code() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            self.wide, self.narrow = nn.Linear(4, 3, rng=0), nn.Linear(4, 3, rng=1)

        def forward(self, x: Any) -> Any:
            return self.wide(x) if len(x) > 6 else self.narrow(x)

    def made() -> Parts:
        model = Either()
        return Parts(model, nn.cross_entropy, nn.Adam(model.parameters(), lr=0.1, weight_decay=0.1))

    compare(made)


def test_two_steps_over_one_model() -> None:
    def made() -> Parts:
        return some_of(lambda: mlp(batch_norm=True, dropout=0.1))()

    one, other = made(), made()
    losses = nn.cross_entropy, lambda out, y: nn.cross_entropy(out * 0.5, y)
    by_hand = [eager(one._replace(loss=loss)) for loss in losses]
    steps = [compiled(other._replace(loss=loss)) for loss in losses]
    for t, batch in enumerate(batches()):
        assert_allclose(steps[t % 2](*batch), by_hand[t % 2](*batch), rtol=1e-12)
        require_same(one, other)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_trains_a_model_of_its_own(copied: Any) -> None:
    parts = some_of(lambda: mlp(batch_norm=True), clip_norm=0.5)()
    step = compiled(parts)
    for batch in list(batches())[:5]:
        step(*batch)
    other, before = copied(step), weights(parts)
    model, _, optimizer, *_ = other.given
    assert all(p is q for p, q in zip(model.parameters(), optimizer.parameters, strict=True))
    losses = [other(*batch) for batch in batches()]
    assert weights(parts) == before
    assert_allclose(losses, [step(*batch) for batch in batches()], rtol=1e-12)


def test_nothing_holds_itself() -> None:
    gc.collect()
    gc.disable()
    try:
        parts = some_of(lambda: mlp(batch_norm=True, dropout=0.1), penalty=penalty, clip_norm=1.0)()
        step = compiled(parts)
        for batch in list(batches())[:7]:
            step(*batch)
        del step
        assert gc.collect() == 0
    finally:
        gc.enable()
