"""Drawings: the plain description, the DOT text byte for byte, and pictures made by the real programs.

`PYTHONPATH=tests python tests/visualize/test_visualize.py` writes the golden files anew; look at the difference before you keep it.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from reference import node
from samples import OPERATIONS, SAMPLES
from scripts import printed_by

import chainrule as cr
from chainrule import visualize
from chainrule.autograd.primitive import unary

GOLDEN = Path(__file__).parent / "golden"


def neuron() -> Any:
    x1, x2 = cr.Value(2.0, name="x1"), cr.Value(0.0, name="x2")
    w1, w2 = cr.Value(-3.0, name="w1"), cr.Value(1.0, name="w2")
    b = cr.Value(6.8813735870195432, name="b")
    n = x1 * w1 + x2 * w2 + b
    o = cr.tanh(n)
    n.name, o.name = "n", "o"
    return o


def square() -> Any:
    x = cr.Value(3.0, name="x")
    return x * x


def tensors() -> Any:
    inputs = np.arange(6.0).reshape(2, 3)
    w = cr.Tensor(np.linspace(-1.0, 1.0, 12).reshape(4, 3), name="W", dtype="float32")
    b = cr.Tensor([0.5, -0.5, 1.0, 0.0], name="b")
    return ((inputs @ w.T + b) ** 2).sum(axis=1).mean()


def after(build: Callable[[], Any]) -> Any:
    root = build()
    root.backward()
    return root


DRAWINGS: dict[str, Callable[[], Any]] = {
    "neuron": lambda: visualize.draw(after(neuron), title="A neuron"),
    "before_backward": lambda: visualize.draw(neuron()),
    "square": lambda: visualize.draw(after(square), direction="TB"),
    "tensors": lambda: visualize.draw(after(tensors)),
    "tensors_down": lambda: visualize.draw(after(tensors), direction="TB", theme="dark", legend=False),
    "neuron_neato": lambda: visualize.draw(after(neuron), engine="neato", graph_attr={"bgcolor": "transparent"}),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_dot_text_is_golden(name: str) -> None:
    assert DRAWINGS[name]().source == (GOLDEN / f"{name}.dot").read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", ["1", "2"])
def test_same_bytes_in_every_process(seed: str) -> None:
    printed = printed_by(
        "import test_visualize as t; [t.sys.stdout.buffer.write(f().source.encode()) for f in t.DRAWINGS.values()]",
        Path(__file__).parent,
        seed,
    )
    assert printed == b"".join((GOLDEN / f"{name}.dot").read_bytes() for name in DRAWINGS)


def edges(root: Any) -> list[tuple[int, int, int, float | None]]:
    return [(e.source, e.target, e.position, e.derivative) for e in visualize.diagram(root).edges]


def test_description_of_the_neuron() -> None:
    drawn = visualize.diagram(after(neuron))
    assert [node.id for node in drawn.nodes] == list(range(1, 11))
    assert drawn.root == 10
    assert [node.name for node in drawn.nodes] == ["x1", "x2", "w1", "w2", "b", "", "", "", "n", "o"]
    assert [node.symbol for node in drawn.nodes] == [""] * 5 + ["×", "×", "+", "+", "tanh"]
    grads = [node.grad.numbers[0] for node in drawn.nodes if node.grad and node.grad.numbers]
    assert grads == pytest.approx([-1.5, 0.5, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0])
    assert [(e.source, e.target) for e in drawn.edges] == [
        (1, 6), (3, 6), (2, 7), (4, 7), (6, 8), (7, 8), (8, 9), (5, 9), (9, 10),
    ]  # fmt: skip
    slopes = [e.derivative for e in drawn.edges if e.derivative is not None]
    assert slopes == pytest.approx([-3, 2, 1, 0, 1, 1, 1, 1, 0.5])


def test_description_is_immutable_and_equal_for_equal_graphs() -> None:
    drawn = visualize.diagram(after(neuron))
    assert drawn == visualize.diagram(after(neuron))
    assert hash(drawn) == hash(visualize.diagram(after(neuron)))
    assert drawn != visualize.diagram(neuron())
    with pytest.raises(dataclasses.FrozenInstanceError):
        drawn.root = 1  # type: ignore[misc]


x, y = cr.Value(2.0), cr.Value(3.0)
t, one = cr.Tensor([1.0, 2.0]), cr.Tensor([[2.0]])

EDGES: list[tuple[str, Any, list[tuple[int, int, int, float | None]]]] = [
    ("the same argument twice", x * x, [(1, 2, 0, 2.0), (1, 2, 1, 2.0)]),
    ("not commutative", x - y, [(1, 3, 0, 1.0), (2, 3, 1, -1.0)]),
    ("a constant on the right", x**2, [(1, 3, 0, 4.0), (2, 3, 1, None)]),
    ("a constant on the left", 6.0 / x, [(2, 3, 0, None), (1, 3, 1, -1.5)]),
    ("many arguments", cr.dot([x, y], [y, 5.0], bias=1.0), [(1, 5, 0, 3.0), (2, 5, 1, 5.0), (2, 5, 2, 2.0), (3, 5, 3, None), (4, 5, 4, None)]),
    ("one element", one * one, [(1, 2, 0, 2.0), (1, 2, 1, 2.0)]),
    ("one element of one", one.sum(), [(1, 2, 0, 1.0)]),
    ("many elements", t * t, [(1, 2, 0, None), (1, 2, 1, None)]),
    ("many elements to one", t.sum(), [(1, 2, 0, None)]),
    ("both kinds", cr.Value(4.0) * one, [(2, 3, 0, 2.0), (1, 3, 1, 4.0)]),
    ("infinite", cr.sqrt(cr.Value(0.0)), [(1, 2, 0, math.inf)]),
]  # fmt: skip


@pytest.mark.parametrize(("root", "expected"), [case[1:] for case in EDGES], ids=[case[0] for case in EDGES])
def test_edges_in_argument_order_with_local_derivatives(root: Any, expected: object) -> None:
    assert edges(root) == expected


def test_an_array_is_one_constant_wherever_it_is_used() -> None:
    a, b, data = cr.Tensor([1.0]), cr.Tensor([2.0]), np.ones(1)
    drawn = visualize.diagram(a * data + b * data)
    assert [node.constant for node in drawn.nodes].count(True) == 1


TENSORS = """\
id  name  op                     args  ∂  data                          grad
1   W                                     float32 (4, 3) rms 0.6276     rms 32.28
2   b                                     float64 (4,) 0.5, -0.5, 1, 0  -10.55, -4.364, 6.818, 13
3         transpose axes=(1, 0)  1        float32 (3, 4) rms 0.6276     rms 32.28
4         constant                        float64 (2, 3) rms 3.028
5         @                      4, 3     float64 (2, 4) rms 5.346      rms 5.398
6         +                      5, 2     float64 (2, 4) rms 5.398      rms 5.398
7         constant                        2
8         **                     6, 7     float64 (2, 4) rms 47.26      rms 0.5
9         Σ axis=1               8        float64 (2,) 16.14, 217       0.5, 0.5
10        mean                   9        float64 () 116.6              1"""


def test_text_of_tensors_constants_and_parameters() -> None:
    assert str(visualize.diagram(after(tensors))) == TENSORS


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_drawn_with_its_sign(name: str) -> None:
    sample = SAMPLES[name][0]
    root = cr.sum(sample.f(*map(node, sample.args)))
    root.backward()
    graph = [n for n in cr.autograd.graph.ancestry(root) if n.op is not None]
    drawn = visualize.diagram(root, fold=False)
    assert [n.symbol for n in drawn.nodes if n.symbol] == [n.op.symbol for n in reversed(graph)]
    assert visualize.draw(root, fold=False).source.count(" -> ") == len(drawn.edges) + len(graph)
    assert visualize.mermaid(root, fold=False).startswith("flowchart")


def test_a_gradient_that_was_not_computed_is_a_dash_and_zero_is_zero() -> None:
    before, root = neuron(), after(neuron)
    assert all(node.grad is None for node in visualize.diagram(before).nodes)
    assert all(line.endswith("–") for line in str(visualize.diagram(before)).splitlines()[1:])
    w2 = visualize.diagram(root).nodes[3]
    assert w2.grad is not None
    assert w2.grad.numbers == (0.0,)
    assert "grad</font><br/>–" in visualize.draw(before).source
    assert "grad</font><br/>–" not in visualize.draw(root).source


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (2.0, "2"), (-3.0, "-3"), (-0.0, "0"), (0.70710678, "0.7071"), (123456.0, "123456"), (1234567.0, "1.235e6"),
        (1e-7, "1e-7"), (-2.5e300, "-2.5e300"), (math.nan, "NaN"), (math.inf, "inf"), (-math.inf, "-inf"), (5e-324, "4.941e-324"),
    ],
)  # fmt: skip
def test_numbers(data: float, shown: str) -> None:
    assert str(visualize.diagram(cr.Value(data))).split() == [
        "id",
        "name",
        "op",
        "args",
        "∂",
        "data",
        "grad",
        "1",
        shown,
        "–",
    ]


@pytest.mark.parametrize(
    ("data", "shown"),
    [(1.0, "1"), (1.0001, "1.0001"), (1.0 + 2**-52, "1.0000000000000002"), (-1.99999, "-1.99999"), (9999.7, "9999.7"), (0.70710678, "0.7071"),
     (1234567.0, "1.235e6"), (math.nan, "NaN"), (math.inf, "inf"), (3, "3"), (np.array([1.0, 0.99999]), "1, 0.99999"), (np.float32(1.0001), "1.0001")],
)  # fmt: skip
def test_a_constant_that_is_not_whole_never_reads_as_if_it_were(data: Any, shown: str) -> None:
    root = cr.Tensor([0.5, 2.0]) * data
    assert visualize.diagram(root).nodes[1].data.text == shown
    assert str(visualize.diagram(root)).splitlines()[2].endswith(shown)
    assert f"{shown}</" in visualize.draw(root).source
    assert f"<br>{shown}" in visualize.mermaid(root).replace("<b>", "").replace('["', "<br>")


@pytest.mark.parametrize(
    ("data", "text", "magnitude"),
    [
        ([3.0, 4.0], "3, 4", math.sqrt(12.5)),
        ([], "empty", 0.0),
        (5.0, "5", 5.0),
        ([3.0] * 5, "3", 3.0),
        ([1e200] * 5, "1e200", 1e200),
        ([0.0] * 5, "0", 0.0),
        ([1.0, math.nan, 2.0, math.inf, 0.0], "NaN", math.nan),
        ([1.0, -math.inf], "1, -inf", math.inf),
    ],
)
def test_size_of_arrays(data: Any, text: str, magnitude: float) -> None:
    (node,) = visualize.diagram(cr.Tensor(data)).nodes
    assert node.data.text == text
    assert node.data.magnitude == pytest.approx(magnitude, nan_ok=True)
    assert node.data.finite == math.isfinite(magnitude)
    assert (node.data.shape, node.data.dtype) == (np.shape(data), "float64")


def fills(root: Any) -> list[str]:
    lines = visualize.draw(root).source.splitlines()
    return [line.split('fillcolor="')[1][:7] for line in lines if re.match(r"\tn\d+ \[", line)]


def test_tint_grows_with_the_gradient_and_is_relative() -> None:
    def weighted(scale: float) -> Any:
        root = cr.dot([cr.Value(1.0) for _ in range(4)], [scale * w for w in (1e-2, 0.1, 1.0, 10.0)])
        root.backward(1.0)
        return root

    blue = [int(color[5:], 16) for color in fills(weighted(1.0)) if color != "#eef1f5"]
    assert sorted(blue[:4], reverse=True) == blue[:4]
    assert len(set(blue[:4])) == 4
    assert fills(weighted(1e3))[3] == fills(weighted(1.0))[3] == "#fdb863"


def test_nan_and_infinity_have_a_double_border_and_a_word() -> None:
    x = cr.Value(0.0, name="x")
    root = after(lambda: 1.0 / x)
    source = visualize.draw(root).source
    assert source.count('color="#b3001b", fillcolor="#fff0f0", penwidth=2.5, peripheries=2') == 2
    assert '<font color="#b3001b"><b>-inf</b></font>' in source
    assert "<b>NaN or infinity</b>" in source
    plain = visualize.draw(after(neuron)).source
    assert not any(sign in plain for sign in ("b3001b", "peripheries", "NaN"))


def test_a_variable_changed_since_is_marked() -> None:
    w = cr.Value(1.0, name="w")
    root = after(lambda: w * 2.0)
    assert "changed since" not in visualize.draw(root).source
    w.data = 5.0
    assert "changed since" in visualize.draw(root).source
    assert "5 (changed since)" in str(visualize.diagram(root))


def test_what_was_not_recorded_is_a_lone_box() -> None:
    with cr.no_grad():
        root = square()
    drawn = visualize.diagram(root)
    assert (len(drawn.nodes), drawn.edges, drawn.nodes[0].symbol) == (1, (), "")


NAMES = [
    "<script>x</script>", '"]; evil [x="', "a|b{c}", "back\\slash", "\\N \\G \\n \\", "end\\", "&lt; &amp; &", "<!-- -->",
    "]]>", "–—∂x²", "日本語", "emoji 😀", "👩‍👩‍👧", " blanks ", "%", "'", "</td>",
]  # fmt: skip
ESCAPED = {
    "new\nline": "new\\nline",
    "\x00\t": "\\x00\\t",
    "\ud800": "\\ud800",
    "\u202eright": "\\u202eright",
    "x" * 10_000: "x" * 23 + "…",
}


@pytest.fixture(params=["dot", "graphviz-pure"])
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Let one of the two programs be the one that is found: Debian's on PATH, the wheel's beside the interpreter."""
    name: str = request.param
    if name == "graphviz-pure":
        monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
        if shutil.which(name, path=Path(sys.executable).parent) is None:
            pytest.skip("the wheel graphviz-pure is not installed")
    elif shutil.which(name) is None:
        pytest.skip("Graphviz is not installed")
    return name


