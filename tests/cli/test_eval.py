"""Scores from the command line: of results files, of runs, of detections that were kept, oracles, several runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from idol_core.config import stage_to_dict
from idol_core.data.dataset import open_annotations, open_dataset
from idol_core.data.set_digest import record_set
from idol_core.errors import Integrity, InvalidInput
from idol_core.evaluation import IDENTITY_METRICS, METRICS
from idolctl.config.library import load_recipe
from idolctl.config.resolve import resolve
from idolctl.config.variants import variants
from idolctl.evaluation import infer
from idolctl.evaluation.scores import mean_and_spread
from idolctl.evaluation.targets import Target, find_target, published_scores
from tests.cli.conftest import CHECKOUT, blocks
from tests.unit.tiny import tiny_config
from tests.unit.vis_sets import HEIGHT, WIDTH, box, result, truth

LEFT, RIGHT = box(2, 2, 8, 8), box(20, 2, 8, 8)
FRAMES = 8
NAMES = [f"clip/{t}.jpg" for t in range(FRAMES)]


def scene(**extra):
    """Annotations: two objects of class 4 in one clip."""
    content = truth([(1, 4, [m] * FRAMES, extra) for m in (LEFT, RIGHT)], videos=((1, FRAMES),))
    content["videos"][0]["file_names"] = NAMES
    return content


SWAPPED = [
    result(1, 4, 0.9, [LEFT] * 4 + [RIGHT] * 4),
    result(1, 4, 0.8, [RIGHT] * 4 + [LEFT] * 4),
]
RIGHT_RESULTS = [result(1, 4, 0.9, [LEFT] * FRAMES), result(1, 4, 0.8, [RIGHT] * FRAMES)]


@pytest.fixture
def files(tmp_path):
    def write(results, annotations=None):
        (tmp_path / "annotations.json").write_text(json.dumps(annotations or scene()))
        (tmp_path / "results.json").write_text(json.dumps(results))
        return ["eval", "--results", f"{tmp_path}/results.json", "--annotations", f"{tmp_path}/annotations.json"]

    return write


@pytest.fixture
def call(call, monkeypatch):
    """`call` without a data root."""
    monkeypatch.delenv("DETECTRON2_DATASETS")
    return call


def last_json(out):
    return json.loads(out.strip().splitlines()[-1])


def test_results_against_annotations(files, call):
    code, out, _ = call(*files(RIGHT_RESULTS), "--json")
    found = last_json(out)
    assert code == 0
    assert [found[m] for m in METRICS] == pytest.approx([100, 100, 100, 50, 100])
    assert found["APs"] == pytest.approx(100)
    assert found["APl"] is None
    assert found["per_class"]["class 4"]["AP"] == pytest.approx(100)
    assert found["per_class"]["class 9"]["AP"] is None


def test_two_tracks_swapped_halfway_cost_their_ap_and_two_switches(files, call):
    code, out, _ = call(*files(SWAPPED), "--json", "--per-video")
    found = last_json(out)
    assert code == 0
    assert found["AP50"] == found["AP75"] == 0  # every overlap is 1/3
    (row,) = found["per_video"]
    assert (row["id"], row["switches"], row["covered"], row["visible"]) == (1, 2, 16, 16)
    code, out, _ = call(*files(SWAPPED), "--per-video")
    assert "identity switches: 2; " in out
    assert "in 100.0 % of the frames" in out


def test_occlusion_groups(files, call):
    annotations = scene(occlusion=["no_occlusion"] * 4 + ["severe_occlusion"] * 4)
    code, out, _ = call(*files(RIGHT_RESULTS, annotations), "--occlusion", "--json")
    groups = last_json(out)["occlusion"]
    assert code == 0
    assert groups["heavy"]["AP"] == pytest.approx(100)
    assert groups["slight"]["AP"] is None
    code, _, err = call(*files(RIGHT_RESULTS), "--occlusion")
    assert code == 3
    assert "occlusion" in blocks(err)[0]["error"]


def test_errors_lists_the_ap_that_each_kind_of_error_costs(files, call):
    code, out, _ = call(*files(SWAPPED), "--errors", "--json")
    found = last_json(out)["errors"]
    assert code == 0
    assert {kind: row["count"] for kind, row in found["kinds"].items() if row["count"]} == {"switch": 2}
    row = found["kinds"]["switch"]
    assert (found["AP"], row["AP"], row["dAP"], row["AP50"], row["dAP50"]) == pytest.approx((0, 100, 100, 100, 100))
    assert found["kinds"]["mask"]["dAP"] == 0
    assert found["all"]["AP"] == pytest.approx(100)
    assert "don't add up" in found["note"]
    code, out, _ = call(*files([*RIGHT_RESULTS, result(1, 9, 0.95, [LEFT] * FRAMES)]), "--errors")
    lines = [line.split() for line in out.splitlines()]
    assert ["class", "1", "100.0", "0.0", "100.0", "0.0"] in lines  # no object of that class: nothing is lost
    assert "don't add up" in out


def test_how_well_identities_hold(files, call):
    code, out, _ = call(*files(SWAPPED), "--identity", "--json")
    found = last_json(out)["identity"]
    assert code == 0
    assert {name: found[name] for name in IDENTITY_METRICS} == pytest.approx(
        {"HOTA": 100 / 3**0.5, "DetA": 100, "AssA": 100 / 3, "LocA": 100, "IDF1": 50, "MOTA": 87.5, "IDSW": 2}
    )
    assert isinstance(found["IDSW"], int)
    assert found["per_class"]["class 4"]["IDSW"] == found["class_average"]["IDSW"] == 2
    assert "all tracks, whatever their score" in call(*files(SWAPPED), "--identity")[1]


def test_identity_of_tracks_above_a_threshold(files, call):
    """Each with its best class only: the other class of the first track is left out, and so is the second track."""
    results = [*RIGHT_RESULTS, result(1, 9, 0.85, [LEFT] * FRAMES)]
    for arguments, expected in ((["--threshold", "0.85"], 50), (["--threshold", "0.8"], 100), ([], 50)):
        code, out, _ = call(*files(results), "--identity", *arguments, "--json")
        assert (code, last_json(out)["identity"]["MOTA"]) == (0, pytest.approx(expected))
    assert "tracks of score 0.8 and more" in call(*files(results), "--identity", "--threshold", "0.8")[1]


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (result(7, 4, 0.5, [LEFT] * FRAMES), "unknown videos: 1"),
        (result(1, 5, 0.5, [LEFT] * FRAMES), "unknown categories: 1"),
        (result(1, 4, 0.5, [LEFT] * FRAMES) | {"category": "class 9"}, "another class than their category_id: 1"),
        (result(1, 4, 0.5, [LEFT] * 3), "wrong number of frames: 1"),
        (result(1, 4, 0.5, [box(0, 0, 2, 2, (9, 9))] * FRAMES), "malformed masks: 1"),
    ],
)
def test_results_that_do_not_fit_are_refused_and_never_scored_as_zero(files, call, broken, what):
    code, out, err = call(*files([*RIGHT_RESULTS, broken]), "--json")
    assert (code, out) == (4, "")
    assert what in blocks(err)[0]["error"]


def test_empty_results_score_zero_with_a_warning(files, call):
    code, out, err = call(*files([]), "--json")
    assert (code, last_json(out)["AP"]) == (0, 0)
    assert "no results, so" in err
    assert "warning" not in call(*files(RIGHT_RESULTS), "--json")[2]


def test_what_lowers_a_score_is_told(files, call):
    content = scene()
    content["videos"] += [content["videos"][0] | {"id": i} for i in (5, 6)]
    content["annotations"] += [a | {"id": a["id"] + 10, "video_id": 5} for a in content["annotations"] * 2]
    _, out, err = call(*files([*RIGHT_RESULTS, RIGHT_RESULTS[0] | {"score": 0.1}], content), "--json")
    told = last_json(out)["warnings"]
    assert [text.partition(" ")[0] for text in told] == ["no", "1", "2"]
    assert told[0].startswith("no results for 1 of 2 videos with objects (first: video 5)")
    assert all(f"warning: results.json: {text}" in err for text in told)
    images = {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH, "file_name": "a.jpg"} for i in (1, 2)],
        "categories": content["categories"],
        "annotations": [
            {"id": 2 * i + j, "image_id": i, "category_id": 4, "segmentation": m}
            for i in (1, 2)
            for j, m in enumerate((LEFT, LEFT if i == 2 else RIGHT))
        ],
    }
    results = [{"image_id": 1, "category_id": 4, "score": s, "segmentation": LEFT} for s in (0.5, 0.4)]
    told = last_json(call(*files(results, images), "--json")[1])["warnings"]
    assert [text.partition(" ")[0] for text in told] == ["no", "1", "1"]


def test_no_ground_truth_names_submit(files, call):
    code, _, err = call(*files(RIGHT_RESULTS, scene() | {"annotations": None}))
    assert code == 3
    assert "submit" in blocks(err)[0]["fix"]


def test_images_are_scored_too(files, call):
    mask = LEFT
    annotations = {
        "images": [{"id": 3, "height": HEIGHT, "width": WIDTH, "file_name": "a.jpg"}],
        "categories": [{"id": 4, "name": "x"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 3,
                "category_id": 4,
                "iscrowd": 0,
                "segmentation": mask,
                "area": 64,
                "bbox": [2, 2, 8, 8],
            }
        ],
    }
    results = [{"image_id": 3, "category_id": 4, "score": 0.5, "segmentation": mask, "bbox": [2, 2, 8, 8]}]
    code, out, _ = call(*files(results, annotations), "--json")
    assert code == 0
    assert last_json(out)["AP"] == pytest.approx(100)
    assert call(*files(results, annotations), "--per-video")[0] == 2
    assert call(*files(results, annotations), "--identity")[0] == 2
    code, out, _ = call(*files([*results, results[0] | {"score": 0.4}], annotations), "--errors", "--json")
    kinds = last_json(out)["errors"]["kinds"]
    assert code == 0
    assert {name: kind["count"] for name, kind in kinds.items()} == {
        "cls": 0, "loc": 0, "both": 0, "dupe": 1, "bkg": 0, "miss": 0,
    }  # fmt: skip


def test_scoring_files_imports_no_torch(files):
    arguments = [*files(RIGHT_RESULTS), "--errors", "--identity"]
    program = f"import sys; from idolctl.app import main; main({arguments!r}); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)


# Runs. What the network would say is kept already: two objects whose embeddings change places in the middle.


@pytest.fixture
def run(tmp_path):
    """Make a finished run `name`, with or without the detections that its weights give on the clip."""
    root = tmp_path / "data"
    (root / "frames" / "clip").mkdir(parents=True)
    (root / "instances.json").write_text(json.dumps(scene()))
    part = "{frames: frames, annotations: instances.json}"
    (root / "pair.yaml").write_text(f"kind: vis\ntrain: {part}\nval: {part}\n")
    (resolved,) = resolve(load_recipe("toy"), steps=(3,), assignments=["model.num_classes=2", "data.val.name=pair_val"])
    config = dataclasses.replace(resolved.config, init=None)

    def make(name, results, *, swap_at=None):
        folder = tmp_path / "runs" / name / "1-2-3"
        folder.mkdir(parents=True)
        (folder / "weights.safetensors").write_bytes(name.encode())
        (folder / "stage.json").write_text(
            json.dumps({"config": stage_to_dict(config), "root": str(root), "key": name, "parent": None})
        )
        (folder / "state.json").write_text(json.dumps({"status": "done"}))
        (folder / "results.json").write_text(json.dumps(results))
        if swap_at is not None:
            _keep_detections(name, tmp_path, swap_at)
        return folder

    return make


def _keep_detections(name, tmp_path, swap_at, precision="float32"):
    from idol_core.data.catalog import resolve_source
    from idol_core.inference.kept_detections import save_record
    from idol_core.tracking.records import FrameRecord, VideoRecord

    target = find_target(name, tmp_path / "runs", data=None)
    dataset = open_dataset(resolve_source(target.config.data.val, target.root))
    frames = []
    for t in range(FRAMES):
        scores = np.array([0.9, 0.25], np.float32)
        embeddings = 10 * np.eye(4, dtype=np.float32)[[0, 1] if t < swap_at else [1, 0]]
        probs = np.stack([scores, np.zeros(2)], 1).astype(np.float32)
        counts = [m["counts"].encode() for m in (LEFT, RIGHT)]
        frames.append(FrameRecord(scores, probs, embeddings, np.eye(2, dtype=np.float32), counts))
    key = infer._key(target, dataset, target.config, precision)
    save_record(target.folder / "detections" / key / "1.npz", VideoRecord(frames, (HEIGHT, WIDTH)))


def test_a_run_is_scored_by_its_own_results(run, call, tmp_path):
    run("a", RIGHT_RESULTS)
    code, out, _ = call("eval", "a", "--json")
    found = last_json(out)
    assert (code, found["AP"], found["data"]) == (0, pytest.approx(100), "pair_val")
    assert found["results"].endswith("runs/a/1-2-3/results.json")
    assert call("eval", "runs/a/1-2-3")[0] == 0
    run("ovis-r50", RIGHT_RESULTS)
    assert "ovis-r50 is the run runs/ovis-r50 here" in call("eval", "ovis-r50")[2]
    code, _, err = call("eval", "b")
    assert code == 2
    assert "'b' is neither a run" in blocks(err)[0]["error"]


def test_a_run_s_own_results_are_used_only_while_ids_mean_the_same(run, call, tmp_path):
    folder, labels = run("a", RIGHT_RESULTS), tmp_path / "data/instances.json"
    record_set(folder, open_annotations(labels, "vis"))
    content = scene()
    content["annotations"][0]["segmentations"][0] = None  # corrected labels, same videos and classes
    labels.write_text(json.dumps(content))
    code, out, _ = call("eval", "a", "--json")
    assert (code, last_json(out)["results"]) == (0, "runs/a/1-2-3/results.json")
    one, other = content["categories"]
    one["name"], other["name"] = other["name"], one["name"]  # as after an import with another class
    labels.write_text(json.dumps(content))
    for command in (["eval", "a"], ["submit", "pair", "--root", tmp_path / "data"]):
        code, _, err = call(*command)
        assert code == 4  # the network is asked for
        assert "the videos or classes of pair" in err
        assert "weights.safetensors" in blocks(err)[0]["where"]


def test_tracker_settings_without_the_network(run, call):
    folder = run("a", [], swap_at=FRAMES)
    code, out, _ = call("eval", "a", "--set", "tracker.new_threshold=.2", "--json")
    assert code == 0
    assert last_json(out)["AR10"] == pytest.approx(100)
    results = json.loads((folder / "eval/pair_val/results.json").read_text())
    assert [r["segmentations"][0] for r in results] == [LEFT, RIGHT]
    assert json.loads((folder / "results.json").read_text()) == []  # the run's own are left alone
    assert json.loads((folder / "eval/pair_val/evaluation.json").read_text())["AR10"] == pytest.approx(100)


def test_another_precision_asks_for_detections_and_results_of_its_own(run, call, tmp_path):
    run("a", RIGHT_RESULTS, swap_at=FRAMES)
    code, out, _ = call("eval", "a", "--precision", "float32", "--json")  # as the run itself was scored
    assert (code, last_json(out)["results"]) == (0, "runs/a/1-2-3/results.json")
    code, _, err = call("eval", "a", "--precision", "bf16", "--json")  # neither: the network is asked for
    assert code == 4
    assert "weights.safetensors" in blocks(err)[0]["where"]
    _keep_detections("a", tmp_path, FRAMES, precision="bf16")
    code, out, _ = call("eval", "a", "--precision", "bf16", "--json")
    assert (code, last_json(out)["results"]) == (0, "runs/a/1-2-3/eval/pair_val/results.json")
    assert call("eval", "a", "--precision", "float8")[0] == 2


def test_a_sweep_is_a_table(run, call):
    run("a", [], swap_at=FRAMES)
    sweep = ["--set", "tracker.init_threshold=.3", "--set", "tracker.new_threshold=.2,.3"]
    code, out, _ = call("eval", "a", *sweep, "--json")
    found = last_json(out)
    assert code == 0
    assert [row["AR10"] for row in found["sweep"]] == pytest.approx([90, 50])  # 7 of 8 frames: up to .85
    sweep = ["--set", "tracker.new_threshold=.2", "--set", "tracker.init_threshold=.2,.3"]
    code, out, _ = call("eval", "a", *sweep, "--json")
    found = last_json(out)
    assert [(r["settings"]["tracker.init_threshold"], r["AR10"]) for r in found["sweep"]] == [
        (".2", pytest.approx(100)),
        (".3", pytest.approx(90)),  # it begins a frame later
    ]
    assert found["settings"] == {"tracker.init_threshold": ".2", "tracker.new_threshold": ".2"}
    assert found["AP"] == found["sweep"][0]["AP"]
    code, out, _ = call("eval", "a", *sweep)
    assert out.count("best") == 1


def test_oracles_recover_the_ap_lost_to_swapped_identities(run, call):
    run("a", [], swap_at=4)
    for clip_length, clip_is_perfect in ((4, True), (8, False)):
        code, out, _ = call("eval", "a", "--oracle", "clip", "--clip-length", clip_length, "--json")
        found = last_json(out)
        assert code == 0
        assert found["frame"]["AP"] == pytest.approx(100)
        assert found["normal"]["AP"] == 0
        assert found["clip"]["AP"] == (pytest.approx(100) if clip_is_perfect else 0)
        assert found["AP"] == found["clip"]["AP"]
    code, out, _ = call("eval", "a", "--oracle", "frame")
    assert code == 0
    assert all(row in out for row in ("normal", "clip oracle, 10 frames", "frame oracle"))


def test_several_runs_have_a_mean_and_a_spread(run, call):
    run("a", RIGHT_RESULTS)
    run("b", SWAPPED)
    code, out, _ = call("eval", "a", "b", "--json")
    found = last_json(out)
    assert (code, found["AP"], found["std"]["AP"]) == (0, pytest.approx(50), pytest.approx(50 * 2**0.5))
    assert [one["AP"] for one in found["runs"]] == pytest.approx([100, 0])
    assert mean_and_spread([{"AP": 4.0}])[1] == {"AP": None}


def test_errors_and_identity_of_runs(run, call, tmp_path):
    run("a", RIGHT_RESULTS)
    run("b", SWAPPED)
    code, out, _ = call("eval", "b", "--data", "pair_val", "--errors", "--identity", "--json")
    assert (code, last_json(out)["identity"]["IDSW"]) == (0, 2)
    code, out, _ = call("eval", "a", "b", "--errors", "--identity", "--json")
    found = last_json(out)
    assert (code, found["identity"]["IDF1"], found["identity"]["IDSW"]) == (0, pytest.approx(75), 1)
    assert found["identity_std"]["IDF1"] == pytest.approx(25 * 2**0.5)
    assert [one["errors"]["kinds"]["switch"]["count"] for one in found["runs"]] == [0, 2]
    code, out, _ = call("eval", "a", "b", "--errors", "--identity")
    lines = [line.split() for line in out.splitlines()]
    assert ["switch", "0.0", "100.0"] in lines
    assert ["mean", "78.9", "100.0", "66.7", "100.0", "75.0", "93.8", "1.0"] in lines


def test_errors_and_identity_of_weights_on_a_set(run, call):
    run("a", [], swap_at=4)
    code, out, _ = call("eval", "a", "--set", "tracker.new_threshold=.2", "--errors", "--identity", "--json")
    found = last_json(out)
    assert code == 0
    assert found["errors"]["kinds"]["switch"]["count"] == 2
    assert found["identity"]["IDSW"] == 2


def test_a_set_without_ground_truth(run, call, tmp_path):
    run("a", RIGHT_RESULTS)
    (tmp_path / "data/instances.json").write_text(json.dumps(scene() | {"annotations": None}))
    code, out, _ = call("eval", "a", "--json")
    found = last_json(out)
    assert code == 0
    assert [found[m] for m in METRICS] == [None] * 5
    code, out, _ = call("eval", "a")
    assert "no ground truth" in out
    assert "idolctl submit pair --results" in out
    assert call("eval", "a", "--oracle", "frame")[0] == 3


def test_a_checkpoint_has_the_settings_of_its_stage(run, tmp_path):
    folder = run("a", RIGHT_RESULTS)
    (folder / "checkpoints").mkdir()
    path = folder / "checkpoints/00000005.pt"
    path.write_bytes(b"weights")
    target, whole = (find_target(str(p), tmp_path / "runs", data=None) for p in (path, folder))
    assert (target.config, target.root) == (whole.config, whole.root)
    assert (target.weights, target.stage) == (path, None)


def test_submit_runs_inference_if_the_run_has_no_results_on_the_set(run, call, tmp_path):
    folder = run("a", [], swap_at=FRAMES)
    (folder / "results.json").unlink()
    code, out, err = call("submit", "pair", "--root", tmp_path / "data")
    assert code == 0, err
    assert "has no results on pair: running inference" in err
    assert "1 of 1 videos have results" in out
    inferred = json.loads((folder / "eval/pair_val/results.json").read_text())
    with zipfile.ZipFile(tmp_path / "runs/a/submission.zip") as archive:
        assert json.loads(archive.read("results.json")) == inferred != []


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["a", "--set", "solver.lr=1"], 2, "not an evaluation setting"),
        (["a", "--set", "tracker.new_scor=.1"], 2, "unknown key"),
        (["a", "--set", "tracker.new_threshold=high"], 2, "expected a valid number"),
        (["a", "--set", "tracker.new_threshold=1.5"], 2, "within 0 and 1"),
        (["a", "--data", "nosuch"], 2, "no data set"),
        (["a", "--data", "ovis"], 3, "not found"),
        (["nosuch"], 2, "neither a run"),
        (["ovis-r50"], 3, "not in the cache"),
        ([], 2, "name a run"),
        (["--results", "x.json"], 2, "--annotations"),
        (["a", "--threshold", ".5"], 2, "--threshold needs --identity"),
        (["a", "--identity", "--threshold", "nan"], 2, "greater than or equal to 0"),
        (["a", "--identity", "--threshold", "inf"], 2, "not a score"),
        (["a", "--identity", "--oracle", "frame"], 2, "single set of results"),
        (["a", "--errors", "--set", "tracker.new_threshold=.2,.3"], 2, "single set of results"),
        (["--results", "x.json", "--annotations", "y.json"], 3, "not found"),
    ],
)
def test_wrong_options_are_refused(run, call, arguments, code, what):
    run("a", RIGHT_RESULTS)
    found, out, err = call("eval", *arguments)
    assert (found, out) == (code, "")
    assert what in blocks(err)[0]["error"]
    assert set(blocks(err)[0]) == {"error", "where", "fix"}


def test_other_classes_are_refused(run, call, tmp_path):
    run("a", [], swap_at=4)
    content = truth([(1, 4, [LEFT] * FRAMES, {})], videos=((1, FRAMES),), categories=(4, 5, 6))
    content["videos"][0]["file_names"] = NAMES
    (tmp_path / "data/three.json").write_text(json.dumps(content))
    (tmp_path / "data/three.yaml").write_text("kind: vis\nval: {frames: frames, annotations: three.json}\n")
    code, _, err = call("eval", "a", "--data", "three")
    assert code == 2
    assert "2 classes, the data set has 3" in blocks(err)[0]["error"]


def test_detections_are_those_of_weights_input_and_selection(run, tmp_path):
    run("a", [])
    target = find_target("a", tmp_path / "runs", data=None)
    from idol_core.data.catalog import resolve_source

    dataset = open_dataset(resolve_source(target.config.data.val, target.root))

    def keys(*assignments):
        return [infer._key(target, dataset, v.config, "float32") for v in variants(target.config, assignments)]

    assert len(set(keys("tracker.new_threshold=.1,.2", "tracker.mask_nms=.1,.9"))) == 1
    assert len(set(keys("tracker.select_threshold=.1,.2", "input.test_short_side=96,112"))) == 4
    before = keys()
    shutil.copyfile(__file__, target.weights)
    assert keys() != before


@pytest.mark.parametrize(
    ("recipe", "step", "backbone", "data", "names"),
    [
        ("ovis", 3, "r50", "ovis_val", ["ovis-r50"]),
        ("ytvis19", 3, "r50", "ytvis19_val", ["ytvis19-r50", "ytvis19-r50-b"]),
        ("ovis", 3, "r50", "ovis@oracle_val", []),  # other videos
        ("ovis", 3, "r101", "ovis_val", []),  # never published
        ("ytvis19", 2, "r50", "ytvis19_val", []),
    ],
)
def test_published_figures_are_shown_for_the_same_data_and_recipe_only(recipe, step, backbone, data, names, tmp_path):
    (resolved,) = resolve(load_recipe(recipe), steps=(step,), backbone=backbone)
    target = Target("x", tmp_path / "x.safetensors", resolved.config, tmp_path)
    assert list(published_scores(target, data)) == names


def test_weights_without_a_recipe_are_scored_with_that_of_the_data_set(tmp_path):
    from idol_core.build import build_model
    from idol_core.weights import save_weights

    model = tiny_config(num_classes=5)
    path = tmp_path / "mine.safetensors"
    save_weights(path, build_model(model).state_dict(), {"source": "elsewhere"})
    target = find_target(str(path), tmp_path / "runs", data="toy@val20-seed0")
    assert dataclasses.replace(target.config.model, dropout=model.dropout) == dataclasses.replace(
        model, backbone=target.config.model.backbone
    )
    (toy,) = resolve(load_recipe("toy"), steps=(3,))
    assert (target.name, target.config.step) == ("mine", 3)
    assert (target.config.input, target.config.tracker) == (toy.config.input, toy.config.tracker)
    with pytest.raises(InvalidInput):
        find_target(str(path), tmp_path / "runs", data=None)
    path.write_bytes(b"no weights")
    with pytest.raises(Integrity):
        find_target(str(path), tmp_path / "runs", data="toy")
