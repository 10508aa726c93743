"""Notice splits of labels that have changed since: a split holds copies of its set's annotations."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from idol_core.data.catalog import SIDES, find_layout
from idol_core.data.own_sets import split_folder
from idol_core.system.files import read_object, sha256_of
from idolctl.terminal.progress import say

KEY = "labels"  # in split.json


def labels_state(annotations: Path) -> dict[str, Any]:
    """The state of an annotation file, as a split records it."""
    status = annotations.stat()
    return {"size": status.st_size, "modified": status.st_mtime_ns, "sha256": sha256_of(annotations)}


def warn_of_old_split(name: str, root: Path) -> None:
    """Print a warning if `name` (BASE@SPLIT_train, BASE@SPLIT_val) was made of labels of BASE that changed since."""
    split, _, side = name.rpartition("_")
    if "@" not in split or side not in SIDES:
        return
    about = read_object(split_folder(root, split) / "split.json")
    recorded, base = about.get(KEY), split.partition("@")[0]
    layout = find_layout(f"{base}_train", root) if isinstance(recorded, dict) else None
    annotations = next((p for place in layout.annotations if (p := root / place).is_file()), None) if layout else None
    if annotations is None or not isinstance(recorded, dict):
        return
    status = annotations.stat()
    if (status.st_size, status.st_mtime_ns) == (recorded.get("size"), recorded.get("modified")):
        return
    if status.st_size == recorded.get("size") and sha256_of(annotations) == recorded.get("sha256"):
        return
    settings = [("--val-fraction", "val_fraction"), ("--seed", "seed"), ("--group", "group")]
    given = [f" {option} {shlex.quote(str(about[key]))}" for option, key in settings if key in about]
    again = f"idolctl split make {base}{''.join(given)} --name {split.partition('@')[2]}"
    say(f"warning: the labels of {base} have changed since {split} was made, which holds the old ones; again: {again}")
