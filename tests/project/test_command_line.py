"""`python -m chainrule` as a real process, and the expressions that it reads, beside Python's own reading of them."""

from __future__ import annotations

import ast
import cmath
import doctest
import math
import operator
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from samples import OPERATIONS

import chainrule as cr
from chainrule import expression
from chainrule.__main__ import main
from chainrule.expression import CONSTANTS, FUNCTIONS
from chainrule.pointing import ExpressionError
from chainrule.reading import assigned, parse

README = Path(__file__).parents[2] / "README.md"
NEURON = ("tanh(x1*w1 + x2*w2 + b)", "x1=2", "w1=-3", "x2=0", "w2=1", "b=6.8813735870195432")


def run(*args: str, status: int = 0, **environment: str) -> str:
    """What the command line prints: to standard output where it succeeds, else to standard error."""
    command = [sys.executable, "-m", "chainrule", *args]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **environment}, check=False)
    assert done.returncode == status, done.stderr.decode()
    if status == 0:
        assert done.stderr == b""
    return (done.stderr if status == 2 else done.stdout).decode()


# The commands.


def test_draw_prints_a_table() -> None:
    x1, w1, x2, w2, b = (cr.Value(x, name) for x, name in zip((2, -3, 0, 1, 6.8813735870195432), NAMES, strict=True))
    y = cr.tanh(x1 * w1 + x2 * w2 + b)
    y.backward()
    assert run("draw", *NEURON) == f"{cr.visualize.diagram(y)}\n"


NAMES = ("x1", "w1", "x2", "w2", "b")


def test_draw_writes_a_picture_and_says_nothing(tmp_path: Path) -> None:
    picture = tmp_path / "neuron.svg"
    assert run("draw", NEURON[0], "-o", str(picture), "--title", "<A & B>", "--direction", "TB", *NEURON[1:]) == ""
    shown = "".join(ElementTree.parse(picture).getroot().itertext())
    assert "0.7071" in shown
    assert "<A & B>" in shown


def test_draw_reads_arrays_and_an_expression_that_begins_with_a_sign(tmp_path: Path) -> None:
    text = tmp_path / "a.dot"
    assert run("draw", "-sum([1, 2] @ x)", "x=[[1, pi], [-.5, 1e-3]]", "-o", str(text), "--theme", "dark") == ""
    x = cr.Tensor([[1.0, math.pi], [-0.5, 1e-3]], name="x")
    y = -cr.sum([1.0, 2.0] @ x)
    y.backward()
    assert text.read_text(encoding="utf-8") == cr.visualize.draw(y, theme="dark").source


@pytest.mark.parametrize(
    ("suffix", "begins"),
    [("mmd", b"flowchart LR"), ("txt", b"id  name"), ("png", b"\x89PNG"), ("html", b"<!doctype html>")],
)
def test_the_suffix_says_what_is_written(suffix: str, begins: bytes, tmp_path: Path) -> None:
    assert main(["draw", *NEURON, "-o", str(tmp_path / f"neuron.{suffix}")]) == 0
    assert (tmp_path / f"neuron.{suffix}").read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("x * sin(y)", "x=2", "y=[0.5, 1]"), 0, "gradcheck: 3 of 3 right"),
        (("relu(x)", "x=0"), 0, "gradcheck: 0 of 1 right, 1 kink"),
        (("log(x)", "x=-1"), 1, "gradcheck: 0 of 1 right, 1 not finite"),
    ],
)
def test_check_says_by_its_status_whether_all_is_right(args: tuple[str, ...], status: int, said: str) -> None:
    printed = run("check", *args, status=status)
    assert printed.startswith(said)
    assert "\ncheck: " in printed


def test_explain_prints_the_chain_rule_of_each_variable() -> None:
    x, w = cr.Value(2.0, "x"), cr.Value(-3.0, "w")
    y = x * w + cr.exp(x)
    assert run("explain", "x*w + exp(x)", "x=2", "w=-3") == f"{cr.explain(y, x)}\n\n{cr.explain(y, w)}\n"


