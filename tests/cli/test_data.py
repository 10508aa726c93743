"""Data sets on disk: what is checked and told, sets of one's own, splits."""

from __future__ import annotations

import json

import pytest

from idol_core.config import DataSource
from idol_core.data.annotations.index_store import LARGE_BYTES
from idol_core.data.catalog import find_layout, known_names, resolve_source
from idol_core.data.dataset import open_dataset
from idol_core.errors import InvalidInput
from tests.cli.conftest import blocks
from tests.unit.data_sets import CATEGORIES, small_images, small_videos, write_frame


@pytest.fixture
def call(call, tmp_path):
    """`call` with a data root that exists."""
    (tmp_path / "root").mkdir()
    return call


@pytest.fixture
def clips(tmp_path):
    """A labelled video set of three videos."""
    folder = tmp_path / "clips"
    small_videos(folder)
    return folder


def add(call, folder, *more, name="mine"):
    return call("data", "add", name, "--frames", folder / "frames", "--annotations", folder / "instances.json", *more)


def test_a_set_of_ones_own_works_by_name(call, clips, tmp_path):
    code, out, _ = add(call, clips, "--val-annotations", clips / "instances.json")
    assert code == 0
    assert "mine_train  3 videos, 11 frames, 9 objects, 2 classes" in out
    assert "num_classes: 2" in out
    root = tmp_path / "root"
    for name in ("mine_train", "mine_val"):
        source = resolve_source(DataSource(name), root)
        assert (source.kind, len(open_dataset(source).videos)) == ("vis", 3)
        assert name in known_names(root)
    code, out, _ = call("data", "check", "mine", "--deep")
    assert code == 0
    assert out.count("✓") == 10
    code, out, _ = call("ls", "datasets", "--json")
    row = next(r for r in json.loads(out)["datasets"] if r["name"] == "mine_val")
    assert (row["kind"], row["found"]) == ("vis", True)


def test_images_of_ones_own(call, tmp_path):
    small_images(tmp_path / "pictures", height=40, width=50)
    code, out, _ = add(call, tmp_path / "pictures")
    assert code == 0
    assert "6 images" in out
    assert "steps 1,2" in out
    assert resolve_source(DataSource("mine_train"), tmp_path / "root").kind == "coco"


def test_a_set_may_move_with_its_root(call, tmp_path):
    folder = tmp_path / "root" / "clips"
    small_videos(folder)
    assert add(call, folder)[0] == 0
    (tmp_path / "root").rename(tmp_path / "moved")
    assert resolve_source(DataSource("mine_train"), tmp_path / "moved").frames == str(tmp_path / "moved/clips/frames")


def test_a_relative_root_is_as_good_as_any(call, tmp_path):
    small_videos(tmp_path / "root" / "clips")
    root = ("--root", "root")  # as the default, datasets/, is
    assert add(call, tmp_path / "root/clips", *root)[0] == 0
    assert "clips/frames" in (tmp_path / "root/mine.yaml").read_text()
    assert call("split", "make", "mine", "--name", "a", *root)[0] == 0
    assert call("split", "verify", "mine@a", *root)[0] == 0
    assert call("data", "check", "mine", *root)[0] == 0


def test_invalid_sets_are_not_added(call, clips):
    assert add(call, clips)[0] == 0
    assert add(call, clips)[0] == 2  # is there
    assert add(call, clips, "--force")[0] == 0
    assert add(call, clips, name="toy")[0] == 2
    assert add(call, clips, name="a/b")[0] == 2
    assert add(call, clips / "nowhere", name="x")[0] == 3
    assert call("data", "add", "x", "--frames", clips, "--annotations", clips / "instances.json")[0] == 4
    content = json.loads((clips / "instances.json").read_text())
    content["categories"].append({"id": 77, "name": "third"})
    (clips / "more.json").write_text(json.dumps(content))
    code, _, err = add(call, clips, "--val-annotations", clips / "more.json", name="x")
    assert code == 4
    assert "x_train has 2; x_val has 3" in blocks(err)[0]["error"]


