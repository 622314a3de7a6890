"""What a module holds: everything that it reaches is trained, saved and switched, or it is an error."""

import copy
import functools
import math
import sys
import types
from collections import ChainMap, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import InitVar, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from interrupts import at_every_line

import chainrule as cr

nn = cr.nn


@dataclass
class Parts:
    layer: Any
    more: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    layer: Any


@dataclass
class WithMore:
    layer: InitVar[Any]

    def __post_init__(self, layer: Any) -> None:
        self.net = layer


class Named(list[Any]):
    net: Any = None


class Listed(UserDict[str, Any]):
    net: Any = None


class Marked(np.ndarray):
    net: Any = None


def with_attribute(x: Any, layer: Any) -> Any:
    x.net = layer
    return x


def of_class(layer: Any) -> Any:
    class Helper:
        net = layer

    return Helper


def whose_method_closes(layer: Any) -> Any:
    class Helper:
        def __call__(self, x: Any) -> Any:
            return layer(x)

    return Helper()


def structured(layer: Any) -> Any:
    array = np.zeros(2, dtype=[("a", "O"), ("b", float)])
    array["a"][1] = layer
    return array


class Pair(NamedTuple):
    layer: Any
    other: int


class WithSlots:
    __slots__ = ("layer",)

    def __init__(self, layer: Any) -> None:
        self.layer = layer


class Plain:
    def __init__(self, layer: Any) -> None:
        self.deep = [{"layer": layer}]

    def method(self) -> Any:
        return self.deep


def objects(layer: Any) -> Any:
    array = np.empty((2, 1), dtype=object)
    array[1, 0] = layer
    return array


def running(layer: Any) -> Any:
    def steps() -> Iterator[int]:
        yield 1
        layer(np.ones((1, 3)))

    generator = steps()
    next(generator)
    return generator


def default(layer: Any) -> Any:
    def f(x: Any, layer: Any = layer) -> Any:
        return layer(x)

    return f


def only_by_name(layer: Any) -> Any:
    def f(x: Any, *, layer: Any = layer) -> Any:
        return layer(x)

    return f


def attribute(layer: Any) -> Any:
    def f(x: Any) -> Any:
        return f.layer(x)  # type: ignore[attr-defined]

    f.layer = layer  # type: ignore[attr-defined]
    return f


def decorated(layer: Any) -> Any:
    @functools.wraps(attribute)
    def f(x: Any) -> Any:
        return layer(x)

    return functools.lru_cache(f)