def texts(svg: Path) -> list[str]:
    tree = ElementTree.parse(svg)
    return [
        "".join(element.itertext()).replace("\xa0", " ") for element in tree.iter("{http://www.w3.org/2000/svg}text")
    ]


def hints(svg: Path) -> list[str]:
    tree = ElementTree.parse(svg)
    return [element.get("{http://www.w3.org/1999/xlink}title", "") for element in tree.iter()]


def test_every_name_is_shown_as_text(program: str, tmp_path: Path) -> None:
    names = {name: name for name in NAMES} | ESCAPED
    root = cr.dot([cr.Value(1.0, name=name) for name in names], [cr.Value(1.0) for _ in names])
    picture = visualize.render(root, tmp_path / "names.svg", title='a "title" <b> & \\N')
    assert {shown.strip() for shown in names.values()} <= {text.strip() for text in texts(picture)}
    assert 'a "title" <b> & \\N' in texts(picture)
    shown_on_hover = {hint.splitlines()[0].strip() for hint in hints(picture) if "\n" in hint}
    assert {shown.strip() for name, shown in names.items() if len(name) < 100} <= shown_on_hover


def test_the_symbol_parameters_and_dtype_are_shown_as_text(program: str, tmp_path: Path) -> None:
    odd = unary("odd", lambda x: x * 1.0, lambda g, y, x: g, symbol="<&\\N>", listed=False)
    root = odd(cr.Tensor(np.arange(6.0).reshape(2, 3)).sum(axis=0)[:2] * np.ones(2, dtype=">f4"))
    shown = texts(visualize.render(root, tmp_path / "symbols.svg"))
    assert {"Σ", "axis=0", "[ ]", "index=:2", ">f4 (2,)", "<&\\N>"} <= set(shown)


