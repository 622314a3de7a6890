"""What is wrong with an expression, in words, with the place in its text underneath."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

WIDTH = 76  # characters of the expression that an error shows at most
MANY = 8  # names that a message lists
LONGEST = 40  # characters of a name in a message
ELSEWHERE = {"ln": "log", "power": "pow", "absolute": "abs", "logistic": "sigmoid", "heaviside": "sign", "step": "sign"}


class ExpressionError(ValueError):
    """What is wrong with an expression, and under it the place."""

    def __init__(self, problem: str, text: str, start: int, end: int) -> None:
        super().__init__(f"{problem}\n{pointed(text, start, end)}")


def suggested(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """What may have been meant."""
    plain = unicodedata.normalize("NFKC", name[:WIDTH])
    close = [ELSEWHERE[plain]] if plain in ELSEWHERE else get_close_matches(plain, known, 1, cutoff)
    strange = [f" ({c} is {code_point(c)})" for c in name[:WIDTH] if not c.isascii()]
    return "".join(strange[:1]) + (f"; did you mean {close[0]}?" if close else "")


def code_point(c: str) -> str:
    return f"U+{ord(c):04X} {unicodedata.name(c, '')}".rstrip()


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def listed(names: Iterable[str]) -> str:
    found = list(names)
    if len(found) > MANY:
        found = [*found[:MANY], f"{len(found) - MANY} more"]
    return " and ".join(filter(None, [", ".join(found[:-1]), *found[-1:]]))


def cut_short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def pointed(text: str, start: int, end: int) -> str:
    """The part of the text around a place, and below it the place."""
    first = max(0, start - WIDTH // 2)
    last = min(len(text), first + WIDTH)
    before = ("…" if first else "") + shown(text[first:start])
    part = shown(text[start : min(end, last)])
    after = shown(text[min(end, last) : last]) + ("…" if last < len(text) else "")
    return f"  {before}{part}{after}\n  {' ' * columns(before)}{'^' * max(1, columns(part))}"


def shown(text: str) -> str:
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def columns(text: str) -> int:
    """How wide a terminal shows it."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
