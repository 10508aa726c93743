"""Formats of mask images and their kin: samples laid out as the data sets are, there and back, broken files."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from idol_core.data.annotations import rle
from idol_core.data.exchange.formats import FORMATS, READERS, find_format
from idol_core.data.exchange.labels import ImageFiles, LabelledClip, LabelledTrack, LabelSet, VideoFrames, as_array
from idol_core.data.exchange.mask_images import masks_of
from idol_core.errors import IdolError, Integrity, InvalidInput
from tests.unit.label_sets import compared, made_labels

SIZE = (6, 8)


def blocks(*boxes, kind=np.uint8):
    """Numbers of 6 x 8 pixels: (number, top, bottom, left, right) each."""
    numbers = np.zeros(SIZE, kind)
    for number, top, bottom, left, right in boxes:
        numbers[top:bottom, left:right] = number
    return numbers


def save(path, numbers, *, palette=False, bit=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(numbers)
    if palette:
        picture.putpalette(list(range(256)) * 3)
    (picture.convert("1") if bit else picture).save(path)
    return path


def save_frames(folder, *names):
    for name in names:
        save(folder / name, np.full((*SIZE, 3), 90, np.uint8))


def pixels(clip, track, t):
    return as_array({one.id: one for one in clip.tracks}[track].masks[t], *SIZE)


def shown(clip):
    """Class, crowd and frames of each track."""
    return {track.id: (track.category, track.crowd, sorted(track.masks)) for track in clip.tracks}


def davis(tmp_path, folder="Annotations", **how):
    first, second = blocks((1, 0, 2, 0, 3), (2, 3, 5, 2, 4), (255, 5, 6, 0, 8)), blocks((2, 3, 5, 3, 5))
    how = how or {"palette": True}
    for stem, numbers in (("00010", first), ("00011", second)):
        save(tmp_path / folder / "480p" / "bear" / f"{stem}.png", numbers, **how)
    save_frames(tmp_path / "JPEGImages" / "480p" / "bear", "00010.jpg", "00011.jpg", "00012.jpg")
    return tmp_path


@pytest.mark.parametrize("folder", ["Annotations", "Annotations_unsupervised"])
@pytest.mark.parametrize("named", [".", "{}", "{}/480p", "{}/480p/bear"])
def test_davis_indices_are_objects_and_255_is_void(folder, named, tmp_path):
    source = davis(tmp_path, folder) / named.format(folder)
    assert find_format(source) == "davis"
    labels = FORMATS["davis"].read(source)
    (clip,) = labels.clips
    assert clip.name == "bear"
    assert clip.frames == ImageFiles(tuple(f"JPEGImages/480p/bear/{n:05d}.jpg" for n in (10, 11)))
    assert labels.folder == str(tmp_path)
    assert shown(clip) == {
        1: ("object", False, [0]), 2: ("object", False, [0, 1]), 255: ("object", True, [0]),
    }  # fmt: skip
    assert (pixels(clip, 2, 1) == (blocks((2, 3, 5, 3, 5)) == 2)).all()
    assert "'object'" in labels.left_out[0]
    assert labels.left_out[1:] == ("1 images without a mask file",)


def test_davis_tells_of_the_labels_that_it_does_not_read(tmp_path):
    for folder in ("Annotations", "Annotations_unsupervised"):
        davis(tmp_path, folder)
    save(tmp_path / "Annotations" / "Full-Resolution" / "bear" / "00010.png", blocks(), palette=True)
    labels = FORMATS["davis"].read(tmp_path)
    assert [clip.length for clip in labels.clips] == [2]
    assert labels.left_out[1:3] == (
        "Annotations_unsupervised: name that folder to import it",
        "Annotations/Full-Resolution: name that folder to import it",
    )


def test_mose_and_lvos_have_no_folder_for_the_resolution_and_annotate_some_frames_only(tmp_path):
    for clip, stem in (("0a1b", "00000"), ("0a1b", "00005"), ("ff", "00007")):
        save(tmp_path / "Annotations" / clip / f"{stem}.png", blocks((3, 0, 1, 0, 1)), palette=True)
        save_frames(tmp_path / "JPEGImages" / clip, f"{stem}.jpg")
    save_frames(tmp_path / "JPEGImages" / "0a1b", "00001.jpg")
    assert find_format(tmp_path) == "davis"
    labels = FORMATS["davis"].read(tmp_path)
    assert [(c.name, c.frames.names) for c in labels.clips] == [
        ("0a1b", ("JPEGImages/0a1b/00000.jpg", "JPEGImages/0a1b/00005.jpg")),
        ("ff", ("JPEGImages/ff/00007.jpg",)),
    ]
    assert labels.left_out[-1] == "1 images without a mask file"


def test_grey_masks_of_black_and_white_are_one_object(tmp_path):
    """DAVIS 2016; with other numbers 255 is void in grey masks too."""
    save(tmp_path / "Annotations" / "a" / "0.png", blocks((255, 0, 2, 0, 2)))
    save(tmp_path / "Annotations" / "b" / "0.png", blocks((255, 0, 2, 0, 2), (7, 3, 4, 3, 4)))
    first, second = FORMATS["davis"].read(tmp_path).clips
    assert shown(first) == {1: ("object", False, [0])}
    assert shown(second) == {7: ("object", False, [0]), 255: ("object", True, [0])}


def test_palette_masks_of_four_bits_keep_their_indices(tmp_path):
    for clip, picture in (("p", Image.fromarray(blocks((3, 0, 1, 0, 1)))), ("g", None)):
        path = tmp_path / "Annotations" / clip / "0.png"
        path.parent.mkdir(parents=True)
        if picture is None:  # PIL writes no grey of four bits
            rows = b"".join(b"\0" + bytes([0x30 if y == 0 else 0, 0, 0, 0]) for y in range(SIZE[0]))
            path.write_bytes(png(*SIZE, bits=4, color=0, rows=rows))
        else:
            picture.putpalette(list(range(48)))
            picture.save(path, bits=4)
    for clip in FORMATS["davis"].read(tmp_path).clips:
        assert shown(clip) == {3: ("object", False, [0])}
        assert pixels(clip, 3, 0).sum() == 1


def test_masks_of_an_image_are_those_of_each_number():
    rng = np.random.default_rng(0)
    for _ in range(60):
        numbers = rng.integers(0, 4, rng.integers(1, 7, 2)).astype(np.uint16)
        assert masks_of(numbers) == {k: rle.encode(numbers == k) for k in np.unique(numbers).tolist() if k}


def write_sav(folder):
    """Two objects that overlap in the first of two annotated frames, of six; the second is absent in the other."""
    for identity, box in (("000", (1, 0, 4, 0, 4)), ("003", (1, 2, 6, 2, 6))):
        for stem in ("00000", "00004"):
            shape = box if (identity, stem) != ("003", "00004") else (0, 0, 1, 0, 1)
            path = folder / "Annotations_6fps" / "sav_1" / identity / f"{stem}.png"
            save(path, 255 * blocks(shape), bit=True)
    save_frames(folder / "JPEGImages_24fps" / "sav_1", *(f"{n:05d}.jpg" for n in range(6)))


def test_sav_has_a_folder_per_object_and_objects_may_overlap(tmp_path):
    write_sav(tmp_path)
    for source in (tmp_path, tmp_path / "Annotations_6fps", tmp_path / "Annotations_6fps" / "sav_1"):
        assert find_format(source) == "sav"
        labels = READERS["sav"].read(source)
        (clip,) = labels.clips
        assert clip.name == "sav_1"
        assert labels.folder == str(tmp_path)
    assert clip.frames.names == ("JPEGImages_24fps/sav_1/00000.jpg", "JPEGImages_24fps/sav_1/00004.jpg")
    assert shown(clip) == {0: ("object", False, [0, 1]), 3: ("object", False, [0])}
    assert (pixels(clip, 0, 0) & pixels(clip, 3, 0)).sum() == 4
    assert labels.left_out[1:] == ("4 images without a mask file",)
    save(tmp_path / "Annotations_6fps" / "sav_1" / "000" / "00000.png", blocks((1, 0, 1, 0, 1), (2, 3, 4, 0, 1)))
    with pytest.raises(Integrity, match="holds 2 objects"):
        READERS["sav"].read(tmp_path)


def mots(tmp_path, first=1):
    """Frames first, first + 1, first + 2: a car in two, a pedestrian in one, a region to ignore."""
    cars = [blocks((1005, 0, 2, 0, 3), (2017, 3, 6, 4, 6), (10000, 0, 1, 6, 8), kind=np.uint16),
            blocks((1005, 1, 3, 0, 3), kind=np.uint16), blocks(kind=np.uint16)]  # fmt: skip
    for n, numbers in enumerate(cars, first):
        save(tmp_path / "instances" / "0002" / f"{n:06d}.png", numbers)
    lines = [
        f"{n} {i} {i // 1000} 6 8 {rle.encode(numbers == i)['counts'].decode()}\n"
        for n, numbers in enumerate(cars, first)
        for i in np.unique(numbers).tolist()
        if i
    ]
    (tmp_path / "instances_txt").mkdir()
    (tmp_path / "instances_txt" / "0002.txt").write_text("".join(lines))
    return tmp_path


@pytest.mark.parametrize(("form", "first", "place"), [("mots", 1, "images"), ("kitti-mots", 0, "training/image_02")])
def test_mots_numbers_are_class_and_object_as_png_and_as_text(form, first, place, tmp_path):
    mots(tmp_path, first)
    ending = ".jpg" if form == "mots" else ".png"
    save_frames(tmp_path / place / "0002", *(f"{n:06d}{ending}" for n in range(first, first + 3)))
    read = {}
    for source in (".", "instances", "instances/0002", "instances_txt", "instances_txt/0002.txt"):
        assert find_format(tmp_path / source) == form
        labels = read[source] = READERS[form].read(tmp_path / source)
        assert labels.categories == ("car", "pedestrian")
        assert labels.left_out == ()
        (clip,) = labels.clips
        assert (clip.name, clip.length) == ("0002", 3)
        assert clip.frames.names == tuple(f"{place}/0002/{n:06d}{ending}" for n in range(first, first + 3))
        objects = {i: one for i, one in shown(clip).items() if not one[1]}
        assert objects == {1005: ("car", False, [0, 1]), 2017: ("pedestrian", False, [0])}
        crowds = [track for track in clip.tracks if track.crowd]
        assert [(track.category, sorted(track.masks)) for track in crowds] == [("car", [0]), ("pedestrian", [0])]
        assert as_array(crowds[0].masks[0], *SIZE).sum() == 2
    assert compared(read["."], read["instances_txt"]) == 1


def test_mots_text_may_begin_with_a_byte_order_mark_and_have_windows_line_ends(tmp_path):
    counts = rle.encode(blocks((1, 0, 2, 0, 3)) > 0)["counts"]
    lines = [b"2 2001 2 6 8 " + counts, b"4 2001 2 6 8 " + counts]
    (tmp_path / "0002.txt").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    assert find_format(tmp_path / "0002.txt") == "mots"
    (clip,) = FORMATS["mots"].read(tmp_path / "0002.txt").clips
    assert shown(clip) == {2001: ("pedestrian", False, [0, 2])}


def test_text_without_images_has_the_frames_from_the_first_to_the_last_with_an_object(tmp_path):
    """Also as MOTS20 lays it out."""
    lines = (mots(tmp_path / "made") / "instances_txt" / "0002.txt").read_text().splitlines()
    path = tmp_path / "MOTS20-02" / "gt" / "gt.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([lines[0], lines[-1].replace("2 1005", "4 1005", 1)]))
    for source in (path, path.parent, path.parent.parent):
        assert find_format(source) == "mots"
        (clip,) = READERS["mots"].read(source).clips
        assert clip.name == "MOTS20-02"
    assert clip.frames.names == tuple(f"MOTS20-02/{n:06d}.jpg" for n in (1, 2, 3, 4))
    assert shown(clip) == {1005: ("car", False, [0, 3])}
    save_frames(tmp_path / "MOTS20-02" / "img1", *(f"{n:06d}.jpg" for n in range(1, 7)))
    (clip,) = READERS["mots"].read(tmp_path / "MOTS20-02").clips
    assert clip.frames.names == tuple(f"img1/{n:06d}.jpg" for n in range(1, 7))


@pytest.mark.parametrize("inner", [".", "v1"])
def test_cvats_mots_has_class_names_and_no_png_for_a_frame_without_objects(inner, tmp_path):
    folder = tmp_path / "default" / "instances"
    save(folder / inner / "frame_000002.png", blocks((2004, 0, 2, 0, 3), kind=np.uint16))
    (folder / "labels.txt").write_text("cat\ndog\n")
    save_frames(tmp_path / "default" / "images" / inner, *(f"frame_{n:06d}.jpg" for n in range(4)))
    assert find_format(tmp_path / "default") == "mots"
    labels = FORMATS["mots"].read(tmp_path / "default")
    assert labels.categories == ("cat", "dog")
    (clip,) = labels.clips
    assert clip.name == ("default" if inner == "." else inner)
    assert clip.frames.names == tuple((Path("images") / inner / f"frame_{n:06d}.jpg").as_posix() for n in range(4))
    assert shown(clip) == {2004: ("dog", False, [2])}


BURST = {
    "sequences": [
        {"width": 8, "height": 6, "id": 4, "seq_name": "v_1", "dataset": "YFCC100M", "fps": 1,
         "all_image_paths": ["frame0001.jpg", "frame0002.jpg", "frame0031.jpg"],
         "annotated_image_paths": ["frame0001.jpg", "frame0031.jpg"],
         "neg_category_ids": [], "not_exhaustive_category_ids": [805],
         "track_category_ids": {"2": 805, "7": 95},
         "segmentations": [
             {"2": {"rle": rle.encode(blocks((1, 0, 2, 0, 3)) == 1)["counts"].decode(), "is_gt": True, "score": 1.0}},
             {"2": {"rle": rle.encode(blocks((1, 1, 3, 0, 3)) == 1)["counts"].decode(), "is_gt": False, "score": 0.5},
              "7": {"rle": rle.encode(blocks((1, 0, 6, 0, 8)) == 1)["counts"].decode(), "is_gt": True, "score": 1.0}}]},
    ],
    "categories": [{"id": 95, "name": "baby", "synset": "baby.n.01", "def": "", "synonyms": ["baby"]},
                   {"id": 805, "name": "person", "synset": "person.n.01", "def": "", "synonyms": ["person"]},
                   {"id": 900, "name": "zebra", "synset": "zebra.n.01", "def": "", "synonyms": ["zebra"]}],
    "split": "train",
}  # fmt: skip


def test_burst_masks_are_of_annotated_images_and_their_tracks_class(tmp_path):
    (tmp_path / "all_classes.json").write_text(json.dumps(BURST))
    (tmp_path / "common_classes.json").write_text(json.dumps(BURST | {"sequences": []}))
    for source in (tmp_path, tmp_path / "all_classes.json"):
        assert find_format(source) == "burst"
        labels = READERS["burst"].read(source)
        assert labels.categories == ("baby", "person")
        (clip,) = labels.clips
        assert clip.name == "YFCC100M/v_1"
        assert clip.frames.names == ("train/YFCC100M/v_1/frame0001.jpg", "train/YFCC100M/v_1/frame0031.jpg")
        assert shown(clip) == {2: ("person", False, [0, 1]), 7: ("baby", False, [1])}
        assert (pixels(clip, 2, 1) == (blocks((1, 1, 3, 0, 3)) == 1)).all()
        assert labels.left_out[0] == "1 images without annotations"
        assert labels.left_out[1].startswith("1 clips where not every object")


BOX = [0, 1, 3, 2]
TAO = {
    "videos": [{"id": 0, "name": "train/YFCC100M/v_1", "width": 8, "height": 6, "not_exhaustive_category_ids": []}],
    "images": [{"id": n, "video_id": 0, "file_name": f"train/YFCC100M/v_1/frame{i:04d}.jpg", "width": 8, "height": 6,
                "frame_index": i} for n, i in ((5, 31), (6, 1))],
    "annotations": [
        {"id": 1, "image_id": 5, "track_id": 9, "video_id": 0, "category_id": 95, "iscrowd": 0, "area": 6, "bbox": BOX,
         "segmentation": {"size": [6, 8], "counts": rle.encode(blocks((1, 1, 3, 0, 2)) == 1)["counts"].decode()}},
        {"id": 2, "image_id": 6, "track_id": 9, "video_id": 0, "category_id": 95, "iscrowd": 0, "area": 6, "bbox": BOX,
         "segmentation": [[0, 1, 0, 3, 3, 3, 3, 1]]},
        {"id": 3, "image_id": 6, "track_id": 9, "video_id": 0, "category_id": 95, "area": 6, "bbox": BOX},
    ],
    "tracks": [{"id": 9, "category_id": 96, "video_id": 0}],
    "categories": [{"id": 95, "name": "baby", "synset": "baby.n.01", "merged": [{"id": 96, "name": "infant"}]},
                   {"id": 96, "name": "infant", "synset": "infant.n.01"}],
}  # fmt: skip


def test_tao_boxes_are_not_masks_and_merged_classes_are_one(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(TAO))
    assert find_format(tmp_path) == "tao"
    labels = READERS["tao"].read(tmp_path)
    assert labels.categories == ("baby",)
    (clip,) = labels.clips
    assert clip.frames.names == ("train/YFCC100M/v_1/frame0001.jpg", "train/YFCC100M/v_1/frame0031.jpg")
    assert shown(clip) == {9: ("baby", False, [1])}
    assert labels.left_out == ("2 annotations with a box and no mask (BURST has masks of the same videos)",)


# Writing: what a form can't hold is taken out and said.
def overlapping():
    whole, part = blocks((1, 0, 6, 0, 8)) == 1, blocks((1, 0, 2, 0, 3)) == 1
    tracks = (
        LabelledTrack(2, "fox", {0: rle.encode(whole)}, crowd=True),
        LabelledTrack(0, "fox", {0: rle.encode(part), 1: rle.encode(part)}),
        LabelledTrack(400, "den", {1: rle.encode(whole)}),
        LabelledTrack(401, "den", {1: rle.encode(part)}),
    )
    return LabelSet((LabelledClip("a", *SIZE, VideoFrames("v.mp4", [0, 7]), tracks),), ("fox", "den"))


def test_the_earlier_track_keeps_a_pixel_and_crowds_become_void(tmp_path):
    labels = FORMATS["davis"].fit(overlapping())
    assert labels.left_out == (
        "the pixels of 2 masks that an earlier track of the frame has too",
        "classes: DAVIS has none",
        "ids of 1 clips: they are numbered anew, as DAVIS holds 1 to 254",
    )
    FORMATS["davis"].write(labels, tmp_path)
    with Image.open(tmp_path / "Annotations" / "480p" / "a" / "00007.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
        assert (np.asarray(picture) == blocks((2, 0, 6, 0, 8), (1, 0, 2, 0, 3))).all()
    with Image.open(tmp_path / "Annotations" / "480p" / "a" / "00000.png") as picture:
        assert (np.asarray(picture) == blocks((255, 0, 6, 0, 8), (1, 0, 2, 0, 3))).all()
    (clip,) = FORMATS["davis"].read(tmp_path).clips
    assert shown(clip) == {
        1: ("object", False, [0, 1]), 2: ("object", False, [1]), 255: ("object", True, [0]),
    }  # fmt: skip


@pytest.mark.parametrize(("form", "stems"), [("mots", ("000001", "000008")), ("kitti-mots", ("000000", "000007"))])
def test_mots_counts_frames_from_1_and_kitti_from_0(form, stems, tmp_path):
    labels = FORMATS[form].fit(overlapping())
    assert any("higher by one" in told for told in labels.left_out) == (form == "mots")
    FORMATS[form].write(labels, tmp_path)
    assert sorted(path.stem for path in (tmp_path / "instances" / "a").iterdir()) == list(stems)
    assert (tmp_path / "instances" / "labels.txt").read_text() == "fox\nden\n"
    lines = [line.split()[:5] for line in (tmp_path / "instances_txt" / "a.txt").read_text().splitlines()]
    assert lines == [
        [str(int(stems[0])), "1000", "1", "6", "8"], [str(int(stems[0])), "10000", "10", "6", "8"],
        [str(int(stems[1])), "1000", "1", "6", "8"], [str(int(stems[1])), "2400", "2", "6", "8"],
    ]  # fmt: skip
    for source in (tmp_path, tmp_path / "instances_txt"):
        again = READERS[form].read(source)
        assert again.categories == ("fox", "den")
        (clip,) = again.clips
        own = [PurePosixPath(name).stem for name in clip.frames.names]
        assert {t.id: (t.category, [own[k] for k in t.masks]) for t in clip.tracks if not t.crowd} == {
            1000: ("fox", list(stems)), 2400: ("den", [stems[1]]),
        }  # fmt: skip


@pytest.mark.parametrize("name", ["davis", "mots", "kitti-mots"])
def test_what_was_read_is_written_bit_for_bit(name, tmp_path):
    first = FORMATS[name].fit(made_labels())
    FORMATS[name].write(first, tmp_path / "one")
    again = FORMATS[name].fit(FORMATS[name].read(tmp_path / "one"))
    assert compared(first, again) == 1
    FORMATS[name].write(again, tmp_path / "two")
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_more_tracks_than_davis_has_indices_are_refused():
    (clip,) = overlapping().clips
    spots = [blocks((1, y, y + 1, x, x + 1)) == 1 for y in range(6) for x in range(8)]
    tracks = tuple(LabelledTrack(i, "a", {i // 48: rle.encode(spots[i % 48])}) for i in range(255))
    labels = LabelSet((replace(clip, frames=VideoFrames("", range(6)), tracks=tracks),), ("a",))
    with pytest.raises(InvalidInput, match="255 tracks"):
        FORMATS["davis"].fit(labels)


# Broken and hostile files: the change, and what the error says.
def png(height, width, *, bits=8, color=3, rows=b""):
    """A PNG of a header, a palette and rows."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(48)) if color == 3 else b""
    data = chunk(b"IHDR", header) + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def a_mask(content):
    def make(path):
        file = path / "Annotations" / "a" / "00000.png"
        file.parent.mkdir(parents=True)
        file.write_bytes(content) if isinstance(content, bytes) else content.save(file)

    return make


