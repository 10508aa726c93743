"""Write labels as the files that training reads: YouTube-VIS for tracks, COCO instances for images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from idol_core.data.annotations.rle import mask_areas, to_json
from idol_core.data.exchange.labels import LabelledClip, LabelledTrack, LabelSet, Mask, as_rle, image_names
from idol_core.system.files import write_json


def write_annotations(labels: LabelSet, path: Path) -> None:
    """Write a YouTube-VIS file, or a COCO instances file for a set without identities.

    Category ids count from 1 in the order of `categories`. Polygons stay polygons.
    """
    write_json(path, _videos(labels) if labels.tracked else _images(labels), indent=None)


def _videos(labels: LabelSet) -> dict[str, Any]:
    videos, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, clip in enumerate(labels.clips, 1):
        size = {"height": clip.height, "width": clip.width}
        videos.append({"id": number, "name": clip.name, "file_names": image_names(clip), "length": clip.length, **size})
        for track in clip.tracks:
            masks = [track.masks.get(t) for t in range(clip.length)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": number,
                    "track_id": track.id,
                    **_class(labels, track),
                    **size,
                    "segmentations": [_segmentation(mask) for mask in masks],
                    "areas": [_area(mask, clip) for mask in masks],
                }
            )
    return {"videos": videos, "annotations": annotations, "categories": _categories(labels)}


def _images(labels: LabelSet) -> dict[str, Any]:
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, clip in enumerate(labels.clips, 1):
        images.append({"id": number, "file_name": image_names(clip)[0], "height": clip.height, "width": clip.width})
        for track in clip.tracks:
            mask = track.masks[0]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    **_class(labels, track),
                    "segmentation": _segmentation(mask),
                    "area": _area(mask, clip),
                }
            )
    return {"images": images, "annotations": annotations, "categories": _categories(labels)}


def _class(labels: LabelSet, track: LabelledTrack) -> dict[str, int]:
    return {"category_id": labels.categories.index(track.category) + 1, "iscrowd": int(track.crowd)}


def _categories(labels: LabelSet) -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for number, name in enumerate(labels.categories, 1)]


def _segmentation(mask: Mask | None) -> Any:
    if mask is None:
        return None
    return to_json(mask) if isinstance(mask, dict) else [list(polygon) for polygon in mask]


def _area(mask: Mask | None, clip: LabelledClip) -> int | None:
    return None if mask is None else mask_areas([as_rle(mask, clip.height, clip.width)])[0]
