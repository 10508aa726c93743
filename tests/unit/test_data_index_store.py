"""Indexes of large annotation files: stored once, mapped afterwards, never stale."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest

from idol_core.data.annotations.index_store import LARGE_BYTES, open_index
from idol_core.data.annotations.ytvis import read_vis
from idol_core.data.dataset import Dataset
from idol_core.data.images import as_images
from idol_core.errors import Missing
from tests.unit.data_sets import small_videos


@pytest.fixture
def large(tmp_path, monkeypatch):
    """An annotation file just over the limit, and an own cache folder."""
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    small_videos(tmp_path)
    path = tmp_path / "instances.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({"info": "x" * LARGE_BYTES, **document}))
    return path


class Reader:
    """Reads and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, path, *, on_read=None):
        self.times += 1
        return read_vis(path, on_read=on_read)


def equal(a, b) -> bool:
    names = ("category_ids", "video_ids", "first_frame", "names", "first_segment", "segment_start", "counts")
    return a.category_names == b.category_names and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)


def test_a_large_file_is_parsed_once(large):
    reader = Reader()
    first, second = (open_index(large, "vis", reader) for _ in range(2))
    assert reader.times == 1
    assert isinstance(second.counts, np.memmap)
    assert equal(first, read_vis(large))
    assert equal(second, first)
    assert second.segment(0, 2, (48, 64)) == read_vis(large).segment(0, 2, (48, 64))


@pytest.mark.parametrize("order", [("videos", "categories", "annotations"), ("annotations", "videos", "categories")])
def test_how_far_the_first_reading_of_a_large_file_is(large, order):
    document = json.loads(large.read_text())
    parts = {"annotations": document["annotations"] * 400, "videos": document["videos"]}
    for number, annotation in enumerate(parts["annotations"]):
        parts["annotations"][number] = annotation | {"id": number + 1, "note": "ü" * (LARGE_BYTES // 2400)}
    parts["categories"] = document["categories"]
    large.write_text(json.dumps({key: parts[key] for key in order}, ensure_ascii=False))
    size, heard = large.stat().st_size, []
    assert size > LARGE_BYTES
    open_index(large, "vis", read_vis, on_read=lambda done, total: heard.append((done, total)))
    assert {total for _, total in heard} == {size}
    done = [done for done, _ in heard]
    assert done[-1] == size
    assert 50 < len(done) <= 202
    assert sum(b < a for a, b in itertools.pairwise(done)) == (order[0] == "annotations")  # a second passage
    heard.clear()
    open_index(large, "vis", read_vis, on_read=lambda done, total: heard.append((done, total)))
    assert not heard, "the stored index was not used"


def test_a_changed_file_is_parsed_again(large):
    reader = Reader()
    open_index(large, "vis", reader)
    document = json.loads(large.read_text())
    document["annotations"].pop()
    large.write_text(json.dumps(document))
    assert len(open_index(large, "vis", reader).track_ids) == len(document["annotations"])
    assert reader.times == 2
    assert len(list((large.parent / "cache/annotations").glob("[!.]*[!k]"))) == 1, "the old index stayed"


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_index_is_made_again(large, damage):
    reader = Reader()
    open_index(large, "vis", reader)
    (stored,) = large.parent.glob("cache/annotations/*/counts.npy")
    stored.unlink()
    if damage == "cut":
        stored.write_bytes(b"\x93NUMPY")
    assert equal(open_index(large, "vis", reader), read_vis(large))
    assert reader.times == 2


def test_without_a_cache_folder_the_index_stays_in_memory(large, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "file" / "below"))
    assert equal(open_index(large, "vis", read_vis), read_vis(large))


def test_a_stored_index_is_pickled_as_its_path(large):
    index = open_index(large, "vis", read_vis)
    data = pickle.dumps(index)
    assert len(data) < 1000
    assert equal(pickle.loads(data), index)


@pytest.mark.parametrize("change", [as_images, lambda dataset: dataset.reordered([1, 0])], ids=["images", "reordered"])
def test_a_changed_index_stays_changed_in_another_process(large, change):
    index = open_index(large, "vis", read_vis)
    changed = change(Dataset(index, frames=large.parent, source=large, kind="vis"))
    found = pickle.loads(pickle.dumps(changed))
    assert equal(found.index, changed.index)
    assert not equal(found.index, index)


def test_small_files_are_not_stored_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    small_videos(tmp_path)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(Missing):
        open_index(tmp_path / "none.json", "vis", read_vis)
