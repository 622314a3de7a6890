"""The plots: what they draw is what they were given, read back from the figure, and nothing else changes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr

mpl = pytest.importorskip("matplotlib")
plots = cr.visualize

X = np.random.default_rng(0).normal(size=(32, 2))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def model_of(seed: int = 0, out: int = 1) -> cr.nn.MLP:
    return cr.nn.MLP([2, 4, out], activation="tanh", rng=seed)


def loss_of(model: cr.nn.Module) -> Any:
    return cr.nn.mse_loss(model(X), Y[:, None])


def trained(model: cr.nn.Module, steps: int = 6) -> tuple[list[dict[str, Any]], list[cr.nn.GradientFlow]]:
    """The parameters at the start and after each step, and the gradients of each step."""
    path, flows, optimizer = [model.state_dict()], [], cr.nn.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        flows.append(cr.nn.gradient_flow(model))
        optimizer.step()
        path.append(model.state_dict())
    return path, flows


def every_plot(axes: Any = None) -> list[Any]:
    model = model_of()
    path, flows = trained(model)
    report = cr.check(loss_of(model), parameters=dict(model.named_parameters()))
    return [
        plots.plot_loss([2.0, 1.0, 0.5], axes=axes),
        plots.plot_gradient_flow(flows, axes=axes),
        plots.plot_decision_boundary(model, X, Y, resolution=20, axes=axes),
        plots.plot_loss_surface(lambda: loss_of(model), model, path, resolution=5, axes=axes),
        plots.plot_check(report, axes=axes),
        *([plots.plot_histograms(model), plots.plot_weights(model[0].weight, shape=(1, 2))] if axes is None else []),
    ]


def test_figures_are_labelled_and_pyplot_never_hears_of_them() -> None:
    settings = dict(mpl.rcParams)
    before = "matplotlib.pyplot" in sys.modules
    for figure in every_plot():
        assert isinstance(figure, mpl.figure.Figure)
        assert figure.canvas.manager is None
        assert figure.axes[-1].get_xlabel() or figure.axes[-1].get_ylabel()
        assert figure.axes[0].get_ylabel() or figure.axes[0].get_xlabel()
        figure.savefig(BytesIO())
    assert dict(mpl.rcParams) == settings
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_a_notebook_shows_a_figure_by_itself() -> None:
    figure = plots.plot_loss([2.0, 1.0])
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert figure._repr_png_() == plots.plot_loss([2.0, 1.0])._repr_png_()
    assert cr.nn.History([{"epoch": 1, "loss": 1.0}]).plot()._repr_png_()


def test_axes_that_are_given_are_drawn_on() -> None:
    figure = mpl.figure.Figure()
    assert all(returned is figure for returned in every_plot(figure.subplots()))


def test_without_matplotlib_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"  # as Python itself marks what cannot be imported
        "import chainrule as cr\n"
        "try: cr.visualize.plot_loss([1.0])\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "visualize.plot_loss needs matplotlib" in done.stdout
    assert "pip install 'chainrule[plot]'" in done.stdout


# Loss curves

HISTORY = cr.nn.History([{"epoch": i, "loss": 2.0 / i, "validation_loss": 3.0 / i} for i in (1, 2, 3)])
LOSSES = [2.0, 1.0, 2.0 / 3.0]


def curves(figure: Any) -> dict[str, tuple[list[float], list[float], str]]:
    """The lines of a plot of losses by label: x, y and style."""
    lines = figure.axes[0].lines
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()), line.get_linestyle())
        for line in lines
        if not line.get_label().startswith("_")
    }


RUNS = [
    ("history", HISTORY, {"training": LOSSES, "validation": [3.0, 1.5, 1.0]}, "epoch"),
    ("numbers", LOSSES, {"training": LOSSES}, "step"),
    ("array", np.array(LOSSES), {"training": LOSSES}, "step"),
    ("values", [cr.Value(x) for x in LOSSES], {"training": LOSSES}, "step"),
    ("tensors", [cr.Tensor([x]) for x in LOSSES], {"training": LOSSES}, "step"),
    ("records", [{"loss": x} for x in LOSSES], {"training": LOSSES}, "step"),
    ("lists by name", {"loss": LOSSES, "validation_loss": [1, 1, 1]}, {"training": LOSSES, "validation": [1, 1, 1]}, "step"),
    ("only validation", {"validation_loss": LOSSES}, {"validation": LOSSES}, "step"),
    ("by label", {"A": LOSSES, "B": HISTORY}, {"A": LOSSES, "B": LOSSES, "B, validation": [3.0, 1.5, 1.0]}, "epoch or step"),
    ("list of runs", [LOSSES, [1.0, 2.0]], {"run 1": LOSSES, "run 2": [1.0, 2.0]}, "step"),
    ("list of histories", [HISTORY, HISTORY], {
        "run 1": LOSSES, "run 1, validation": [3.0, 1.5, 1.0], "run 2": LOSSES, "run 2, validation": [3.0, 1.5, 1.0],
    }, "epoch"),
]  # fmt: skip


@pytest.mark.parametrize(("runs", "expected", "counted"), [case[1:] for case in RUNS], ids=[case[0] for case in RUNS])
def test_losses_in_every_form(runs: Any, expected: dict[str, list[float]], counted: str) -> None:
    figure = plots.plot_loss(runs)
    drawn = curves(figure)
    assert {label: y for label, (_, y, _) in drawn.items()} == expected
    assert all(x == list(range(1, len(y) + 1)) for x, y, _ in drawn.values())
    assert all((style == "--") == ("validation" in label) for label, (_, _, style) in drawn.items())
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == (counted, "loss")


def test_an_epoch_without_validation_is_left_out_and_epochs_keep_their_numbers() -> None:
    records = [{"epoch": 3, "loss": 1.0}, {"epoch": 4, "loss": 0.5, "validation_loss": 0.7}]
    drawn = curves(plots.plot_loss(cr.nn.History(records)))
    assert (drawn["training"][0], drawn["validation"][:2]) == ([3, 4], ([4], [0.7]))
    (line,) = plots.plot_loss(cr.nn.History([{"epoch": 1, "accuracy": 0.5}]), measured="accuracy").axes[0].lines
    assert list(line.get_ydata()) == [0.5]


def test_what_is_not_finite_is_a_gap_and_a_cross() -> None:
    figure = plots.plot_loss([1.0, math.nan, 0.5, math.inf], log=True)
    line, crosses, legend = figure.axes[0].lines
    assert_array_equal(line.get_ydata(), [1.0, math.nan, 0.5, math.nan])
    assert (list(crosses.get_xdata()), legend.get_label()) == ([2.0, 4.0], "not finite (2)")
    assert figure.axes[0].get_yscale() == "log"
    assert plots.plot_loss([math.nan]).axes[0].lines


NO_LOSSES = [
    ([], {}, ValueError, "nothing to draw"),
    (cr.nn.History(), {}, ValueError, "has no 'loss'"),
    ({"A": []}, {}, ValueError, "A has no 'loss'"),
    (HISTORY, {"measured": "speed"}, ValueError, "has no 'speed'"),
    ([1.0, 0.0], {"log": True}, ValueError, "no logarithm"),
    (3.0, {}, TypeError, "expected a History"),
    ({1.0}, {}, TypeError, "expected a History"),
    ({"loss": {1.0}}, {}, TypeError, "the run: expected a list of numbers, got .1.0."),
    ({"loss": 1.0}, {}, TypeError, "the run: expected a list of numbers, got 1.0"),
    (b"12", {}, TypeError, "expected a History"),
    ({"A": {1.0}}, {}, TypeError, "A: expected a History"),
    ([1.0], {"log": "no"}, TypeError, "plot_loss: log must be True or False, got 'no'"),
    ("loss", {}, TypeError, "expected a History"),
    (["a", "b"], {}, TypeError, "expected a History or numbers, got 'a'"),
    ({"A": 3.0}, {}, TypeError, "A: expected a History"),
    ({"loss": ["a"]}, {}, TypeError, "expected real numbers, got 'a'"),
    ({"loss": [[1.0, 2.0]]}, {}, ValueError, "expected one number"),
    ({"loss": [1.0, 2.0], "epoch": [1]}, {}, ValueError, "1 epochs for 2"),
]


@pytest.mark.parametrize(("runs", "options", "kind", "message"), NO_LOSSES)
def test_bad_losses(runs: Any, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        plots.plot_loss(runs, **options)


# Gradient flow


def test_the_flow_is_a_column_for_each_table() -> None:
    model = model_of()
    flows = trained(model)[1]
    for measured in ("rms", "norm", "largest", "ratio"):
        axes = plots.plot_gradient_flow(flows, measured=measured).axes[0]
        colours = axes.collections[0].get_array()
        expected = np.array([[getattr(row, measured) or 0.0 for row in flow] for flow in flows]).T
        assert_allclose(colours.data, expected)
    assert [text.get_text() for text in axes.get_yticklabels()] == [name for name, _ in model.named_parameters()]
    assert axes.yaxis_inverted()
    sides = plots.plot_gradient_flow(flows, steps=[0, 10, 20, 30, 40, 60]).axes[0].collections[0].get_coordinates()
    assert_allclose(sides[0, :, 0], [-5, 5, 15, 25, 35, 50, 70])


def test_gradients_that_have_no_place_on_the_scale_are_told_apart() -> None:
    model = model_of()
    flows = trained(model, 2)[1]
    model.zero_grad()
    flows.append(cr.nn.gradient_flow(model))
    loss_of(model).backward()
    model[0].weight.grad[:] = 0.0
    model[2].weight.grad[0, 0] = math.nan
    flows.append(cr.nn.gradient_flow(model))
    axes = plots.plot_gradient_flow(flows).axes[0]
    seen, lost = axes.collections
    assert_array_equal(seen.get_array().mask, [[0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 1, 0]])
    assert_array_equal(~np.ma.getmaskarray(lost.get_array()).reshape(4, 4), np.outer(np.eye(4)[2], np.eye(4)[3]) == 1)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0, or none", "not finite"]


NO_FLOWS = [
    ([], {}, ValueError, "got none"),
    (3.0, {}, ValueError, "got none"),
    (cr.nn.gradient_flow(model_of()), {}, TypeError, "draws itself"),
    ([1.0], {}, TypeError, "expected tables"),
    ([cr.nn.gradient_flow(model_of()), cr.nn.gradient_flow(cr.nn.MLP([2, 1]))], {}, ValueError, "table 2 has other"),
    ([cr.nn.gradient_flow([])], {}, ValueError, "no parameter"),
    ([cr.nn.gradient_flow(model_of())], {"measured": "size"}, ValueError, "measured must be"),
    ([cr.nn.gradient_flow(model_of())], {"steps": [1, 2]}, ValueError, "steps must be 1 growing"),
]


@pytest.mark.parametrize(("flows", "options", "kind", "message"), NO_FLOWS)
def test_bad_flows(flows: Any, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        plots.plot_gradient_flow(flows, **options)


def test_names_are_shown_and_not_interpreted() -> None:
    strange = ["$\\bad{$", "_hidden", "a\nb", "<b>", "x" * 10_000]
    figure = plots.plot_loss({name: [1.0, 2.0] for name in strange})
    assert legend(figure) == [r"\$\bad{\$", " _hidden", r"a\nb", "<b>", "x" * 59 + "…"]
    parameters = {name: cr.Tensor([1.0, 2.0], name=name) for name in strange}
    figures = [figure, plots.plot_histograms(parameters), plots.plot_gradient_flow([cr.nn.gradient_flow(parameters)])]
    for each in figures:
        each.savefig(BytesIO())


# Histograms and weights


def counts(axes: Any) -> int:
    return int(sum(bar.get_height() for bar in axes.patches))


def test_a_histogram_counts_every_finite_number() -> None:
    model = model_of()
    loss_of(model).backward()
    model[0].weight.grad[0] = [math.nan, math.inf]
    model[2].bias.grad = None
    figure = plots.plot_histograms(model, bins=7)
    assert [counts(axes) for axes in figure.axes] == [8, 6, 4, 4, 4, 4, 1, 0]
    assert [axes.get_title(loc="left") for axes in figure.axes[::2]] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert "2 not finite" in figure.axes[1].get_title(loc="right")
    assert "100 % are 0" in figure.axes[2].get_title(loc="right")
    assert len(figure.axes[0].patches) == 7
    edges = [figure.axes[0].patches[i].get_x() for i in (0, -1)]
    assert edges[0] == pytest.approx(model[0].weight.data.min())
    assert edges[1] < model[0].weight.data.max()


def test_single_numbers_are_taken_together_by_layer() -> None:
    figure = plots.plot_histograms(cr.nn.scalar.MLP(2, [5, 3], rng=0), log=True)
    names = [axes.get_title(loc="left") for axes in figure.axes[::2]]
    assert names == [f"layers.{i}.neurons.*.{part}" for i in (0, 1) for part in ("w.*", "b")]
    assert [counts(axes) for axes in figure.axes[::2]] == [10, 5, 15, 3]
    assert plots.plot_histograms([cr.Value(1.0, name="a"), cr.Tensor([1.0])]).axes[2].get_title(loc="left") == "[1]"


def tile_colours(figure: Any) -> Any:
    return np.asarray(figure.axes[0].images[0].get_array())


def test_weights_as_tiles() -> None:
    weights = np.zeros((3, 6))
    weights[0, 0], weights[1, 5], weights[2, 2] = 2.0, -2.0, math.nan
    picture = tile_colours(plots.plot_weights(cr.Tensor(weights), shape=(2, 3)))
    assert picture.shape == (5, 7, 4)
    white, gap = (1.0, 1.0, 1.0), picture[2, 0, :3]
    assert_allclose(picture[0, 1, :3], white, atol=0.01)
    red, _, blue = picture[0, 0, :3]
    assert blue > red  # above 0
    red, _, blue = picture[1, 6, :3]
    assert red > blue  # below 0
    assert_array_equal(picture[3, 2, :3], 0.0)  # not finite
    assert_array_equal(picture[3:, 3:, :3] == gap, True)  # a fourth tile would be there
    assert_array_equal(picture[:, 3, :3] == gap, True)


def test_the_forms_of_weights_and_the_scale() -> None:
    rng = np.random.default_rng(0)
    tiles = rng.normal(size=(4, 2, 3))
    expected = tile_colours(plots.plot_weights(tiles))
    assert_array_equal(tile_colours(plots.plot_weights(tiles.reshape(4, 6), (2, 3))), expected)
    assert_array_equal(tile_colours(plots.plot_weights(1e6 * tiles)), expected)
    assert tile_colours(plots.plot_weights(tiles[0].ravel().tolist(), (2, 3))).shape == (2, 3, 4)
    assert tile_colours(plots.plot_weights(tiles, columns=9)).shape == (2, 15, 4)
    low, high = plots.plot_weights(tiles).axes[1].get_ylim()
    assert (low, high) == (-np.abs(tiles).max(), np.abs(tiles).max())
    assert plots.plot_weights(np.zeros((16, 784))).axes[0].images


NO_PARAMETERS: list[tuple[Callable[..., Any], tuple[Any, ...], type[Exception], str]] = [
    (plots.plot_histograms, ({},), ValueError, "0 parameters"),
    (plots.plot_histograms, ([cr.Tensor([1.0])] * 41,), ValueError, "41 parameters"),
    (plots.plot_histograms, (3.0,), TypeError, "a Module, a dict or a list"),
    (lambda x: plots.plot_histograms(x, bins=0), ([cr.Value(1.0)],), ValueError, "bins must be"),
    (plots.plot_weights, (np.zeros((784, 16)),), ValueError, r"give their \.T"),
    (plots.plot_weights, (np.zeros((3, 5)), (2, 3)), ValueError, "expected .units, 6. weights for tiles of 2 x 3"),
    (plots.plot_weights, (np.zeros((0, 784)),), ValueError, "0 units"),
    (plots.plot_weights, (np.zeros((2000, 784)),), ValueError, "2000 units, expected 1 to 1,024"),
    (plots.plot_weights, ("weights",), TypeError, "expected real numbers"),
    (lambda x: plots.plot_weights(x, columns=0), (np.zeros((2, 784)),), ValueError, "columns must be"),
]


@pytest.mark.parametrize(("plot", "args", "kind", "message"), NO_PARAMETERS)
def test_bad_parameters(plot: Callable[..., Any], args: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        plot(*args)


# Decision boundary


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def test_the_boundary_lies_where_the_score_is_the_threshold() -> None:
    for threshold in (0.0, 0.25):
        figure = plots.plot_decision_boundary(lambda x: x[:, 0] - 0.5, SQUARE, [0, 1, 0, 1], threshold=threshold)
        line = np.concatenate([path.vertices for path in figure.axes[0].collections[1].get_paths()])
        assert_allclose(line[:, 0], 0.5 + threshold, atol=1e-12)
    assert legend(figure) == ["class 0", "class 1"]
    assert legend(plots.plot_decision_boundary(lambda x: 0.5 - x[:, 0], SQUARE, [0, 1, 0, 1]))[-1] == "wrong (4)"


CLASSIFIERS: list[tuple[str, Callable[[Any], Any], Any, dict[str, Any], list[str]]] = [
    ("one column", lambda x: x[:, :1] - 0.5, [-1, 1, -1, 1], {}, ["class -1", "class 1"]),
    ("words", lambda x: x[:, 0] - 0.5, ["no", "yes", "no", "yes"], {}, ["class no", "class yes"]),
    ("one class only", lambda x: x[:, 0] - 5.0, [0, 0, 0, 0], {}, ["class 0"]),
    ("Value", lambda p: cr.Value(p[0]) - 0.5, [0, 1, 0, 1], {"each": True}, ["class 0", "class 1"]),
    ("Values", lambda p: [cr.Value(p[0]), cr.Value(0.5)], [1, 0, 1, 0], {"each": True}, ["class 0", "class 1"]),
    ("scores", lambda x: cr.Tensor(np.c_[x, 0.5 - x[:, 0]]), [2, 0, 1, 1], {}, ["class 0", "class 1", "class 2", "wrong (1)"]),
    ("classes", lambda x: (x[:, 0] > 0.5) * 3, [0, 3, 0, 3], {}, ["class 0", "class 3"]),
    ("yes or no", lambda x: x[:, 0] > 0.5, [0, 1, 0, 0], {}, ["class 0", "class 1", "wrong (1)"]),
    ("labels as a Tensor", lambda x: x[:, 0] - 0.5, cr.Tensor([[0.0], [1.0], [0.0], [1.0]]), {}, ["class 0.0", "class 1.0"]),
    ("not finite", lambda x: x[:, 0] - np.where(x[:, 1] > 1.1, np.nan, 0.5), [0, 1, 0, 1], {}, ["class 0", "class 1"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("f", "labels", "options", "expected"), [c[1:] for c in CLASSIFIERS], ids=[c[0] for c in CLASSIFIERS]
)
def test_classifiers_of_every_kind(f: Any, labels: Any, options: dict[str, Any], expected: list[str]) -> None:
    figure = plots.plot_decision_boundary(f, SQUARE, labels, resolution=12, **options)
    assert legend(figure) == expected
    figure.savefig(BytesIO())


def test_nothing_is_recorded_while_a_model_is_asked() -> None:
    asked = []

    def f(x: Any) -> Any:
        y = model(x)
        asked.append(y.args)
        return y

    model = model_of()
    plots.plot_decision_boundary(f, X, Y, resolution=5)
    assert asked == [()]


NO_CLASSIFIERS: list[tuple[Any, Any, Any, dict[str, Any], type[Exception], str]] = [
    (len, np.zeros((3, 3)), [0, 1, 0], {}, ValueError, "in the plane, got shape"),
    (len, np.zeros((0, 2)), [], {}, ValueError, "in the plane, got shape"),
    (len, [[0.0, math.nan]], [0], {}, ValueError, "not finite"),
    (len, SQUARE, [0, 1], {}, ValueError, "4 points, but labels of shape"),
    (lambda x: x[:3, 0], SQUARE, [0, 1, 0, 1], {}, ValueError, "needs each=True"),
    (lambda x: x[:, 0], SQUARE, [0, 1, 2, 1], {}, ValueError, "3 classes, but f gives one score"),
    (lambda x: x, SQUARE, [0, 1, 2, 1], {}, ValueError, "labels must be 0 to 1"),
    (lambda x: x, SQUARE, [0.5, 1, 0, 1], {}, ValueError, "labels must be integers"),
    (lambda x: np.array(["a"] * len(x)), SQUARE, [0, 1, 0, 1], {}, TypeError, "must return numbers"),
    (lambda x: x[:, 0], SQUARE, [0, 1, 0, 1], {"resolution": 1}, ValueError, "resolution must be"),
]


@pytest.mark.parametrize(("f", "x", "labels", "options", "kind", "message"), NO_CLASSIFIERS)
def test_bad_classifiers(f: Any, x: Any, labels: Any, options: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        plots.plot_decision_boundary(f, x, labels, **options)


# Loss surface


def walked(figure: Any) -> Any:
    """(points, 2): the path as drawn."""
    return np.array(next(line for line in figure.axes[0].lines if line.get_label() == "path").get_xydata())


def bowl(a: Any, b: Any) -> Any:
    return a * a + 5.0 * b * b + 1.0


def two_numbers() -> tuple[cr.Value, cr.Value, list[list[float]]]:
    return cr.Value(0.5, name="a"), cr.Value(0.25, name="b"), [[2.0, 1.0], [1.0, -1.0], [0.5, 0.5]]


def test_two_numbers_are_the_axes_themselves() -> None:
    a, b, path = two_numbers()
    seen = []
    figure = plots.plot_loss_surface(lambda: (seen.append((a.data, b.data)), bowl(a, b))[1], [a, b], path, resolution=7)
    axes = figure.axes[0]
    assert_allclose(walked(figure), path, atol=1e-12)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")
    assert len(seen) == 7 * 7 + 2
    assert_allclose([min(x for x, _ in seen), max(x for x, _ in seen)], axes.get_xlim())
    assert legend(figure) == ["path", "start, loss 10", "end, loss 2.5"]
    other = plots.plot_loss_surface(lambda: bowl(a, b), {"a": a, "b": b}, path, directions=("b", "a"), resolution=3)
    assert_allclose(walked(other), np.array(path)[:, ::-1], atol=1e-12)


def test_parameters_are_put_back_and_graphs_still_stand() -> None:
    model = model_of()
    model[0].weight.data = np.array(model[0].weight.data)
    path = trained(model)[0]
    own = [(p, p.data, p.data.copy(), p.birth) for p in model.parameters()]
    loss = loss_of(model)
    calls = 0

    def failing() -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyError("the seventh")
        return loss_of(model)

    plots.plot_loss_surface(lambda: loss_of(model), model, path, resolution=4)
    with pytest.raises(KeyError, match="the seventh"):
        plots.plot_loss_surface(failing, model, path, resolution=4)
    for parameter, array, copy, birth in own:
        assert parameter.data is array
        assert_array_equal(parameter.data, copy)
        assert parameter.birth == birth
    loss.backward()  # what was computed before has not become stale


def test_the_plane_is_that_of_the_path_s_principal_components() -> None:
    """A path in a plane is drawn without any loss: as far from its end, and from point to point, as it was."""
    rng = np.random.default_rng(1)
    w = cr.Tensor(np.zeros((3, 4)), name="w")
    directions, steps = rng.normal(size=(2, 12)), rng.normal(size=(6, 2))
    path = [{"w": (np.ones(12) + step @ directions).reshape(3, 4), "buffer": 0.0} for step in steps]
    figure = plots.plot_loss_surface(lambda: cr.sum(w * w), {"w": w}, path, resolution=3)
    points = np.array([point["w"].ravel() for point in path])
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    drawn = walked(figure)
    assert_allclose(np.linalg.norm(drawn[:, None] - drawn[None], axis=-1), distances, atol=1e-12)
    assert_allclose(drawn[-1], 0.0, atol=1e-12)
    spread = np.linalg.svd(points - points.mean(axis=0))[1][:2] ** 2
    share = 100 * spread[0] / spread.sum()
    assert figure.axes[0].get_xlabel() == f"principal direction 1 ({share:.3g} % of the path's variance)"
    assert np.var(drawn[:, 0]) > np.var(drawn[:, 1])
    names = {"one": {"w": directions[0].reshape(3, 4)}, "two": [directions[1].reshape(3, 4)]}
    given = plots.plot_loss_surface(lambda: cr.sum(w), [w], path, directions=tuple(names.values()), resolution=3)
    assert_allclose(walked(given), steps - steps[-1], atol=1e-12)


def test_the_loss_sees_the_parameters_own_dtype_and_shape() -> None:
    w, v = cr.Tensor(np.zeros((2, 2)), dtype=np.float32), cr.Value(1.0)
    path = [[np.ones((2, 2)) * i, i * i] for i in range(3)]
    kinds = set()
    plots.plot_loss_surface(lambda: (kinds.add((w.dtype.name, w.shape, type(v.data))), w.sum() * v)[1], [w, v], path)
    assert kinds == {("float32", (2, 2), float)}


def test_colours_are_logarithmic_where_that_helps_and_grey_where_nothing_is_finite() -> None:
    a, b, path = two_numbers()
    bars = [
        plots.plot_loss_surface(f, [a, b], path, resolution=5, log=log).axes[-1].get_ylabel()
        for f, log in [
            (lambda: bowl(a, b), None),
            (lambda: bowl(a, b), True),
            (lambda: cr.exp(bowl(a, b)), None),
            (lambda: cr.exp(bowl(a, b)), False),
            (lambda: cr.log(a), None),
        ]
    ]
    assert bars == ["loss", "loss (log scale)", "loss (log scale)", "loss", "loss"]
    for constant in (3.0, 0.0, math.nan):
        plots.plot_loss_surface(lambda: a * 0.0 + constant, [a, b], path, resolution=3).savefig(BytesIO())


A, B, PATH = two_numbers()
NO_SURFACES: list[tuple[Any, Any, Any, dict[str, Any], type[Exception], str]] = [
    (lambda: bowl(A, B), [A, B], [[1.0, 2.0]], {}, ValueError, "two points or more, got 1"),
    (lambda: bowl(A, B), [A, B], [[1.0], [2.0]], {}, ValueError, "point 1 of the path has 1 arrays for 2 parameters"),
    (lambda: bowl(A, B), [A, B], [[1.0, 2.0], {"a": 1.0}], {}, ValueError, "point 2 of the path has no 'b'"),
    (lambda: bowl(A, B), [A, B], [[1.0, 2.0], [[1.0], 2.0]], {}, ValueError, r"'a' has shape \(1,\), expected \(\)"),
    (lambda: bowl(A, B), [A, B], [[1.0, 2.0], [math.nan, 2.0]], {}, ValueError, "point 2 of the path is not finite"),
    (lambda: bowl(A, B), [A, B], [1.0, 2.0], {}, TypeError, "point 1 of the path must be a dict or a list"),
    (lambda: bowl(A, B), [A, B], [["x", 1.0]], {}, TypeError, "expected real numbers"),
    (lambda: bowl(A, B), [], PATH, {}, ValueError, "no parameter"),
    (lambda: bowl(A, B), [A * 2.0], PATH, {}, TypeError, "must be leaves"),
    (lambda: bowl(A, B), 3.0, PATH, {}, TypeError, "a Module, a dict or a list"),
    (lambda: [1.0, 2.0], [A, B], PATH, {}, ValueError, "expected one number"),
    (lambda: "low", [A, B], PATH, {}, TypeError, "loss..: expected real numbers"),
    (lambda: bowl(A, B) - 9.0, [A, B], PATH, {"log": True}, ValueError, "no logarithm"),
    (lambda: bowl(A, B), [A, B], PATH, {"directions": ("a", "c")}, ValueError, "no parameter called 'c'"),
    (lambda: bowl(A, B), [A, B], PATH, {"directions": ("a", "a")}, ValueError, "parallel"),
    (lambda: bowl(A, B), [A, B], PATH, {"directions": ("a", {})}, ValueError, "direction 2 has no 'a'"),
    (lambda: bowl(A, B), [A, B], PATH, {"directions": ("a",)}, ValueError, "two directions, got 1"),
    (lambda: bowl(A, B), [A, B], PATH, {"resolution": 1}, ValueError, "resolution must be"),
    (lambda: bowl(A, B), [A, B, cr.Value(0.0)], [[0.0, 1.0, 2.0]] * 3, {}, ValueError, "straight"),
]


@pytest.mark.parametrize(("loss", "parameters", "path", "options", "kind", "message"), NO_SURFACES)
def test_bad_surfaces(loss: Any, parameters: Any, path: Any, options: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        plots.plot_loss_surface(loss, parameters, path, **options)
    assert (A.data, B.data) == (0.5, 0.25)


# Checks


def points_by_label(figure: Any) -> dict[str, Any]:
    return {c.get_label(): np.asarray(c.get_offsets()) for c in figure.axes[0].collections}


def test_a_check_is_drawn_with_the_worst_rows_named() -> None:
    double = cr.custom("double", lambda x: 2.0 * x, lambda g, y, x: g)
    w = cr.Tensor([1.0, -2.0, 0.0], name="w")
    report = cr.check(cr.sum(cr.relu(double(w)) * w))
    figure = plots.plot_check(report)
    drawn = points_by_label(figure)
    assert list(drawn) == [
        f"{verdict} ({len(report.by_verdict(verdict))})"
        for verdict in ("right", "kink", "too noisy", "not finite", "not connected", "wrong")
        if report.by_verdict(verdict)
    ]
    (wrong,) = [points for label, points in drawn.items() if label.startswith("wrong")]
    assert_allclose(wrong, [(row.numeric, row.autograd) for row in report.wrong])
    assert [text.get_text() for text in figure.axes[0].texts][:2] == ["double, w", "the whole by w"]
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("symlog", "symlog")
    figure.savefig(BytesIO())


def test_every_point_of_a_right_report_is_on_the_diagonal() -> None:
    model = model_of()
    report = cr.gradcheck(lambda: loss_of(model), parameters=dict(model.named_parameters()))
    figure = plots.plot_check(report)
    (points,) = points_by_label(figure).values()
    assert len(points) == len(report) == 17
    assert_allclose(points[:, 0], points[:, 1], rtol=1e-6)
    assert not figure.axes[0].texts


def test_what_is_not_finite_lies_on_the_border() -> None:
    with np.errstate(all="ignore"):
        x = cr.Tensor([0.0, 1.0], name="x")
        report = cr.check(cr.sum(cr.log(x)))
    figure = plots.plot_check(report)
    low, high = figure.axes[0].get_xlim()
    lost = points_by_label(figure)[f"not finite ({len(report.by_verdict('not finite'))})"]
    assert np.isin(lost, [low, high]).any(axis=1).all()
    figure.savefig(BytesIO())


@pytest.mark.parametrize(("report", "kind"), [(3.0, TypeError), (cr.Report(()), ValueError)])
def test_bad_reports(report: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^plot_check: "):
        plots.plot_check(report)


def test_zero_gradients_have_a_scale_too() -> None:
    x = cr.Value(1.0)
    plots.plot_check(cr.gradcheck(lambda: x * 0.0, parameters=x)).savefig(BytesIO())
