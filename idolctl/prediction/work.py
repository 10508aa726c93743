"""Clips in, files out. Frames are read twice: to find the tracks, then, their classes known, to draw them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from idol_core.clip_outputs import (
    Found,
    ResultsFile,
    Sheet,
    draw_clip,
    report_tracks,
    results_file,
    write_tables,
)
from idol_core.clips import Clip
from idol_core.engine.infer import prefetched
from idol_core.errors import Integrity
from idol_core.streaming import VideoSegmenter
from idol_core.tracking.video import VideoTracks
from idol_core.video_io import Frame, write_video
from idolctl.prediction.progress import FrameCount
from idolctl.prediction.sources import Sources


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
    segmenter: VideoSegmenter, sources: Sources, out: Path, *, save: frozenset[Save], threshold: float
) -> Predicted:
    """Track every clip and write what is asked for into `out`, for several clips the pictures in a folder of each.

    Every file appears whole or not at all; results.json, which is of all clips, appears last.
    """
    done = Predicted()
    ids = sources.category_ids
    if ids is None or len(ids) != len(segmenter.classes):
        ids = range(1, len(segmenter.classes) + 1)
    with contextlib.ExitStack() as stack:
        results: ResultsFile | None = None
        if Save.json in save:
            results = stack.enter_context(results_file(out / "results.json"))
        for clip in sources.clips:
            folder = out if len(sources.clips) == 1 else out / clip.name
            tracks, seconds = _track(segmenter, clip, live=sources.live)
            found = report_tracks(tracks, segmenter.tracker, classes=segmenter.classes, threshold=threshold)
            if results is not None:
                results.add(found, tracks, video_id=clip.id, category_ids=ids)
            if Save.csv in save:
                write_tables(folder / "tracks", found, tracks, rate=clip.rate)
                done.files.append(folder / "tracks")
            done.files += _draw(clip, found, tracks, folder, save)
            done.frames, done.tracks = done.frames + tracks.frames, done.tracks + len(found)
            done.seconds += seconds
    if Save.json in save:
        done.files.append(out / "results.json")
    return done


def _track(segmenter: VideoSegmenter, clip: Clip, *, live: bool) -> tuple[VideoTracks, float]:
    """The tracks of a clip, and the seconds they took."""
    video = segmenter.start(keep=True)
    batch = 1 if live else segmenter.tracker.batch_frames
    with FrameCount(f"{clip.name}: tracking", clip.length) as count, prefetched(clip.read()) as frames:
        for _ in segmenter.stream(frames, video=video, batch=batch):
            count.advance()
    tracks = video.tracks()
    if not tracks.frames:
        raise Integrity("no frames", where=clip.name, fix="give a clip of at least one frame")
    return tracks, count.seconds


def _draw(clip: Clip, found: Sequence[Found], tracks: VideoTracks, folder: Path, save: frozenset[Save]) -> list[Path]:
    """Write the overlay video and the contact sheet; both come from one reading of the frames."""
    if save.isdisjoint((Save.mp4, Save.png)):
        return []
    sheet, overlay = Sheet(tracks.frames), folder / "overlay.mp4"
    with FrameCount(f"{clip.name}: drawing", tracks.frames) as count:

        def drawn() -> Iterator[Frame]:
            with prefetched(sheet.watch(draw_clip(clip.read(), found, tracks.size)), ahead=4) as frames:
                for frame in frames:
                    yield frame
                    count.advance()

        if Save.mp4 in save:
            write_video(overlay, drawn(), rate=clip.rate)
        else:
            for _ in drawn():
                pass
    if Save.png in save:
        sheet.write(folder / "contact.png")
    return [overlay] * (Save.mp4 in save) + [folder / "contact.png"] * (Save.png in save)
