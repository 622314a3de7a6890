"""Two palettes, for light and for dark pages, and what each verdict of a check looks like.

Every text has a contrast of at least 4.5 to whatever it stands on. Nothing is told by colour alone: what matters also
has a word, and a border of its own kind. The tint is one hue that differs by lightness, the alarm another with a double
border, so that both are told apart without red and green.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from chainrule.autograd.checking.report import KINK, NOISY, NOT_CONNECTED, NOT_FINITE, RIGHT, WRONG

RGB = tuple[int, int, int]
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the full tint: what a legend shows
STEEPNESS = 100.0  # how far the tint spreads small gradients apart
FULL = math.log1p(STEEPNESS)


@final
@dataclass(frozen=True, slots=True)
class Mark:
    """How a verdict is drawn."""

    fill: str
    border: str
    width: float = 1.0
    style: str = "solid"
    double: bool = False


@final
@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a drawing."""

    name: str
    paper: str
    ink: str
    quiet: str  # small text
    line: str
    slope: str  # the local derivatives on the edges
    box: str
    frame: str  # around what a module computed
    constant: str
    constant_line: str
    alarm: str
    alarm_box: str
    on_alarm: str  # text on the full alarm colour
    lightest: RGB
    darkest: RGB
    marks: Mapping[str, Mark]

    def tint(self, share: float) -> str:
        """The colour for this share of the largest |gradient|: in proportion when small, then like its logarithm."""
        return self.tinted(math.log1p(STEEPNESS * share) / FULL)

    def tinted(self, depth: float) -> str:
        (r, g, b), (red, green, blue) = self.lightest, self.darkest
        mixed = round(r + (red - r) * depth), round(g + (green - g) * depth), round(b + (blue - b) * depth)
        return f"#{mixed[0]:02x}{mixed[1]:02x}{mixed[2]:02x}"


def share(depth: float) -> float:
    """The share of the largest |gradient| that is tinted this deep."""
    return math.expm1(depth * FULL) / STEEPNESS


LIGHT = Theme(
    name="light",
    paper="#ffffff",
    ink="#1f2933",
    quiet="#3f4a58",
    line="#7b8698",
    slope="#1d5f9e",
    box="#ffffff",
    frame="#f7f8fa",
    constant="#eef1f5",
    constant_line="#c4ccd6",
    alarm="#b3001b",
    alarm_box="#fff0f0",
    on_alarm="#ffffff",
    lightest=(255, 255, 255),
    darkest=(253, 184, 99),
    marks={
        RIGHT: Mark("#edf4fb", "#6293c0"),
        KINK: Mark("#fff6d6", "#946c00", 1.5, "dashed"),
        NOISY: Mark("#f1f2f4", "#5b6573", 1.5, "dotted"),
        NOT_CONNECTED: Mark("#ffffff", "#1f2933", 2.0, "dashed"),
        NOT_FINITE: Mark("#f6ecfb", "#7a3b9a", 2.5, double=True),
        WRONG: Mark("#fff0f0", "#b3001b", 2.5),
    },
)

DARK = Theme(
    name="dark",
    paper="#0d1117",
    ink="#f0f3f6",
    quiet="#c9d1d9",
    line="#8b96a3",
    slope="#79c0ff",
    box="#161b22",
    frame="#10161e",
    constant="#2b323b",
    constant_line="#56606c",
    alarm="#ff7b72",
    alarm_box="#3a1215",
    on_alarm="#0d1117",
    lightest=(22, 27, 34),
    darkest=(134, 68, 0),
    marks={
        RIGHT: Mark("#12263b", "#4c7fb3"),
        KINK: Mark("#332a08", "#d9a92c", 1.5, "dashed"),
        NOISY: Mark("#22272e", "#9aa5b1", 1.5, "dotted"),
        NOT_CONNECTED: Mark("#161b22", "#f0f3f6", 2.0, "dashed"),
        NOT_FINITE: Mark("#2d1a38", "#d19bf0", 2.5, double=True),
        WRONG: Mark("#3a1215", "#ff7b72", 2.5),
    },
)

THEMES = {theme.name: theme for theme in (LIGHT, DARK)}


def theme_named(name: str) -> Theme:
    if name not in tuple(THEMES):
        raise ValueError(f"visualize: theme must be one of {', '.join(THEMES)}, got {name!r}")
    return THEMES[name]
