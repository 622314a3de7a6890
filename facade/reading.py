"""From the text of an expression to its steps, by precedence; nothing here runs as Python.

What is still open stands on a stack, so no depth of parentheses can hurt. Every error shows its place in the text.
"""

from __future__ import annotations

import inspect
import keyword
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, final

import numpy as np

from chainrule.autograd.ops import elementwise as e
from chainrule.autograd.ops import shape
from chainrule.autograd.tensor import Tensor
from chainrule.autograd.value import Value

from .expression import (
    CONSTANTS,
    FUNCTIONS,
    LITERALS,
    OPERATORS,
    POWER,
    SIGN,
    Apply,
    Expression,
    Function,
    Number,
    Step,
    Variable,
)
from .pointing import ExpressionError, code_point, counted, cut_short, listed, suggested

DIGITS = 18  # of a whole number among the settings
OPERAND = "a number, a variable or a function"
MISPLACED = "a comma stands between arguments of a function or items of a list, not here"
CLOSING = {"(": ")", "[": "]"}
HINTS = {
    "^": "; a power is **",
    "²": "; a power is **2",
    "³": "; a power is **3",
    "×": "; write *",
    "·": "; write *",
    "÷": "; write /",
    "−": "; write -",
    "–": "; write -",
    "√": "; write sqrt(…)",
    '"': "; there is no text in an expression",
    "'": "; there is no text in an expression",
}
NUMBER = r"(?:D(?:\.(?:D)?)?|\.D)(?:[eE][-+]?D)?".replace("D", r"[0-9](?:_?[0-9])*")
TOKEN = re.compile(
    rf"[ \t\r\n]*+(?:(?P<number>{NUMBER})|(?P<name>[^\W\d]\w*)|(?P<comparison>[<>=!]=|[<>])"
    r"|(?P<sign>\*\*|//|[-+*/%@(),=\[\]])|(?P<other>.))",
    re.DOTALL,
)


@final
class Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def parse(text: str, start: int = 0) -> Expression:
    """Read an expression, which begins at `start` in the text.

    It is made of numbers, variables, `+ - * / // % @ **` with Python's precedence, parentheses, the functions of
    `FUNCTIONS` with settings by name (`sum(x, axis=0)`), `pi`, `e`, `inf`, `nan`, and lists, which make arrays.
    Numbers are floats. Raises `ExpressionError`, whose message shows the place, for anything else.

    >>> import chainrule as cr
    >>> from chainrule.reading import parse
    >>> x = cr.Value(3.0)
    >>> y = parse("-x**2 + sin(pi / 2)").evaluate({"x": x})
    >>> y.backward()
    >>> y.data, x.grad
    (-8.0, -6.0)
    >>> parse("2 * (x + 1")
    Traceback (most recent call last):
    chainrule.pointing.ExpressionError: this ( is never closed
      2 * (x + 1
          ^
    """
    return Expression(text, tuple(Reader(text, start).read()))


