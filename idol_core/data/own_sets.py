"""A user's own data sets (one YAML file each) and splits, found below the data root.

ROOT/NAME.yaml gives NAME_train and, where it has that part, NAME_val; relative paths are taken from the file's folder:

    kind: vis
    train: {frames: clips/frames, annotations: clips/train.json}
    val: {frames: clips/frames, annotations: clips/val.json}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from idol_core.errors import InvalidInput

SPLITS = "splits"
_KINDS = ("coco", "vis")


class Layout(NamedTuple):
    """A named set: places below the root (or absolute), the usual one first."""

    kind: Literal["coco", "vis"]
    frames: tuple[str, ...]
    annotations: tuple[str, ...]


def own_layout(name: str, side: str, root: Path) -> Layout | None:
    """What ROOT/NAME.yaml says of its part `side`; None without that file or part. InvalidInput if it is malformed."""
    path = (root / f"{name}.yaml").absolute()  # so that its places hold below any root
    if not name or Path(name).name != name or not path.is_file():
        return None
    content = _read(path)
    part = content.get(side)
    if part is None:
        return None
    kind = content.get("kind")
    if kind not in _KINDS:
        raise _malformed(path, f"kind is {kind!r}, it must be coco or vis", "kind")
    if not isinstance(part, dict) or not all(isinstance(part.get(k), str) for k in ("frames", "annotations")):
        raise _malformed(path, f"{side} must have frames and annotations", side)
    return Layout(kind, (str(path.parent / part["frames"]),), (str(path.parent / part["annotations"]),))


def own_names(root: Path) -> list[str]:
    """NAME_train and NAME_val of every description in `root`; other YAML files (without `kind`) are left aside."""
    found = []
    for path in sorted(root.glob("*.yaml")):
        content = _read(path)
        found += [f"{path.stem}_{side}" for side in ("train", "val") if side in content and "kind" in content]
    return found


def split_folder(root: Path, name: str) -> Path:
    """Where the split NAME@SPLIT lies: train.json, val.json and split.json, which says how it was made."""
    return root / SPLITS / name


def split_names(root: Path) -> list[str]:
    """All splits made below `root`, as NAME@SPLIT."""
    return sorted(path.parent.name for path in (root / SPLITS).glob("*@*/split.json"))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise _malformed(path, " ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise _malformed(path, "no mapping")
    return content


def _malformed(path: Path, what: str, key: str = "") -> InvalidInput:
    where = f"{path}:{key}" if key else str(path)
    return InvalidInput(f"not the description of a data set: {what}", where=where, fix="write it with idolctl data add")