SIGNATURES = {
    ".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF", ".dot": b"digraph", ".gv": b"digraph",
    ".mmd": b"flowchart", ".txt": b"id  name  op",
}  # fmt: skip


@pytest.mark.parametrize("suffix", [*SIGNATURES, ".SVG"])
@pytest.mark.parametrize("direction", ["LR", "TB"])
def test_pictures(program: str, suffix: str, direction: str, tmp_path: Path) -> None:
    if (program, suffix) == ("graphviz-pure", ".pdf"):
        with pytest.raises(RuntimeError, match=r"no program that makes a pdf.*apt install graphviz.*graph\.dot"):
            visualize.render(after(neuron), tmp_path / "graph.pdf")
        return
    written = visualize.render(after(neuron), str(tmp_path / f"graph{suffix}"), direction=direction)
    assert written == tmp_path / f"graph{suffix}"
    assert written.read_bytes().startswith(SIGNATURES[suffix.lower()])
    assert list(tmp_path.iterdir()) == [written]


def test_it_shows_itself_in_a_notebook(program: str) -> None:
    bundle = visualize.draw(after(neuron))._repr_mimebundle_()
    assert list(bundle) == ["image/svg+xml", "text/plain"]
    assert ">tanh</text>" in bundle["image/svg+xml"]
    assert re.search(r'<svg style="max-width:max\(100%,\d+pt\);height:auto" width=', bundle["image/svg+xml"])
    assert bundle["text/plain"] == str(visualize.diagram(after(neuron)))