FOUND: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a list": (lambda x: [x], "held.0."),
    "a tuple": (lambda x: (1, x), "held.1."),
    "a named tuple": (lambda x: Pair(x, 1), "held.0."),
    "a dict": (lambda x: {"a": [x]}, "held.a.0."),
    "an ordered dict": (lambda x: OrderedDict(a=x), "held.a."),
    "a default dict": (lambda x: defaultdict(list, a=x), "held.a."),
    "a user's dict": (lambda x: UserDict(a=x), "held.a."),
    "a user's list": (lambda x: UserList([x]), "held.0."),
    "a namespace": (lambda x: types.SimpleNamespace(a=types.SimpleNamespace(b=x)), "held.a.b."),
    "a dataclass": (lambda x: Parts(None, [x]), "held.more.0."),
    "a dataclass with slots": (lambda x: Slotted(x), "held.layer."),
    "an attribute of a dataclass that is no field": (lambda x: WithMore(x), "held.net."),
}
HIDDEN: dict[str, Callable[[Any], Any]] = {
    "a set": lambda x: {x},
    "a frozen set": lambda x: frozenset([x]),
    "a deque": lambda x: deque([x]),
    "a chain of dicts": lambda x: ChainMap({"a": x}),
    "a view of a dict": lambda x: {"a": x}.values(),
    "a read-only dict": lambda x: types.MappingProxyType({"a": x}),
    "an array of objects": objects,
    "an object": Plain,
    "an object with slots": WithSlots,
    "a closure": lambda x: lambda y: x(y),
    "a closure over a list": lambda x: (lambda held: lambda y: held[0](y))([x]),
    "a default argument": default,
    "a default argument by name": only_by_name,
    "an attribute of a function": attribute,
    "a decorated function": decorated,
    "a bound method": lambda x: x.forward,
    "a bound method of an object": lambda x: Plain(x).method,
    "a partial": lambda x: functools.partial(cr.matmul, x.weight),
    "a partial of a method": lambda x: functools.partial(x.forward),
    "a generator": running,
    "a generator that has not begun": lambda x: (x(y) for y in range(3)),
    "a map": lambda x: map(x, [1]),
    "a derivative": lambda x: cr.grad(lambda y: cr.sum(x(y))),
    "a compiled function": lambda x: cr.compile(lambda y: x(y)),
    "a function under no_grad": lambda x: cr.no_grad()(lambda y: x(y)),
    "a function in a list": lambda x: [1, (lambda y: x(y),)],
    "a key of a dict": lambda x: {x: 0.5},
    "in a key of a dict": lambda x: {(1, x): 0.5},
    "an attribute of a kind of list": lambda x: with_attribute(Named([1]), x),
    "an attribute of a kind of dict": lambda x: with_attribute(Listed(), x),
    "an attribute of a kind of array": lambda x: with_attribute(np.zeros(2).view(Marked), x),
    "what makes defaults": lambda x: defaultdict(lambda: x),
    "a class": of_class,
    "the class of an object": lambda x: of_class(x)(),
    "a method of the class of an object": whose_method_closes,
    "a method of a dict": lambda x: {"a": x}.get,
    "a method of a list": lambda x: [x].__getitem__,
    "a field of an array": structured,
    "an element of such an array": lambda x: structured(x)[1],
    "a masked array of objects": lambda x: np.ma.masked_array(objects(x), mask=True),
    "an object in a namespace": lambda x: types.SimpleNamespace(a=Plain(x)),
}


def holding(held: Any) -> Any:
    model = nn.Module()
    model.held = held
    return model


@pytest.mark.parametrize("name", FOUND)
def test_what_is_found_is_trained_saved_and_switched(name: str) -> None:
    make, path = FOUND[name]
    layer = nn.Sequential(nn.Linear(3, 2, rng=0), nn.Dropout(rng=1))
    model = holding(make(layer))
    assert [name for name, _ in model.named_parameters()] == [f"{path}0.weight", f"{path}0.bias"]
    assert model.parameters() == layer.parameters()
    assert list(model.state_dict()) == [f"{path}0.weight", f"{path}0.bias"]
    assert len(model.generators()) == 1
    assert not model.eval().modules()[1].training
    assert not layer[1].training
    model.load_state_dict({key: 0.0 * x + 7.0 for key, x in model.state_dict().items()})
    assert layer[0].weight.data[0, 0] == 7.0


ONLY_LAYERS = ("a bound method", "a partial", "a partial of a method")


@pytest.mark.parametrize(
    ("what", "name"),
    [("a layer", name) for name in HIDDEN] + [("a variable", name) for name in HIDDEN if name not in ONLY_LAYERS],
)
@pytest.mark.parametrize("read", ["parameters", "named_parameters", "state_dict", "eval"])
def test_what_cannot_be_searched_is_an_error(name: str, what: str, read: str) -> None:
    layer = nn.Linear(3, 2, rng=0)
    if what == "a variable":
        layer = layer.weight  # type: ignore[assignment]
    model = nn.Sequential(nn.Linear(2, 2, rng=0), cr.tanh)
    model.held = HIDDEN[name](layer)
    with pytest.raises(
        TypeError, match=r"'held[\w.]*' is an? \w+ with an? (Linear|Tensor) inside, which is not found there"
    ):
        list(getattr(model, read)())


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_listed_elsewhere_may_be_referred_to(name: str) -> None:
    layer = nn.Linear(3, 2, rng=0)
    model = holding(HIDDEN[name](layer))
    model.layer = layer
    assert len(model.parameters()) == 2
    model.train().eval()


