"""Resolve SOURCE of `idolctl predict`: a video, image files, a data set of videos, a camera or a network stream."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from idol_core.data.catalog import resolve_source
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.image_files import IMAGE_ENDINGS, images_in, in_order
from idol_core.errors import IdolError, Integrity, InvalidInput, Missing, NetworkError
from idol_core.video.camera import camera_device, camera_rate, read_camera
from idol_core.video.clips import (
    Clip,
    image_clip,
    labelled_clip,
    recorded_clip,
    video_clip,
)
from idol_core.video.files import USUAL_RATE, TimedFrame
from idol_core.video.reconnect import Gaps, reconnected
from idol_core.video.streams import hidden, is_stream, read_stream
from idolctl.datasets.root import data_root, find_data, is_toy, make_toy_data
from idolctl.errors import Mistakes
from idolctl.terminal.progress import say

CAMERA = "camera:"
# Videos, and pictures that are no frames of a folder.
_UNREAD = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".gif", ".heic", ".heif")


@dataclass(frozen=True)
class Sources:
    """The clips that SOURCE names, their data set if they have one, and errors of clips that can't be opened."""

    name: str
    clips: Sequence[Clip]
    dataset: Dataset | None = None
    live: bool = False  # a camera or network stream: a clip of unknown length
    failed: Sequence[IdolError] = ()
    gaps: Gaps = field(default_factory=Gaps)  # of a network stream, counted while it is read

    @property
    def single(self) -> bool:
        """Whether SOURCE names exactly one clip, readable or not."""
        return len(self.clips) + len(self.failed) == 1


def find_sources(
    source: str, *, root: Path | None, recording: Path, stop: Callable[[], bool], rate: float | None = None
) -> Sources:
    """Look for a file, a folder, a network stream, a camera, a glob and a data set of that name, in this order.

    Args:
        recording: where a camera's frames are stored while they are needed.
        stop: called after each camera frame; True ends the clip.
        rate: frames per second of image files.

    Raises InvalidInput for a camera without a number and for a `rate` with a video or camera (they have their own
    timing), Missing if nothing of that name exists, Integrity for a file that can't be read.
    """
    path = Path(source).expanduser()
    if path.is_file():
        clip = image_clip([path], name=path.stem, rate=rate) if _is_image(path) else _video(path, rate)
        return Sources(path.stem, [clip])
    if path.is_dir():
        return Sources(path.resolve().name, [_folder(path, rate)])
    if is_stream(source):
        _refuse_rate(rate)
        return _stream(source, recording, stop)
    if source.startswith(CAMERA):
        _refuse_rate(rate)
        return _camera(source, recording, stop)
    if glob.has_magic(source):
        return _glob(source, rate)
    return _data_set(source, root, rate)


def _video(path: Path, rate: float | None) -> Clip:
    _refuse_rate(rate)
    clip = video_clip(path)
    if clip.hdr is not None:
        what = f"HDR video ({clip.hdr}): its colors are read without tone mapping and come out flat"
        say(f"warning: {path}: {what}, which costs accuracy; convert it to SDR first")
    return clip


def _refuse_rate(rate: float | None) -> None:
    if rate is not None:
        what = "--rate is for image files; videos and cameras have their own timestamps"
        raise InvalidInput(what, where="--rate", fix="leave --rate out")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_ENDINGS


def _camera(source: str, recording: Path, stop: Callable[[], bool]) -> Sources:
    number = camera_number(source)
    camera_device(number)
    name = f"camera-{number}"
    clip = recorded_clip(
        lambda: read_camera(number, stop=stop), name=name, rate=camera_rate(number), recording=recording
    )
    return Sources(name, [clip], live=True)


def camera_number(source: str) -> int:
    """N of camera:N. Raises InvalidInput for another form."""
    number = source.removeprefix(CAMERA)
    if not (number.isascii() and number.isdecimal() and len(number) < 4):
        raise InvalidInput(f"'{source}' is not a camera", where="command line", fix="idolctl predict camera:0")
    return int(number)


