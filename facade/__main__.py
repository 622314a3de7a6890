"""The command line: `python -m chainrule draw "tanh(x*w + b)" x=2 w=-3 b=6 -o neuron.svg`; `check` and `explain` likewise.

The exit status is 0, or 1 where a check found something that is not right, or 2 where it could not be done, and 130 after
Ctrl-C. Whatever goes wrong is a message on stderr.
"""

from __future__ import annotations

from ._interruption import INTERRUPTED, on_ctrl_c

if __name__ == "__main__":
    on_ctrl_c(clean=False)

import argparse
import io
import os
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, final
from warnings import catch_warnings

import chainrule as cr

from .expression import CONSTANTS, FUNCTIONS, Expression
from .pointing import ExpressionError, cut_short, listed, suggested
from .reading import assigned, parse

NOT_RIGHT, FAILED = 1, 2
STEP_BY_STEP = (".html", ".htm", ".gif")

EXAMPLES = """\
examples:
  python -m chainrule draw "tanh(x1*w1 + x2*w2 + b)" x1=2 w1=-3 x2=0 w2=1 b=6.88 -o neuron.svg
  python -m chainrule check "sum(softmax(A @ x) ** 2)" "A=[[1, 2], [3, 5]]" "x=[0.5, 0.25]"
  python -m chainrule explain "x*w + exp(x)" x=2 w=-3 --of x
"""
SYNTAX = f"""\
expressions:
  numbers, variables, + - * / // % @ ** with Python's precedence, parentheses, and lists, which are arrays. They are
  read, and never run as Python.
  functions:
{textwrap.fill(" ".join(sorted(FUNCTIONS)), 100, initial_indent="    ", subsequent_indent="    ")}
  settings of functions by name: sum(x, axis=0), clip(x, low=0, high=1)
  constants: {", ".join(CONSTANTS)}
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = commands()
    words = sys.argv[1:] if argv is None else argv
    if not words:
        complain(f"{parser.format_help()}\n{parser.prog}: error: the following arguments are required: COMMAND")
        return FAILED
    said = parser.prog
    try:
        args, more = parser.parse_known_args(list(map(marked, words)))
        more = list(map(unmarked, more))
        said = f"{parser.prog} {args.command}"
        if options := [word for word in more if word.startswith("-")]:
            raise ValueError(f"there is no option {options[0]}")
        with catch_warnings(action="ignore", category=RuntimeWarning):  # what is not finite is shown as such
            status: int = args.run(args, parse(args.expression), given([*args.values, *more]))
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # as in `… | head`
        return 0
    except Exception as error:
        complain(f"{said}: error: {str(error) or type(error).__name__}")
    return FAILED


def say(text: str) -> None:
    """To standard output; what cannot be said is an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no ∂ shows its code
    tell(text, sys.stdout)


def complain(text: str) -> None:
    """To standard error; where nobody listens, the status says it."""
    with suppress(OSError):
        tell(text, sys.stderr)


def tell(text: str, stream: TextIO | None) -> None:
    if stream is None:
        raise OSError("there is no standard output to print to; with -o, draw writes to a file")
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python would try again at its end
        raise


def draw(args: argparse.Namespace, expression: Expression, variables: Mapping[str, cr.Node]) -> int:
    root = number(expression, variables)
    root.backward()
    if args.output is None:
        say(str(cr.visualize.diagram(root)))
    elif Path(args.output).suffix.lower() in STEP_BY_STEP:
        cr.visualize.step(root, args.output, title=args.title)
    else:
        cr.visualize.render(root, args.output, direction=args.direction, title=args.title, theme=args.theme)
    return 0


def check(args: argparse.Namespace, expression: Expression, variables: Mapping[str, cr.Node]) -> int:
    root = result(expression, variables)
    of_variables = cr.gradcheck(lambda: expression.evaluate(variables), parameters=dict(variables))
    of_operations = cr.check(root, parameters=dict(variables))
    say(f"{of_variables}\n\n{of_operations}")
    return 0 if of_variables and of_operations else NOT_RIGHT


