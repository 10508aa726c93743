"""Building blocks of charts: escaped SVG elements, round axis ticks, a plot area with axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

# Colors are CSS classes, so that the page's theme sets them; `standalone` adds its own style. s0..s9 are series.
SERIES = 10
_LIGHT = ("#3266c8", "#d1620a", "#23833b", "#a83a94", "#8a6a00", "#c02a3a", "#0b7f8c", "#6a4fd0", "#5d6b1c", "#8c4a2f")
_DARK = ("#7aa6ff", "#ffa04d", "#6ccf83", "#e58bd4", "#d9b84a", "#ff8590", "#54c7d6", "#ab98ff", "#b6c45a", "#d79a7c")
_STYLE = """\
svg{{background:{ground};font:11px system-ui,sans-serif}}text{{fill:{ink}}}.soft{{fill:{soft}}}.grid{{stroke:{grid}}}
.line{{fill:none;stroke-width:1.6}}.good{{fill:{good}}}.bad{{fill:{bad}}}.none{{fill:{grid}}}.diagonal{{stroke:{soft}}}
.track,.gap{{stroke:{ground}}}.gap{{fill:{grid}}}.mark{{fill:{bad}}}.cell{{fill:{good}}}.title{{font-weight:600}}
"""


class Scale(NamedTuple):
    """Maps values from `low`..`high` to pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(v) for v in (self.low, self.high, value)) if self.log else (*self[:2], value)
        return self.start + (at - low) / ((high - low) or 1) * (self.end - self.start)


def tag(name: str, *children: str, **attributes: object) -> str:
    """An SVG element. Attribute values are escaped; `_` in attribute names becomes `-`, a trailing `_` is dropped."""
    text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{text}>{''.join(children)}</{name}>" if children else f"<{name}{text}/>"


def label(text: str, x: float, y: float, **attributes: object) -> str:
    """A text element; `text` is escaped."""
    return tag("text", escape(text), x=x, y=y, **attributes)


def hover(text: str) -> str:
    """Hover text for the element that contains this one."""
    return tag("title", escape(text))


def figure(width: float, height: float, *children: str, title: str, **attributes: object) -> str:
    """The root element of a chart, which scales with the available space."""
    box = f"0 0 {_number(width)} {_number(height)}"
    return tag("svg", *children, viewBox=box, width=width, height=height, role="img", aria_label=title, **attributes)


def standalone(svg: str) -> str:
    """A chart as the text of an SVG file; light or dark by the reader's system setting."""
    light = _style("#ffffff", "#1d2430", "#5b6676", "#d9dee6", "#2f7d4f", "#c23b3b", _LIGHT)
    dark = _style("#14181f", "#e8ebf0", "#9aa4b2", "#323a46", "#58b97f", "#ff7a74", _DARK)
    style = f"<style>{light}@media (prefers-color-scheme:dark){{{dark}}}</style>"
    head, _, rest = svg.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between `low` and `high`, at most about `most`."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    rough = span / most
    power = 10 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 2.5, 5) if m * power >= rough), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between `low` and `high`; if there are fewer than two, round numbers."""
    found = [10.0**n for n in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]
    return found if len(found) > 1 else [t for t in ticks(low, high) if t > 0]


def short(value: float) -> str:
    """Format a number for an axis: 1200 -> 1.2k, 0.00036 -> 3.6e-4."""
    if value == 0:
        return "0"
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            return f"{value / limit:.4g}{letter}"
    if size < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.4g}"


def path(points: Sequence[tuple[float, float]]) -> str:
    """The `d` attribute of an SVG path through points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _style(
    ground: str, ink: str, soft: str, grid: str, good: str, bad: str, series: Sequence[str]
) -> str:  # fmt: skip
    text = _STYLE.format(ground=ground, ink=ink, soft=soft, grid=grid, good=good, bad=bad)
    return text + "".join(f".s{i}{{stroke:{c}}}.f{i}{{fill:{c}}}" for i, c in enumerate(series))
