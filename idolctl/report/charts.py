"""Charts as SVG text: lines, bars, reliability, histograms, confusion, timelines. Pure functions without I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from idolctl.report.svg import SERIES, Scale, figure, hover, label, log_ticks, path, short, tag, ticks

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 26, 30


@dataclass(frozen=True)
class Line:
    """One line of a chart: y values, and their x values for each x axis that the reader can choose."""

    name: str
    x: Mapping[str, Sequence[float]]  # axis name -> ascending values, as many as `y`
    y: Sequence[float]
    color: int = 0


@dataclass(frozen=True)
class Segment:
    """A stretch of frames in a row of a timeline."""

    first: int
    last: int
    color: str | None  # CSS; None: the object is present but has no track
    text: str = ""  # drawn inside, if it fits
    hover: str = ""


@dataclass(frozen=True)
class Lane:
    """A row of a timeline. `marks` maps frames with an error to its description."""

    name: str
    segments: Sequence[Segment]
    marks: Mapping[int, str]


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    y_range: tuple[float, float] | None = None,
    log: bool = False,
    legend: bool = True,
) -> str:
    """Line chart over the first x axis. The page's script can redraw it over another one, from `data-lines`."""
    lines = [line for line in lines if line.y]
    axis = next(iter(lines[0].x), "") if lines else ""
    named = legend and len(lines) > 1
    keys, legend_height = _legend(lines) if named else ([], 0)
    top, height = TOP + legend_height, HEIGHT + legend_height
    xs = [v for line in lines for v in line.x[axis]] or [0.0, 1.0]
    ys = [v for line in lines for v in line.y] or [0.0, 1.0]
    log = log and min(ys) > 0
    low, high = y_range or padded(min(ys), max(ys), log=log)
    x = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y = Scale(low, high, height - BOTTOM, top, log)
    plot = [
        tag("g", *_y_axis(y, log_ticks(low, high) if log else ticks(low, high)), class_="ya"),
        tag("g", *_x_axis(x, ticks(x.low, x.high), axis, height), class_="xa"),
        tag("g", *(_curve(line, axis, x, y) for line in lines), class_="curves"),
    ]
    data = [
        {"n": n.name, "x": {k: _rounded(v) for k, v in n.x.items()}, "y": _rounded(n.y), "c": n.color} for n in lines
    ]
    attributes = {
        "data_lines": json.dumps(data, separators=(",", ":")),
        "data_range": json.dumps(y_range) if y_range else None,
        "data_log": "1" if log else None,
        "data_top": top,
        "class_": "chart lines",
        "tabindex": 0,
    }
    return figure(WIDTH, height, label(title, 6, 15, class_="title"), *keys, *plot, title=title, **attributes)


def bar_chart(title: str, rows: Sequence[tuple[str, float, str]], *, unit: str = "") -> str:
    """Horizontal bars; a row is (label, value, hover text)."""
    room = 8 + 6.4 * max((len(name) for name, _, _ in rows), default=0)
    height = TOP + 22 * len(rows) + 8
    most = max((abs(value) for _, value, _ in rows), default=0) or 1
    x = Scale(0, most, room, WIDTH - 52)
    parts = [label(title, 6, 15, class_="title")]
    for row, (name, value, note) in enumerate(rows):
        top = TOP + 22 * row
        bar = tag("rect", x=room, y=top + 3, width=max(x(abs(value)) - room, 1), height=15, rx=2, class_="f0")
        text = label(f"{value:.1f}{unit}", max(x(abs(value)), room + 1) + 5, top + 15)
        parts.append(tag("g", hover(note), label(name, room - 6, top + 15, text_anchor="end"), bar, text))
    return figure(WIDTH, height, *parts, title=title, class_="chart")


