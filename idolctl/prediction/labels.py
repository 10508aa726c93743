"""The tracks of a clip as labels of other tools, so that a labeller corrects them and does not start from nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from idol_core.data.annotations.rle import RLE
from idol_core.data.exchange.labels import ImageFiles, LabelledClip, LabelledTrack, LabelSet, VideoFrames, without_empty
from idol_core.data.image_files import IMAGE_ENDINGS
from idol_core.tracking.tracks import ReportedTrack, VideoTracks
from idol_core.video.clips import Clip
from idol_core.video.colors import Frame
from idol_core.video.files import unheard
from idolctl.datasets.export_labels import write_labels
from idolctl.terminal.progress import say


def write_clip_labels(
    clip: Clip, found: Sequence[ReportedTrack], tracks: VideoTracks, out: Path, *, format: str, classes: Sequence[str]
) -> None:
    """Write a clip's tracks in a label format to the folder `out`, with the frames if the tool wants them.

    Identities are those of results.json; frame numbers those of the video, from 0.
    """
    size = list(tracks.size)
    labelled = tuple(
        LabelledTrack(
            one.track.id,
            one.name,
            without_empty({t: RLE(size=size, counts=counts) for t, counts in sorted(one.track.masks.items())}),
        )
        for one in found
    )
    frames = _frames(clip, tracks.frames)
    whole = LabelledClip(clip.name, *tracks.size, frames, labelled)
    pixels: Iterable[Path | Frame] = (
        clip.files if isinstance(frames, ImageFiles) else (frame.pixels for frame in clip.read(unheard))
    )
    written, _ = write_labels(LabelSet((whole,), tuple(classes)), out, format=format, frames_of=lambda _: pixels)
    for sentence in written.left_out:
        say(f"{clip.name}: {format}: {sentence}")


def _frames(clip: Clip, count: int) -> ImageFiles | VideoFrames:
    names = [path.name for path in clip.files]
    if len(set(names)) == count and all(name.lower().endswith(IMAGE_ENDINGS) for name in names):
        return ImageFiles(tuple(f"{clip.name}/{name}" for name in names))
    video = names[0] if len(names) == 1 and not names[0].lower().endswith(IMAGE_ENDINGS) else ""
    return VideoFrames(video, range(count))