def test_a_malformed_description_is_reported_with_its_key(call, tmp_path):
    path = tmp_path / "root" / "bad.yaml"
    for text, key in (("kind: videos\ntrain: {}\n", "kind"), ("kind: vis\ntrain: {frames: 3}\n", "train")):
        path.write_text(text)
        with pytest.raises(InvalidInput) as raised:
            find_layout("bad_train", tmp_path / "root")
        assert raised.value.where.endswith(f"bad.yaml:{key}")


def test_missing_files_have_crosses_and_expected_places(call):
    code, out, err = call("data", "check", "ytvis19")
    assert code == 3
    assert out.count("✗") == 4
    assert "ytvis_2019/val/JPEGImages or " in out
    assert "ytvis_2019/valid.json" in blocks(err)[3]["where"]
    code, _, err = call("data", "check", "yvis19")
    assert (code, "ytvis19" in blocks(err)[0]["fix"]) == (2, True)


def test_counts_are_compared_with_the_published_ones(call, tmp_path):
    folder = tmp_path / "root" / "ovis"
    small_videos(folder)
    (folder / "frames").rename(folder / "train")
    (folder / "instances.json").rename(folder / "annotations_train.json")
    code, out, err = call("data", "check", "ovis_train", "--json")
    report = json.loads(out)["parts"][0]
    assert code == 4
    assert [line["ok"] for line in report["lines"] if not line["remark"]] == [True, True, False, True]
    assert "607 videos, 25 classes" in blocks(err)[0]["error"]


def test_progress_is_shown_when_a_large_file_is_first_read(call, clips, monkeypatch, tmp_path):
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    path = clips / "instances.json"
    path.write_text(json.dumps({"info": "x" * LARGE_BYTES, **json.loads(path.read_text())}))
    megabytes = f"{path.stat().st_size / 1e6:.1f}"
    _, _, err = add(call, clips)
    assert f"reading instances.json  {megabytes}/{megabytes} MB" in err
    assert "reading" not in call("data", "check", "mine")[2]  # the index is on disk
    (tmp_path / "cache").rename(tmp_path / "gone")
    _, _, err = call("data", "check", "mine")
    assert err.count("reading instances.json") == 1


def test_a_deep_check_lists_broken_frames(call, clips):
    add(call, clips)
    cut = clips / "frames/v1/2.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    small_images(clips / "other", height=40, width=50)
    (clips / "other/frames/1.png").rename(clips / "frames/v2/0.jpg")
    assert call("data", "check", "mine")[0] == 0  # nothing is opened
    code, out, err = call("data", "check", "mine", "--deep")
    assert code == 4
    assert out.count("✗") == 2
    assert "v1/2.jpg: frame cannot be decoded" in out
    assert "v2/0.jpg: is 40 x 50, its annotation says 48 x 64" in out
    assert "2 frames of mine_train are broken" in blocks(err)[0]["error"]
    (clips / "frames/v3/0.jpg").unlink()
    code, out, err = call("data", "check", "mine")
    assert code == 3
    assert "v3/0.jpg" in blocks(err)[0]["error"]


def test_a_split_works_as_a_data_set(call, clips, tmp_path):
    add(call, clips)
    code, out, _ = call("split", "make", "mine", "--val-fraction", ".34", "--seed", "3", "--name", "a", "--json")
    made = json.loads(out)
    assert code == 0
    assert (made["train"]["videos"], made["val"]["videos"]) == (2, 1)
    root = tmp_path / "root"
    sides = [open_dataset(resolve_source(DataSource(f"mine@a_{side}"), root)) for side in ("train", "val")]
    whole = open_dataset(resolve_source(DataSource("mine_train"), root))
    ids = [set(d.index.video_ids.tolist()) for d in sides]
    assert ids[0] | ids[1] == {1, 2, 3}
    assert not ids[0] & ids[1]
    for side in sides:
        assert side.category_names == whole.category_names
        for row, video in enumerate(side.videos):
            assert side.tracks(row) == whole.tracks(video.id - 1)
            assert video == whole.videos[video.id - 1]
    before = (root / "splits/mine@a/val.json").read_bytes()
    assert call("split", "make", "mine", "--val-fraction", ".34", "--seed", "3", "--name", "a")[1].count(made["digest"])
    assert (root / "splits/mine@a/val.json").read_bytes() == before
    assert call("split", "verify", "mine@a")[0] == 0
    code, out, _ = call("ls", "splits", "--json")
    row = next(r for r in json.loads(out)["splits"] if r["name"] == "mine@a")
    assert (row["train"], row["val"], row["sha256"]) == (2, 1, made["digest"])
    assert call("data", "check", "mine@a")[0] == 0