@pytest.mark.parametrize(
    ("args", "said"), [(("--version",), f"chainrule {cr.__version__}"), (("draw", "--help"), "arctan2")]
)
def test_version_and_help(args: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(args)
    assert stopped.value.code == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "required: COMMAND"),
        (("draw", "x + y", "x=1", "z=2"), "z has a value, but the expression has x and y"),
        (("draw", "x + y", "x=1", "x=2", "y=3"), "x has two values"),
        (("draw", "x*x", "x="), "x is given no value; write it behind the =, as in x=2"),
        (("draw", "x @ x", "x=[[1, 2]]"), "with gufunc signature"),
        (("draw", "2 * x", "x=[1, 2]"), "the result is an array of shape (2,)"),
        (("check", "1 + 2"), "there is no variable in the expression"),
        (("draw", "x", "x=1", "--frobnicate"), "there is no option --frobnicate"),
        (("draw", "x", "x=1", "-o", "x.bmp"), "the format comes from the suffix"),
        (("explain", "x", "x=1", "--of", "y"), "--of y: the expression has x"),
        (("draw", "x", "+", "y", "x=1"), "the expression in quotes"),
    ],
)
def test_usage_errors_have_status_2(args: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(args)
    except SystemExit as stopped:  # where argparse finds it
        status = stopped.code
    assert status == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("x*x", "x=2", "-o", "-.svg"), "-.svg"),
        (("x*x", "x=2", "--output", "-foo.svg"), "-foo.svg"),
        (("x*x", "x=2", "--output=-foo.svg"), "-foo.svg"),
        (("-oglued.svg", "-x*x", "x=2"), "glued.svg"),
        (("-x*x", "x=2", "-o", " -.svg", "--title", "-x"), " -.svg"),
    ],
)
def test_names_that_begin_with_a_dash(
    words: tuple[str, ...], file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["draw", *words]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("expression", ["-o*x", "-x**2 * o", "-h*0 - o*x", "-(o*x)", "- -o*x"])
def test_an_expression_may_begin_as_an_option_does(expression: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"{name}=2" for name in ("x", "o", "h") if name in expression]
    status = main(["explain", expression, *given])
    assert (status, capsys.readouterr().err) == (0, "")


def test_readme_shows_what_is_printed(tmp_path: Path) -> None:
    shown = re.findall(r"^```console\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for part in shown[0].removeprefix("$ ").split("\n$ "):
        command, _, printed = part.partition("\n")
        words = [sys.executable, *shlex.split(command)[1:]]
        done = subprocess.run(words, capture_output=True, cwd=tmp_path, encoding="utf-8", check=False)
        assert (done.stdout + done.stderr).rstrip("\n") == printed.rstrip("\n")
    assert [path.name for path in tmp_path.iterdir()] == ["neuron.svg"]


def test_a_terminal_without_mathematical_signs_gets_codes() -> None:
    assert r"\u2202" in run("draw", "x*x", "x=3", PYTHONIOENCODING="ascii")


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "chainrule", "draw", "x*x", "x=3"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


BROKEN: dict[str, tuple[str, int, str]] = {  # what a shell does to a command, its status, and what it says on stderr
    "closed output": ("{} >&-", 2, "there is no standard output to print to"),
    "a full disk": ("{} >/dev/full", 2, "No space left on device"),
    "closed input": ("{} <&- >/dev/null", 0, ""),
    "closed errors": ("{} 2>&- >/dev/null", 0, ""),
    "a reader that goes away": ("{} | true", 0, ""),
    "nothing open": ("{} <&- >&- 2>&-", 2, ""),
    "an error that nobody hears": ("{} nonsense 2>&-", 2, ""),
    "an error that cannot be written": ("{} nonsense 2>/dev/full", 2, ""),
    "an error without output": ("{} nonsense >&-", 2, "expected the expression in quotes"),
}


def in_a_shell(line: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("python", shlex.quote(sys.executable), 1)
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a shell and /dev/full")
@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("command", ["draw", "check", pytest.param("explain", marks=pytest.mark.slow)])
def test_streams_that_are_not_there_are_one_message(command: str, what: str) -> None:
    line, status, said = BROKEN[what]
    done = in_a_shell(line.format(f"python -m chainrule {command} 'x*w' x=2 w=3"))
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == bool(said)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a shell and /dev/full")
@pytest.mark.parametrize("option", ["--help", "--version", "draw --help"])
def test_help_that_cannot_be_written_is_an_error(option: str) -> None:
    done = in_a_shell(f"python -m chainrule {option} >/dev/full")
    assert done.returncode == 2
    assert done.stderr == "python -m chainrule: error: [Errno 28] No space left on device\n"


def test_without_standard_output_a_call_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["explain", "x*x", "x=2"]) == 2
    assert "there is no standard output" in capsys.readouterr().err


def test_alone_it_names_its_commands() -> None:
    said = run(status=2)
    for name in ("draw", "check", "explain"):
        assert re.search(rf"^    {name} +\w", said, re.MULTILINE)
    assert "--help" in said


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes in folders")
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("folder.dot", "it is a folder"),
        ("./folder.svg/", "it is a folder"),
        ("folder.html", "it is a folder"),
        ("missing//a.dot", "there is no folder 'missing'"),
        ("missing/a.gif", "there is no folder 'missing'"),
        ("file.txt/a.dot", "there is no folder 'file.txt'"),
        ("pipe.mmd", "no file but a pipe or a device"),
        ("pipe.html", "no file but a pipe or a device"),
        ("a\0b.dot", "no path has the character"),
        ("a\0b.html", "no path has the character"),
        ("a" * 300 + ".dot", "File name too long"),
        ("/dev/full", "the format comes from the suffix"),
        ("x.bmp", "the format comes from the suffix"),
    ],
)
def test_a_path_that_is_no_place_for_a_file(
    path: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("folder.dot", "folder.svg", "folder.html"):
        Path(name).mkdir()
    for name in ("pipe.mmd", "pipe.html"):
        os.mkfifo(name)
    Path("file.txt").write_text("as it was")
    before = sorted(tmp_path.iterdir())
    assert main(["draw", "x*w", "x=2", "w=3", "-o", path]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert repr(path)[1:-1] in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that not even the administrator writes in")
@pytest.mark.parametrize("path", ["/proc/neuron.svg", "/proc/neuron.html"])
def test_a_folder_that_cannot_be_written_in(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "x*w", "x=2", "w=3", "-o", path]) == 2
    assert f"'{path}'\n" in (said := capsys.readouterr().err)
    assert ".tmp" not in said


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link.dot").symlink_to("file.dot")
    assert main(["draw", "x*x", "x=2", "-o", str(tmp_path / "link.dot")]) == 0
    assert (tmp_path / "link.dot").is_symlink()
    assert (tmp_path / "file.dot").read_text().startswith("digraph")


STOPPED = """
import chainrule, runpy, signal, sys
calls = 0
def count(frame, event, arg):
    global calls
    if calls or frame.f_code.co_name == "on_ctrl_c":
        calls += 1
    if calls == {calls}:
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)
sys.argv = ["chainrule", {command!r}, "sum([" + ", ".join(["x"] * 300) + "])", "x=2"]
sys.setprofile(count)
runpy.run_module("chainrule", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
@pytest.mark.parametrize("command", ["draw", "check", "explain"])
@pytest.mark.parametrize("calls", [100, 1_000, 10_000, 20_000])
def test_ctrl_c_is_a_status(command: str, calls: int) -> None:
    code = STOPPED.format(command=command, calls=calls)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
def test_ctrl_c_is_a_status_also_while_it_is_being_loaded(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("print(flush=True)\nimport time\ntime.sleep(60)")  # what takes long to load
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "chainrule", "explain", "x*x", "x=2"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate()
    assert (running.returncode, said) == (130, "")


# Expressions.


def test_the_examples_in_its_docstrings_run() -> None:
    assert doctest.testmod(expression).failed == 0


OF_ANOTHER_KIND = {  # what they take or give are not numbers, arrays and settings alone
    "astype", "concatenate", "einsum", "linear", "softmax_cross_entropy", "split", "stack", "where",
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_that_users_see_is_read(name: str) -> None:
    if name in OF_ANOTHER_KIND:
        assert name not in FUNCTIONS
        return
    assert name in FUNCTIONS, (
        f"the command line does not read cr.{name}: call its arguments x, or a and b, as rules do, "
        "or name it in OF_ANOTHER_KIND"
    )
    function = FUNCTIONS[name]
    assert function.row is OPERATIONS[name]
    if all(setting.default is not setting.empty for setting in function.settings.values()):
        xs = [cr.Tensor([[0.5, 0.25 + i], [0.125, 0.75]]) for i in range(function.takes)]
        values = dict(zip("xyz", xs, strict=False))
        with np.errstate(invalid="ignore"):
            assert_array_equal(parse(f"{name}({', '.join(values)})").evaluate(values).data, OPERATIONS[name](*xs).data)


# Each with what the message says and, in ‹›, the place that it points at.
ERRORS = [
    ("‹›", "the expression is empty"),
    ("2 +‹›", "the expression ends too early"),
    ("(1 + x‹]›", "this ] does not match the ( before it"),
    ("2 * ‹(›x", "this ( is never closed"),
    ("x‹)›", "no open bracket for this )"),
    ("‹)›x", "no open bracket for this )"),
    ("(‹)›", "expected a number, a variable or a function before )"),
    ("sin(‹)›", "expected a number, a variable or a function before )"),
    ("x +‹*› y", "expected a number, a variable or a function before *"),
    ("2‹x›", "expected an operator before x; a product is written with *"),
    ("(x)‹(›y)", "expected an operator before (; a product"),
    ("x‹,› y", "a comma stands between arguments"),
    ("(x‹,› y)", "a comma stands between arguments"),
    ("‹snh›(x)", "there is no function snh; did you mean sinh?"),
    ("‹ln›(x)", "did you mean log?"),
    ("‹ｅｘｐ›(x)", "(ｅ is U+FF45 FULLWIDTH LATIN SMALL LETTER E); did you mean exp?"),
    ("‹__import__›('os').system('true')", "there is no function __import__"),
    ("x‹.__class__›", "there are no attributes"),
    ("x‹.sum›()", "there are no attributes in an expression; write sum(…)"),
    ("x‹[›0]", "there is no indexing"),
    ("‹tanh› * x", "tanh is a function: write tanh(…)"),
    ("‹tanh›(x, y)", "tanh takes 1 argument, got 2"),
    ("‹maximum›(x)", "maximum takes 2 arguments, got 1"),
    ("‹max›(x, y)", "the max of several is maximum(…, …)"),
    ("‹clip›(x, 0, 1)", "what follows is given by name: low= and high="),
    ("‹reshape›(x)", "reshape needs shape=…"),
    ("sum(x, ‹axes›=0)", "sum has no setting axes, but axis= and keepdims=; did you mean axis?"),
    ("exp(x, ‹axis›=0)", "exp has no setting axis, but none"),
    ("sum(x, axis=0, ‹axis›=1)", "axis is given twice"),
    ("sum(x, axis=‹y›)", "a setting is a number"),
    ("sum(x, axis=-‹True›)", "a setting is a number"),
    ("sum(x, axis=(0 ‹1›))", "commas between numbers and then )"),
    ("sum(x, axis=‹" + "9" * 19 + "›)", "a whole number of more than 18 digits"),
    ("sum(x, axis=0 ‹+› 1)", "after a setting comes a comma or )"),
    ("sum(x, axis=0, ‹x›)", "only settings, as in axis=0, may follow"),
    ("sum(‹axis›=0)", "arguments come first"),
    ("x ‹<=› 2", "a comparison has no derivative"),
    ("x ‹==› 2", "a comparison has no derivative"),
    ("x ‹=› 2", "values follow the expression"),
    ("x ‹if› y", "the word 'if' has no meaning"),
    ("‹lambda›: 0", "the word 'lambda' has no meaning"),
    ("x‹^›2", "^ has no meaning in an expression; a power is **"),
    ("x‹²›", "² (U+00B2 SUPERSCRIPT TWO) has no meaning in an expression; a power is **2"),
    ("x ‹−› 1", "− (U+2212 MINUS SIGN) has no meaning in an expression; write -"),
    ("x + ‹２›", "write 2"),
    ("x ‹\0›", "U+0000 has no meaning"),
    ("‹\u202e›x", "U+202E RIGHT-TO-LEFT OVERRIDE has no meaning"),
    ("世界 * ‹$›", "$ has no meaning"),
    ("‹'›os'", "there is no text in an expression"),
    ("x ‹:›= 2", ": has no meaning"),
    ("1 + ‹y›", "no value for y; values follow the expression, as in y=1.5"),
    ("x + ‹a› + b + a", "no value for a and b"),
    ("v ‹@› x", "matmul: cannot be computed"),
    ("1 + ‹sum›(v, axis=3)", "axis 3 is out of bounds"),
    ("‹[v, [1]]›", "stack: cannot be computed"),
]


@pytest.mark.parametrize(("marked", "said"), ERRORS, ids=[f"{i}" for i in range(len(ERRORS))])
def test_errors_point_at_the_place(marked: str, said: str) -> None:
    before, rest = marked.split("‹")
    inside, after = rest.split("›")
    with pytest.raises(ExpressionError) as caught:
        parse(before + inside + after).evaluate({"x": cr.Value(2.0), "v": cr.Tensor([1.0, 2.0, 3.0])})
    problem, text, carets = str(caught.value).rsplit("\n", 2)
    assert said in problem
    assert text == f"  {before}{inside}{after}".replace("\0", "\ufffd").replace("\u202e", "\ufffd")
    assert carets == f"  {' ' * columns(before)}{'^' * (columns(inside) or 1)}"


def columns(text: str) -> int:
    return sum(2 if c in "世界ｅｘｐ２" else 1 for c in text)


def test_of_a_long_expression_the_part_around_the_place_is_shown() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("1 + " * 100 + "$" + " + 1" * 100)
    assert str(caught.value).splitlines()[1:] == [
        f"  …{'+ 1 ' * 9}+ ${' + 1' * 9} …",
        f"{' ' * 41}^",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "expected the expression in quotes, then names"),
        ("=2", "expected the expression in quotes"),
        ("2x=2", "expected the expression in quotes"),
        ("if=2", "expected the expression in quotes"),
        ("exp=2", "exp is a function; choose another name"),
        ("e=2", "e is a constant; choose another name"),
        ("x=", "x is given no value; write it behind the =, as in x=2"),
        ("x=y", "a value is made of numbers, and y is a name"),
        ("x=[1, [2]]", "stack: cannot be computed"),
        ("x=[]", "expected a number"),
        ("x=1 2", "expected an operator"),
        ("x=1e400", "the value is not finite; write inf or nan"),
        ("x=10**400", "the value is not finite; write inf or nan"),
        ("x=[1, 2 / 0]", "the value is not finite; write inf or nan"),
    ],
)
def test_values_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        assigned(text)
    assert said in str(caught.value)
    assert f"\n  {text}\n" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", 2.0),
        ("-1e-3", -1e-3),
        ("+.5", 0.5),
        ("1_000.", 1000.0),
        ("-inf", -math.inf),
        ("nan", math.nan),
        ("pi / 2", math.pi / 2),
        ("2 - inf", -math.inf),
        ("[1, 2,]", [1.0, 2.0]),
        ("[[1, -pi], [.5, 0]] * 2", [[2.0, -2 * math.pi], [1.0, 0.0]]),
    ],
)
def test_values(text: str, expected: Any) -> None:
    name, x = assigned(f"α_1={text}")
    assert (name, x.name) == ("α_1", "α_1")
    assert isinstance(x, cr.Tensor if isinstance(expected, list) else cr.Value)
    assert_array_equal(x.data, expected)


SETTINGS: list[tuple[str, Callable[[Any], Any]]] = [
    ("sum(x, axis=-1)", lambda x: x.sum(axis=-1)),
    ("sum(x, axis=(0, 1), keepdims=True,)", lambda x: x.sum(axis=(0, 1), keepdims=True)),
    ("mean(x, axis=None)", lambda x: x.mean()),
    ("clip(x, low=-.5, high=+1e0)", lambda x: cr.clip(x, -0.5, 1.0)),
    ("reshape(x, shape=[3, -1])", lambda x: x.reshape(3, -1)),
    ("transpose(x) @ x", lambda x: x.T @ x),
    ("broadcast_to(x, shape=(4, 2, 3))", lambda x: cr.broadcast_to(x, (4, 2, 3))),
    ("pad(x, pad_width=(1, 2))", lambda x: cr.pad(x, (1, 2))),
    ("roll(x, shift=(1, 2), axis=(0, 1))", lambda x: cr.roll(x, (1, 2), (0, 1))),
    ("repeat(x, repeats=2)", lambda x: cr.repeat(x, 2)),
    ("take(x, indices=[2, 0], axis=1)", lambda x: x[:, [2, 0]]),
    ("moveaxis(x, source=0, destination=1)", lambda x: x.T),
    ("tensordot(x, x)", lambda x: cr.sum(x * x)),
    ("softmax(x, axis=0)", lambda x: cr.softmax(x, axis=0)),
    ("[x, 2 * x, abs(x)]", lambda x: cr.stack([x, 2.0 * x, abs(x)])),
]


@pytest.mark.parametrize(("text", "same"), SETTINGS)
def test_settings_and_arrays(text: str, same: Callable[[Any], Any]) -> None:
    x = cr.Tensor([[1.0, -2.0, 0.25], [0.5, 4.0, -0.125]])
    assert_array_equal(parse(text).evaluate({"x": x}).data, same(x).data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(" * 10_000 + "x" + ")" * 10_000, 3.0),
        ("neg(" * 10_000 + "x" + ")" * 10_000, 3.0),
        ("-" * 10_001 + "x", -3.0),
        ("x" + "**1" * 10_000, 3.0),
        ("x" + " + 0" * 20_000, 3.0),
        ("sum(" * 3_000 + "[" * 20 + "x" + "]" * 20 + ")" * 3_000, 3.0),
        ("9" * 100_000 + " - x", math.inf),
    ],
)
def test_any_depth(text: str, expected: float) -> None:
    assert parse(text).evaluate({"x": cr.Value(3.0)}).data == expected


@pytest.mark.parametrize("text", ["(" * 100_000, "x" * 1_000_000 + "(", "[" * 100_000 + "$", "9" * 1_000_000 + "x"])
def test_no_length_of_nonsense_makes_a_long_error(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert len(str(caught.value)) < 400


@given(st.text(alphabet=st.sampled_from("x y2.5e()[]+-*/%@,=<'sin\0²é"), max_size=30))
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text).evaluate({"x": cr.Value(2.0), "y": cr.Tensor([1.0, 2.0])})
    except ExpressionError as error:
        assert len(str(error).splitlines()) >= 3  # noqa: PT017


# Beside Python: the same text, read by Python's own parser.

ROWS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: cr.add, ast.Sub: cr.sub, ast.Mult: cr.mul, ast.Div: cr.div, ast.FloorDiv: cr.floordiv, ast.Mod: cr.mod,
    ast.Pow: cr.pow, ast.USub: cr.neg, ast.UAdd: lambda x: x,
}  # fmt: skip


def as_python_reads(tree: ast.AST, values: dict[str, Any]) -> Any:
    match tree:
        case ast.BinOp(left, op, right):
            return ROWS[type(op)](as_python_reads(left, values), as_python_reads(right, values))
        case ast.UnaryOp(op, operand):
            return ROWS[type(op)](as_python_reads(operand, values))
        case ast.Call(ast.Name(name), args):
            return getattr(cr, name)(*(as_python_reads(arg, values) for arg in args))
        case ast.Name(name):
            return CONSTANTS.get(name, values.get(name))
        case ast.Constant(number):
            return float(number)
    raise AssertionError(ast.dump(tree))


signs = st.sampled_from(["", "", "", "-", "+", "--", "- +"])
atoms = st.sampled_from(["x", "y", "2", "0.5", "1e0", ".5", "3.", "pi"])
operators = st.sampled_from([" + ", " - ", "*", " / ", "//", "%", "**", "**"])


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operands = st.one_of(inner, inner.map(lambda x: f"({x})"), inner.map(lambda x: f"cos({x})"))
    operands = st.one_of(operands, st.tuples(operands, operands).map(lambda x: f"maximum({x[0]}, {x[1]})"))
    pairs = st.tuples(operators, signs, operands).map("".join)
    return st.tuples(signs, operands, st.lists(pairs, min_size=1, max_size=4).map("".join)).map("".join)


@given(st.recursive(atoms, joined, max_leaves=12))
@settings(max_examples=200, deadline=None)
def test_operators_bind_as_pythons_do(text: str) -> None:
    values = {"x": cr.Value(1.25), "y": cr.Value(-0.75)}
    with np.errstate(all="ignore"):
        ours = parse(text).evaluate(values)
        python = as_python_reads(ast.parse(text, mode="eval").body, values)
    assert type(ours) is type(python)
    assert_array_equal(*(x.data if isinstance(x, cr.Node) else x for x in (ours, python)))


# Beside Python's own arithmetic: a text, and the same as a function of complex numbers.

Complex = Callable[[dict[str, complex]], complex]
Pair = tuple[str, Complex]


def variable(name: str) -> Pair:
    return name, lambda v: v[name]


def constant(number: float) -> Pair:
    return repr(number), lambda v: complex(number)


def unary(text: str, f: Callable[[complex], complex]) -> Callable[[Pair], Pair]:
    return lambda a: (text.format(a[0]), lambda v: f(a[1](v)))


def binary(text: str, f: Callable[[complex, complex], complex]) -> Callable[[tuple[Pair, Pair]], Pair]:
    return lambda ab: (text.format(ab[0][0], ab[1][0]), lambda v: f(ab[0][1](v), ab[1][1](v)))


SMOOTH = [
    unary("sin({})", cmath.sin),
    unary("cos({})", cmath.cos),
    unary("tanh({})", cmath.tanh),
    unary("arctan({})", cmath.atan),
    unary("-sin({})**2", lambda a: -(cmath.sin(a) ** 2)),
    unary("exp(sin({}))", lambda a: cmath.exp(cmath.sin(a))),
    unary("log(3 + cos({}))", lambda a: cmath.log(3 + cmath.cos(a))),
    unary("2**-tanh({})", lambda a: 2 ** -cmath.tanh(a)),
]
JOINED = [
    binary("({} + {})", operator.add),
    binary("({} - {})", operator.sub),
    binary("({}) * ({})", operator.mul),
    binary("({}) / (2 + sin({}))", lambda a, b: a / (2 + cmath.sin(b))),
]
expressions = st.recursive(
    st.one_of(
        st.sampled_from("xy").map(variable), st.floats(0.5, 2.0, allow_nan=False).map(lambda x: constant(round(x, 3)))
    ),
    lambda inner: st.one_of(*(inner.map(f) for f in SMOOTH), *(st.tuples(inner, inner).map(f) for f in JOINED)),
    max_leaves=8,
)


@given(expressions, st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
@settings(max_examples=150, deadline=None)
def test_values_and_gradients_are_those_of_complex_arithmetic(pair: Pair, x: float, y: float) -> None:
    text, f = pair
    variables = {"x": cr.Value(x), "y": cr.Value(y)}
    z = parse(f"({text}) + 0 * x").evaluate(variables)
    z.backward()
    assert math.isclose(z.data, f({"x": complex(x), "y": complex(y)}).real, rel_tol=1e-9, abs_tol=1e-9)
    for name, node in variables.items():
        moved = {"x": complex(x), "y": complex(y)}
        moved[name] += 1e-200j
        assert math.isclose(node.grad or 0.0, f(moved).imag / 1e-200, rel_tol=1e-9, abs_tol=1e-9)
