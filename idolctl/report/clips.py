"""Choose the clips for the page and what to draw of each: objects, tracks, errors, a timeline of identities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from idol_core.data.annotations.rle import RLE
from idol_core.data.annotations.segmentation import read_segmentation
from idol_core.data.dataset import Dataset
from idol_core.drawing.frame import track_color
from idol_core.evaluation.coco_files import ImageObject, ImageResult
from idol_core.evaluation.scenes import best_classes
from idol_core.evaluation.track_errors import SceneMatches
from idolctl.report.analyze import Analysis, ClipFacts
from idolctl.report.charts import Lane, Segment

EXAMPLES = 2  # clips per kind of error, those with most of it, that are shown whatever their AP


@dataclass(frozen=True)
class Shown:
    """An object or a track to draw."""

    label: str
    color: int  # index of a track color; a track has the color of the object that it covers most
    masks: Sequence[RLE | None]  # one per frame
    errors: Mapping[int, str] = field(default_factory=dict)  # kind of error by frame


@dataclass(frozen=True)
class ClipView:
    """Everything to draw of a clip: ground truth, results, timeline rows, error notes."""

    truth: Sequence[Shown]
    found: Sequence[Shown]
    lanes: Sequence[Lane]
    notes: Sequence[str]  # a sentence per error


def worst_first(clips: Sequence[ClipFacts]) -> list[ClipFacts]:
    """Clips by AP, ascending; those without objects come last, by their number of errors."""
    return sorted(clips, key=lambda c: (c.AP is None, c.AP or 0.0, -sum(c.errors.values()), c.id))


def by_interest(clips: Sequence[ClipFacts]) -> list[ClipFacts]:
    """Order in which clips get pictures: the EXAMPLES worst, then EXAMPLES per kind of error, then the rest by AP."""
    ordered = worst_first(clips)
    kinds = sorted({kind for clip in clips for kind in clip.errors})
    chosen: dict[int, ClipFacts] = {clip.id: clip for clip in ordered[:EXAMPLES]}
    for kind in kinds:
        most = sorted((c for c in ordered if kind in c.errors), key=lambda c: -c.errors[kind])
        chosen |= {clip.id: clip for clip in most[:EXAMPLES]}
    return [*chosen.values(), *(clip for clip in ordered if clip.id not in chosen)]


def view_video(analysis: Analysis, number: int) -> ClipView:
    """View of a video: objects, tracks and errors."""
    one = analysis.scenes[number]
    scene, names = one.scene, analysis.categories
    size = [scene.video.height, scene.video.width]
    best = {e.track: e for e in best_classes(scene.entries) if e.score >= analysis.threshold}
    tracks = sorted(best, key=lambda row: -best[row].score)
    colors = _colors(one, tracks)
    letters = {g: f"{names[int(c)]} {_letter(g)}" for g, c in enumerate(scene.categories.tolist())}
    titles = {row: f"{names[best[row].category]} {place + 1}" for place, row in enumerate(tracks)}
    by_place = {best[row].place: row for row in tracks}
    wrong: dict[int, dict[int, str]] = {row: {} for row in tracks}
    lost: dict[int, dict[int, str]] = {g: {} for g in letters}
    notes = []
    for fault in analysis.faults:
        if getattr(fault, "video", None) != number:
            continue
        frames = getattr(fault, "frames", ())
        about = f" of {letters[fault.truth]}" if fault.truth is not None else ""
        lacks = "lacks " if fault.kind == "fragment" and fault.place is not None else ""
        when = f", {lacks}frames {_spans(frames)}" if frames else ""
        if fault.place in by_place:
            row = by_place[fault.place]
            there = [t for t, mask in enumerate(scene.tracks[row]) if mask is not None]
            wrong[row] |= dict.fromkeys([t for t in frames if t in there] or there, fault.kind)
            iou = f", IoU {fault.iou:.2f}" if fault.truth is not None else ""
            notes.append(f"{fault.kind}: track {titles[row]}{about}, score {best[row].score:.2f}{iou}{when}")
        elif fault.truth is not None and (fault.score is None or fault.place is None):
            lost[fault.truth] |= dict.fromkeys(frames, fault.kind)
            notes.append(f"{fault.kind}: {letters[fault.truth]} has no track{when}")
    truth = [Shown(letters[g], g, _rles(t.masks, size), lost[g]) for g, t in enumerate(scene.truths) if not t.crowd]
    found = [Shown(titles[row], colors[row], _rles(scene.tracks[row], size), wrong[row]) for row in tracks]
    lanes = [*_object_lanes(one, tracks, titles, letters, colors, lost), *_track_lanes(found)]
    return ClipView(truth, found, lanes, notes)


def view_image(
    analysis: Analysis, number: int, objects: Mapping[int, ImageObject], results: Mapping[int, ImageResult]
) -> ClipView:
    """View of an image: objects (by id), instances (by index in the results file) and errors."""
    one = analysis.images[number]
    names = analysis.categories
    letters = {key: f"{names[objects[key].category]} {_letter(g)}" for g, key in enumerate(one.truths)}
    order = np.argsort(-one.matching.scores, kind="stable").tolist()
    rows = [r for r in order if one.matching.scores[r] >= analysis.threshold]
    places = {one.places[one.matching.results[r]]: r for r in rows}
    wrong: dict[int, str] = {}
    lost: dict[int, str] = {}
    notes = []
    for fault in analysis.faults:
        if getattr(fault, "image", None) != number:
            continue
        about = f" of {letters[fault.truth]}" if fault.truth in letters else ""
        if fault.place in places:
            wrong[places[fault.place]] = fault.kind
            name = names[int(fault.category or 0)]
            notes.append(f"{fault.kind}: {name}{about}, score {fault.score:.2f}, IoU {fault.iou:.2f}")
        elif fault.place is None and fault.truth is not None:
            lost[fault.truth] = fault.kind
            notes.append(f"{fault.kind}: {letters[fault.truth]}")
    colors = {key: g for g, key in enumerate(one.truths)}
    left = [
        Shown(
            letters[key],
            colors[key],
            [objects[key].mask],
            _at_0(lost.get(key)),
        )
        for key in one.truths
        if not objects[key].crowd
    ]
    right = []
    for number_, r in enumerate(rows):
        g = int(one.matching.ious[r].argmax()) if one.matching.ious.shape[1] else -1
        color = g if g >= 0 and one.matching.ious[r, g] >= 0.5 else len(letters) + number_
        title = f"{names[int(one.matching.categories[r])]} {one.matching.scores[r]:.2f}"
        mask = results[one.places[one.matching.results[r]]].mask
        right.append(Shown(title, color, [mask], _at_0(wrong.get(r))))
    return ClipView(left, right, [], notes)


def view_tracks(entries: Sequence[Any], names: Mapping[int, str], size: tuple[int, int], threshold: float) -> ClipView:
    """View of a video without ground truth; `entries` are the video's entries of a results file."""
    best: dict[tuple[Any, ...], Any] = {}
    for entry in sorted(entries, key=lambda e: -e["score"]):
        key = tuple(s and str(s["counts"]) for s in entry["segmentations"])
        if entry["score"] >= threshold:
            best.setdefault(key, entry)
    found = [
        Shown(
            f"{names.get(entry['category_id'], entry['category_id'])} {place + 1}",
            place,
            [read_segmentation(s, *size).rle for s in entry["segmentations"]],
        )
        for place, entry in enumerate(best.values())
    ]
    return ClipView([], found, _track_lanes(found), [])


