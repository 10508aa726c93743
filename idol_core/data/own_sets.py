"""Find a user's own data sets (one YAML file each) and splits below the data root.

ROOT/NAME.yaml defines NAME_train and, optionally, NAME_val; its paths are relative to the folder of the file:

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
    """Where the files of a named data set may be: paths below the root (or absolute), the usual one first."""

    kind: Literal["coco", "vis"]
    frames: tuple[str, ...]
    annotations: tuple[str, ...]


def own_layout(name: str, side: str, root: Path) -> Layout | None:
    """Read the part `side` of ROOT/NAME.yaml; None without that file or part. Raises InvalidInput if malformed."""
    path = (root / f"{name}.yaml").absolute()  # so that joining them to any root leaves them unchanged
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
    """List NAME_train and NAME_val for every description in `root`; YAML files without `kind` are skipped."""
    found = []
    for path in sorted(root.glob("*.yaml")):
        content = _read(path)
        found += [f"{path.stem}_{side}" for side in ("train", "val") if side in content and "kind" in content]
    return found


def split_folder(root: Path, name: str) -> Path:
    """Folder of the split NAME@SPLIT: train.json, val.json and split.json (how the split was made)."""
    return root / SPLITS / name


def split_names(root: Path) -> list[str]:
    """List all splits below `root`, as NAME@SPLIT."""
    return sorted(path.parent.name for path in (root / SPLITS).glob("*@*/split.json"))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise _malformed(path, " ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise _malformed(path, "a mapping of keys to values is expected")
    return content


def _malformed(path: Path, what: str, key: str = "") -> InvalidInput:
    where = f"{path}:{key}" if key else str(path)
    return InvalidInput(f"not the description of a data set: {what}", where=where, fix="write it with idolctl data add")
