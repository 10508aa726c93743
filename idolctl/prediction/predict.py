"""Track clips and write the results. Frames are read twice: to track, then, once the classes are known, to draw.

Reading, the network, tracking (with mask encoding), drawing and video encoding run in a thread each, as a pipeline:
while one frame is read, the one before it is in the network and the one before that is encoded. A clip's files are
written while the next clip is tracked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from idol_core.classes import match_classes, numbered, parse_same
from idol_core.data.dataset import Dataset
from idol_core.drawing.sheet import Sheet
from idol_core.drawing.tracks import draw_tracks
from idol_core.errors import IdolError, Integrity, InvalidInput, Missing
from idol_core.inference.streaming import VideoSegmenter
from idol_core.system.background import Background, Task, background, prefetched
from idol_core.tracking.tracks import ReportedTrack, VideoTracks, report_tracks
from idol_core.video.clips import Clip
from idol_core.video.colors import Frame
from idol_core.video.files import Damage, TimedFrame, unheard
from idol_core.video.writer import video_file
from idolctl.datasets.export_labels import refuse_full
from idolctl.errors import Mistakes
from idolctl.prediction.files import results_file, write_tables
from idolctl.prediction.labels import write_clip_labels
from idolctl.prediction.sources import Sources
from idolctl.terminal.progress import ProgressLine, say

_SHOWN = 10  # most frame numbers in a warning about damaged frames
_OF_THE_SOURCE = (Integrity, InvalidInput, Missing)  # errors of one clip, after which the other clips go on


class Save(StrEnum):
    """Kinds of output: overlay video, results.json, contact sheet, CSV tables."""

    mp4 = "mp4"
    json = "json"
    png = "png"
    csv = "csv"


@dataclass
class Predicted:
    """Summary of a prediction: counts, time, files, damaged frames, errors."""

    frames: int = 0
    tracks: int = 0
    seconds: float = 0.0  # for reading and tracking, without drawing
    files: list[Path] = field(default_factory=list)
    damage: dict[str, list[Damage]] = field(default_factory=dict)  # by clip name
    failed: list[IdolError] = field(default_factory=list)  # errors of clips that were not, or not completely, written


class _Seen(NamedTuple):
    """Result of tracking one clip."""

    tracks: VideoTracks
    times: list[float]  # of every frame, seconds since the first
    damage: list[Damage]
    seconds: float  # for reading and tracking


def predict(
    segmenter: VideoSegmenter,
    sources: Sources,
    out: Path,
    *,
    save: frozenset[Save],
    threshold: float,
    classes_map: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Predicted:
    """Track every clip and write the outputs in `save` to `out`.

    With several clips, each has a folder of its own in `out`; results.json covers all of them. On a data set,
    results.json has the set's category ids, matched by class name; `classes_map` (`person=human`) maps names of the
    weights to those of the set. For other clips, classes are numbered from 1.

    Each label format in `labels` gets a folder of its name. If it is there already, with labels that may have been
    corrected, InvalidInput is raised before the tracking begins.

    Files appear complete or not at all, results.json last. If one of several clips can't be read, it is skipped and
    its error kept in the summary; if all fail (or the only one), the errors are raised.
    """
    done = Predicted(failed=list(sources.failed))
    ids: Sequence[int] = range(1, len(segmenter.classes) + 1)
    if sources.dataset is not None and Save.json in save:
        ids = _ids_of(segmenter.classes, sources.dataset, classes_map)
    for clip in sources.clips:
        for name in labels:
            refuse_full((out if sources.single else out / clip.name) / name)
    with contextlib.ExitStack() as stack:
        results = stack.enter_context(results_file(out / "results.json")) if Save.json in save else None
        writing = stack.enter_context(background())
        for clip in sources.clips:
            folder = out if sources.single else out / clip.name
            try:
                seen = _track(segmenter, clip, writing, live=sources.live)
            except _OF_THE_SOURCE as error:
                done.failed.append(error)
                continue
            _warn(clip, seen)
            found = report_tracks(seen.tracks, segmenter.tracker, classes=segmenter.classes, threshold=threshold)
            if results is not None:
                results.add(found, seen.tracks, video_id=clip.id, category_ids=ids)
            last = clip is sources.clips[-1]
            work = _write(clip, found, seen, folder, save, labels=labels, classes=segmenter.classes, shown=last)
            writing.add(_outlived(work, done.failed))
            done.files += [*_files(folder, save), *(folder / name for name in labels)]
            done.damage |= {clip.name: seen.damage} if seen.damage else {}
            done.frames, done.tracks = done.frames + seen.tracks.frames, done.tracks + len(found)
            done.seconds += seen.seconds
        writing.finish()
        if done.failed and not done.frames:
            raise Mistakes(done.failed)
    done.files = [path for path in done.files if path.exists()]
    if Save.json in save:
        done.files.append(out / "results.json")
    return done


def _ids_of(classes: Sequence[str], dataset: Dataset, pairs: Sequence[str]) -> list[int]:
    """The data set's category id of each class of the weights. Raises InvalidInput if their classes differ."""
    where = str(dataset.source)
    if not pairs and tuple(classes) == numbered(len(dataset.category_ids)) != tuple(dataset.category_names):
        say("warning: the weights do not name their classes; they are taken to be in the order of the data set")
        return dataset.category_ids
    try:
        order = match_classes(classes, dataset.category_names, where=where, same=parse_same(pairs))
    except InvalidInput as error:
        fix = f"{error.fix}; or leave out results.json: --save mp4,png,csv"
        raise InvalidInput(error.what, where=error.where, fix=fix) from error
    return dataset.reordered(order).category_ids


