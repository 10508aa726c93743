"""`idolctl report`: one file that needs no other, of runs, of unfinished ones, of several, of anybody's results."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from idolctl.evaluation.evaluate import EvalRequest
from idolctl.report.make import report_runs
from idolctl.report.subject import of_files
from tests.browser.made_runs import make_data, make_results, make_run
from tests.cli.conftest import blocks
from tests.cli.mini import make_mini

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Reader(HTMLParser):
    """Tags, scripts and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts, self.text, self._inside = [], [], "", None
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append([dict(attrs), ""])

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1][1] += data
        elif self._inside != "style":
            self.text += data


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data set of five clips, whose first class has a hostile name, and two runs on it."""
    home = tmp_path_factory.mktemp("report")
    annotations = make_data(home, videos=5, names=(HOSTILE, "green"))
    make_run(home / "runs" / "first", annotations, seed=0)
    make_run(home / "runs" / "second", annotations, seed=1)
    make_run(home / "runs" / "begun", annotations, done=False)
    return home


def made(home, *names):
    """The page of runs, and what could not be shown."""
    page = home / "page.html"
    notes = report_runs([home / "runs" / n for n in names], page, EvalRequest(None, home / "runs", None, (), None))
    return Reader(page), notes


def test_a_page_asks_for_nothing_and_runs_its_own_script_only(home):
    page, _ = made(home, "first")
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base", "audio", "video", "source")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes)
        assert tag != "link" or attributes["rel"] == "icon"
    own = [text for attributes, text in page.scripts if "type" not in attributes]
    assert len(own) == 1
    digest = base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode()
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    assert HOSTILE in page.text  # as text


def test_a_run_s_page_tells_scores_errors_identities_clips_and_how_it_was_made(home):
    page, notes = made(home, "first")
    assert notes == []
    sections = [a["id"] for tag, a in page.tags if tag == "section"]
    assert sections == ["scores", "errors", "identity", "clips", "classes", "groups", "training", "run"]
    assert "idolctl run toy --name first" in page.text
    assert "Other than in the shipped recipe" not in page.text
    notes = page.text.split("switch: track ")
    assert len(notes) == 3  # two tracks exchange their objects in clip 1
    assert "class: track green" in page.text  # clip 2
    assert f"missed: {HOSTILE} A has no track" in page.text  # clip 3
    frames = [json.loads(text) for a, text in page.scripts if a.get("class") == "frames"]
    assert len(frames) == 5  # clips
    assert {len(f) for f in frames} == {8}
    jpeg = base64.b64decode(next(one for one in frames[0] if one))
    assert jpeg.startswith(b"\xff\xd8")


def test_an_unfinished_run_has_its_curves_only(home):
    page, notes = made(home, "begun")
    assert notes == ["begun: no step is finished yet, so there are curves only."]
    assert [a["id"] for tag, a in page.tags if tag == "section"] == ["scores", "training", "run"]
    assert "Not scored" in page.text


def test_several_runs_have_mean_and_spread_and_what_differs(home):
    page, _ = made(home, "first", "second", "begun")
    assert "differences" in [a["id"] for tag, a in page.tags if tag == "section"]
    assert "standard deviation" in page.text
    assert "solver.seed" in page.text
    assert "AP, second" in page.text
    (chart,) = [a for tag, a in page.tags if tag == "svg" and a.get("aria-label") == "total loss"]
    lines = json.loads(chart["data-lines"])
    assert [line["n"] for line in lines] == ["first", "second", "begun"]
    assert lines[0]["y"] != lines[1]["y"]
    # minutes are summed up from iterations per second, which are 5 and 2 in turn
    assert lines[0]["x"]["minutes"][:2] == pytest.approx([10 / 2 / 60, 10 / 2 / 60 + 10 / 5 / 60], rel=1e-3)


def test_results_of_anybody_need_no_run_and_no_frames(idolctl, home, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(make_results(home / "videos.json")))
    given = ("--results", "results.json", "--annotations", home / "videos.json")
    done = idolctl("report", *given, "--out", "bare.html", "--plots", "charts", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    page = Reader(tmp_path / "bare.html")
    assert [a["id"] for tag, a in page.tags if tag == "section"] == [
        "scores", "errors", "identity", "clips", "classes", "groups",
    ]  # fmt: skip
    assert not [a for tag, a in page.tags if tag == "img"]
    assert any(a.get("aria-label", "").startswith("frames of each object") for tag, a in page.tags if tag == "svg")
    for path in told["plots"]:
        text = Path(path).read_text(encoding="utf-8")
        assert text.startswith("<svg ")
        assert "<script>" not in text
    assert "charts/errors-ap.svg" in " ".join(told["plots"])
    done = idolctl("report", *given, "--frames", tmp_path / "none")
    assert done.returncode == 3
    assert "frames folder not found" in blocks(done.stderr)[0]["error"]
    done = idolctl("report", *given, "--frames", tmp_path)
    assert done.returncode == 2
    assert "clip001/00.jpg" in blocks(done.stderr)[0]["error"]


def test_images_are_told_in_tide_s_kinds_with_their_frames(tmp_path):
    make_mini(tmp_path)
    truth = json.loads((tmp_path / "images.json").read_text())
    results = [
        {"image_id": a["image_id"], "category_id": 2, "score": 0.9, "segmentation": a["segmentation"]}
        for a in truth["annotations"]
    ]  # the class of half of them is wrong
    (tmp_path / "results.json").write_text(json.dumps(results))
    subject = of_files(tmp_path / "results.json", tmp_path / "images.json", tmp_path / "frames")
    assert subject.analysis.errors.kinds["cls"].count == 6
    assert {clip.errors["cls"] for clip in subject.analysis.clips} == {1}
    matrix = subject.analysis.confusion.matrix
    assert np.array_equal(matrix, [[6, 0, 0], [6, 0, 0], [0, 0, 0]])


def test_details_of_eval_and_compare_are_those_of_the_page(idolctl, home, tmp_path):
    shutil.copytree(home / "runs", tmp_path / "runs")
    done = idolctl("eval", "first", "--details", "--plots", "charts", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["details"]["groups"]["objects in the video"][0]["objects"] == 10
    assert [sum(row) for row in told["details"]["confusion"]["matrix"][:2]] == [5, 5]  # objects of each class
    assert "Classes taken for others" in done.stderr
    assert (tmp_path / "charts" / "confusion.svg").is_file()
    done = idolctl("compare", "first", "second", "--details", "--plots", "curves")
    assert done.returncode == 0, done.stderr
    assert "AP gained by mending" in done.stdout
    assert (tmp_path / "curves" / "step3-total-loss.svg").read_text().count('class="line s') == 4  # and the legend's


def test_a_run_ends_well_where_its_page_cannot_be_made(home, tmp_path, capsys):
    from idolctl.commands.run import with_page

    run = shutil.copytree(home / "runs" / "first", tmp_path / "first")
    weights = {"weights": run / "3" / "weights.safetensors"}
    assert list(with_page(run, weights)) == ["report", "weights"]
    stamp = (run / "report.html").stat().st_mtime_ns
    assert list(with_page(run, weights)) == ["report", "weights"]
    assert (run / "report.html").stat().st_mtime_ns == stamp  # nothing has changed since
    (run / "3" / "results.json").write_text("[{]")
    (run / "3" / "state.json").touch()
    assert with_page(run, weights) == weights
    assert "warning: the report page could not be written: not JSON" in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_wrong_options_are_told_in_three_lines(idolctl):
    for arguments in ((), ("--results", "r.json"), ("run", "--frames", "f"), ("run", "--out", "page.pdf")):
        done = idolctl("report", *arguments)
        assert done.returncode == 2, arguments
        assert len(blocks(done.stderr)) == 1
