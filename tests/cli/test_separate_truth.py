"""OVIS's validation ground truth, published later in a file of its own: found, matched strictly, scored with."""

from __future__ import annotations

import copy
import json
import shutil

import pytest

from idol_core.config import DataSource
from idol_core.data.catalog import resolve_source
from idol_core.data.dataset import open_dataset
from idolctl.app import main
from idolctl.evaluation.evaluate import EvalRequest
from idolctl.report.subject import of_run
from idolctl.runs.fingerprint import FileHashes, annotations_hash
from tests.browser.made_runs import make_data, make_run
from tests.cli.conftest import blocks


@pytest.fixture
def home(tmp_path, monkeypatch):
    """OVIS's layout with four small videos below `datasets`, without truth, and a finished run on it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    whole = make_data(tmp_path / "made", videos=4, frames=6)
    run = make_run(tmp_path / "runs" / "done", whole)
    order = json.loads((run / "3" / "stage.json").read_text())
    order["config"]["data"]["val"] = {"name": "ovis_val"}
    (run / "3" / "stage.json").write_text(json.dumps(order | {"root": str(tmp_path / "datasets")}))
    ovis = tmp_path / "datasets" / "ovis"
    ovis.mkdir(parents=True)
    (tmp_path / "made" / "frames").rename(ovis / "valid")
    (ovis / "annotations_valid.json").write_text(json.dumps(json.loads(whole.read_text()) | {"annotations": None}))
    return tmp_path


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def truth_of(home):
    return json.loads((home / "made" / "videos.json").read_text())


def put(home, document):
    path = home / "datasets" / "ovis" / "validGT.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def reverse(document):
    """The same truth with its lists in another order."""
    return document | {key: document[key][::-1] for key in ("videos", "annotations", "categories")}


def nameless(document):
    return document | {"videos": [{k: v for k, v in d.items() if k != "file_names"} for d in document["videos"]][::-1]}


@pytest.mark.parametrize("form", ["beside", "another order", "without names", "in its place", "under its name"])
def test_the_truth_scores_a_run_like_any_other(home, capsys, form):
    results, whole = home / "runs/done/3/results.json", home / "made/videos.json"
    asked = ["eval", "--results", results, "--annotations"]
    expected = json.loads(call(capsys, *asked, whole, "--json")[1])
    assert 0 < expected["AP"] < 100
    change = {"another order": reverse, "without names": nameless}.get(form, lambda document: document)
    path = put(home, change(truth_of(home)))
    plain = path.with_name("annotations_valid.json")
    if form == "in its place":
        plain.unlink()
    if form == "under its name":
        path = path.replace(plain)
    found = json.loads(call(capsys, "eval", "done", "--json")[1])
    assert {key: found[key] for key in expected} == expected
    if plain.exists():
        assert json.loads(call(capsys, *asked, plain, "--json")[1]) == expected
    dataset = open_dataset(resolve_source(DataSource("ovis_val"), home / "datasets"))
    assert dataset.source == path.resolve()
    names = {v.id: [n.removeprefix(f"{dataset.frames}/") for n in v.file_names] for v in dataset.videos}
    assert names == {v["id"]: v["file_names"] for v in truth_of(home)["videos"]}
    if form == "beside":
        subject = of_run("done", EvalRequest(None, home / "runs", None, (), None))
        assert subject.analysis is not None  # what the report page shows


def _other(part, row, **fields):
    def change(document):
        document[part][row] |= fields
        return document

    return change


def _swapped_frames(document):
    names = document["videos"][2]["file_names"]
    names[0], names[1] = names[1], names[0]
    return document


def _without_video(document):
    kept = [a for a in document["annotations"] if a["video_id"] != 4]
    return document | {"videos": document["videos"][:-1], "annotations": kept}


def _shorter(document):
    document["videos"][1]["file_names"].pop()
    for track in document["annotations"]:
        if track["video_id"] == 2:
            track["segmentations"].pop()
    return document


def _one_more(document):
    return document | {"videos": [*document["videos"], document["videos"][0] | {"id": 9}]}


@pytest.mark.parametrize(
    ("change", "what", "part"),
    [
        (_other("categories", 1, name="blue"), "class 2 is 'blue' here and 'green' there", ":categories, id 2"),
        (lambda d: d | {"categories": [*d["categories"], {"id": 7, "name": "x"}]}, "class 7 is 'x' here and None", ""),
        (_swapped_frames, "frame 0 of video 3 is clip003/01.jpg here and clip003/00.jpg there", ":videos, id 3"),
        (_shorter, "video 2 has 5 frames here and 6 there", ":videos, id 2"),
        (_without_video, "video 4 is lacking", ":videos"),
        (_one_more, "no video 9 there", ":videos, id 9"),
        (lambda d: d | {"annotations": None}, "it has no masks", ":annotations"),
        (lambda d: d | {"annotations": [], "videos": [v | {"width": 95} for v in d["videos"]]}, "[72, 95] here", ""),
        (lambda d: json.dumps(d)[:-9], "", ""),
    ],
)
def test_truth_that_does_not_fit_is_refused_and_submitting_goes_on(home, capsys, change, what, part):
    path = put(home, change(copy.deepcopy(truth_of(home))))
    code, out, err = call(capsys, "eval", "done")
    (told,) = blocks(err)
    assert (code, out) == (4, "")
    assert what in told["error"]
    assert told["where"].startswith(f"{path}{part}")
    assert call(capsys, "submit", "ovis", "--run", "done")[0] == 0


def test_without_truth_every_command_names_the_file_and_its_place(home, capsys):
    put_it = "put validGT.json of OVIS's download folder"
    place = home / "datasets/ovis/validGT.json"
    before = annotations_hash(DataSource("ovis_val"), home / "datasets", FileHashes())
    code, out, _ = call(capsys, "eval", "done")
    assert (code, put_it in out, f"at {place}" in out) == (0, True, True)
    code, out, _ = call(capsys, "submit", "ovis", "--run", "done")
    assert (code, put_it in out, "stopped taking submissions" in out) == (0, True, True)
    told = call(capsys, "data", "check", "ovis_val")[1]
    assert f"no masks, so no scores; {put_it}" in told
    put(home, truth_of(home))
    assert f"truth        {place.relative_to(home)}" in call(capsys, "data", "check", "ovis_val")[1]
    submitted = call(capsys, "submit", "ovis", "--run", "done")[1]
    (way,) = [line for line in submitted.splitlines() if "idolctl eval" in line]
    shutil.rmtree(home / "made")
    assert "AP" in call(capsys, *way.partition("idolctl ")[2].split())[1]
    # the truth is no setting of a run: its weights stay as they are
    assert annotations_hash(DataSource("ovis_val"), home / "datasets", FileHashes()) == before
