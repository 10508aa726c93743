"""Results to a zip for the server: what is checked, what is written, and that nothing faulty leaves a zip behind."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from idol_core.data.annotations import fields
from idol_core.errors import IdolError, Integrity, InvalidInput, Missing
from idolctl.app import main
from idolctl.errors import Mistakes
from idolctl.submission.pack import pack
from idolctl.submission.results import Video, Videos, read_videos, scan
from tests.cli.conftest import CHECKOUT, blocks

ANNOTATIONS = {
    "videos": [
        {"id": 5, "length": 3, "height": 40, "width": 60, "file_names": ["a", "b", "c"]},
        {"id": 9, "length": 2, "height": 30, "width": 30, "file_names": ["a", "b"]},
    ],
    "categories": [{"id": 3, "name": "x"}, {"id": 21, "name": "y"}],
    "annotations": None,
}


def mask(height=40, width=60, counts=None, *, column=3):
    """A mask of one column, or one with the counts given."""
    pixels = np.zeros((height, width), np.uint8, order="F")
    pixels[:, column] = 1
    return {"size": [height, width], "counts": counts or coco_mask.encode(pixels)["counts"].decode()}


def noise(number, height=40, width=60, density=0.05):
    """Counts of random masks, each some hundred bytes."""
    rng = np.random.default_rng(0)
    masks = (rng.random((number, width, height)) < density).astype(np.uint8).transpose(2, 1, 0)
    return [rle["counts"].decode() for rle in coco_mask.encode(np.asfortranarray(masks))]


def entry(score=0.5, *, video=5, category=3, masks=None):
    return {
        "video_id": video,
        "category_id": category,
        "score": score,
        "segmentations": masks or [mask(), None, mask()],
    }


@pytest.fixture
def files(tmp_path):
    (tmp_path / "annotations.json").write_text(json.dumps(ANNOTATIONS))

    def write(results):
        path = tmp_path / "results.json"
        path.write_text(results if isinstance(results, str) else json.dumps(results))
        return path

    return write


def _pack(tmp_path, results, **options):
    return pack(results, read_videos(tmp_path / "annotations.json"), tmp_path / "out.zip", **options)


def test_a_zip_as_servers_want_it(files, tmp_path):
    results = [entry(0.9), entry(1, category=21), entry(0.1, video=9, masks=[mask(30, 30), None])]
    package = _pack(tmp_path, files(results))
    with zipfile.ZipFile(package.path) as archive:
        assert archive.namelist() == ["results.json"]
        assert json.loads(archive.read("results.json")) == results
    content = package.path.read_bytes()
    assert (package.sha256, package.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert (package.kept, package.total, package.dropped_to) == (3, 3, None)
    _pack(tmp_path, files(json.dumps(results, indent=2)))
    assert package.path.read_bytes() == content  # same results, same bytes
    assert zipfile.ZipFile(_pack(tmp_path, files([])).path).read("results.json") == b"[]"


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (entry(video=6), "video_id 6 is not in the data set"),
        (entry(category=0), "category_id 0 is not in the data set"),
        (entry(video="five"), "video_id 'five' is not a 64-bit integer"),
        (entry(video=[5]), "video_id a list is not a 64-bit integer"),
        (entry(category=3.5), "category_id 3.5 is not a 64-bit integer"),
        (entry(category=2**70), "is not a 64-bit integer"),
        (entry() | {"category": "y"}, "category_id 3 is 'x' in the annotations, the result's own category is 'y'"),
        (entry(score="high"), "is not a finite number"),
        (entry(score=True), "is not a finite number"),
        (entry(score=float("nan")), "score nan is not a finite number"),
        (entry(score=float("inf")), "score inf is not a finite number"),
        (entry(masks=[mask()]), "1 segmentations for 3 frames"),
        (entry(masks="none"), "no list of segmentations for 3 frames"),
        (entry(masks=[mask(60, 40), None, None]), r"RLE of size \[60, 40\] in a video of \[40, 60\]"),
        (entry(masks=[mask(counts=[1, 2]), None, None]), "frame 0: not a compressed RLE"),
        (entry(masks=[None, mask(counts="a b"), None]), "frame 1: not a compressed RLE"),
        (entry(masks=[None, None, "x"]), "frame 2: not a compressed RLE"),
        (entry(masks=[mask(), mask(counts=mask(40, 59)["counts"]), None]), "frame 1: run lengths .* 2400 pixels"),
        ({"video_id": 5, "score": 1}, "lacks category_id, segmentations"),
        (entry(0.2), "repeats an earlier entry"),
        (7, "not a JSON object"),
    ],
)
def test_every_fault_is_found_with_its_place(files, tmp_path, broken, what):
    results = files([entry(0.9, category=21), entry(0.2), broken, entry(0.4, masks=[None, mask(), None])])
    with pytest.raises(Mistakes, match=what) as caught:
        _pack(tmp_path, results)
    assert caught.value.exit_code == 4
    assert (
        f"entry 2, video {fields.shown(broken['video_id']) if isinstance(broken, dict) else '-'}"
        in caught.value.mistakes[0].where
    )
    assert not (tmp_path / "out.zip").exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[" + json.dumps(entry(0.9)) + ", {'a': 1}]", "not JSON: Expecting property name"),
        ("[" + json.dumps(entry(0.9)), "the file ends"),
        ("[" + json.dumps(entry(0.9)) + "] []", "extra text after the end"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("[" + "1" * 5000 + "]", "a number has thousands of digits"),
        ('{"a": [1]}', "must contain a JSON list"),
        ("<html>quota</html>", "a web page"),
        ("", "the file is empty"),
    ],
)
def test_files_that_are_not_a_results_list_are_refused(files, tmp_path, text, what):
    (tmp_path / "out.zip").write_text("an older one")
    with pytest.raises(Integrity, match=what) as caught:
        _pack(tmp_path, files(text))
    assert str(tmp_path / "results.json") in caught.value.where
    assert (tmp_path / "out.zip").read_text() == "an older one"


def test_ids_as_text_are_packed_as_numbers(files, tmp_path):
    package = _pack(tmp_path, files([entry(0.9, video="5", category=3.0)]))
    (packed,) = json.loads(zipfile.ZipFile(package.path).read("results.json"))
    assert (packed["video_id"], packed["category_id"]) == (5, 3)
    assert json.dumps(packed).startswith('{"video_id": 5, "category_id": 3,')


def test_the_first_ten_of_many_faults_are_listed(files, tmp_path):
    with pytest.raises(Mistakes) as caught:
        scan(files([entry(category=n + 100) for n in range(25)]), read_videos(tmp_path / "annotations.json"))
    assert len(caught.value.mistakes) == 11
    assert caught.value.mistakes[-1].what == "15 more entries are faulty"


def test_annotations_without_videos_are_refused(tmp_path):
    for text in ("{}", "[]", "nonsense", json.dumps({"videos": [{"id": 1}], "categories": []})):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(Integrity):
            read_videos(tmp_path / "a.json")
    with pytest.raises(Missing):
        read_videos(tmp_path / "none.json")
    (tmp_path / "a.json").write_text(json.dumps(ANNOTATIONS))
    assert read_videos(tmp_path / "a.json") == Videos({5: Video(3, 40, 60), 9: Video(2, 30, 30)}, {3: "x", 21: "y"})


def _many(number=300):
    rng = random.Random(0)
    sizes = ((40, 60), (30, 30))
    counts = [noise(number, *size) for size in sizes]
    return [
        entry(rng.random(), video=(5, 9)[n % 2], masks=[mask(*sizes[n % 2], counts[n % 2][n]), *[None] * (2 - n % 2)])
        for n in range(number)
    ]


def _scores(package):
    with zipfile.ZipFile(package.path) as archive:
        return [e["score"] for e in json.loads(archive.read("results.json"))]


def test_too_large_a_zip_is_refused_or_made_to_fit(files, tmp_path):
    results = _many()
    path = files(results)
    told = []
    whole = _pack(tmp_path, path, progress=lambda *pair: told.append(pair))
    assert told[-1][0] == told[-1][1] == 2 * path.stat().st_size
    limit = whole.size // 3
    with pytest.raises(IdolError, match="the server's limit") as caught:
        _pack(tmp_path, path, limit=limit)
    assert caught.value.exit_code == 4
    assert hashlib.sha256((tmp_path / "out.zip").read_bytes()).hexdigest() == whole.sha256
    fitted = _pack(tmp_path, path, limit=limit, fit=True)
    assert limit * 0.9 < fitted.size <= limit
    kept = _scores(fitted)
    left_out = {e["score"] for e in results} - set(kept)
    assert min(kept) > max(left_out) == fitted.dropped_to
    assert (fitted.kept, fitted.total) == (len(kept), 300)


def test_top_k_of_each_video_and_a_score_floor(files, tmp_path):
    results = _many(40)
    path = files(results)
    best = [sorted((e["score"] for e in results if e["video_id"] == v), reverse=True)[:4] for v in (5, 9)]
    assert sorted(_scores(_pack(tmp_path, path, top_k=4))) == sorted(best[0] + best[1])
    assert min(_scores(_pack(tmp_path, path, min_score=0.5))) >= 0.5
    tied = files([entry(0.5, masks=[mask(column=c), None, None]) for c in (1, 2, 3)])
    with zipfile.ZipFile(_pack(tmp_path, tied, top_k=2).path) as archive:
        first = [e["segmentations"][0]["counts"] for e in json.loads(archive.read("results.json"))]
    assert first == [mask(column=c)["counts"] for c in (1, 2)]  # of equal scores the earlier


def _finished_run(folder, results, dataset="toy_val", step=3):
    folder.mkdir(parents=True)
    order = {"identity": {}, "config": {"step": step, "data": {"val": {"name": dataset}}}}
    (folder / "stage.json").write_text(json.dumps(order))
    (folder / "state.json").write_text(json.dumps({"status": "done"}))
    (folder / "weights.safetensors").write_bytes(b"")
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))


def test_submit_takes_the_newest_finished_run(files, idolctl, tmp_path):
    files([])
    options = ["--annotations", tmp_path / "annotations.json", "--json"]
    none = idolctl("submit", "toy", *options)
    assert (none.returncode, blocks(none.stderr)[0]["fix"]) == (3, "idolctl run toy --steps 1,2,3, or --results FILE")
    _finished_run(tmp_path / "runs" / "old" / "3", [entry(0.25)])
    _finished_run(tmp_path / "runs" / "other" / "3", [entry(0.5)], dataset="ovis_val")
    _finished_run(tmp_path / "runs" / "images" / "1", [entry(0.75)], step=1)
    done = idolctl("submit", "toy", *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["path"] == "runs/old/submission.zip"
    assert told["server"] is None
    assert (tmp_path / "runs" / "old" / "submission.zip").is_file()
    wrong = idolctl("submit", "toy", "--run", "odl", *options)
    assert (wrong.returncode, blocks(wrong.stderr)[0]["fix"]) == (2, "did you mean 'old'?")


def test_submit_by_annotations_alone_tells_of_the_server_and_its_date(files, idolctl, tmp_path):
    results = files([entry(0.5), entry(0.6, category=21)])
    options = ["--results", results, "--annotations", tmp_path / "annotations.json"]
    done = idolctl("submit", "ovis", *options)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256((tmp_path / "submission.zip").read_bytes()).hexdigest() in done.stdout
    assert "4763" in done.stdout
    assert "2026-11" in done.stdout
    assert "left out 1 of 2" in idolctl("submit", "ovis", *options, "--top-k", "1").stdout
    before = (tmp_path / "submission.zip").read_bytes()
    faulty = idolctl("submit", "ovis", "--results", files([entry(video=1)]), *options[2:])
    assert faulty.returncode == 4
    assert blocks(faulty.stderr)[0]["error"] == "video_id 1 is not in the data set"
    assert (tmp_path / "submission.zip").read_bytes() == before
    assert idolctl("submit", "ovsi", "--results", results).returncode == 2
    missing = idolctl("submit", "ovis", "--results", results)
    assert (missing.returncode, blocks(missing.stderr)[0]["where"]) == (
        3,
        "datasets/ovis/annotations_valid.json or datasets/ovis/validGT.json",
    )


@pytest.mark.parametrize("how", ["itself", "another spelling", "symlink", "hard link", "annotations"])
def test_a_zip_never_replaces_what_it_is_made_from(files, tmp_path, monkeypatch, capsys, how):
    monkeypatch.chdir(tmp_path)
    results, truth = files([entry()]), tmp_path / "annotations.json"
    out = {"itself": results, "another spelling": Path("..") / tmp_path.name / results.name, "annotations": truth}
    if how not in out:
        out[how] = tmp_path / "linked.zip"
        (out[how].hardlink_to if how == "hard link" else out[how].symlink_to)(results)
    before = results.read_bytes(), truth.read_bytes()
    given = ["--results", str(results), "--annotations", str(truth), "--out", str(out[how])]
    assert main(["submit", "ovis", *given]) == 2
    (told,) = blocks(capsys.readouterr().err)
    assert "would replace the file it is made from" in told["error"]
    assert str(out[how]) in told["where"]
    assert (results.read_bytes(), truth.read_bytes()) == before


def test_a_folder_as_output_is_refused_before_anything_is_read(files, tmp_path):
    (tmp_path / "out.zip").mkdir()
    with pytest.raises(InvalidInput, match="is a folder"):
        _pack(tmp_path, files("no results"))


def test_an_older_zip_is_replaced_by_a_whole_one(files, tmp_path):
    (tmp_path / "out.zip").write_text("an older one")
    package = _pack(tmp_path, files([entry()]))
    assert hashlib.sha256((tmp_path / "out.zip").read_bytes()).hexdigest() == package.sha256
    assert not list(tmp_path.glob(".*"))


def test_memory_does_not_grow_with_the_file(files, tmp_path):
    """28 MB of results within 15 MB more than a small file takes."""
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom idolctl.submission.results import read_videos\n"
        "from idolctl.submission.pack import pack\nhome = Path(sys.argv[1])\n"
        "pack(home / sys.argv[2], read_videos(home / 'annotations.json'), home / 'out.zip')\n"
        "assert 'torch' not in sys.modules\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    counts = noise(100, density=0.4)
    for name, number in (("small.json", 10), ("large.json", 8000)):
        with open(tmp_path / name, "w") as file:
            for n in range(number):
                varied = [mask(counts=counts[k]) for k in (n % 100, n // 100, 0)]
                file.write(("," if n else "[") + json.dumps(entry(n / number, masks=varied)))
            file.write("]")
    files([])
    used = []
    for name in ("small.json", "large.json"):
        command = [sys.executable, "-c", script, str(tmp_path), name]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        used.append(int(done.stdout) / 1024)
    assert used[1] - used[0] < 15
