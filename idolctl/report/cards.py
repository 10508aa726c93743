"""Make the clip cards of the page: pictures (within a byte budget), timeline, list of errors."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idol_core.errors import IdolError
from idol_core.evaluation.coco_files import image_objects, read_image_results
from idolctl.report import charts
from idolctl.report.analyze import ClipFacts, shown_from
from idolctl.report.clips import (
    ClipView,
    by_interest,
    rows_by_id,
    view_image,
    view_tracks,
    view_video,
    worst_first,
)
from idolctl.report.pictures import chosen_frames, draw_frame, first_error
from idolctl.report.subject import Subject
from idolctl.submission.results import entries

BUDGET = 4_500_000  # most bytes of JPEG in a page; base64 adds a third
MOST_CLIPS = 60
LANES = 24  # most rows of a timeline


@dataclass(frozen=True)
class Card:
    """A clip in the page, with its pictures, timeline and error notes."""

    id: int
    frames: list[str]  # JPEG as base64
    numbers: list[int]  # frame numbers of the pictures, from 1
    first: int  # index in `frames` of the picture shown first
    timeline: str  # SVG
    notes: list[str]


def make_cards(subject: Subject, *, budget: int = BUDGET) -> list[Card]:
    """Make cards in the order of `by_interest` until `budget` bytes are used; return them with the worst clip first."""
    clips = subject.analysis.clips if subject.analysis else []
    if subject.dataset is None and not subject.video:
        return []
    pictured: dict[int, Card] = {}
    left = budget
    for number, view in _views(subject, by_interest(clips)):
        card = _card(subject, number, view)
        size = sum(len(frame) for frame in card.frames) * 3 // 4
        if pictured and size > left:
            break
        left -= size
        pictured[number] = card
        if len(pictured) == MOST_CLIPS:
            break
    order = [clip.id for clip in worst_first(clips)] or list(pictured)
    return [pictured[number] for number in order if number in pictured]


def clips_without_truth(subject: Subject) -> list[ClipFacts]:
    """Facts about the clips of a set without ground truth: id, name and number of frames only."""
    if subject.dataset is None or subject.analysis is not None:
        return []
    return [
        ClipFacts(video.id, Path(video.file_names[0]).parent.name if video.length else str(video.id), video.length,
                  0, None, None, None)
        for video in subject.dataset.videos
    ]  # fmt: skip


def _views(subject: Subject, clips: list[ClipFacts]) -> Iterator[tuple[int, ClipView]]:
    if subject.analysis is None:
        yield from _without_truth(subject)
    elif subject.video:
        for clip in clips:
            yield clip.id, view_video(subject.analysis, clip.id)
    elif subject.truth is not None:
        index = subject.truth.index
        objects = {one.id: one for one in image_objects(index)}
        results = {one.place: one for one in read_image_results(subject.results, index)}
        for clip in clips:
            yield clip.id, view_image(subject.analysis, clip.id, objects, results)


def _without_truth(subject: Subject) -> Iterator[tuple[int, ClipView]]:
    """Views of the tracks in up to 12 clips, spread evenly over a set without ground truth."""
    dataset = subject.dataset
    if dataset is None or not subject.video:
        return
    count = min(12, len(dataset.videos))
    chosen = [dataset.videos[round(i * (len(dataset.videos) - 1) / max(1, count - 1))] for i in range(count)]
    ids = {video.id for video in chosen}
    by_video: dict[int, list[Any]] = {}
    with open(subject.results, "rb") as file:
        for _, entry in entries(file, subject.results.name):
            if entry["video_id"] in ids:
                by_video.setdefault(entry["video_id"], []).append(entry)
    threshold = shown_from([e["score"] for some in by_video.values() for e in some])
    names = dict(zip(dataset.category_ids, dataset.category_names, strict=True))
    for video in chosen:
        yield video.id, view_tracks(by_video.get(video.id, []), names, (video.height, video.width), threshold)


def _card(subject: Subject, number: int, view: ClipView) -> Card:
    dataset = subject.dataset
    if dataset is not None:
        video = dataset.videos[rows_by_id(dataset)[number]]
        length, names = video.length, video.file_names
    else:
        length, names = max((len(s.masks) for s in (*view.truth, *view.found)), default=0), []
    shown = chosen_frames(view, length) if names else []
    notes, pictures = list(view.notes), []
    try:
        pictures = [base64.b64encode(draw_frame(names[t], view, t)).decode() for t in shown]
    except IdolError as error:  # a frame that is missing or can't be read
        notes.append(f"no pictures: {error.what} ({error.where})")
        shown = []
    start = first_error(view, length) if length else 0
    lanes = view.lanes[:LANES]
    svg = charts.timeline("frames of each object and track", lanes, length) if lanes and length > 1 else ""
    first = shown.index(start) if start in shown else 0
    return Card(number, pictures, [t + 1 for t in shown], first, svg, notes)
