"""Find the frames that labels refer to: image files, or pictures of a video, which are extracted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from idol_core.data.exchange.cvat import check_order
from idol_core.data.exchange.labels import ImageFiles, LabelledClip, LabelSet, VideoFrames, image_names
from idol_core.data.frames import encode_jpeg, frame_size
from idol_core.data.image_files import IMAGE_ENDINGS, images_in
from idol_core.data.names import similar_file
from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.system.files import write_aside
from idol_core.video.files import Damage, read_timed_video
from idolctl.terminal.progress import ProgressLine

_FOLDERS = (".", "images", "JPEGImages", "frames", "img1")  # where tools put frames, below the labels' folder


def find_frames(labels: LabelSet, frames: Path | None, out: Path) -> list[list[Path]]:
    """Image files of every clip's frames. Those of a video are extracted to `out`/CLIP/NUMBER.jpg.

    Args:
        frames: a folder, or the video of the only clip; None: look beside the labels.

    Raises Missing for frames that are not there, Integrity for frames of another size and for a video with frames that
    can't be decoded, InvalidInput for one video and several clips.
    """
    if frames is not None and not frames.exists():
        raise Missing("no such file or folder", where=str(frames), fix="--frames DIR or --frames VIDEO")
    folders = [frames] if frames is not None else [Path(labels.folder) / folder for folder in _FOLDERS]
    folders = [folder for folder in folders if folder.exists()]
    single = len(labels.clips) == 1
    if frames is not None and frames.is_file() and not single:
        what = f"one video for {len(labels.clips)} clips"
        fix = "--frames DIR, with a video or a folder of frames per clip, named as the clip"
        raise InvalidInput(what, where=str(frames), fix=fix)
    own = [name for clip in labels.clips if isinstance(clip.frames, ImageFiles) for name in image_names(clip)]
    flat = len({PurePosixPath(name).name for name in own}) == len(own)
    masks = Path(labels.mask_folder).resolve() if labels.mask_folder else None
    found = []
    for clip in labels.clips:
        if isinstance(clip.frames, ImageFiles):
            found.append(_of_size(clip, _image_files(clip, folders, flat=flat, masks=masks)))
            continue
        source = _video_of(clip, clip.frames, folders, single=single)
        if source.is_file():
            found.append(_extracted(clip, source, out))
        else:
            found.append(_of_size(clip, _numbered(clip, clip.frames, source)))
    _check_distinct(labels, found)
    return found


def _check_distinct(labels: LabelSet, found: list[list[Path]]) -> None:
    """Raise Integrity if a clip has one file as two frames, or a set of images has one twice."""
    for files in found if labels.tracked else [list(itertools.chain.from_iterable(found))]:
        seen = set[Path]()
        for path in files:
            if path in seen:
                what = "the labels have this image twice, as two frames"
                raise Integrity(what, where=str(path), fix="correct the image names in the labels, or remove one label")
            seen.add(path)


def _of_size(clip: LabelledClip, files: list[Path]) -> list[Path]:
    """The files, whose pictures all have the size that the labels are of."""
    for file in files:
        size = frame_size(file)
        if size != (clip.height, clip.width):
            raise Integrity(
                f"a frame of {size[0]} x {size[1]}, the labels say {clip.height} x {clip.width} (height, width)",
                where=str(file),
                fix="--frames DIR with the frames that were labelled, not resized or rotated",
            )
    return files


def _image_files(clip: LabelledClip, folders: Sequence[Path], *, flat: bool, masks: Path | None) -> list[Path]:
    """The files of the names that the labels give, also in a folder named as the clip.

    Args:
        flat: also without their folders; no two images of the set may have one name then.
        masks: folder of mask images, which name frames by their stem alone, so that any ending will do; they are no
            frames themselves.
    """
    found, missing = list[Path](), list[str]()
    for name in image_names(clip):
        last = PurePosixPath(name).name
        parts = [name, f"{clip.name}/{last}", *([last] if flat else [])]
        tried = [folder / part for folder in folders if folder.is_dir() for part in parts]
        if masks is not None:
            tried += [path.with_suffix(ending) for path in tried for ending in IMAGE_ENDINGS]
        path = next((path for path in tried if path.is_file() and not _is_below(path, masks)), None)
        if path is None and not missing:  # a look into whole folders, which a set without its frames need not repeat
            near = filter(None, map(similar_file, tried))
            path = next((path for path in near if not _is_below(path, masks)), None)
        if path is None:
            missing.append(name)
        else:
            found.append(path)
    if missing:
        what = f"{len(missing)} of {clip.length} frames of clip '{clip.name}' are not there, first {missing[0]}"
        raise Missing(what, where=", ".join(map(str, folders)), fix="--frames DIR names the folder of the frames")
    return found


def _is_below(path: Path, masks: Path | None) -> bool:
    """Whether a file is a mask image."""
    return masks is not None and path.suffix.lower() == ".png" and path.resolve().is_relative_to(masks)


def _video_of(clip: LabelledClip, frames: VideoFrames, folders: Sequence[Path], *, single: bool) -> Path:
    """The video of a clip, or the folder of its frames."""
    name = PurePosixPath(frames.video.replace("\\", "/")).name
    for folder in folders:
        if folder.is_file():
            return folder
        if name and (folder / name).is_file():
            return folder / name
        if (folder / clip.name).is_dir():
            return folder / clip.name
        videos = sorted(path for path in folder.glob("*") if path.stem == clip.name and path.is_file())
        videos = [path for path in videos if path.suffix.lower() not in (".xml", ".json", ".txt", ".zip", ".yaml")]
        if videos:
            return videos[0]
        if single and images_in(folder):
            return folder
    what = f"the frames of clip '{clip.name}' are not there" + (f": they are of the video {name}" if name else "")
    raise Missing(what, where=", ".join(map(str, folders)) or "-", fix="--frames VIDEO, or --frames DIR of its frames")


def _numbered(clip: LabelledClip, frames: VideoFrames, folder: Path) -> list[Path]:
    """Frames by number from a folder that holds all of the video's, or exactly the clip's."""
    files = images_in(folder)
    if frames.sorted_by_tool:
        check_order(files)
    own = _numbers_in_names(files)
    if len(files) == clip.length:
        if own is None or _evenly(own) or _evenly([a - b for a, b in zip(own, frames.numbers, strict=True)], step=0):
            return files
        what = f"frames are missing between {files[0].name} and {files[-1].name}"
    elif len(files) <= frames.numbers[-1]:
        numbers = f"{frames.numbers[0]} to {frames.numbers[-1]}"
        what = f"clip '{clip.name}' has {clip.length} frames (numbers {numbers}), the folder {len(files)}"
    elif own is None or (own[0] in (0, 1) and _evenly(own, step=1)):
        return [files[number] for number in frames.numbers]
    else:
        what = f"{files[0].name} to {files[-1].name} are not all frames of a video, numbered from 0 or 1"
    raise Missing(what, where=str(folder), fix="give all frames of the video, from its first, or the video itself")


def _numbers_in_names(files: Sequence[Path]) -> list[int] | None:
    """The last number in each name; None unless the names differ in nothing else."""
    parts = [re.fullmatch(r"(.*?)([0-9]{1,18})([^0-9]*)", path.stem) for path in files]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts) or len({(part[1], part[3]) for part in found}) != 1:
        return None
    return [int(part[2]) for part in found]


def _evenly(numbers: Sequence[int], *, step: int | None = None) -> bool:
    """Whether numbers rise by the same step, which is `step` if given."""
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    return len(steps) <= 1 and (step is None or steps <= {step})


def _extracted(clip: LabelledClip, video: Path, out: Path) -> list[Path]:
    """Write the clip's frames as JPEG files, by their number in the video."""
    assert isinstance(clip.frames, VideoFrames)
    wanted = dict(zip(clip.frames.numbers, image_names(clip), strict=True))
    last, count = clip.frames.numbers[-1], 0

    def refuse(damage: Damage) -> None:
        if "left out" in damage.what:  # frame numbers after it would no longer be those of the labels
            raise Integrity(f"a frame {damage.what} frame {damage.frame}", where=str(video), fix="copy the video again")

    with ProgressLine(f"{clip.name}: extracting", last + 1, unit="frames") as progress:
        for number, frame in enumerate(read_timed_video(video, on_damage=refuse)):
            count += 1
            progress.advance()
            if number in wanted:
                if frame.pixels.shape[:2] != (clip.height, clip.width):
                    raise Integrity(
                        f"frames are {frame.pixels.shape[0]} x {frame.pixels.shape[1]}, the labels say {clip.height} x "
                        f"{clip.width}",
                        where=str(video), fix="--frames with the video that was labelled",
                    )  # fmt: skip
                with write_aside(out / wanted[number]) as aside:
                    aside.write_bytes(encode_jpeg(frame.pixels))
            if number == last:
                break
    if count <= last:
        what = f"the labels of clip '{clip.name}' go up to frame {last}, the video has {count}"
        raise Missing(what, where=str(video), fix="--frames with the video that was labelled")
    return [out / name for name in wanted.values()]