def _track(segmenter: VideoSegmenter, clip: Clip, writing: Background, *, live: bool) -> _Seen:
    """Track a clip. Errors of the background job `writing` are raised here too."""
    video = segmenter.start(keep=True)
    batch = 1 if live else segmenter.tracker.batch_frames
    times: list[float] = []
    damage: list[Damage] = []
    with (
        ProgressLine(f"{clip.name}: tracking", clip.length, unit="frames") as count,
        prefetched(clip.read(damage.append)) as frames,
        contextlib.closing(segmenter.stream(_pixels(frames, times), video=video, batch=batch, overlap=True)) as tracked,
    ):
        for _ in tracked:
            count.advance()
            writing.check()
    tracks = video.tracks()
    if not tracks.frames:
        raise Integrity("the clip has no frames", where=clip.name, fix="give a clip of at least one frame")
    return _Seen(tracks, times, damage, count.seconds)


def _pixels(frames: Iterator[TimedFrame], times: list[float]) -> Iterator[Frame]:
    """Yield the pixels of each frame and append its time to `times`."""
    for frame in frames:
        times.append(frame.seconds)
        yield frame.pixels


def _warn(clip: Clip, seen: _Seen) -> None:
    """Print a warning to stderr for each kind of damage, with the frame numbers."""
    by_kind: dict[str, list[Damage]] = {}
    for damage in seen.damage:
        by_kind.setdefault(damage.what.partition(":")[0], []).append(damage)
    for found in by_kind.values():
        shown = ", ".join(str(damage.frame) for damage in found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
        of = f"{len(found)} of {seen.tracks.frames}, counted from 0"
        say(f"warning: {clip.name}: {found[0].what}: frame{'s' * (len(found) > 1)} {shown} ({of})")


def _write(
    clip: Clip,
    found: Sequence[ReportedTrack],
    seen: _Seen,
    folder: Path,
    save: frozenset[Save],
    *,
    labels: Sequence[str],
    classes: Sequence[str],
    shown: bool,
) -> Task:
    """Write the tables, the labels, the overlay video and the contact sheet; one pass over the frames serves both."""
    tracks, times = seen.tracks, seen.times
    if Save.csv in save:
        write_tables(folder / "tracks", found, tracks, times=times)
    for name in labels:
        write_clip_labels(clip, found, tracks, folder / name, format=name, classes=classes)
        yield
    if save.isdisjoint((Save.mp4, Save.png)):
        return
    sheet = Sheet(tracks.frames)
    with contextlib.ExitStack() as stack:
        count = stack.enter_context(ProgressLine(f"{clip.name}: drawing", tracks.frames, unit="frames", shown=shown))
        pixels = (frame.pixels for frame in clip.read(unheard))
        drawn = sheet.watch(draw_tracks(pixels, found, tracks.size))
        overlay = stack.enter_context(video_file(folder / "overlay.mp4", rate=clip.rate)) if Save.mp4 in save else None
        for frame, seconds in zip(stack.enter_context(prefetched(drawn, ahead=4)), times, strict=True):
            if overlay is not None:
                overlay.add(frame, seconds)
            count.advance()
            yield
    if Save.png in save:
        sheet.write(folder / "contact.png")


def _outlived(work: Task, failed: list[IdolError]) -> Task:
    """Run `work`; an error in its clip ends only this job and is appended to `failed`."""
    try:
        yield from work
    except _OF_THE_SOURCE as error:
        failed.append(error)


def _files(folder: Path, save: frozenset[Save]) -> list[Path]:
    names = {Save.csv: "tracks", Save.mp4: "overlay.mp4", Save.png: "contact.png"}
    return [folder / name for kind, name in names.items() if kind in save]