@pytest.mark.parametrize(
    "held",
    [
        cr.tanh, np.tanh, len, lambda x: x, functools.partial(cr.sum, axis=0), np.arange(3.0), {1, 2}, deque([1]), range(3),
        np.random.default_rng(0), np.float32, int, types, Plain(np.ones(3)), cr.grad(cr.sin), cr.compile(cr.sin),
        np.array([None, "a"], dtype=object), iter([1]), copy, cr.Value(1.0).__class__, "text", b"bytes", 3, None, 2.5j,
    ],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
def test_what_leads_to_no_variable_is_fine(held: Any) -> None:
    model = holding(held)
    assert model.parameters() == []
    assert model.state_dict() == {}
    assert model.eval().training is False


def test_attributes_in_slots_are_found() -> None:
    class Base(nn.Module):
        __slots__ = ("layer",)

        def __init__(self) -> None:
            self.layer = nn.Linear(3, 2, rng=0)
            self.other = nn.Dropout(rng=0)

    class Mixin:
        __slots__ = ("mixed",)

    class Mixed(Mixin, nn.Module): ...

    mixed: Any = Mixed()
    mixed.mixed = nn.Linear(1, 1, rng=0)
    assert list(mixed.state_dict()) == ["mixed.weight", "mixed.bias"]

    class Net(Base):
        __slots__ = ("__own", "late")

        def keep(self, layer: Any) -> None:
            self.__own = layer

    model = Net()
    assert list(model.state_dict()) == ["layer.weight", "layer.bias"]
    model.keep(nn.Linear(1, 1, bias=False))
    assert list(model.state_dict()) == ["_Net__own.weight", "layer.weight", "layer.bias"]
    model.keep(None)
    model.late = nn.Linear(1, 1, rng=0)
    assert len(model.parameters()) == 4
    assert not model.eval().layer.training


def test_a_layer_that_a_method_closes_over_or_has_as_default() -> None:
    layer = nn.Linear(3, 2, rng=0)
    with pytest.raises(TypeError, match="Net: 'forward' is a function with a Linear inside"):

        class Net(nn.Module):
            def forward(self, x: Any) -> Any:
                return layer(x)

    with pytest.raises(TypeError, match="Other: 'forward' is a function with a Linear inside"):

        class Other(nn.Module):
            def forward(self, x: Any, layer: Any = layer) -> Any:
                return layer(x)


def test_what_a_module_is_mixed_of_has_no_layers_either() -> None:
    class Mixin:
        net = nn.Linear(3, 2, rng=0)

    with pytest.raises(TypeError, match="Net: 'net' is a Linear on the class"):

        class Net(Mixin, nn.Module): ...


def test_what_is_too_large_to_be_searched_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Net(nn.Module):
        caches = ("table",)

    class Table:
        def __init__(self) -> None:
            self.rows = [[i] for i in range(100)]

    monkeypatch.setattr("chainrule.nn.inside.MOST", 50)
    with pytest.raises(
        TypeError, match="'held' is a Table that is too large to be searched for variables; name it among"
    ):
        holding(Table()).parameters()
    model = Net()
    model.table = Table()
    assert model.parameters() == []


def test_the_result_of_an_operation_that_an_object_keeps_is_no_parameter() -> None:
    model = nn.Sequential(nn.Linear(3, 2, rng=0))
    model.log = Plain(cr.sum(model(np.ones((1, 3)))))
    assert len(model.parameters()) == 2


def test_a_generator_that_is_hidden_is_an_error_where_generators_are_listed() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 2, rng=0), lambda x: x + rng.normal())
    assert len(model.parameters()) == 2
    with pytest.raises(TypeError, match="'1' is a function with a Generator inside"):
        model.generators()


# What a child overrides


class Frozen(nn.BatchNorm1d):
    def train(self, mode: bool = True) -> Any:
        return super().train(False)


