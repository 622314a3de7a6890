"""Still pictures beyond the plain one: verdicts of a check, themes, legends, Graphviz's options, Mermaid and text.

`python tests/visualize/test_stills.py` writes the golden files anew; look at the difference before you keep it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from samples import with_false_zeros

import chainrule as cr
from chainrule import visualize
from chainrule.autograd.checking.report import Report
from chainrule.visualize.drawing.theme import THEMES, Theme

GOLDEN = Path(__file__).parent / "golden"
double = cr.custom("double", lambda x: 2.0 * x, lambda g, y, x: g)  # the rule forgets the 2

HOSTILE = [
    "<script>alert(1)</script>", '"]; evil', "`code`", '"`**md**`"', "new\nline", "emoji 😀", "שלום", "x" * 10_000, "\\N \\G \\n",
    "%", "%% note", "&amp;", "\x00", "1. one", "- dash", "end", "click n1 call f()", "#quot;", "a;b", "|", "<img src=x onerror=f()>",
]  # fmt: skip


def built(build: Callable[[], Any]) -> Any:
    root = build()
    root.backward()
    return root


def culprit() -> Any:
    w, x = cr.Value(2.0, name="w"), cr.Value(3.0, name="x")
    y = cr.tanh(double(w) * x * 0.1)
    y.name = "y"
    return y


def calm() -> Any:
    return cr.tanh(cr.Value(0.5, name="x") * cr.Value(-1.0, name="w"))


def kinked() -> Any:
    return cr.relu(cr.Value(0.0, name="x")) * cr.Value(2.0, name="w")


def not_finite() -> Any:
    x = cr.Value(0.0, name="x")
    return cr.log(x) * x + 3.0


def checked(build: Callable[[], Any], **options: Any) -> Any:
    root = built(build)
    return visualize.draw(root, check=cr.check(root), **options)


GOLD: dict[str, Callable[[], str]] = {
    "check.dot": lambda: checked(culprit, title="Which one is wrong?").source,
    "check_dark.dot": lambda: checked(culprit, theme="dark", direction="TB").source,
    "check.mmd": lambda: (lambda y: visualize.mermaid(y, check=cr.check(y)))(built(culprit)),
    "neuron.mmd": lambda: visualize.mermaid(built(calm), title="A neuron", theme="dark"),
}


@pytest.mark.parametrize("name", GOLD)
def test_text_is_golden(name: str) -> None:
    assert GOLD[name]() == (GOLDEN / name).read_text(encoding="utf-8")


# Verdicts.


def verdicts(root: Any, report: Any = None) -> dict[str, str]:
    drawn = visualize.diagram(root, check=cr.check(root) if report is None else report)
    return {node.operation or node.name: node.verdict for node in drawn.nodes if not node.constant}


def test_the_culprit_has_both_numbers_on_its_arrow() -> None:
    drawn = visualize.diagram(culprit(), check=cr.check(culprit()))
    (edge,) = [edge for edge in drawn.edges if edge.verdict == "wrong"]
    assert edge.target == 3
    assert re.fullmatch(r"autograd 1, numeric 2; its rule is at test_stills\.py:\d+", edge.finding)
    assert [node.operation for node in drawn.nodes if node.operation and node.verdict == "wrong"] == ["double"]
    assert [edge.verdict for edge in drawn.edges] == ["wrong", "right", "right", "right", "", "right"]


def test_each_variable_has_the_verdict_of_the_whole() -> None:
    assert verdicts(culprit()) == {"w": "wrong", "x": "right", "double": "wrong", "mul": "right", "tanh": "right"}


def test_the_culprit_cannot_be_missed() -> None:
    source = checked(culprit).source
    (stop,) = [line for line in source.splitlines() if "octagon" in line]
    assert stop.startswith("\top3 [")
    assert all(sign in stop for sign in ("<b>double</b>", "<b>WRONG</b>", 'fillcolor="#b3001b"', "peripheries=2"))
    (arrow,) = [line for line in source.splitlines() if "penwidth=4" in line]
    assert "<b>wrong</b><br/>autograd 1<br/>numeric 2" in arrow
    assert "double is WRONG: autograd 1, numeric 2" in source
    assert "wrong operation: 1" in source
    assert "gradient of the whole wrong: 1" in source


def test_the_line_of_the_culprit_stands_below() -> None:
    with cr.record_lines():
        y = culprit()
    source = visualize.draw(y, check=cr.check(y)).source
    assert re.search(r">(<br/>)?test_stills\.py:\d+, in culprit: y = cr\.tanh\(double\(w\)", source)
    assert str(visualize.diagram(y)).splitlines()[0].endswith("line")


@pytest.mark.parametrize(
    ("build", "verdict", "sign", "text"),
    [
        (calm, "right", "", "right: 4"),
        (kinked, "kink", 'style="filled,dashed"', "<b>kink</b><br/>autograd 0<br/>slopes 0 and 1"),
        (not_finite, "not finite", "peripheries=2", "<b>not finite</b>"),
        (lambda: cr.custom("coarse", lambda x: 1e6 + 1e-12 * x, lambda g, y, x: 2e-12 * g)(cr.Value(1.0)), "too noisy", "dotted", "autograd 2e-12<br/>numeric"),
        (lambda: cr.custom("lost", lambda x: 2.0 * x, None)(cr.Value(1.0, name="x")), "wrong", "octagon", "lost is WRONG: autograd 0, numeric 2"),
    ],
)  # fmt: skip
def test_every_verdict_has_a_word_and_a_line_of_its_own(
    build: Callable[[], Any], verdict: str, sign: str, text: str
) -> None:
    root = build()
    report = cr.check(root)
    assert verdict in {row.verdict for row in report}, str(report)
    source = visualize.draw(root, check=report).source
    assert sign in source
    assert text in source
    assert verdict in str(visualize.diagram(root, check=report))


def test_where_only_the_whole_is_wrong_the_variable_is_marked() -> None:
    x = cr.Tensor([1.0, -2.0, 3.0], name="x")
    root = cr.sum(with_false_zeros(x))
    found = verdicts(root)
    assert found.pop("x") == "wrong"
    assert set(found.values()) == {"right"}
    source = visualize.draw(root, check=cr.check(root)).source
    assert "octagon" not in source
    assert re.search(r'\tn1 .*color="#b3001b", penwidth=2.5.*\n', source)


def test_arguments_and_variables_checked_together_share_the_verdict() -> None:
    xs = [cr.Value(0.1 * i, name=f"x{i}") for i in range(40)]
    drawn = visualize.diagram(cr.dot(xs, [1.0] * 40), check=cr.check(cr.dot(xs, [1.0] * 40)))
    assert {edge.verdict for edge in drawn.edges if edge.source in {n.id for n in drawn.nodes if n.name}} == {"right"}
    assert {node.verdict for node in drawn.nodes if not node.constant} == {"right"}
    assert {node.verdict for node in drawn.nodes if node.constant} == {""}


def test_a_gradcheck_shows_its_culprits() -> None:
    def f(w: Any) -> Any:
        return cr.tanh(double(w))

    assert verdicts(f(cr.Value(2.0, name="w")), cr.gradcheck(f, 2.0)) == {"w": "", "double": "wrong", "tanh": ""}


OTHERS: list[tuple[Any, type[Exception], str]] = [
    ("report", TypeError, r"check= takes the Report that cr\.check\(loss\).* returns, got str"),
    (cr.check(cr.exp(calm())), ValueError, r"another graph: it speaks of exp as node 5, which here does not exist.*check=cr\.check\(loss\)"),
    (cr.check(cr.exp(cr.Value(1.0))), ValueError, r"speaks of exp as node 2, which here is 'a variable'"),
    (cr.check(cr.Value(1.0) + cr.Value(2.0)), ValueError, r"speaks of add as node 3, which here is 'mul'"),
]  # fmt: skip


@pytest.mark.parametrize(("report", "error", "message"), OTHERS)
def test_the_report_of_another_graph_is_refused(report: Any, error: type[Exception], message: str) -> None:
    for show in (visualize.draw, visualize.diagram, visualize.mermaid):
        with pytest.raises(error, match=message):
            show(calm(), check=report)


def test_an_empty_report_marks_nothing() -> None:
    assert set(verdicts(calm(), Report(())).values()) == {""}


# Gradients that are not of this result.


def test_a_gradient_of_an_earlier_pass_is_said_to_be_old() -> None:
    w = cr.Value(2.0, name="w")
    (w * w).backward()
    again = w * w
    drawn = visualize.diagram(again)
    assert [node.old_grad for node in drawn.nodes] == [True, False]
    assert "4 (old)" in str(drawn)
    source = visualize.draw(again).source
    assert all(text in source for text in (">grad, old<", 'style="rounded,filled,dashed"', "of an earlier pass"))
    again.backward()
    assert "old" not in visualize.draw(again).source


def test_a_gradient_is_old_where_its_data_changed_since() -> None:
    w = cr.Value(2.0, name="w")
    y = built(lambda: w * w)
    w.data = 5.0
    assert {node.name: node.old_grad for node in visualize.diagram(y).nodes} == {"w": True, "": False}


# Colours.


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    """As in WCAG 2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_all_text_has_contrast(theme: Theme) -> None:
    tints = [theme.tinted(depth / 20) for depth in range(21)]
    grounds = [theme.paper, theme.box, theme.constant, theme.alarm_box, *tints, *(m.fill for m in theme.marks.values())]
    assert min(contrast(text, ground) for text in (theme.ink, theme.quiet) for ground in grounds) >= 4.5
    assert min(contrast(theme.alarm, ground) for ground in (theme.paper, theme.alarm_box)) >= 4.5
    assert contrast(theme.slope, theme.paper) >= 4.5
    assert contrast(theme.on_alarm, theme.alarm) >= 4.5
    assert min(contrast(line, theme.paper) for line in (theme.line, *(m.border for m in theme.marks.values()))) >= 3.0


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_nothing_is_told_by_colour_alone(theme: Theme) -> None:
    assert len({(mark.style, mark.width, mark.double) for mark in theme.marks.values()}) == len(theme.marks)
    lightness = [luminance(theme.tint(share)) for share in (0.0, 0.001, 0.01, 0.1, 0.5, 1.0)]
    assert lightness in (sorted(lightness), sorted(lightness, reverse=True))
    assert len(set(lightness)) == 6