def odd_size(path):
    davis(path)
    save(path / "Annotations" / "480p" / "bear" / "00011.png", np.zeros((6, 9), np.uint8), palette=True)


def two_of_a_frame(path):
    davis(path)
    save(path / "Annotations" / "480p" / "bear" / "0010.png", blocks(), palette=True)


def mots_png(*boxes, kind=np.uint16):
    def make(path):
        save(path / "instances" / "0002" / "000001.png", blocks(*boxes, kind=kind))

    return make


def mots_line(line):
    def make(path):
        lines = (mots(path / "made") / "instances_txt" / "0002.txt").read_text().splitlines()
        shutil.rmtree(path / "made")
        (path / "0002.txt").write_text("\n".join([lines[0], line.format(rle=lines[0].split()[-1])]))

    return make


def burst(**changes):
    def make(path):
        (path / "a.json").write_text(json.dumps(BURST | {"sequences": [BURST["sequences"][0] | changes]}))

    return make


def tao(**changes):
    def make(path):
        first, *others = TAO["annotations"]
        (path / "a.json").write_text(json.dumps(TAO | {"annotations": [first | changes, *others]}))

    return make


COLORS = Image.new("RGB", (8, 6))
WIDE = Image.fromarray(np.full(SIZE, 1001, np.uint16))
CUT = png(6, 8, rows=b"\0" * 20)