class Counting(nn.Module):
    """Says what was asked of it, and answers with less or more than it has."""

    def __init__(self) -> None:
        self.layer = nn.Linear(2, 2, rng=0)
        self.dropout = nn.Dropout(rng=0)
        self.scale = np.array(1.0)
        self.asked: list[str] = []

    def forward(self, x: Any) -> Any:
        return self.dropout(self.layer(x))

    def train(self, mode: bool = True) -> Any:
        self.asked.append(f"train({mode})")
        self.dropout.training = False
        return self

    def zero_grad(self) -> None:
        self.asked.append("zero_grad")

    def parameters(self) -> Any:
        self.asked.append("parameters")
        return [self.layer.bias]

    def state_dict(self) -> Any:
        self.asked.append("state_dict")
        return {"scale": self.scale, **super().state_dict()}

    def load_state_dict(self, state: Any) -> None:
        self.asked.append("load_state_dict")
        super().load_state_dict({name: x for name, x in state.items() if name != "scale"})
        self.scale = np.array(state["scale"])


@pytest.mark.parametrize("deep", [0, 1, 2])
def test_a_child_is_asked_for_what_it_overrides(deep: int) -> None:
    child = Counting()
    model: Any = nn.Sequential(nn.Linear(2, 2, rng=0), child)
    for _ in range(deep):
        model = nn.Sequential(nn.Dropout(rng=0), [model][0])
    path = "1." * (deep + 1)
    model.train()
    model.eval()
    model.zero_grad()
    assert child.asked == ["train(True)", "train(False)", "zero_grad"]
    assert child.training
    assert not child.dropout.training
    assert [name for name, _ in model.named_parameters()][-1] == f"{path}layer.bias"
    assert len(model.parameters()) == 3
    assert model.parameters()[-1] is child.layer.bias
    state = model.state_dict()
    assert list(state)[-3:] == [f"{path}scale", f"{path}layer.weight", f"{path}layer.bias"]
    model.load_state_dict({name: x + 1.0 for name, x in state.items()})
    assert child.scale == 2.0
    assert np.array_equal(child.layer.bias.data, state[f"{path}layer.bias"] + 1.0)


def test_a_child_that_refuses_its_state_leaves_everything_as_it_was() -> None:
    child = Counting()
    model = nn.Sequential(nn.Linear(2, 2, rng=0), child, Counting())
    before = model.state_dict()
    with pytest.raises(KeyError):
        model.load_state_dict({name: x + 1.0 for name, x in before.items() if name != "2.scale"})
    after = model.state_dict()
    assert all(np.array_equal(after[name], x) for name, x in before.items())


class Own(nn.Module):
    """A module with a way of its own to say its state, under another key."""

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def state_dict(self) -> Any:
        return {"w": np.array(self.weight.data)}

    def load_state_dict(self, state: Any) -> None:
        self.weight.data[...] = state["w"]


@pytest.mark.parametrize("names", ["first.w second.w", "first.w weight", "second.w weight", "first.w second.w weight"])
def test_a_parameter_that_children_share_is_given_one_array_or_none(names: str) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            shared = cr.Tensor([1.0, math.nan])
            self.weight = shared if "weight" in names else cr.Tensor([1.0, math.nan])
            self.first = Own(shared if "first" in names else cr.Tensor([1.0, math.nan]))
            self.second = Own(shared if "second" in names else cr.Tensor([1.0, math.nan]))

    model, same = Both(), np.array([2.0, math.nan])
    state = dict.fromkeys(["weight", "first.w", "second.w"], same)
    for name in names.split():
        before = model.state_dict()
        with pytest.raises(ValueError, match=r"nothing was loaded: '.*' shares a parameter with another part"):
            model.load_state_dict({**state, name: np.array([3.0, 4.0])})
        assert all(np.array_equal(x, before[name], equal_nan=True) for name, x in model.state_dict().items())
    model.load_state_dict(state)
    assert all(np.array_equal(x, same, equal_nan=True) for x in model.state_dict().values())


