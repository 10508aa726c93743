"""The shipped recipes and the zoo as rows of a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from idol_core.cache import cache_folder
from idolctl.fetch import original
from idolctl.library import Recipe, backbone_names, load_recipe, recipe_names
from idolctl.pins import pinned
from idolctl.resolve import resolve
from idolctl.zoo import ZooEntry, ZooFolder, load_zoo

METRICS = ("AP", "AP50", "AP75", "AR1", "AR10")


@dataclass(frozen=True)
class RecipeRow:
    """One recipe: its default backbone, steps, data sets and classes by step, and which steps are inferred."""

    name: str
    backbone: str
    steps: str
    data: str
    classes: str
    about: str
    inferred: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def recipe_rows() -> list[RecipeRow]:
    """All shipped recipes, by name."""
    return [_row(load_recipe(name)) for name in recipe_names()]


def _row(recipe: Recipe) -> RecipeRow:
    stages = [r.config for r in resolve(recipe, steps=recipe.steps)]
    return RecipeRow(
        name=recipe.name,
        backbone=recipe.backbone,
        steps=",".join(str(s.step) for s in stages),
        data=" ".join(dict.fromkeys(s.data.train.name or "own" for s in stages)),
        classes=" ".join(dict.fromkeys(str(s.model.num_classes) for s in stages)),
        about=recipe.about,
        inferred=tuple(_inferred(recipe)),
    )


def _inferred(recipe: Recipe) -> list[str]:
    names = backbone_names()
    found: dict[int, list[str]] = {}
    for name in names:
        for resolved in resolve(recipe, steps=recipe.steps, backbone=name):
            if resolved.inferred:
                found.setdefault(resolved.config.step, []).append(name)
    every = "every backbone"
    return [f"step {s} with {every if len(b) == len(names) else ', '.join(b)}" for s, b in sorted(found.items())]


@dataclass(frozen=True)
class ZooRow:
    """One entry of the zoo. `hash` is the pinned one, the publisher's beginning of one, or 'unpinned'."""

    name: str
    backbone: str | None
    made_by: str
    scores: dict[str, float] | None
    megabytes: float | None
    cached: str
    hash: str
    trained_by: str | None
    sources: tuple[str, ...] = ()
    log: str | None = None  # of the published training

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def zoo_rows() -> list[ZooRow]:
    """All entries, in the order of the file."""
    zoo = load_zoo()
    return [_weights_row(entry) for entry in zoo.weights] + [_folder_row(folder) for folder in zoo.folders]


def _weights_row(entry: ZooEntry) -> ZooRow:
    path = original(entry.name)
    what = entry.dataset or (f"steps {entry.steps}" if entry.steps else "ImageNet backbone")
    digest = pinned(entry.name)
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
        sources=(folder.source,),
    )
