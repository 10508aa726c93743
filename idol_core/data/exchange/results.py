"""Read a YouTube-VIS results file as labels, so that a model's tracks become a labeller's first draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from idol_core.data.annotations import fields
from idol_core.data.annotations.entries import told_of
from idol_core.data.annotations.json_stream import json_list, open_json
from idol_core.data.annotations.rle import RLE
from idol_core.data.exchange.labels import LabelledClip, LabelledTrack, LabelSet, VideoFrames, read_mask, without_empty
from idol_core.errors import Integrity


class _Found(NamedTuple):
    """The best-scored entry of a track."""

    score: float
    category: str
    masks: dict[int, RLE]


def read_results(
    path: Path, *, threshold: float, clips: Mapping[int, LabelledClip], names: Mapping[int, str]
) -> LabelSet:
    """Read the tracks of a score of at least `threshold`; of entries of one track, the class of the best score.

    Entries are of one track if they have the same `track`, else if they have the same masks.

    Args:
        clips: the data set's clips by video id; empty: of the videos that the file mentions.
        names: the data set's class names by category id; empty: the entries' own `category`.

    Raises Missing if there is no file, Integrity for a malformed entry, or one that is not of the data set.
    """
    known = dict(clips)
    found: dict[int, dict[object, _Found]] = {number: {} for number in clips}
    with open_json(path) as file:
        for row, value in enumerate(json_list(file, str(path))):
            with told_of(f"{path}: entry {row}"):
                entry = fields.entry_of(value)
                video, score = fields.integer(entry, "video_id"), fields.score(entry)
                masks, length, size = _masks(entry)
                if not clips and video not in known and size:
                    frames = VideoFrames("", range(length))
                    known[video] = LabelledClip(f"video-{video}", *size, frames, ())
                if video not in known or length != known[video].length:
                    raise ValueError(f"{length} segmentations of video {video}, which the data set does not have so")
                if size not in (None, (known[video].height, known[video].width)):
                    raise ValueError(f"masks of {size} pixels in video {video}")
                if score < threshold or not masks:
                    continue
                tracks = found.setdefault(video, {})
                key = entry.get("track", tuple((t, mask["counts"]) for t, mask in masks.items()))
                key = key if isinstance(key, int | tuple) else str(key)
                if key not in tracks or tracks[key].score < score:
                    tracks[key] = _Found(score, _category(entry, names), masks)
    if not known:
        raise Integrity("no tracks", where=str(path), fix="--data SET names the data set that the results are of")
    done = tuple(replace(clip, tracks=_tracks(found.get(number, {}))) for number, clip in known.items())
    used = {track.category: None for clip in done for track in clip.tracks}
    return LabelSet(done, tuple(names.values()) if names else tuple(used))


def _masks(entry: Mapping[str, Any]) -> tuple[dict[int, RLE], int, tuple[int, int] | None]:
    """Masks by frame, the number of frames, and the size of the masks (None: there are none)."""
    given = entry.get("segmentations")
    if not isinstance(given, list) or not given:
        raise ValueError(f"segmentations {fields.shown(given)} is no list of a mask per frame")
    masks: dict[int, RLE] = {}
    size: tuple[int, int] | None = None
    for t, value in enumerate(given):
        if value is None:
            continue
        sides = fields.entry_of(value).get("size")
        if not isinstance(sides, list) or len(sides) != 2:
            raise ValueError(f"frame {t}: size {fields.shown(sides)} is no [height, width]")
        own = fields.size({"height": sides[0], "width": sides[1]})
        if size not in (None, own):
            raise ValueError(f"frame {t}: a mask of {own} pixels, others are of {size}")
        size, mask = own, read_mask(value, *own)
        if isinstance(mask, dict):
            masks[t] = mask
    return masks, len(given), size


def _category(entry: Mapping[str, Any], names: Mapping[int, str]) -> str:
    number = fields.integer(entry, "category_id")
    if number in names:
        if (wrong := fields.other_class(entry, number, names)) is not None:
            raise ValueError(wrong)
        return names[number]
    if names:
        raise ValueError(f"category_id {number} is not in the data set")
    return fields.text(entry, "category") if "category" in entry else str(number)


def _tracks(found: Mapping[object, _Found]) -> tuple[LabelledTrack, ...]:
    """Tracks by falling score, with the ids of the file where it has any (numbers, not negative), else 1, 2, ..."""
    given = all(isinstance(key, int) and key >= 0 for key in found)
    return tuple(
        LabelledTrack(key if given and isinstance(key, int) else number, one.category, without_empty(one.masks))
        for number, (key, one) in enumerate(sorted(found.items(), key=lambda item: -item[1].score), 1)
    )