# The legend.


def test_the_legend_explains_what_occurs_and_nothing_else() -> None:
    before, after = visualize.draw(calm()).source, visualize.draw(built(calm)).source
    assert all(text in before for text in ("–: not computed", "local derivative", ">result<"))
    assert "|grad|" not in before
    assert "|grad|" in after
    assert not any(text in after for text in ("not computed", "constant", "rms", "NaN", "earlier"))
    assert visualize.draw(built(calm), legend=False).source.count("label=<") == after.count("label=<") - 1


def test_the_scale_ends_at_the_largest_gradient_but_the_roots() -> None:
    a, b = cr.Value(3.0, name="a"), cr.Value(0.5, name="b")
    source = visualize.draw(built(lambda: a * b)).source
    scale = re.findall(r'bgcolor="(#\w+)"><font color="#1f2933">([^<]*)</font>', source)
    assert [text for _, text in scale] == ["0", "0.065", "0.27", "0.93", "3"]
    assert scale[0][0] == "#ffffff"
    assert scale[-1][0] == "#fdb863"
    assert f'fillcolor="{scale[-1][0]}", tooltip="b' in source


# Options.


def test_attributes_are_quoted_and_come_after_the_defaults() -> None:
    source = visualize.draw(
        calm(),
        graph_attr={"bgcolor": "transparent", "label": 'a "b" \\N'},
        node_attr={"fontname": "Times New Roman"},
        edge_attr={"arrowhead": "vee"},
    ).source
    assert '\tgraph [bgcolor=transparent label="a \\"b\\" \\N"]\n' in source
    assert '\tnode [fontname="Times New Roman"]\n' in source
    assert "\tedge [arrowhead=vee]\n" in source
    assert source.index('bgcolor="#ffffff"') < source.index("bgcolor=transparent") < source.index("\tn1 ")