def explain(args: argparse.Namespace, expression: Expression, variables: Mapping[str, cr.Node]) -> int:
    if unknown := [name for name in args.of if name not in variables]:
        raise ValueError(f"--of {unknown[0]}: the expression has {listed(map(cut_short, variables))}")
    root = number(expression, variables)
    say("\n\n".join(str(cr.explain(root, variables[name])) for name in args.of or variables))
    return 0


def result(expression: Expression, variables: Mapping[str, cr.Node]) -> cr.Node:
    """What the expression is, as a node, where every variable has a value and every value a variable."""
    for name in variables:
        if name not in expression.names:
            has = listed(map(cut_short, expression.names)) or "no variables"
            near = suggested(name, expression.names)
            raise ValueError(f"{cut_short(name)} has a value, but the expression has {has}{near}")
    root = expression.evaluate(variables)
    if not isinstance(root, cr.Node):
        problem = "there is no variable in the expression, so there is nothing to differentiate by"
        raise ExpressionError(problem, expression.text, 0, len(expression.text))
    return root


def number(expression: Expression, variables: Mapping[str, cr.Node]) -> cr.Node:
    root = result(expression, variables)
    if isinstance(root, cr.Tensor) and root.shape:
        problem = f"the result is an array of shape {root.shape}; take one number of it, as with sum(…) or mean(…)"
        raise ExpressionError(problem, expression.text, 0, len(expression.text))
    return root


def given(texts: Sequence[str]) -> dict[str, cr.Node]:
    """The variables by name."""
    variables: dict[str, cr.Node] = {}
    for text in texts:
        name, variable = assigned(text)
        if name in variables:
            raise ExpressionError(f"{name} has two values", text, 0, len(name))
        variables[name] = variable
    return variables


def marked(word: str) -> str:
    """An expression like -x**2, or a file name like -.svg, told apart from the options -o, -oFILE.svg and -h."""
    return f"\0{word}" if re.match(r"-(?!-|o$|o.*\.[A-Za-z]+$|h$|$)", word) else word


def unmarked(word: str) -> str:
    return word.removeprefix("\0")


@final
class Parser(argparse.ArgumentParser):
    """Says what it has to say as everything here does."""

    def print_help(self, file: Any = None) -> None:
        say(self.format_help().rstrip())

    def error(self, message: str) -> NoReturn:
        complain(f"{self.format_usage()}{self.prog}: error: {message}")
        sys.exit(FAILED)


@final
class Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        say(f"chainrule {cr.__version__}")
        parser.exit()


def commands() -> argparse.ArgumentParser:
    parser = Parser(
        "python -m chainrule",
        description="Draw, check and explain the gradient of an expression; COMMAND --help says how.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="say which this is, and exit")
    several = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)

    def command(name: str, run: object, description: str) -> argparse.ArgumentParser:
        added = several.add_parser(
            name,
            help=description,
            description=description,
            epilog=EXAMPLES + "\n" + SYNTAX,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.register("type", None, unmarked)
        added.add_argument("expression", help='in quotes, as in "x*w + b"')
        added.add_argument(
            "values", nargs="*", metavar="name=value", help='of each variable: x=2, x=pi/4, "x=[1, 2, 3]"'
        )
        added.set_defaults(run=run)
        return added

    drawing = command("draw", draw, "Compute, walk back, and draw values, gradients and local derivatives.")
    drawing.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the suffix says what: .svg .png .pdf (pictures), .dot .gv .mmd (their text), .html .gif (step by step), "
        ".txt (a table); default: the table",
    )
    drawing.add_argument(
        "--direction", choices=("LR", "RL", "TB", "BT"), default="LR", help="of the computation (default: LR)"
    )
    drawing.add_argument("--theme", choices=("light", "dark"), default="light", help="of the picture (default: light)")
    drawing.add_argument("--title", help="stands below the picture")
    command(
        "check", check, "Compare each gradient with a numeric one, and so each operation; status 1 if one is not right."
    )
    explaining = command("explain", explain, "The chain rule with its numbers, path by path.")
    explaining.add_argument("--of", action="append", default=[], metavar="NAME", help="of this variable only")
    return parser


if __name__ == "__main__":
    on_ctrl_c(clean=True)
    status = main()
    on_ctrl_c(clean=False)
    sys.exit(status)
