"""Clips in, files out. Frames are read twice: to find the tracks, then, their classes known, to draw them.

Reading, the network, tracking with the encoding of masks, drawing and the encoding of video have a thread each: a frame
is read, the one before it in the network, and that before it encoded; a clip's files are written while the next clip
is tracked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from idol_core.classes import match_classes, numbered, parse_same
from idol_core.data.dataset import Dataset
from idol_core.drawing.sheet import Sheet
from idol_core.drawing.tracks import draw_clip
from idol_core.errors import Integrity, InvalidInput
from idol_core.inference.streaming import VideoSegmenter
from idol_core.system.background import Background, Task, background, prefetched
from idol_core.tracking.tracks import ReportedTrack, VideoTracks, report_tracks
from idol_core.video.clips import Clip
from idol_core.video.files import video_file
from idolctl.prediction.files import results_file, write_tables
from idolctl.prediction.sources import Sources
from idolctl.terminal.progress import FrameCount, say


class Save(StrEnum):
    """What can be written."""

    mp4 = "mp4"
    json = "json"
    png = "png"
    csv = "csv"


@dataclass
class Predicted:
    """What came of it."""

    frames: int = 0
    tracks: int = 0
    seconds: float = 0.0  # of reading and tracking, without drawing
    files: list[Path] = field(default_factory=list)


def predict(
    segmenter: VideoSegmenter,
    sources: Sources,
    out: Path,
    *,
    save: frozenset[Save],
    threshold: float,
    classes_map: Sequence[str] = (),
) -> Predicted:
    """Track every clip and write what is asked for into `out`, for several clips the pictures in a folder of each.

    Results of a data set have its category ids, found by the names of the classes; `classes_map` (`person=human`) says
    which names of the weights stand for which of the set. Results of other clips number the classes from 1.

    Every file appears whole or not at all; results.json, which is of all clips, appears last.
    """
    done = Predicted()
    ids: Sequence[int] = range(1, len(segmenter.classes) + 1)
    if sources.dataset is not None and Save.json in save:
        ids = _ids_of(segmenter.classes, sources.dataset, classes_map)
    with contextlib.ExitStack() as stack:
        results = stack.enter_context(results_file(out / "results.json")) if Save.json in save else None
        writing = stack.enter_context(background())
        for clip in sources.clips:
            folder = out if len(sources.clips) == 1 else out / clip.name
            tracks, seconds = _track(segmenter, clip, writing, live=sources.live)
            found = report_tracks(tracks, segmenter.tracker, classes=segmenter.classes, threshold=threshold)
            if results is not None:
                results.add(found, tracks, video_id=clip.id, category_ids=ids)
            writing.add(_write(clip, found, tracks, folder, save, shown=clip is sources.clips[-1]))
            done.files += _files(folder, save)
            done.frames, done.tracks = done.frames + tracks.frames, done.tracks + len(found)
            done.seconds += seconds
    if Save.json in save:
        done.files.append(out / "results.json")
    return done


def _ids_of(classes: Sequence[str], dataset: Dataset, pairs: Sequence[str]) -> list[int]:
    """The data set's category id of each class of the weights. Raises InvalidInput where they are not the same."""
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


def _track(segmenter: VideoSegmenter, clip: Clip, writing: Background, *, live: bool) -> tuple[VideoTracks, float]:
    """The tracks of a clip, and the seconds they took. Raises what `writing` raised meanwhile."""
    video = segmenter.start(keep=True)
    batch = 1 if live else segmenter.tracker.batch_frames
    with (
        FrameCount(f"{clip.name}: tracking", clip.length) as count,
        prefetched(clip.read()) as frames,
        contextlib.closing(segmenter.stream(frames, video=video, batch=batch, overlap=True)) as tracked,
    ):
        for _ in tracked:
            count.advance()
            writing.check()
    tracks = video.tracks()
    if not tracks.frames:
        raise Integrity("no frames", where=clip.name, fix="give a clip of at least one frame")
    return tracks, count.seconds


def _write(
    clip: Clip, found: Sequence[ReportedTrack], tracks: VideoTracks, folder: Path, save: frozenset[Save], *, shown: bool
) -> Task:
    """Write the tables, the overlay video and the contact sheet; both pictures come from one reading of the frames."""
    if Save.csv in save:
        write_tables(folder / "tracks", found, tracks, rate=clip.rate)
    if save.isdisjoint((Save.mp4, Save.png)):
        return
    sheet = Sheet(tracks.frames)
    with contextlib.ExitStack() as stack:
        count = stack.enter_context(FrameCount(f"{clip.name}: drawing", tracks.frames, shown=shown))
        drawn = sheet.watch(draw_clip(clip.read(), found, tracks.size))
        overlay = stack.enter_context(video_file(folder / "overlay.mp4", rate=clip.rate)) if Save.mp4 in save else None
        for frame in stack.enter_context(prefetched(drawn, ahead=4)):
            if overlay is not None:
                overlay.add(frame)
            count.advance()
            yield
    if Save.png in save:
        sheet.write(folder / "contact.png")


def _files(folder: Path, save: frozenset[Save]) -> list[Path]:
    names = {Save.csv: "tracks", Save.mp4: "overlay.mp4", Save.png: "contact.png"}
    return [folder / name for kind, name in names.items() if kind in save]