@final
@dataclass(slots=True)
class Open:
    """A bracket that is not closed yet: of a group, of a list, or of a call, which has a name."""

    bracket: Token
    name: Token | None = None
    takes: int = 0  # items that are complete
    settings: dict[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Waiting:
    """An operator whose right operand is not complete yet."""

    strength: int
    step: Apply | None  # None for +x, which is x


@final
class Reader:
    """From text to steps, by precedence, with a stack of what is still open in place of recursion."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.steps: list[Step] = []
        self.open: list[Open | Waiting] = []
        self.token = self.scan(start)
        self.empty = self.token.kind == "end"

    def read(self) -> list[Step]:
        self.operand()
        while self.token.kind != "end":
            self.after_operand()
        if unclosed := self.settle(0):
            self.fail(f"this {unclosed.bracket.text} is never closed", unclosed.bracket)
        return self.steps

    def scan(self, start: int) -> Token:
        found = TOKEN.match(self.text, start)
        if found is None:
            return Token("end", "", len(self.text), len(self.text))
        kind = str(found.lastgroup)
        return Token(kind, found[kind], *found.span(kind))

    def take(self) -> Token:
        token = self.token
        self.token = self.scan(token.end)
        return token

    def operand(self) -> None:
        """Signs, opening brackets and names of functions, up to a number or a variable."""
        while (token := self.take()).kind != "number":
            if token.text in ("+", "-"):
                self.open.append(Waiting(SIGN, applied_at(token, e.neg, 1) if token.text == "-" else None))
            elif token.text in ("(", "["):
                self.open.append(Open(token))
            elif token.kind != "name":
                self.no_operand(token)
            elif self.token.text == "(":
                self.require_function(token)
                self.open.append(Open(self.take(), token))
            else:
                self.require_variable(token)
                self.steps.append(constant_or_variable(token))
                return
        self.steps.append(Number(float(token.text)))

    def after_operand(self) -> None:
        """An operator or a comma and the next operand, or a closing bracket."""
        token = self.take()
        if token.text in OPERATORS:
            strength, row = OPERATORS[token.text]
            self.settle(strength + (strength == POWER))
            self.open.append(Waiting(strength, applied_at(token, row, 2)))
            self.operand()
        elif token.text == ",":
            self.comma(token)
        elif token.text in (")", "]"):
            self.item(token)
            self.close(token)
        else:
            self.no_operator(token)

    def settle(self, strength: int) -> Open | None:
        """Let go of the operators that bind at least so tightly; the bracket that is open then."""
        while self.open:
            last = self.open[-1]
            if isinstance(last, Open):
                return last
            if last.strength < strength:
                break
            self.open.pop()
            if last.step:
                self.steps.append(last.step)
        return None

    def item(self, token: Token) -> Open:
        """The open bracket, with one more item complete."""
        opened = self.settle(0)
        if opened is None:
            self.fail(MISPLACED if token.text == "," else f"there is no open bracket for this {token.text}", token)
        opened.takes += 1
        return opened

    def comma(self, token: Token) -> None:
        opened = self.item(token)
        if opened.name is None and opened.bracket.text == "(":
            self.fail(MISPLACED, token)
        while opened.name and self.token.kind == "name" and self.scan(self.token.end).text == "=":
            self.setting(opened.name, opened.settings)
        if self.token.text in (")", "]"):
            self.close(self.take())
        elif opened.settings:
            self.fail("only settings, as in axis=0, may follow a setting", self.token)
        else:
            self.operand()

    def close(self, token: Token) -> None:
        opened = self.open.pop()
        assert isinstance(opened, Open)
        if opened.bracket.text + token.text not in ("()", "[]"):
            self.fail(f"this {token.text} does not match the {opened.bracket.text} before it", token)
        if opened.bracket.text == "[":
            self.steps.append(Apply(stacked, opened.takes, {}, opened.bracket.start, token.end))
        elif opened.name:
            function = FUNCTIONS[opened.name.text]
            if problem := wrong_call(opened.name.text, function, opened):
                self.fail(problem, opened.name)
            self.steps.append(applied_at(opened.name, function.row, opened.takes, opened.settings))

    # Settings, as in axis=0: they are written out, and never computed.

    def setting(self, function: Token, settings: dict[str, Any]) -> None:
        name = self.take()
        known = FUNCTIONS[function.text].settings
        if name.text not in known:
            self.fail(
                f"{function.text} has no setting {cut_short(name.text)}, but {settings_of(known)}{suggested(name.text, known)}",
                name,
            )
        if name.text in settings:
            self.fail(f"{name.text} is given twice", name)
        self.take()
        settings[name.text] = self.literals() if self.token.text in ("(", "[") else self.literal()
        if self.token.text == ",":
            self.take()
        elif self.token.text != ")":
            self.fail("after a setting comes a comma or )", self.token)

    def literals(self) -> tuple[Any, ...]:
        opening, found = self.take(), []
        while self.token.text not in (")", "]"):
            found.append(self.literal())
            if self.token.text == ",":
                self.take()
            elif self.token.text not in (")", "]"):
                self.fail(f"in these brackets, commas between numbers and then {CLOSING[opening.text]}", self.token)
        self.take()
        return tuple(found)

    def literal(self) -> Any:
        sign = self.take() if self.token.text in ("+", "-") else None
        token = self.take()
        if token.kind != "number" and (sign or token.text not in LITERALS):
            self.fail("a setting is a number, several in brackets, True, False or None, written out", token)
        if token.kind != "number":
            return LITERALS[token.text]
        whole = token.text.replace("_", "").isdigit()
        if whole and len(token.text) > DIGITS:
            self.fail(f"a whole number of more than {DIGITS} digits", token)
        number = int(token.text) if whole else float(token.text)
        return -number if sign and sign.text == "-" else number

    # What may be wrong.

    def require_function(self, token: Token) -> None:
        self.require_name(token)
        if token.text not in FUNCTIONS:
            self.fail(f"there is no function {cut_short(token.text)}{suggested(token.text, FUNCTIONS)}", token)

    def require_variable(self, token: Token) -> None:
        self.require_name(token)
        if self.token.text == "=" and any(isinstance(opened, Open) and opened.name for opened in self.open[-1:]):
            self.fail("arguments come first, then settings", token)
        if token.text in FUNCTIONS:
            self.fail(f"{token.text} is a function: write {token.text}(…)", token)

    def require_name(self, token: Token) -> None:
        if not token.text.isidentifier():
            self.bad_character(token.start + next(i for i, c in enumerate(token.text) if not f"a{c}".isidentifier()))
        if keyword.iskeyword(token.text):
            self.fail(f"the word {token.text!r} has no meaning in an expression", token)

    def no_operand(self, token: Token) -> NoReturn:
        if token.kind == "other":
            self.bad_character(token.start)
        if token.kind == "end":
            self.fail(f"the expression {'is empty' if self.empty else 'ends too early'}: expected {OPERAND}", token)
        if token.text in (")", "]") and not any(isinstance(opened, Open) for opened in self.open):
            self.fail(f"there is no open bracket for this {token.text}", token)
        self.fail(f"expected {OPERAND} before {token.text}", token)

    def no_operator(self, token: Token) -> NoReturn:
        after = self.token
        if token.kind == "comparison" or (token.text == "=" and after.text == "="):
            hint = "use maximum, minimum, relu, clip, abs or sign"
            self.fail(f"a comparison has no derivative here; {hint}", token)
        if token.text == "=":
            self.fail("= has no meaning here; values follow the expression, as in x=2", token)
        if token.text == "." and after.kind == "name":
            instead = f"; write {after.text}(…)" if after.text in FUNCTIONS else ""
            self.fail(f"there are no attributes in an expression{instead}", token._replace(end=after.end))
        if token.text == "[":
            self.fail("there is no indexing in an expression", token)
        if token.kind == "other":
            self.bad_character(token.start)
        if token.kind == "name":
            self.require_name(token)
        self.fail(f"expected an operator before {cut_short(token.text)}; a product is written with *", token)

    def bad_character(self, start: int) -> NoReturn:
        c = self.text[start]
        plain = unicodedata.normalize("NFKC", c)
        hint = HINTS.get(c, f"; write {plain}" if plain != c and plain.isascii() and plain.isprintable() else "")
        shown = (
            f"{c} ({code_point(c)})" if c.isprintable() and not c.isascii() else c if c.isprintable() else code_point(c)
        )
        raise ExpressionError(f"{shown} has no meaning in an expression{hint}", self.text, start, start + 1)

    def fail(self, problem: str, token: Token) -> NoReturn:
        raise ExpressionError(problem, self.text, token.start, token.end)


def applied_at(token: Token, row: Callable[..., Any], takes: int, settings: Mapping[str, Any] | None = None) -> Apply:
    return Apply(row, takes, settings or {}, token.start, token.end)


def constant_or_variable(token: Token) -> Step:
    constant = CONSTANTS.get(token.text)
    return Variable(token.text, token.start) if constant is None else Number(constant)


def assigned(text: str) -> tuple[str, Value | Tensor]:
    """The name and the variable that a text like "x=2" or "w=[1, -pi / 2]" gives.

    The value is an expression without variables, and finite unless it says inf or nan. Raises `ExpressionError` for anything else.

    >>> from chainrule.reading import assigned
    >>> assigned("w=[1, -2]")
    ('w', Tensor([ 1., -2.], name='w'))
    """
    name, sign, _ = text.partition("=")
    if not sign or not name.isidentifier() or keyword.iskeyword(name):
        raise ExpressionError("expected the expression in quotes, then names and values, as in x=2", text, 0, len(name))
    if name in FUNCTIONS or name in CONSTANTS:
        what = "function" if name in FUNCTIONS else "constant"
        raise ExpressionError(f"{name} is a {what}; choose another name", text, 0, len(name))
    if not text[len(name) + 1 :].strip():
        raise ExpressionError(f"{name} is given no value; write it behind the =, as in {name}=2", text, 0, len(text))
    value = parse(text, len(name) + 1)
    for step in value.steps:
        if isinstance(step, Variable):
            problem = f"a value is made of numbers, and {cut_short(step.name)} is a name"
            raise ExpressionError(problem, text, step.start, step.start + len(step.name))
    data = value.evaluate({})
    if not np.isfinite(data).all() and not {"inf", "nan"} & set(re.findall(r"\w+", text)):
        problem = "the value is not finite; write inf or nan where that is meant"
        raise ExpressionError(problem, text, len(name) + 1, len(text))
    return name, Value(data, name) if isinstance(data, float) else Tensor(data, name=name)


def stacked(*parts: Any) -> Any:
    """The array that a list makes."""
    return shape.stack(parts)


def wrong_call(name: str, function: Function, given: Open) -> str:
    """What is wrong with a call; empty if nothing is."""
    if given.takes != function.takes:
        hint = f"; what follows is given by name: {settings_of(function.settings)}" if function.settings else ""
        hint = f"; the {name} of several is {name}imum(…, …)" if name in ("max", "min") else hint
        return f"{name} takes {counted(function.takes, 'argument')}, got {given.takes}{hint}"
    missing = [
        key for key, setting in function.settings.items()
        if setting.default is inspect.Parameter.empty and key not in given.settings
    ]  # fmt: skip
    return f"{name} needs {listed(f'{key}=…' for key in missing)}" if missing else ""


def settings_of(known: Mapping[str, object]) -> str:
    return listed(f"{name}=" for name in known) or "none"