BARE = """\
import site, sys
for folder in {folders!r}: site.addsitedir(folder)
import chainrule as cr
from chainrule import visualize
x = cr.Value(3.0, name="x")
visualize.render(x * x, sys.argv[1])
"""


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that can import what this one can, with no programs beside it."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def render_elsewhere(python: Path, path: Path, programs: Path) -> subprocess.CompletedProcess[str]:
    code = BARE.format(folders=[folder for folder in sys.path if folder.endswith("packages")])
    environment = {**os.environ, "PATH": str(programs), "PYTHONUSERBASE": str(programs)}
    return subprocess.run([python, "-c", code, path], env=environment, capture_output=True, text=True, check=False)


def test_without_a_program_the_text_is_saved_and_the_error_says_what_to_install(
    bare_python: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    done = render_elsewhere(bare_python, tmp_path / "graph.svg", programs)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("RuntimeError: render: ")
    for part in ("apt install graphviz", "pip install graphviz-pure", str(tmp_path / "graph.dot")):
        assert part in message
    assert not (tmp_path / "graph.svg").exists()
    assert (tmp_path / "graph.dot").read_text(encoding="utf-8").startswith("digraph")


SHOWN = """\
import site, sys
for folder in {folders!r}: site.addsitedir(folder)
import chainrule as cr
x = cr.Value(3.0, name="x")
((kind, text),) = cr.visualize.draw(x * x)._repr_mimebundle_().items()
print(kind, text, sep="\\n")
"""


def test_without_a_program_a_notebook_shows_the_table(bare_python: Path, tmp_path: Path) -> None:
    code = SHOWN.format(folders=[folder for folder in sys.path if folder.endswith("packages")])
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONUSERBASE": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([bare_python, "-c", code], env=environment, capture_output=True, check=True, encoding="utf-8")
    kind, *lines = done.stdout.splitlines()
    assert kind == "text/plain"
    assert lines[0].startswith("id  name  op")
    assert "pip install graphviz-pure" in lines[-1]


@pytest.mark.skipif(os.name == "nt", reason="the failing program is a shell script")
def test_a_program_that_fails_leaves_the_old_picture(bare_python: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "dot").write_text("#!/bin/sh\necho '<svg>half a pic'\necho 'out of ink' >&2\nexit 3\n")
    (programs / "dot").chmod(0o755)
    (tmp_path / "graph.svg").write_text("old")
    done = render_elsewhere(bare_python, tmp_path / "graph.svg", programs)
    assert "failed with exit status 3 and said: out of ink" in done.stderr
    assert (tmp_path / "graph.svg").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.dot", "graph.svg", "programs"]


REPLACED = """\
import os, signal, sys, chainrule as cr
if sys.argv[3] == "killed":
    os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
x = cr.Value(3.0, name="x")
getattr(cr.visualize, sys.argv[1])(x * x, sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there are no modes, and nothing is killed")
@pytest.mark.parametrize(
    ("function", "name"), [("render", "a.dot"), ("render", "a.mmd"), ("render", "a.txt"), ("step", "a [1].html")]
)
def test_what_replaces_a_file_keeps_its_mode_and_clears_what_was_killed(
    function: str, name: str, tmp_path: Path
) -> None:
    path, other = tmp_path / name, tmp_path / "other.dot"

    def write(how: str, path: Path = path, function: str = function) -> int:
        return subprocess.run([sys.executable, "-c", REPLACED, function, path, how], check=False).returncode

    path.write_text("old")
    path.chmod(0o600)
    assert write("killed", other, "render") == write("killed") == -signal.SIGKILL
    left = sorted(each.name for each in tmp_path.iterdir() if each.suffix == ".tmp")
    assert [each.split(".chainrule-")[0] for each in left] == sorted([f".{name}", ".other.dot"])
    assert (path.read_text(), write("whole")) == ("old", 0)
    assert path.stat().st_mode & 0o777 == 0o600
    (of_other,) = set(tmp_path.iterdir()) - {path}
    assert of_other.name.startswith(".other.dot.")


def test_nothing_is_left_behind_where_the_file_cannot_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "graph.dot").mkdir()
    with pytest.raises(OSError, match=r"graph\.dot"):
        visualize.render(square(), tmp_path / "graph.dot")
    assert [path.name for path in tmp_path.iterdir()] == ["graph.dot"]


def chained_scores() -> Any:
    """A network of single numbers, and then so long a chain that it is folded."""
    y: Any = cr.nn.scalar.MLP(2, [3, 1], fused=False, rng=0)([0.5, -0.5])
    for _ in range(30):
        y = cr.tanh(y)
    return y


SCORE = chained_scores()

OPTIONS: dict[str, Any] = {
    "direction": "TB", "title": "Title", "max_nodes": 3, "depth": 0, "open": ["layers.0"], "names": {"score": SCORE},
    "fold": False, "check": cr.check(SCORE), "theme": "dark", "legend": False, "engine": "neato",
    "graph_attr": {"pad": "1"}, "node_attr": {"margin": "1"}, "edge_attr": {"minlen": "2"},
}  # fmt: skip

FORMS: dict[str, tuple[Callable[..., Any], Callable[[Any], str]]] = {
    ".dot": (visualize.draw, lambda drawing: drawing.source),
    ".mmd": (visualize.mermaid, str),
    ".txt": (visualize.diagram, lambda drawn: f"{drawn}\n"),
}

TAKEN = {suffix: inspect.signature(function).parameters for suffix, (function, _) in FORMS.items()}


@pytest.mark.parametrize("suffix", FORMS)
def test_an_option_is_the_same_wherever_it_is_taken(suffix: str) -> None:
    known, taken = inspect.signature(visualize.render).parameters, TAKEN[suffix]
    assert list(known) == ["root", "path", *OPTIONS]
    assert list(taken.values()) == [known[name] for name in known if name in taken]
    assert suffix != ".dot" or list(taken) == ["root", *OPTIONS]


@pytest.mark.parametrize(
    ("suffix", "option"), [(end, option) for end in FORMS for option in OPTIONS if option in TAKEN[end]]
)
def test_every_option_is_handed_on(option: str, suffix: str, tmp_path: Path) -> None:
    function, text = FORMS[suffix]
    expected = text(function(SCORE, **{option: OPTIONS[option]}))
    assert expected != text(function(SCORE))
    path = visualize.render(SCORE, tmp_path / f"graph{suffix}", **{option: OPTIONS[option]})
    assert path.read_text(encoding="utf-8") == expected


REFUSED: list[tuple[Callable[[Path], object], type[Exception], str]] = [
    (lambda folder: visualize.diagram(3.0), TypeError, "expected a Value or a Tensor to draw, got float"),  # type: ignore[arg-type]
    (lambda folder: visualize.draw([square()]), TypeError, "got list"),  # type: ignore[arg-type]
    (lambda folder: visualize.draw(square(), direction="left"), ValueError, "direction must be one of LR, RL, TB, BT, got 'left'"),
    (lambda folder: visualize.draw(square(), title=3), TypeError, "title must be a string or None, got int"),  # type: ignore[arg-type]
    (lambda folder: visualize.draw(square(), max_nodes=0), ValueError, "max_nodes must be a positive integer, or None"),
    (lambda folder: visualize.draw(square(), max_nodes=1, fold=False), ValueError, "has 2 nodes and the limit is 1"),
    (lambda folder: visualize.render(square(), folder / "graph.jpeg"), ValueError, r"\.svg, \.png, \.pdf, \.dot, \.gv, \.mmd, \.txt; got 'graph.jpeg'"),
    (lambda folder: visualize.render(square(), folder / "graph"), ValueError, "suffix"),
    (lambda folder: visualize.render(square(), folder / "no" / "graph.svg"), FileNotFoundError, "no folder .*make it first"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_bad_input(call: Callable[[Path], object], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


def chain(length: int) -> Any:
    root: Any = cr.Value(1.0)
    for _ in range(length):
        root = -root
    return root


@pytest.mark.slow
def test_a_huge_graph_is_refused() -> None:
    root = chain(200_000)
    with pytest.raises(ValueError, match=r"200,001 nodes and the limit is 150.*max_nodes="):
        visualize.draw(root, fold=False)


def test_a_deep_graph_is_described_without_recursion() -> None:
    root = chain(5_000)
    assert len(visualize.diagram(root, max_nodes=None).nodes) == 5_001
    assert visualize.draw(root, fold=False, max_nodes=None).source.count(" -> ") == 10_000


if __name__ == "__main__":
    for name, build in DRAWINGS.items():
        (GOLDEN / f"{name}.dot").write_text(build().source, encoding="utf-8", newline="")