@pytest.mark.parametrize(
    ("name", "make", "told", "fix"),
    [
        ("davis", a_mask(COLORS), "RGB, 8 bits", "palette"),
        ("davis", a_mask(WIDE), "grey, 16 bits", "--format mots"),
        ("davis", a_mask(png(60000, 60000)), "larger than 100,000,000", "smaller"),
        ("davis", a_mask(CUT), "cannot be decoded", "copy"),
        ("davis", a_mask(b"no picture"), "not a PNG", "copy"),
        ("davis", odd_size, r"a mask of \(6, 9\) pixels", "size of its frames"),
        ("davis", two_of_a_frame, "two masks of frame 10", "remove"),
        ("mots", mots_png((7, 0, 1, 0, 1)), "object 7 is of class 0", "1 car, 2 pedestrian"),
        ("mots", mots_png((3001, 0, 1, 0, 1)), "class 3, which has no name", "labels.txt"),
        ("mots", mots_line("1 1005 1 6 8"), "not `frame id class", ""),
        ("mots", mots_line("2 1006 1 6 9 {rle}"), "add up to the 54", ""),
        ("mots", mots_line("2 1006 1 0 8 {rle}"), "frames of 0 x 8", ""),
        ("mots", mots_line("2 1006 1 60000 60000 {rle}"), "frames of 60000 x 60000", ""),
        ("mots", mots_line("9999999 1006 1 6 8 {rle}"), "not `frame id class", ""),
        ("mots", mots_line("1 1005 1 6 8 {rle}"), "in frame 1 twice", "one line"),
        ("mots", mots_line("2 1005 2 6 8 {rle}"), "track 1005 is of class 'car' before", ""),
        ("burst", burst(track_category_ids={"2": 805}), "track '7' is not in track_category_ids", ""),
        ("burst", burst(track_category_ids={"2": 805, "7": 1}), "category 1 is not in", ""),
        ("burst", burst(height=7), "add up to the 56 pixels", ""),
        ("burst", burst(seq_name="../../etc"), "leads out", ""),
        ("burst", burst(annotated_image_paths=["a.jpg"]), "2 segmentations for 1", ""),
        ("tao", tao(track_id=8), "track_id 8 is not in `tracks`", ""),
        ("tao", tao(image_id=8), "image_id 8 is not in `images`", ""),
        ("tao", tao(segmentation={"size": [6, 9], "counts": "0"}), "an RLE has size", ""),
    ],
)
def test_a_broken_file_is_an_error_that_names_the_place(name, make, told, fix, tmp_path):
    make(tmp_path)
    with pytest.raises(IdolError, match=told) as error:
        READERS[name].read(tmp_path)
    assert error.value.exit_code == Integrity.exit_code
    assert str(tmp_path) in error.value.where
    assert error.value.fix
    assert fix in error.value.fix