def test_what_overrides_named_parameters_lists_these() -> None:
    class Half(nn.Linear):
        def named_parameters(self) -> Any:
            yield "half", self.weight

    model = nn.Sequential(Half(2, 2, rng=0), nn.Linear(2, 1, rng=0))
    assert [name for name, _ in model.named_parameters()] == ["0.half", "1.weight", "1.bias"]
    assert len(model.parameters()) == 3
    assert len(Half(2, 2).parameters()) == 1


def test_what_an_instance_overrides_is_called_too() -> None:
    norm: Any = nn.BatchNorm1d(3).eval()
    norm.train = lambda mode=True: norm
    model = nn.Sequential(norm, nn.Linear(3, 2, rng=0))
    model.train()
    assert not norm.training
    assert model.training


class Both(nn.Linear):
    def parameters(self) -> Any:
        return super().parameters()[:1]

    def named_parameters(self) -> Any:
        return list(super().named_parameters())[:1]


def test_both_listings_overridden() -> None:
    model = nn.Sequential(Both(2, 2, rng=0))
    assert [name for name, _ in model.named_parameters()] == ["0.weight"]
    assert len(model.parameters()) == len(Both(2, 2).parameters()) == 1


class Scaled(nn.Linear):
    """Behaves by what `train` did, not by the flag."""

    scale = 1.0

    def train(self, mode: bool = True) -> Any:
        self.scale = 2.0 if mode else 1.0
        return super().train(mode)


@pytest.mark.parametrize("mode", [True, False])
def test_who_overrides_train_is_told_when_a_block_ends(mode: bool) -> None:
    layer = Scaled(3, 2, rng=0)
    model = nn.Sequential(layer)
    model.train(mode)
    nn.evaluate(model, nn.cross_entropy, (X, Y))
    assert (layer.scale, layer.training) == (2.0 if mode else 1.0, mode)
    nn.fit(model, nn.cross_entropy, (X, Y), nn.SGD(model.parameters()), epochs=1, progress=False)
    assert (layer.scale, layer.training) == (2.0 if mode else 1.0, mode)


def test_who_overrides_freeze_is_asked() -> None:
    class Head(nn.Linear):
        def freeze(self) -> Any:
            return self

    model = nn.Sequential(nn.Linear(2, 2, rng=0), Head(2, 1, rng=0)).freeze()
    cr.sum(model(np.ones((1, 2)))).backward()
    assert model[0].weight.grad is None
    assert model[1].weight.grad is not None


def test_two_names_of_one_kind_are_an_error_of_children_too() -> None:
    model = holding({"a": Counting(), "a.scale": cr.Tensor(1.0)})
    with pytest.raises(ValueError, match=r"two parts of the module are called 'held\.a\.scale'"):
        model.state_dict()


def test_fit_keeps_statistics_that_a_child_keeps() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3)) + 5.0
    norm = Frozen(3)
    model = nn.Sequential(norm, nn.Linear(3, 2, rng=0))
    nn.fit(model, nn.cross_entropy, (x, np.zeros(20, int)), nn.SGD(model.parameters()), epochs=2, progress=False)
    assert np.array_equal(norm.running_mean, np.zeros(3))


# Frozen


def frozen_net() -> Any:
    return nn.Sequential(
        nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Dropout(rng=1)), nn.Linear(4, 2, rng=2)
    )


X = np.random.default_rng(3).normal(size=(40, 3)) + 2.0
Y = (X[:, 0] > 2.0).astype(int)