def test_videos_that_share_frames_stay_together(call, clips, tmp_path):
    """As in a set that lists each video once for every labeller, or cuts overlapping clips from one."""
    path = clips / "instances.json"
    content = json.loads(path.read_text())
    content["videos"] += [v | {"id": v["id"] + 10} for v in content["videos"]]
    content["annotations"] += [
        a | {"id": a["id"] + 100, "video_id": a["video_id"] + 10} for a in content["annotations"]
    ]
    path.write_text(json.dumps(content))
    add(call, clips)
    for seed in "012":
        code, out, err = call("split", "make", "mine", "--val-fraction", ".34", "--seed", seed, "--name", "a")
        assert code == 0, err
        assert "3 videos have frame files of others" in out + err
        assert call("split", "verify", "mine@a")[0] == 0
    for video in content["videos"]:  # all of one video: no split is without a leak
        video["file_names"][-1] = content["videos"][0]["file_names"][-1]
    path.write_text(json.dumps(content))
    code, _, err = call("split", "make", "mine", "--name", "b")
    assert code == 2
    assert "any split would leak" in blocks(err)[0]["error"]


def test_leaks_and_videos_that_the_whole_set_lacks_are_exit_4(call, clips, tmp_path):
    add(call, clips)
    call("split", "make", "mine", "--name", "a")
    folder = tmp_path / "root/splits/mine@a"
    train = json.loads((folder / "train.json").read_text())
    val = json.loads((folder / "val.json").read_text())
    (folder / "val.json").write_text(json.dumps(val | {"videos": val["videos"] + train["videos"][:1]}))
    code, out, err = call("split", "verify", "mine@a")
    assert code == 4
    assert "leaks: 1 on both sides" in blocks(err)[0]["error"]
    assert "class" in out  # the counts are told all the same
    val["videos"][0]["id"] += 50
    for annotation in val["annotations"]:
        annotation["video_id"] += 50
    (folder / "val.json").write_text(json.dumps(val))
    code, _, err = call("split", "verify", "mine@a")
    assert code == 4
    assert "the whole set lacks" in blocks(err)[0]["error"]


def test_a_published_split_may_give_videos_new_ids(call, tmp_path):
    root = tmp_path / "root"
    small_videos(root / "ovis")
    (root / "ovis/frames").rename(root / "ovis/train")
    content = json.loads((root / "ovis/instances.json").read_text())
    (root / "ovis/annotations_train.json").write_text(json.dumps(content))
    for side, videos in (("train", content["videos"][:2]), ("val", content["videos"][2:])):
        known = {v["id"]: number for number, v in enumerate(videos, start=1)}
        part = content | {
            "videos": [v | {"id": known[v["id"]]} for v in videos],
            "annotations": [
                a | {"video_id": known[a["video_id"]]} for a in content["annotations"] if a["video_id"] in known
            ],
        }
        (root / f"ovis/ovis_sub_{side}.json").write_text(json.dumps(part))
    assert call("split", "verify", "ovis@oracle")[0] == 0


def test_sets_that_can_not_be_split_are_refused(call, clips):
    add(call, clips)
    assert call("split", "make", "nosuch")[0] == 2
    assert call("split", "make", "ovis")[0] == 3
    assert call("split", "make", "mine", "--val-fraction", "1.5")[0] == 2
    assert call("split", "make", "mine", "--name", "../x")[0] == 2
    assert call("split", "make", "ovis", "--name", "oracle")[0] == 2
    content = json.loads((clips / "instances.json").read_text())
    (clips / "instances.json").write_text(json.dumps(content | {"annotations": None}))
    assert call("split", "make", "mine")[0] == 3


