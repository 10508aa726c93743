"""Find data sets below the data root; generate the built-in toy set on first use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from idol_core.config import DataSource
from idol_core.data.catalog import find_layout, known_names
from idol_core.errors import InvalidInput
from idolctl.errors import suggestion

DATASETS = Path("datasets")
TOY = "toy"


def data_root(asked: Path | None) -> Path:
    """The folder that holds the data sets: `asked` (--root), else $DETECTRON2_DATASETS, else datasets/."""
    if asked is not None:
        return asked
    if os.environ.get("DETECTRON2_DATASETS"):
        return Path(os.environ["DETECTRON2_DATASETS"]).expanduser()
    return DATASETS


def is_toy(source: DataSource) -> bool:
    """Whether the source is part of the built-in toy set, which is generated on first use."""
    return source.name.startswith(f"{TOY}_")


def make_toy_data(root: Path) -> None:
    """Generate the built-in toy set below `root` unless it is there."""
    from idol_core.data.toy.make import is_made, make_toy  # imports numpy

    if not is_made(root / TOY):
        print(f"making the embedded data set in {root / TOY}", file=sys.stderr)
        make_toy(root)


def find_data(name: str, root: Path) -> DataSource:
    """Find a data set by its full name (ovis_train), or by a short one (ovis@oracle), which means its validation side.

    Raises InvalidInput, suggesting the nearest name.
    """
    for candidate in (name, f"{name}_val"):
        if find_layout(candidate, root) is not None:
            return DataSource(candidate)
    short = [n.removesuffix("_val") for n in known_names(root) if n.endswith("_val")]
    raise InvalidInput(f"no data set '{name}'", where=f"--data; data root {root}", fix=suggestion(name, short))