@pytest.mark.parametrize("make", [nn.SGD, nn.Adam, lambda p: nn.AdamW(p, weight_decay=0.1)])
@pytest.mark.parametrize("compiled", [False])
def test_what_is_frozen_stays_as_it_is_in_fit(make: Any, compiled: bool) -> None:
    model = frozen_net()
    model(X)  # statistics of its own
    body, head = model[0].freeze(), model[1]
    state = body.state_dict()
    rng = copy.deepcopy(body[2].rng.bit_generator.state)
    head_before = head.weight.data.copy()
    nn.fit(model, nn.cross_entropy, (X, Y), make(model.parameters()), epochs=3, progress=False, compile=compiled)
    assert all(np.array_equal(x, state[name]) for name, x in body.state_dict().items())
    assert body[2].rng.bit_generator.state == rng
    assert not np.array_equal(head.weight.data, head_before)
    assert all(p.grad is None for p in body.parameters())
    assert list(model.state_dict()) == list(frozen_net().state_dict())
    assert not body.training


def test_what_is_unfrozen_learns_again_and_behaves_as_was_said_last() -> None:
    model = frozen_net()
    model.eval()
    model[0].freeze()
    model.train()
    assert [m.training for m in model.modules()] == [True, False, False, False, False, True]
    model[0].unfreeze()
    assert all(m.training for m in model.modules())
    model.freeze().eval()
    assert not any(m.training for m in model.unfreeze().modules())
    cr.sum(model(X)).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_frozen_and_in_use_for_a_while() -> None:
    model = frozen_net()
    model[0].freeze()
    nn.evaluate(model, nn.cross_entropy, (X, Y))
    assert [m.training for m in model.modules()] == [True, False, False, False, False, True]
    model[0].unfreeze()
    assert all(m.training for m in model.modules())


def test_gradients_that_are_asked_for_by_name_are_there() -> None:
    layer = nn.Linear(3, 1, rng=0).freeze()
    loss = cr.sum(layer(X))
    loss.backward()
    assert layer.weight.grad is None
    assert np.allclose(cr.gradients(loss, layer.weight), X.sum(0))


@pytest.mark.parametrize("leaf", [cr.Value(2.0), cr.Tensor([2.0])], ids=["Value", "Tensor"])
def test_a_frozen_leaf_of_either_kind(leaf: Any) -> None:
    model = holding(leaf)
    leaf.grad = 5.0
    model.freeze()
    assert leaf.grad is None
    cr.sum(leaf * leaf).backward()
    assert leaf.grad is None
    model.unfreeze()
    cr.sum(leaf * leaf).backward()
    assert leaf.grad == 4.0


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_a_copy_is_frozen_too(again: Any) -> None:
    model = again(nn.Linear(2, 1, rng=0).freeze())
    cr.sum(model(np.ones((1, 2)))).backward()
    assert model.frozen
    assert all(p.grad is None for p in model.parameters())


# Replaced


@pytest.mark.parametrize("new", [np.zeros((2, 3)), 3.0, [1.0], "text"], ids=repr)
def test_a_parameter_does_not_vanish_behind_something_else(new: Any) -> None:
    layer = nn.Linear(3, 2, rng=0)
    with pytest.raises(TypeError, match=r"(?s)Linear: 'weight' is a parameter, and would vanish behind .*\.data = "):
        layer.weight = new
    assert len(layer.state_dict()) == 2


def test_a_parameter_may_be_replaced_by_another_or_left_out() -> None:
    layer = nn.Linear(3, 2, rng=0)
    layer.weight = cr.Tensor(np.ones((2, 3)))
    layer.bias = None
    layer.bias = np.ones(2)  # type: ignore[assignment]
    assert list(layer.state_dict()) == ["weight"]


# Checks leave no trace


class Noting(nn.Module):
    """Changes whatever it can when it is called."""

    def __init__(self) -> None:
        self.layer = nn.Linear(2, 2, rng=0)
        self.norm = nn.BatchNorm1d(2)
        self.dropout = nn.Dropout(0.0, rng=1)
        self.rng = np.random.default_rng(5)
        self.calls = 0
        self.log: list[int] = []
        self.counts = {"n": 0}
        self.own = np.zeros(2)

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.log.append(self.calls)
        self.counts["n"] += 1
        self.own += 1.0
        self.late = "set by a call"
        self.rng.normal()
        self.dropout.p = 0.0
        return cr.sum(self.dropout(self.norm(self.layer(x))) ** 2)