def reliability(title: str, bins: Sequence[tuple[float, float, int, float, float]]) -> str:
    """Reliability diagram: share of correct results by score. A bin is (lower, upper, results, mean score, share)."""
    x, y = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0, 1, HEIGHT - BOTTOM, TOP)
    parts = [label(title, 6, 15, class_="title"), *_y_axis(y, ticks(0, 1)), *_x_axis(x, ticks(0, 1), "score", HEIGHT)]
    for lower, upper, count, score, right in bins:
        if count:
            note = hover(
                f"score {lower:.1f} to {upper:.1f}: {count} results, mean score {score:.3f}, {100 * right:.1f} % right"
            )
            size = {"x": x(lower) + 1, "width": x(upper) - x(lower) - 2}
            parts.append(
                tag("rect", note, y=min(y(right), y(0) - 1), height=max(y(0) - y(right), 1), class_="f0", **size)
            )
    parts.append(tag("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="diagonal", stroke_dasharray="4 3"))
    return figure(WIDTH, HEIGHT, *parts, title=title, class_="chart")


def histogram(title: str, right: Sequence[int], wrong: Sequence[int]) -> str:
    """Histogram of scores (0 to 1) of right and wrong results; the counts have a logarithmic axis."""
    most = max([*right, *wrong, 1])
    x, y = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0.5, max(most * 1.3, 10), HEIGHT - BOTTOM, TOP + 18, log=True)
    parts = [
        label(title, 6, 15, class_="title"),
        *_y_axis(y, log_ticks(1, y.high)),
        *_x_axis(x, ticks(0, 1), "score", HEIGHT),
    ]
    width = (x(1) - x(0)) / max(len(right), 1)
    for place, pair in enumerate(zip(right, wrong, strict=True)):
        for side, count in enumerate(pair):
            if count:
                span = f"score {place / len(right):.2f} to {(place + 1) / len(right):.2f}"
                note = hover(f"{span}: {count} {('right', 'wrong')[side]}")
                left = x(0) + place * width + 1 + side * (width / 2 - 1)
                parts.append(
                    tag(
                        "rect",
                        note,
                        x=left,
                        width=width / 2 - 1,
                        y=y(count),
                        height=y(0.5) - y(count),
                        class_=("good", "bad")[side],
                    )
                )
    for side, name in enumerate(("right", "wrong")):
        parts += [
            tag("rect", x=LEFT + 60 * side, y=TOP - 3, width=10, height=10, class_=("good", "bad")[side]),
            label(name, LEFT + 14 + 60 * side, TOP + 6),
        ]
    return figure(WIDTH, HEIGHT, *parts, title=title, class_="chart")


def confusion_matrix(title: str, names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Confusion matrix. Rows: classes of objects; columns: classes of results; last row and column: no match."""
    rows, columns = [*names, "no object"], [*names, "no result"]
    cell = 30 if len(names) <= 12 else 18
    room = 10 + 6.4 * max(len(_cut(name)) for name in (*rows, *columns))
    width, height = room + cell * len(columns) + 8, TOP + room + cell * len(rows) + 8
    width = max(width, 16 + 6.8 * len(title))
    parts = [label(title, 6, 15, class_="title")]
    top = TOP + room
    for place, name in enumerate(columns):
        x = room + cell * (place + 0.5) + 4
        parts.append(label(_cut(name), x, top - 6, transform=f"rotate(-90 {x:.1f} {top - 6:.1f})"))
    for row, name in enumerate(rows):
        total = sum(matrix[row]) or 1
        parts.append(label(_cut(name), room - 6, top + cell * (row + 0.5) + 4, text_anchor="end"))
        for column, count in enumerate(matrix[row]):
            if row == column == len(names):
                continue
            note = hover(
                f"{name} taken for {columns[column]}: {count} of {sum(matrix[row])}"
                if row < len(names)
                else f"{columns[column]} where there is no object: {count}"
            )
            at = {"x": room + cell * column, "y": top + cell * row}
            strength = 0.06 + 0.84 * count / total if count else 0.04
            box = tag(
                "rect",
                width=cell - 1,
                height=cell - 1,
                class_="cell" if row == column else "bad",
                fill_opacity=strength,
                **at,
            )
            text = (
                [
                    label(
                        short(count),
                        at["x"] + (cell - 1) / 2,
                        at["y"] + cell / 2 + 4,
                        text_anchor="middle",
                        font_size=11 if cell > 20 else 8,
                    )
                ]
                if count
                else []
            )
            parts.append(tag("g", note, box, *text))
    return figure(width, height, *parts, title=title, class_="chart matrix")


def timeline(title: str, lanes: Sequence[Lane], frames: int, *, width: int = 640) -> str:
    """Timeline of objects and tracks: bars where they are present, red marks at errors."""
    room = 10 + 6.2 * max((len(_cut(lane.name, 24)) for lane in lanes), default=0)
    x = Scale(0, max(frames, 1), room, width - 8)
    height = 8 + 20 * len(lanes) + 22
    parts = []
    for row, lane in enumerate(lanes):
        top = 6 + 20 * row
        parts.append(label(_cut(lane.name, 24), room - 6, top + 12, text_anchor="end"))
        for one in lane.segments:
            size = {"x": x(one.first), "width": x(one.last + 1) - x(one.first), "y": top, "height": 15}
            color = {"class_": "gap"} if one.color is None else {"class_": "track", "fill": one.color}
            inside = (
                [label(one.text, size["x"] + 4, top + 11.5, class_="inside")]
                if size["width"] > 7 * len(one.text) + 6 and one.text
                else []
            )
            parts.append(tag("g", hover(one.hover), tag("rect", rx=2, **size, **color), *inside))
        for frame, text in lane.marks.items():
            at = x(frame)
            wedge = f"M{at - 4:.1f} {top - 3}h8l-4 7z"
            parts.append(tag("path", hover(text), d=wedge, class_="mark"))
    step = [t for t in ticks(1, frames, 8) if t == int(t) and t >= 1]
    parts += [label(str(int(t)), x(t - 0.5), height - 6, text_anchor="middle", class_="soft") for t in step]
    parts.append(label("frame", room - 6, height - 6, text_anchor="end", class_="soft"))
    parts.append(
        tag(
            "path",
            d=f"M0 0V{height - 20}",
            class_="cursor",
            data_left=room,
            data_step=(width - 8 - room) / max(frames, 1),
        )
    )
    return figure(width, height, *parts, title=title, class_="chart timeline")


def padded(low: float, high: float, *, log: bool = False) -> tuple[float, float]:
    """Axis range for values in low..high, with a margin; starts at 0 if the values come near it."""
    if log:
        return (low / 1.1, high * 1.1) if high > low else (low / 2, low * 2)
    if high == low:
        return (low - abs(low) * 0.1 - 1e-9, high + abs(high) * 0.1 + 1e-9) if low else (0.0, 1.0)
    if 0 <= low < 0.35 * high:
        return 0.0, high + 0.05 * high
    space = 0.06 * (high - low)
    return low - space, high + space


def _curve(line: Line, axis: str, x: Scale, y: Scale) -> str:
    low, high = sorted((y.start, y.end))
    points = [(x(a), min(max(y(b), low), high)) for a, b in zip(line.x[axis], line.y, strict=True)]
    color = line.color % SERIES
    if len(points) == 1:
        return tag(
            "circle",
            hover(f"{line.name}: {short(line.y[0])}"),
            cx=points[0][0],
            cy=points[0][1],
            r=3,
            class_=f"f{color}",
        )
    return tag("path", hover(f"{line.name}: last {short(line.y[-1])}"), d=path(points), class_=f"line s{color}")


def _legend(lines: Sequence[Line]) -> tuple[list[str], int]:
    parts, x, y = [], 8.0, TOP + 2
    for line in lines:
        name = _cut(line.name, 32)
        width = 22 + 6.2 * len(name)
        if x + width > WIDTH and x > 8:
            x, y = 8.0, y + 15
        color = line.color % SERIES
        parts += [tag("path", d=f"M{x:.1f} {y}h12", class_=f"line s{color}"), label(name, x + 16, y + 4)]
        x += width
    return parts, y - TOP + 12


def _y_axis(y: Scale, at: Sequence[float]) -> list[str]:
    parts = []
    for value in at:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), class_="grid"))
        parts.append(label(short(value), LEFT - 5, y(value) + 4, text_anchor="end", class_="soft"))
    return parts


def _x_axis(x: Scale, at: Sequence[float], name: str, height: float) -> list[str]:
    parts = [label(short(v), x(v), height - BOTTOM + 14, text_anchor="middle", class_="soft") for v in at]
    return [*parts, label(name, (x.start + x.end) / 2, height - 3, text_anchor="middle", class_="soft")]


def _cut(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{v:.4g}") if math.isfinite(v) else 0.0 for v in values]
