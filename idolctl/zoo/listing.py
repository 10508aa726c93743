"""Rows of `idolctl ls zoo`: published weights, where they are cached and how they are verified."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from idol_core.system.cache import cache_folder
from idolctl.zoo.entries import ZooEntry, ZooFolder, load_zoo
from idolctl.zoo.fetch import original
from idolctl.zoo.pins import pinned


@dataclass(frozen=True)
class ZooRow:
    """One entry of the zoo. `hash` is the pinned hash, else the digits that the publisher gives, else 'unpinned'."""

    name: str
    backbone: str | None
    made_by: str
    scores: dict[str, float] | None
    megabytes: float | None
    cached: str
    hash: str
    trained_by: str | None
    sources: tuple[str, ...] = ()
    probable: str | None = None  # why a file is taken to be these weights, if nobody says so
    log: str | None = None  # address of the published training log

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON-serialisable data."""
        return asdict(self)


def zoo_rows() -> list[ZooRow]:
    """All entries, in the order of zoo.yaml."""
    zoo = load_zoo()
    return [_weights_row(entry) for entry in zoo.weights] + [_folder_row(folder) for folder in zoo.folders]


def _weights_row(entry: ZooEntry) -> ZooRow:
    path = original(entry.name)
    what = entry.dataset or (f"steps {entry.steps}" if entry.steps else "ImageNet backbone")
    digest = pinned(entry.name)
    what += " (probably)" if entry.probable else ""
    published = f"{entry.sha256}... (publisher's)" if entry.sha256 else "unpinned"
    return ZooRow(
        name=entry.name,
        backbone=entry.backbone,
        made_by=what,
        scores=asdict(entry.scores) if entry.scores else None,
        megabytes=path.stat().st_size / 1e6 if path else None,
        cached="yes" if path else "no" if entry.sources else "never published",
        hash=digest[:16] if digest else published if entry.sources else "-",
        trained_by=entry.trained_by,
        sources=entry.sources,
        probable=entry.probable,
        log=entry.log,
    )


def _folder_row(folder: ZooFolder) -> ZooRow:
    path = cache_folder() / folder.name
    files = sorted(path.glob("*.json"))
    return ZooRow(
        name=folder.name,
        backbone=None,
        made_by="annotation files",
        scores=None,
        megabytes=sum(f.stat().st_size for f in files) / 1e6 if files else None,
        cached="yes" if files else "no",
        hash="pinned" if files and all(pinned(f"{folder.name}/{f.name}") for f in files) else "unpinned",
        trained_by=None,
        sources=folder.sources,
    )
