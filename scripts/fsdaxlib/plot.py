# SPDX-License-Identifier: GPL-2.0
"""Small charts as SVG: lines over logarithmic axes, and ranges of values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

_COLOURS = {"c": "#d1495b", "rust": "#00798c"}
_NAMES = {"c": "stock C", "rust": "rust_fsdax"}
_GREY = "#666"
_GRID = "#ddd"
_FONT = 'font-family="sans-serif" font-size="12"'


@dataclass
class Line:
    """Points of one provider; DASH tells several of them apart."""

    provider: str
    points: Sequence[tuple[float, float]]
    label: str = ""
    dash: str = ""


@dataclass
class Panel:
    """A chart with axes. Both are logarithmic; with ZERO, x also has a place for 0."""

    title: str
    x: str
    y: str
    lines: list[Line] = field(default_factory=list)
    zero: bool = False


@dataclass
class Range:
    """Percentiles 0 to 100 of one provider's values."""

    label: str
    provider: str
    percentiles: Sequence[float]


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = "#222",
         turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" {_FONT}{turned}>'
            f"{escape(words)}</text>")


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"/>')


def short(value: float) -> str:
    """1,000,000 as 1M, 4,096 as it is."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size and value % size == 0:
            return f"{value / size:,.0f}{letter}"
    return f"{value:,g}" if value < 1 else f"{value:,.0f}"


def write(path: Path, width: float, height: float, parts: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>', *parts, "</svg>"]) + "\n")


def legend(x: float, y: float) -> list[str]:
    parts = []
    for provider, colour in _COLOURS.items():
        parts += [line(x, y - 4, x + 20, y - 4, colour, 3), text(x + 26, y, _NAMES[provider])]
        x += 120
    return parts


class Axis:
    """Maps values to places, by their logarithm."""

    def __init__(self, values: Sequence[float], first: float, last: float, zero: bool = False,
                 base: int = 10) -> None:
        positive = [value for value in values if value > 0] or [1]
        self._base = base
        self._low = math.floor(math.log(min(positive), base)) - (1 if zero else 0)
        self._high = max(math.ceil(math.log(max(positive), base)), self._low + 1)
        self._first, self._last, self._zero = first, last, zero

    def __call__(self, value: float) -> float:
        at = math.log(value, self._base) if value > 0 else self._low
        return self._first + (self._last - self._first) * (at - self._low) / (self._high - self._low)

    def ticks(self) -> list[tuple[float, str]]:
        powers = range(self._low + (1 if self._zero else 0), self._high + 1)
        ticks = [(float(self._base) ** power, short(float(self._base) ** power)) for power in powers]
        return [(0, "0"), *ticks] if self._zero else ticks


def _panel(panel: Panel, left: float, top: float, width: float, height: float) -> list[str]:
    points = [point for each in panel.lines for point in each.points]
    x = Axis([point[0] for point in points], left, left + width, panel.zero, base=4)
    y = Axis([point[1] for point in points], top + height, top)
    parts = [text(left + width / 2, top - 12, panel.title, "middle"),
             text(left + width / 2, top + height + 38, panel.x, "middle", _GREY),
             text(left - 48, top + height / 2, panel.y, "middle", _GREY, turn=True)]
    for value, word in x.ticks():
        parts += [line(x(value), top, x(value), top + height, _GRID),
                  text(x(value), top + height + 18, word, "middle", _GREY)]
    for value, word in y.ticks():
        parts += [line(left, y(value), left + width, y(value), _GRID),
                  text(left - 8, y(value) + 4, word, "end", _GREY)]
    for each in panel.lines:
        colour = _COLOURS[each.provider]
        places = [(x(a), y(b)) for a, b in each.points]
        joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        dash = f' stroke-dasharray="{each.dash}"' if each.dash else ""
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" '
                     f'stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in places]
        if each.label and places:
            parts.append(text(places[-1][0] + 6, places[-1][1] + 4, each.label, colour=colour))
    return parts


def panels(path: Path, title: str, charts: Sequence[Panel]) -> None:
    """Charts side by side."""
    width, height, gap = 380, 300, 140
    parts = [text(20, 24, title), *legend(20, 48)]
    for number, chart in enumerate(charts):
        parts += _panel(chart, 80 + number * (width + gap), 90, width, height)
    write(path, 80 + len(charts) * (width + gap), 90 + height + 60, parts)


def ranges(path: Path, title: str, unit: str, rows: Sequence[Range]) -> None:
    """A row for each range: thin from percentile 0 to 95, thick from 25 to 75, a mark at 50."""
    left, width, step = 260, 620, 18
    axis = Axis([row.percentiles[index] for row in rows for index in (0, 95)], left, left + width,
                base=2)
    bottom = 70 + step * len(rows)
    parts = [text(20, 24, title), *legend(20, 48)]
    for value, word in axis.ticks():
        parts += [line(axis(value), 62, axis(value), bottom, _GRID),
                  text(axis(value), bottom + 18, word, "middle", _GREY)]
    shown = ""
    for number, row in enumerate(rows):
        y, colour = 76 + step * number, _COLOURS[row.provider]
        at = [axis(value) for value in row.percentiles]
        if row.label != shown:
            parts.append(text(20, y + 4, row.label))
            shown = row.label
        parts += [line(at[0], y, max(at[95], at[0] + 1), y, colour, 2),
                  line(at[25], y, max(at[75], at[25] + 1), y, colour, 8),
                  line(at[50], y - 7, at[50], y + 7, "#222", 2),
                  text(left + width + 12, y + 4, f"{row.percentiles[50]:,.0f}", colour=colour)]
    parts.append(text(left + width / 2, bottom + 38, unit, "middle", _GREY))
    write(path, left + width + 90, bottom + 60, parts)