def held(model: Noting) -> Any:
    values = {
        k: copy.deepcopy(v) for k, v in vars(model).items() if k not in ("layer", "norm", "dropout", "rng", "own")
    }
    grads = [None if p.grad is None else np.array(p.grad).tolist() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    return (
        values,
        {k: v.tolist() for k, v in model.state_dict().items()},
        grads,
        modes,
        model.own.tolist(),
        str(model.rng.bit_generator.state),
    )


POINT = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.2]])


def failing(model: Noting) -> Any:
    def f(x: Any) -> Any:
        model.train()
        model(x)
        raise ZeroDivisionError

    return f


def surface(model: Noting, f: Any) -> None:
    cr.visualize.plot_loss_surface(
        lambda: f(POINT), [model.layer.bias], [[[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 1.0]]], resolution=2
    )


CHECKS: dict[str, Callable[[Noting, Any], Any]] = {
    "gradcheck": lambda model, f: cr.gradcheck(f, POINT),
    "gradcheck of parameters": lambda model, f: cr.gradcheck(lambda: f(POINT), parameters=model.parameters()),
    "numeric_gradient": lambda model, f: cr.numeric_gradient(f, POINT),
    "plot_loss_surface": surface,
    "plot_decision_boundary": lambda model, f: cr.visualize.plot_decision_boundary(
        lambda x: f(x) + 0.0 * x[:, 0], POINT, np.array([0, 1, 0]), resolution=3
    ),
}
FUNCTIONS: dict[str, Callable[[Noting], Any]] = {
    "called": lambda model: model,
    "put into another mode": lambda model: lambda x: model.train(not model.training)(x),
    "differentiated": lambda model: (
        lambda x: (model(np.ones((3, 2))).backward(), model.train()(x))[1] if cr_records() else model(x)
    ),
    "called by its parts": lambda model: lambda x: cr.sum(model.norm.forward(model.layer(x))),
    "forgotten": lambda model: (
        lambda x: (nn.SGD(model.parameters()).zero_grad(), cr.sum(model.norm(model.layer(x))))[1]
    ),
    "failing": failing,
}


def cr_records() -> bool:
    return bool((cr.Value(1.0) * 2.0).args)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("mode", [True, False], ids=["training", "in use"])
def test_checks_and_plots_leave_no_trace(check: str, function: str, mode: bool) -> None:
    model = Noting()
    model(POINT).backward()
    del model.late
    model.train(mode)
    before = held(model)
    with nullcontext() if function == "called" else suppress(ZeroDivisionError, ValueError, RuntimeError, TypeError):
        CHECKS[check](model, FUNCTIONS[function](model))
    assert held(model) == before
    assert model.calls == 1


class Loading(nn.Linear):
    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)


@pytest.mark.parametrize("where", ["every line", "the end of the change at once"])
def test_ctrl_c_leaves_all_old_or_all_new_with_children_that_have_ways_of_their_own(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False, rng=0), Loading(1, 1, rng=0))
    zeros = {name: 0.0 * x for name, x in model.state_dict().items()}
    sevens = {name: x + 7.0 for name, x in zeros.items()}

    model.load_state_dict(zeros)

    def held_now() -> set[float]:
        return {float(x) for array in model.state_dict().values() for x in array.flat}

    if where == "every line":
        for _ in at_every_line(lambda: model.load_state_dict(sevens), step=3):
            assert len(held_now()) == 1
            model.load_state_dict(zeros)
    else:
        inside = sys.modules["chainrule.nn.module"]
        replace = inside.replace

        struck: list[int] = []

        def interrupted(*args: Any) -> None:
            replace(*args)
            if len(args[0]) == 1 and not struck:  # the child's own are a weight and a bias
                struck.append(1)
                raise KeyboardInterrupt

        monkeypatch.setattr(inside, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.load_state_dict(sevens)
        assert len(held_now()) == 1