@pytest.mark.parametrize("direction", ["LR", "RL", "TB", "BT"])
@pytest.mark.parametrize("theme", THEMES)
def test_every_option_makes_a_picture(direction: str, theme: str, tmp_path: Path) -> None:
    root = built(culprit)
    options: dict[str, Any] = {"direction": direction, "theme": theme, "check": cr.check(root), "title": "Which?"}
    picture = visualize.render(root, tmp_path / "graph.svg", **options, graph_attr={"bgcolor": "transparent"})
    shown = [text.strip() for text in texts(picture)]
    assert {"double", "WRONG", "numeric 2", "Which?"} <= set(shown)
    visualize.render(root, tmp_path / "graph.mmd", **options)
    assert (tmp_path / "graph.mmd").read_text(encoding="utf-8").count("WRONG") == 1


@pytest.mark.parametrize("engine", ["neato", "fdp", "circo", "twopi"])
def test_other_engines_lay_out_too(engine: str, tmp_path: Path) -> None:
    if shutil.which("dot") is None and shutil.which("graphviz-pure") is None:
        pytest.skip("no Graphviz is installed")
    drawing = visualize.draw(built(calm), engine=engine)
    assert drawing.engine == engine
    assert ":e ->" not in drawing.source
    picture = visualize.render(built(calm), tmp_path / "graph.svg", engine=engine)
    assert {"x", "w", "tanh"} <= {text.strip() for text in texts(picture)}


