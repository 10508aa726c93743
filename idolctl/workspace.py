"""Where things lie: the data root and the files of data sets; the embedded set is made on first use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from idol_core.config import DataSource
from idol_core.data.catalog import resolve_source
from idol_core.errors import Missing
from idolctl.chain import Stage
from idolctl.identity import FileHashes

RUNS = Path("runs")
DATASETS = Path("datasets")
TOY = "toy"


def data_root(asked: Path | None, *, runs: Path | None, stages: Iterable[Stage]) -> Path:
    """--root, else $DETECTRON2_DATASETS, else datasets/.

    Where only --runs-dir is given and the embedded set has yet to be made, it goes below that folder too.
    """
    if asked is not None:
        return asked
    if os.environ.get("DETECTRON2_DATASETS"):
        return Path(os.environ["DETECTRON2_DATASETS"]).expanduser()
    if runs is not None and uses_toy(stages) and not (DATASETS / TOY).is_dir():
        return runs / DATASETS
    return DATASETS


def uses_toy(stages: Iterable[Stage]) -> bool:
    """Whether any stage reads the embedded set."""
    return any(is_toy(s) for stage in stages for s in (stage.config.data.train, stage.config.data.val))


def is_toy(source: DataSource) -> bool:
    """Whether the source is part of the embedded set, which is made on first use."""
    return source.name.startswith(f"{TOY}_")


def make_toy_data(root: Path) -> None:
    """Make the embedded set below `root` if it is not there."""
    from idol_core.data.toy import is_made, make_toy  # brings numpy

    if not is_made(root / TOY):
        print(f"making the embedded data set in {root / TOY}", file=sys.stderr)
        make_toy(root)


def annotations_hash(source: DataSource, root: Path, hashes: FileHashes) -> str | None:
    """Content hash of a source's annotation file; None where the data is not there."""
    try:
        annotations = resolve_source(source, root).annotations
    except Missing:
        return None
    return hashes.of(Path(annotations)) if annotations else None
