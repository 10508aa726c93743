"""Names of data sets, and where their frames and annotations are below the data root (older layouts included).

Besides the built-in names, a data root may hold the user's own sets (`ROOT/NAME.yaml`: NAME_train, NAME_val) and splits
(`ROOT/splits/NAME@SPLIT/`: NAME@SPLIT_train, NAME@SPLIT_val).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from idol_core.config import DataSource
from idol_core.data.own_sets import Layout, own_layout, own_names, split_folder, split_names
from idol_core.errors import InvalidInput, Missing

SIDES = ("train", "val")

LAYOUTS: dict[str, Layout] = {
    "ytvis19_train": Layout(
        "vis",
        ("ytvis_2019/train/JPEGImages",),
        ("ytvis_2019/annotations/instances_train_sub.json", "ytvis_2019/train.json"),
    ),
    "ytvis19_val": Layout(
        "vis",
        ("ytvis_2019/val/JPEGImages", "ytvis_2019/valid/JPEGImages"),
        ("ytvis_2019/annotations/instances_val_sub.json", "ytvis_2019/valid.json"),
    ),
    "ytvis19@oracle_train": Layout("vis", ("ytvis_2019/train/JPEGImages",), ("ytvis_2019/ytvis_sub_train.json",)),
    "ytvis19@oracle_val": Layout("vis", ("ytvis_2019/train/JPEGImages",), ("ytvis_2019/ytvis_sub_val.json",)),
    "ytvis21_train": Layout(
        "vis",
        ("ytvis_2021/train/JPEGImages",),
        ("ytvis_2021/annotations/instances_train_sub.json", "ytvis_2021/train/instances.json"),
    ),
    "ytvis21_val": Layout(
        "vis",
        ("ytvis_2021/val/JPEGImages", "ytvis_2021/valid/JPEGImages"),
        ("ytvis_2021/annotations/instances_val_sub.json", "ytvis_2021/valid/instances.json"),
    ),
    "ovis_train": Layout("vis", ("ovis/train",), ("ovis/annotations_train.json",)),
    "ovis_val": Layout("vis", ("ovis/valid",), ("ovis/annotations_valid.json", "ovis/validGT.json")),
    "ovis@oracle_train": Layout("vis", ("ovis/train",), ("ovis/ovis_sub_train.json",)),
    "ovis@oracle_val": Layout("vis", ("ovis/train",), ("ovis/ovis_sub_val.json",)),
    "coco_train": Layout("coco", ("coco/train2017",), ("coco/annotations/instances_train2017.json",)),
    "coco_val": Layout("coco", ("coco/val2017",), ("coco/annotations/instances_val2017.json",)),
    "toy_train": Layout("vis", ("toy/vis/train/JPEGImages",), ("toy/vis/train/instances.json",)),
    "toy_val": Layout("vis", ("toy/vis/val/JPEGImages",), ("toy/vis/val/instances.json",)),
    "toy_images_train": Layout("coco", ("toy/coco/train",), ("toy/coco/annotations/instances_train.json",)),
    "toy_images_val": Layout("coco", ("toy/coco/val",), ("toy/coco/annotations/instances_val.json",)),
}


def find_layout(name: str, root: Path) -> Layout | None:
    """Find a named set: built in, a split below `root`, or a YAML description in `root`; None if the name is unknown.

    Raises InvalidInput if the description is malformed.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    base, side = name.rpartition("_")[::2]
    if side not in SIDES:
        return None
    if "@" in base:
        whole, folder = base.partition("@")[0], split_folder(root, base).absolute()
        parent = find_layout(f"{whole}_train", root) if folder.is_dir() else None
        return parent and parent._replace(annotations=(str(folder / f"{side}.json"),))
    return own_layout(base, side, root)


def is_built_in(name: str) -> bool:
    """Whether a set (`ovis_train`) or the set that it is a split of (`ovis@mine_train`) is a built-in one."""
    return f"{name.partition('@')[0].removesuffix('_train').removesuffix('_val')}_train" in LAYOUTS


def known_names(root: Path) -> list[str]:
    """List all names that `find_layout` knows: the built-in ones, then those of `root`."""
    return [*LAYOUTS, *own_names(root), *(f"{split}_{side}" for split in split_names(root) for side in SIDES)]


def resolve_source(source: DataSource, root: Path) -> DataSource:
    """Complete a source: its kind, and frames and annotations as existing absolute paths.

    Paths given in the source (relative to the working directory) take precedence over those that its name implies.

    Raises:
        InvalidInput: the name is unknown, and frames, annotations and kind are not all given.
        Missing: a file or folder is in none of the expected locations; `where` lists them.
    """
    layout = find_layout(source.name, root)
    if layout is None and None in (source.kind, source.frames, source.annotations):
        raise InvalidInput(
            f"unknown data set {source.name!r}" if source.name else "a data source without a name",
            where=f"known names: {', '.join(sorted(known_names(root)))}",
            fix="give kind, frames and annotations, or a known name (idolctl data add makes one)",
        )
    kind = source.kind or (layout.kind if layout else None)
    frames = [Path(source.frames)] if source.frames else [root / place for place in layout.frames] if layout else []
    annotations = (
        [Path(source.annotations)] if source.annotations else [root / p for p in layout.annotations] if layout else []
    )
    return dataclasses.replace(
        source,
        kind=kind,
        frames=str(_first(frames, f"frames of {source.name or 'the data source'}", folder=True)),
        annotations=str(_first(annotations, f"annotations of {source.name or 'the data source'}", folder=False)),
    )


def _first(places: list[Path], what: str, *, folder: bool) -> Path:
    for place in places:
        if place.is_dir() if folder else place.is_file():
            return place.resolve()
    raise Missing(
        f"{what} not found",
        where=" or ".join(str(place) for place in places),
        fix="put the files there, or name another data root with --root",
    )