def rows_by_id(dataset: Dataset) -> dict[int, int]:
    """Index in `Dataset.videos` by video or image id."""
    return {int(number): row for row, number in enumerate(dataset.index.video_ids)}


def css(color: int) -> str:
    """CSS text of a track color."""
    return "#{:02x}{:02x}{:02x}".format(*track_color(color))


def runs_of(flags: Sequence[Any]) -> Iterator[tuple[int, int, Any]]:
    """Yield (first, last, value) of each stretch of equal values that are not None."""
    start = 0
    for t in range(1, len(flags) + 1):
        if t == len(flags) or flags[t] != flags[start]:
            if flags[start] is not None:
                yield start, t - 1, flags[start]
            start = t


def _colors(one: SceneMatches, tracks: Sequence[int]) -> dict[int, int]:
    """Color index per track: that of the object it covers most, unless a better-scored track has it; else a new one."""
    frames = one.identities.held.sum(0)
    colors: dict[int, int] = {}
    free = set(range(frames.shape[1]))
    own = frames.shape[1]
    for row in tracks:
        g = int(frames[row].argmax()) if frames.shape[1] else -1
        if g in free and frames[row, g]:
            colors[row] = g
            free.discard(g)
        else:
            colors[row] = own
            own += 1
    return colors


def _object_lanes(
    one: SceneMatches,
    tracks: Sequence[int],
    titles: Mapping[int, str],
    letters: Mapping[int, str],
    colors: Mapping[int, int],
    lost: Mapping[int, Mapping[int, str]],
) -> Iterator[Lane]:
    """Timeline row of each object: the track that covers it in each frame, with marks where the track changes."""
    held = one.identities.held
    for g, truth in enumerate(one.scene.truths):
        if truth.crowd:
            continue
        holders: list[Any] = []
        for t, mask in enumerate(truth.masks):
            here = [row for row in tracks if held[t, row, g]]
            holders.append(None if mask is None else here[0] if here else -1)
        segments, marks, last = [], {}, None
        for first, stop, row in runs_of(holders):
            span = f"frame {first + 1}" if first == stop else f"frames {first + 1} to {stop + 1}"
            if row == -1:
                segments.append(Segment(first, stop, None, "", f"{letters[g]}: no track holds it, {span}"))
                continue
            text = f"{letters[g]} held by track {titles[row]}, {span}"
            segments.append(Segment(first, stop, css(colors[row]), titles[row].rsplit(" ", 1)[-1], text))
            if last is not None and last != row:
                marks[first] = f"{letters[g]} goes over from track {titles[last]} to {titles[row]} in frame {first + 1}"
            last = row
        if lost[g]:
            first = min(lost[g])
            marks.setdefault(first, f"{letters[g]}: {lost[g][first]}")
        yield Lane(letters[g], segments, marks)