def texts(svg: Path) -> list[str]:
    tree = ElementTree.parse(svg)
    return ["".join(e.itertext()).replace("\xa0", " ") for e in tree.iter("{http://www.w3.org/2000/svg}text")]


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"theme": "neon"}, ValueError, "theme must be one of light, dark, got 'neon'"),
    ({"engine": "dots"}, ValueError, "engine must be one of circo, dot, fdp, .*, got 'dots'"),
    ({"graph_attr": [("a", "b")]}, TypeError, "graph_attr must be a mapping of strings, got list"),
    ({"node_attr": {"fontsize": 12}}, TypeError, "node_attr must be a mapping of strings, with 12 as '12'"),
    ({"edge_attr": {"label": "a\\"}}, ValueError, r"cannot read the text 'a\\\\' in edge_attr; double the last"),
    ({"edge_attr": {"label": "a\0b"}}, ValueError, "cannot read the text"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        visualize.draw(calm(), **options)


# Mermaid and text.

STATEMENT = re.compile(
    r"""flowchart\ (LR|RL|TB|BT)
      |\ {4}(n\d+\["LABEL"\] | op\d+(\(\("LABEL"\)\) | \{\{"LABEL"\}\})
      |n\d+\ -->(\|"LABEL"\|)?\ op\d+ | op\d+\ -->\ n\d+
      |classDef\ operation\ CSS | class\ op\d+(,op\d+)*\ operation
      |style\ (n|op)\d+\ CSS | linkStyle\ \d+\ CSS)
    """.replace("LABEL", r"""(?:[^"<>\n]|</?b>|<br>)*""").replace("CSS", r"[\w\-#:,. ]+"),
    re.X,
)


def hostile() -> Any:
    root = cr.dot([cr.Value(1.0, name=name) for name in HOSTILE], [cr.Value(1.0) for _ in HOSTILE])
    odd = cr.custom('"]; <b>', lambda x: 2.0 * x, lambda g, y, x: g, symbol="`<&\\n>`")
    return odd(root)


def test_no_name_can_leave_its_label() -> None:
    root = built(hostile)
    for line in visualize.mermaid(root, check=cr.check(root)).splitlines():
        assert STATEMENT.fullmatch(line), line


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_mermaid_is_letters_and_numbers_of_signs(name: str) -> None:
    (label,) = re.findall(r'n1\["<b>(.*?)</b>', visualize.mermaid(cr.Value(1.0, name=name)))
    assert not re.search(r"[^\w\s#;\u200b😀…]", label)
    decoded = re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label).replace("\u200b", "")
    assert decoded in (name, repr(name)[1:-1], name[:23] + "…")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_title_is_one_line_of_yaml(name: str) -> None:
    opening, title, closing, rest = visualize.mermaid(calm(), title=name).split("\n", 3)
    assert (opening, closing) == ("---", "---")
    assert re.fullmatch(r'title: "([^"\\<>&]|\\["\\])*"', title), title
    assert rest.startswith("flowchart LR\n")


