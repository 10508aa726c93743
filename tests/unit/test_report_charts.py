"""Charts as SVG, the curves behind them, and groups of objects."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from idol_core.evaluation.groups import by_length, by_number, thirds
from idol_core.evaluation.overlaps import compare
from idolctl.report.charts import Lane, Line, Segment, bar_chart, confusion_matrix, histogram, line_chart, timeline
from idolctl.report.history import POINTS, curve_groups, read_history
from idolctl.report.svg import short, standalone, ticks
from tests.unit.vis_sets import box, result, truth


def parsed(svg):
    return ElementTree.fromstring(standalone(svg))


def texts(svg):
    return [element.text for element in parsed(svg).iter() if element.text and "style" not in element.tag]


def test_every_chart_is_well_formed_whatever_its_names():
    name = '<b a="&">]]>'
    lines = [Line(name, {"x": [0, 1]}, [1.0, 2.0]), Line("other", {"x": [0, 1]}, [3.0, 1.0], 1)]
    charts = [
        line_chart(name, lines),
        line_chart(name, []),
        bar_chart(name, [(name, 3.0, name)]),
        histogram(name, [0, 3], [100, 0]),
        confusion_matrix(name, [name], [[3, 1], [0, 0]]),
        timeline(name, [Lane(name, [Segment(0, 2, "#f00", "1", name)], {1: name})], 3),
    ]
    for chart in charts:
        assert parsed(chart).attrib["aria-label"] == name
        assert not parsed(chart).findall(".//{http://www.w3.org/2000/svg}b")


def test_a_line_goes_where_its_values_say():
    svg = parsed(line_chart("loss", [Line("a", {"iteration": [0, 5, 10]}, [0.0, 1.0, 0.5])], y_range=(0, 1)))
    (curve,) = [e for e in svg.iter() if e.attrib.get("class") == "line s0"]
    points = [tuple(map(float, p.split())) for p in curve.attrib["d"][1:].split("L")]
    assert points == [(44, 190), (197, 26), (350, 108)]  # 306 pixels wide, 164 high


def test_a_confusion_says_what_is_taken_for_what():
    told = texts(confusion_matrix("c", ["cat", "dog"], [[3, 1, 0], [0, 5, 2], [4, 0, 0]]))
    assert "cat taken for dog: 1 of 4" in told
    assert "dog taken for no result: 2 of 7" in told
    assert "cat where there is no object: 4" in told


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 1000, [0, 200, 400, 600, 800, 1000]),
        (3, 3, [3]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "told"), [(0, "0"), (1200, "1.2k"), (0.00036, "3.6e-4"), (1e-4, "1e-4"), (0.25, "0.25"), (2.5e6, "2.5M")]
)
def test_numbers_of_axes_are_short(value, told):
    assert short(value) == told


def write(folder, lines, cut=""):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + cut)
    return folder


def test_time_is_summed_up_over_reports_and_scores_stand_at_their_iteration(tmp_path):
    lines = [
        {"event": "start", "text": "from scratch"},
        {"iteration": 10, "it_per_s": 1.0, "loss": 4.0},
        {"event": "evaluated", "iteration": 10, "metrics": {"AP": 30.0}},
        {"event": "resumed", "iteration": 10},
        {"iteration": 70, "it_per_s": 0.5, "loss": 2.0, "losses": {"loss_ce": float("nan"), "loss_giou": 1.0}},
        {"event": "warning", "text": "slow"},
    ]
    found = read_history(write(tmp_path, lines, cut='{"iteration": 80, "lo'))
    assert found.curves["loss"] == ([10.0, 70.0], [10 / 60, 10 / 60 + 2.0], [4.0, 2.0])
    assert found.curves["scores/AP"] == ([10.0], [10 / 60], [30.0])
    assert "losses/loss_ce" not in found.curves
    assert (found.start, found.warnings, found.sessions) == ("from scratch", ("slow",), 2)


def test_long_curves_are_averaged_and_keep_their_ends(tmp_path):
    found = read_history(write(tmp_path, [{"iteration": i, "loss": float(i)} for i in range(1, 5001)]))
    iterations, _, values = found.curves["loss"]
    assert len(values) <= POINTS
    assert (values[0], values[-1]) == (1, 5000)
    assert values == pytest.approx(iterations)


def test_one_run_has_a_chart_a_loss_and_several_a_line_a_run(tmp_path):
    losses = {"loss_ce_0": 1.0, "loss_ce": 2.0}
    one = read_history(write(tmp_path, [{"iteration": 1, "loss": 3.0, "losses": losses}]))
    alone = {title: [line.name for line in lines] for title, lines, _ in curve_groups([("a", one)])}
    assert alone == {"total loss": ["total loss"], "loss_ce": ["decoder layer 1", "last layer"]}
    both = {
        title: ([line.name for line in lines], inner) for title, lines, inner in curve_groups([("a", one), ("b", one)])
    }
    assert both == {"total loss": (["a", "b"], False), "loss_ce_0": (["a", "b"], True), "loss_ce": (["a", "b"], False)}


def test_thirds_hold_about_as_many_each():
    assert thirds([]) == []
    assert thirds([4, 4, 4]) == [(4, 4)]
    assert thirds([1, 2, 3, 4, 5, 6]) == [(1, 2), (3, 4), (5, 6)]
    assert thirds([2, 2, 3, 3, 3]) == [(2, 2), (3, 3)]


def test_ap_by_length_and_by_number_of_objects_is_that_of_the_objects_in_the_group():
    long, short_ = [box(1, 1, 8, 8)] * 6, [box(20, 10, 8, 8), *[None] * 5]
    content = truth(
        [(1, 4, long, {}), (2, 4, long, {}), (2, 4, short_, {})], videos=((1, 6), (2, 6))
    )  # video 1 has one object, video 2 two, the short one of which is not found
    compared = compare(content, [result(1, 4, 0.9, long), result(2, 4, 0.8, long)])
    lengths = {(g.low, g.high): (g.objects, round(g.stats["AP"], 3)) for g in by_length(compared)}
    assert lengths == {(1, 5): (1, 0.0), (6, 6): (2, 1.0)}
    numbers = {(g.low, g.high): (g.objects, round(g.stats["AP"], 3)) for g in by_number(compared)}
    assert numbers == {(1, 1): (1, 1.0), (2, 2): (2, round(51 / 101, 3))}
