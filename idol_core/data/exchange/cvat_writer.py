"""Write CVAT for video 1.1: an XML file per clip, to be uploaded to a task that was made from the clip's video.

CVAT knows no tracks of masks, so that an object is one polygon per frame; every frame is a key frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from idol_core.data.exchange.flat_masks import with_note, without_crowds
from idol_core.data.exchange.labels import ImageFiles, LabelledClip, LabelledTrack, LabelSet, VideoFrames
from idol_core.data.exchange.outlines import one_polygon
from idol_core.system.files import write_aside


def fit(labels: LabelSet) -> LabelSet:
    """The labels without crowds. `left_out` tells of images that CVAT sorts otherwise: its file has no names."""
    fitted = without_crowds(labels)
    for clip in labels.clips:
        names = list(clip.frames.names) if isinstance(clip.frames, ImageFiles) else []
        late = next((pair for pair in itertools.pairwise(names) if pair[0] > pair[1]), None)
        if late is not None:
            one, other = (PurePosixPath(name).name for name in late)
            what = f"the order of '{clip.name}': CVAT sorts {other} before {one}, unless told otherwise"
            fitted = with_note(fitted, what)
    return fitted


def write(labels: LabelSet, out: Path) -> list[Path]:
    """Write `out`/CLIP.xml for every clip; returns the files."""
    files = [out / f"{clip.name}.xml" for clip in labels.clips]
    for clip, path in zip(labels.clips, files, strict=True):
        with write_aside(path) as aside, open(aside, "w", encoding="utf-8") as file:
            xml = XMLGenerator(file, "utf-8", short_empty_elements=True)
            xml.startDocument()
            with _element(xml, "annotations"):
                _text(xml, "version", "1.1")
                _meta(xml, clip, labels.categories)
                for track in clip.tracks:
                    _track(xml, clip, track)
    return files


def _meta(xml: XMLGenerator, clip: LabelledClip, categories: Sequence[str]) -> None:
    numbers, step = _numbers(clip)
    with _element(xml, "meta"), _element(xml, "task"):
        for key, value in {"name": clip.name, "size": clip.length, "mode": "interpolation", "overlap": 0}.items():
            _text(xml, key, value)
        _text(xml, "start_frame", numbers[0])
        _text(xml, "stop_frame", numbers[-1])
        _text(xml, "frame_filter", f"step={step}" if step > 1 else "")
        with _element(xml, "labels"):
            for name in categories:
                with _element(xml, "label"):
                    _text(xml, "name", name)
                    _text(xml, "type", "polygon")
                    _text(xml, "attributes", "")
        with _element(xml, "original_size"):
            _text(xml, "width", clip.width)
            _text(xml, "height", clip.height)
        if isinstance(clip.frames, VideoFrames) and clip.frames.video:
            _text(xml, "source", clip.frames.video)


def _numbers(clip: LabelledClip) -> tuple[Sequence[int], int]:
    """Frame numbers as CVAT counts them, and the step between them; files and irregular steps count from 0."""
    if isinstance(clip.frames, VideoFrames):
        numbers = list(clip.frames.numbers)
        step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
        if numbers == list(range(numbers[0], numbers[0] + len(numbers) * step, step)):
            return numbers, step
    return range(clip.length), 1


def _track(xml: XMLGenerator, clip: LabelledClip, track: LabelledTrack) -> None:
    numbers, _ = _numbers(clip)
    with _element(xml, "track", id=track.id, label=track.category, source="file"):
        shape = ""
        for t in range(clip.length):
            polygon = one_polygon(track.masks[t], clip.height, clip.width) if t in track.masks else ()
            outside = not polygon
            if outside and not shape:
                continue
            if polygon:
                shape = ";".join(f"{x:.2f},{y:.2f}" for x, y in zip(polygon[::2], polygon[1::2], strict=True))
            attributes = {"frame": numbers[t], "keyframe": 1, "outside": int(outside), "occluded": 0}
            with _element(xml, "polygon", **attributes, points=shape, z_order=0):
                pass
            shape = "" if outside else shape


@contextmanager
def _element(xml: XMLGenerator, name: str, **attributes: object) -> Iterator[None]:
    xml.startElement(name, AttributesImpl({key: str(value) for key, value in attributes.items()}))
    yield
    xml.endElement(name)
    xml.ignorableWhitespace("\n")


def _text(xml: XMLGenerator, name: str, value: object) -> None:
    with _element(xml, name):
        xml.characters(str(value))