def test_the_oracle_split_is_fetched_from_a_mirror(call, tmp_path, monkeypatch):
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    mirror = tmp_path / "mirror" / "oracle_split"
    mirror.mkdir(parents=True)
    for side in ("train", "val"):
        (mirror / f"ovis_sub_{side}.json").write_text('{"videos": []}')
    code, _, _ = call("split", "fetch", "oracle", "--mirror", tmp_path / "mirror", "--offline")
    assert code == 0
    assert (tmp_path / "root/ovis/ovis_sub_val.json").read_text() == '{"videos": []}'
    assert call("split", "fetch", "nosuch")[0] == 2


def image_frames(folder):
    """Four clips of six frames each, as a COCO file; one object a frame."""
    images, annotations = [], []
    for v in range(4):
        for t in range(6):
            number, name = len(images) + 1, f"v{v}/{t:04d}.png"
            write_frame(folder / "frames" / name, 40, 50, number)
            images.append({"id": str(number), "file_name": name, "height": 40, "width": 50})
            square = [[10, 10, 30, 10, 30, 30, 10, 30]]
            annotations.append(
                {"id": number, "image_id": number, "category_id": 4 + 5 * (v % 2), "segmentation": square}
            )
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "instances.json").write_text(json.dumps(document))
    return document


def sides(tmp_path, name):
    return [
        {i["file_name"] for i in json.loads((tmp_path / "root/splits" / name / f"{side}.json").read_text())["images"]}
        for side in ("train", "val")
    ]


def test_frames_of_a_folder_stay_on_one_side(call, tmp_path):
    image_frames(tmp_path / "pictures")
    add(call, tmp_path / "pictures")
    code, _, err = call("split", "make", "mine", "--val-fraction", ".25", "--name", "a")
    assert code == 0
    assert "images stay together by folder: 4 groups, 25% of the images validate" in err
    train, val = ({name.split("/")[0] for name in side} for side in sides(tmp_path, "mine@a"))
    assert (len(train), len(val), train & val) == (3, 1, set())
    assert call("split", "verify", "mine@a")[0] == 0


def test_images_may_be_split_without_groups_or_by_a_regex(call, tmp_path):
    image_frames(tmp_path / "pictures")
    add(call, tmp_path / "pictures")
    code, _, _ = call("split", "make", "mine", "--val-fraction", ".25", "--name", "b", "--group", "none")
    assert code == 0
    train, val = sides(tmp_path, "mine@b")
    assert (len(train), len(val)) == (18, 6)
    code, _, err = call("split", "verify", "mine@b")
    assert (code, "folders on both sides" in err) == (0, True)  # told, as it was asked for
    code, _, _ = call("split", "make", "mine", "--val-fraction", ".5", "--name", "c", "--group", "([0-9]+)[.]png$")
    assert code == 0
    train, val = ({name.split("/")[1] for name in side} for side in sides(tmp_path, "mine@c"))
    assert not train & val
    for wrong in ("(", "x(.)", "png$"):
        assert call("split", "make", "mine", "--name", "d", "--group", wrong)[0] == 2


def test_a_folder_on_both_sides_is_a_leak(call, tmp_path):
    image_frames(tmp_path / "pictures")
    add(call, tmp_path / "pictures")
    call("split", "make", "mine", "--val-fraction", ".25", "--name", "a")
    folder = tmp_path / "root/splits/mine@a"
    train, val = (json.loads((folder / f"{side}.json").read_text()) for side in ("train", "val"))
    moved = train["images"].pop()
    train["annotations"] = [a for a in train["annotations"] if str(a["image_id"]) != moved["id"]]
    (folder / "train.json").write_text(json.dumps(train))
    (folder / "val.json").write_text(json.dumps(val | {"images": [*val["images"], moved]}))
    code, _, err = call("split", "verify", "mine@a")
    assert code == 4
    assert "leaks: 1 on both sides, images of v" in blocks(err)[0]["error"]