def _track_lanes(found: Sequence[Shown]) -> list[Lane]:
    lanes = []
    for one in found:
        present = [True if mask is not None else None for mask in one.masks]
        segments = [
            Segment(a, b, css(one.color), "", f"track {one.label}, frames {a + 1} to {b + 1}")
            for a, b, _ in runs_of(present)
        ]
        marks = {}
        for first, _, kind in runs_of([one.errors.get(t) for t in range(len(one.masks))]):
            marks[first] = f"track {one.label}: {kind} from frame {first + 1} on"
        lanes.append(Lane(f"track {one.label}", segments, marks))
    return lanes


def _rles(masks: Sequence[bytes | None], size: list[int]) -> list[RLE | None]:
    return [None if counts is None else RLE(size=size, counts=counts) for counts in masks]


def _at_0(kind: str | None) -> dict[int, str]:
    return {} if kind is None else {0: kind}


def _letter(place: int) -> str:
    return chr(65 + place) if place < 26 else f"{_letter(place // 26 - 1)}{chr(65 + place % 26)}"


def _spans(frames: Sequence[int]) -> str:
    """Frames as text, counted from 1: 3-5, 9."""
    flags: list[Any] = [None] * (max(frames) + 1)
    for t in frames:
        flags[t] = True
    return ", ".join(f"{a + 1}" if a == b else f"{a + 1}-{b + 1}" for a, b, _ in runs_of(flags))