def test_a_hostile_operation_is_shown_and_not_run(tmp_path: Path) -> None:
    def fails(g: Any, y: Any, x: Any) -> Any:
        raise ValueError('no\0 "]; <b> \n\\')

    evil = cr.custom('\0"]; <b>\n', lambda x: 2.0 * x, fails, symbol='\0"];<b>')
    x = cr.Value(1.0, name='"]; <b>')
    root = evil(x)
    picture = visualize.render(root, tmp_path / "graph.svg", check=cr.check(root))
    assert '\\x00"];<b>' in texts(picture)
    assert any('its rule raised ValueError: no\\x00 "]; <b>' in text for text in texts(picture))
    for line in visualize.mermaid(root, check=cr.check(root)).splitlines():
        assert STATEMENT.fullmatch(line), line


def test_hostile_titles_are_shown_in_pictures(tmp_path: Path) -> None:
    title = '<script>alert(1)</script> "]; evil \\N & &amp; %'
    assert title in texts(visualize.render(calm(), tmp_path / "graph.svg", title=title))


def test_mermaid_refuses_what_mermaid_refuses() -> None:
    root: Any = cr.Value(1.0)
    for _ in range(251):
        root = -root
    with pytest.raises(ValueError, match=r"at most 500 arrows and this graph has 502"):
        visualize.mermaid(root, fold=False, max_nodes=None)
    with pytest.raises(ValueError, match="direction must be one of"):
        visualize.mermaid(calm(), direction="up")
    with pytest.raises(TypeError, match="title must be a string"):
        visualize.mermaid(calm(), title=3)  # type: ignore[arg-type]


def test_the_table_is_written_as_text(tmp_path: Path) -> None:
    root = built(culprit)
    written = visualize.render(root, tmp_path / "graph.txt", check=cr.check(root))
    assert written.read_text(encoding="utf-8") == f"{visualize.diagram(root, check=cr.check(root))}\n"
    assert "wrong: autograd 1, numeric 2" in written.read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, text in GOLD.items():
        (GOLDEN / name).write_text(text(), encoding="utf-8", newline="")


def test_the_scale_of_the_smallest_gradients_has_one_zero() -> None:
    y = cr.Value(0.5, name="x") * 5e-324
    y.backward()
    scale = visualize.draw(y).source.partition("|grad|")[2].partition("local derivative")[0]
    assert (scale.count(">0<"), scale.count(">4.941e-324<")) == (1, 1)


@pytest.mark.parametrize("missing", [AttributeError, KeyError, ValueError])
def test_without_a_place_for_programs_of_users_or_processes_a_notebook_shows_text(
    missing: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_scheme(key: str) -> str:
        raise missing(key)

    def no_process(*args: Any, **options: Any) -> Any:
        raise OSError(138, "this platform does not support processes")

    drawing = visualize.draw(cr.Value(2.0, name="x") * 3.0)
    monkeypatch.setattr("sysconfig.get_preferred_scheme", no_scheme)
    assert "image/svg+xml" in drawing._repr_mimebundle_()
    monkeypatch.setattr("subprocess.run", no_process)
    shown = drawing._repr_mimebundle_()
    assert set(shown) == {"text/plain"}
    assert "could not be run" in shown["text/plain"]
    monkeypatch.setattr("sys.executable", "")
    monkeypatch.setattr("shutil.which", lambda *args, **options: None)
    assert "Install Graphviz" in drawing._repr_mimebundle_()["text/plain"]