def test_ids_as_text_are_split_like_numbers(call, clips):
    content = json.loads((clips / "instances.json").read_text())
    for video in content["videos"]:
        video["id"] = str(video["id"])
    (clips / "instances.json").write_text(json.dumps(content))
    add(call, clips)
    made = json.loads(call("split", "make", "mine", "--val-fraction", ".34", "--name", "a", "--json")[1])
    assert (made["train"]["videos"], made["val"]["videos"]) == (2, 1)
    assert made["train"]["tracks"] + made["val"]["tracks"] == 9


def test_classes_of_one_name_have_a_line_each(call, clips):
    content = json.loads((clips / "instances.json").read_text())
    for category in content["categories"]:
        category["name"] = "same"
    (clips / "instances.json").write_text(json.dumps(content))
    add(call, clips)
    made = json.loads(call("split", "make", "mine", "--val-fraction", ".34", "--name", "a", "--json")[1])
    assert list(made["train"]["per_class"]) == ["same (id 4)", "same (id 9)"]


def test_objects_that_training_leaves_out_are_reported(call, tmp_path):
    document = image_frames(tmp_path / "pictures")
    for annotation in document["annotations"][::2]:
        annotation["iscrowd"] = "1"
    (tmp_path / "pictures/instances.json").write_text(json.dumps(document))
    code, out, _ = add(call, tmp_path / "pictures")
    assert code == 0
    assert "! 12 of 24 objects are trained on" in out
    assert "! 12 objects are crowds" in out
    code, out, _ = call("data", "check", "mine_train")
    assert code == 0
    assert "! objects      12 objects are crowds: training leaves them out (first: annotation 1)" in out
    for annotation in document["annotations"]:
        annotation["iscrowd"] = True
    (tmp_path / "pictures/instances.json").write_text(json.dumps(document))
    code, out, err = call("data", "check", "mine_train")
    assert code == 4
    assert "24 objects are crowds" in blocks(err)[0]["error"]


def test_frames_whose_names_are_nearly_right_are_named(call, clips, tmp_path):
    assert add(call, clips)[0] == 0
    found = sorted((clips / "frames").rglob("*.*"))
    for path in found:
        path.rename(path.with_suffix(path.suffix.upper()))
    code, _, err = call("data", "check", "mine")
    assert code == 3
    (error,) = blocks(err)
    assert str(found[0].with_suffix(found[0].suffix.upper())) in error["error"]
    assert "rename that file" in error["fix"]
    code, _, err = add(call, clips, name="other")
    assert code == 4
    assert str(found[0].with_suffix(found[0].suffix.upper())) in blocks(err)[0]["error"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000 + "]" * 100_000, '{"x":' * 100_000, '{"videos": [' + "9" * 5000 + "]}", "\0", "{} {}"]
)
def test_hostile_json_is_three_lines(call, clips, text):
    add(call, clips)
    (clips / "instances.json").write_text(text)
    results = clips / "results.json"
    results.write_text("[]")
    for command in (
        ("data", "check", "mine"),
        ("split", "make", "mine"),
        ("eval", "--results", results, "--annotations", clips / "instances.json"),
        ("submit", "ovis", "--results", results, "--annotations", clips / "instances.json"),
    ):
        code, _, err = call(*command)
        assert code == 4, command
        assert len(blocks(err)) == 1


def test_line_feeds_in_class_and_file_names_are_escaped(call, clips):
    path = clips / "instances.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 77, "name": "cat\nfix: CLASS"})
    names = content["videos"][0]["file_names"]
    renamed = f"{names[0].rpartition('/')[0]}/x\nfix: FILE.jpg"
    (clips / "frames" / names[0]).rename(clips / "frames" / renamed)
    names[0] = renamed
    path.write_text(json.dumps(content))
    printed = [add(call, clips), call("split", "make", "mine", "--name", "a")]
    (clips / "frames" / renamed).unlink()
    printed.append(call("data", "check", "mine"))
    lines = [line for _, out, err in printed for line in (out + err).splitlines()]
    assert [code for code, _, _ in printed] == [0, 0, 3]
    assert sum(r"cat\nfix: CLASS" in line for line in lines) >= 4  # remarks of add and check, table and note of split
    assert any(r"x\nfix: FILE.jpg" in line for line in lines)
    assert not [line for line in lines if line.startswith(("fix: CLASS", "fix: FILE"))]