def _stream(url: str, recording: Path, stop: Callable[[], bool]) -> Sources:
    name = re.sub(r"[^A-Za-z0-9]+", "-", hidden(url).partition("://")[2]).strip("-")[:60] or "stream"
    gaps = Gaps()

    def live() -> Iterator[TimedFrame]:
        return _until_broken(reconnected(lambda: read_stream(url, stop=stop), gaps=gaps, say=say, stop=stop))

    clip = recorded_clip(live, name=name, rate=USUAL_RATE, recording=recording)
    return Sources(name, [clip], live=True, gaps=gaps)


def _until_broken(frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
    """The frames of a stream; if it breaks off for good after the first one, they end with a warning."""
    count = 0
    try:
        for count, frame in enumerate(frames, 1):  # noqa: B007
            yield frame
    except NetworkError as error:
        if not count:
            raise
        say(f"warning: {error.where}: {error.what}; the {count} frames before that are kept")


def _folder(path: Path, rate: float | None) -> Clip:
    found = images_in(path)
    others = [
        file for file in sorted(path.iterdir()) if file.suffix.lower() in _UNREAD and not file.name.startswith(".")
    ]
    if not found:
        what = f"the folder holds no image files ({', '.join(IMAGE_ENDINGS)})"
        raise Missing(what, where=str(path), fix=_instead(path, others))
    if others:
        kinds = ", ".join(f"{count} {ending}" for ending, count in Counter(f.suffix.lower() for f in others).items())
        say(f"warning: {path}: files that are no frames are left out: {kinds}")
    return image_clip(found, name=path.resolve().name, rate=rate)


def _instead(path: Path, others: Sequence[Path]) -> str:
    """What to do with a folder that holds no frames."""
    if others:
        return f"for each of its videos: idolctl predict '{path}/*{others[0].suffix}'"
    inner = next((folder for folder in sorted(path.iterdir()) if folder.is_dir() and images_in(folder)), None)
    return f"name one of its folders: idolctl predict {inner}" if inner else "name a folder of frames"


def _glob(pattern: str, rate: float | None) -> Sources:
    """Clips that match a pattern: image files are the frames of one clip, any other file is a clip."""
    matches = map(Path, glob.glob(str(Path(pattern).expanduser()), recursive=True))  # noqa: PTH207  (absolute ones too)
    found = in_order(path for path in matches if path.is_file())
    if not found:
        raise Missing("the pattern matches no file", where=pattern, fix="check the pattern")
    images = [path for path in found if _is_image(path)]
    if images and len(images) < len(found):
        other = next(path for path in found if not _is_image(path))
        what = f"the pattern matches image files and others, such as {other.name}"
        raise InvalidInput(what, where=pattern, fix=f"use a narrower pattern: '{pattern}{images[0].suffix}'")
    if images:
        name = images[0].resolve().parent.name
        return Sources(name, [image_clip(images, name=name, rate=rate)])
    clips: list[Clip] = []
    failed: list[IdolError] = []
    for number, path in enumerate(found, 1):
        try:
            clips.append(replace(_video(path, rate), id=number))
        except (Integrity, Missing) as error:
            failed.append(error)
    if not clips:
        raise Mistakes(failed)
    return Sources(found[0].resolve().parent.name, _named_apart(clips), failed=failed)


def _named_apart(clips: Sequence[Clip]) -> list[Clip]:
    """The clips with unique names: the clip's id is appended to a name that several have."""
    often = Counter(clip.name for clip in clips)
    taken = {name for name, times in often.items() if times == 1}
    apart = []
    for clip in clips:
        name = clip.name
        if often[name] > 1:
            name = f"{name}-{clip.id}"
            while name in taken:
                name += "-again"
            taken.add(name)
        apart.append(replace(clip, name=name))
    return apart


def _data_set(name: str, asked: Path | None, rate: float | None) -> Sources:
    root = data_root(asked)
    try:
        source = find_data(name, root)
    except InvalidInput as error:
        what = f"'{name}' is not a file, folder, camera or data set"
        raise Missing(what, where=str(Path(name).absolute()), fix=f"check the path; data sets: {error.fix}") from None
    if is_toy(source):
        make_toy_data(root)
    dataset = open_dataset(resolve_source(source, root))
    if dataset.kind != "vis":
        raise InvalidInput(f"{source.name} has single images, no videos to track", where=str(dataset.source),
                           fix="idolctl predict FOLDER for frames of a video")  # fmt: skip
    return Sources(source.name, [labelled_clip(video, rate=rate) for video in dataset.videos], dataset)
