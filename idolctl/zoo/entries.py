"""Read recipes/zoo.yaml: published weights by name, with their sources, hashes and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from idol_core.errors import InvalidInput
from idolctl.config.library import recipes_folder
from idolctl.config.load_yaml import Mapping, read_yaml
from idolctl.errors import suggestion

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Scores:
    """Published scores from a validation server, 0..100."""

    AP: float
    AP50: float
    AP75: float
    AR1: float
    AR10: float


@dataclass(frozen=True, config=_STRICT)
class ZooEntry:
    """One set of weights. `sources` is empty if the weights were announced but never published."""

    name: str
    kind: Literal["pretrained", "imagenet", "finetuned"]
    backbone: str
    steps: str | None = None  # training steps that produced the file
    dataset: str | None = None
    sources: tuple[str, ...] = ()
    sha256: str | None = None  # all hex digits or the first few
    scores: Scores | None = None
    log: str | None = None
    note: str | None = None

    @property
    def trained_by(self) -> str | None:
        """The command that trains these weights, if they were never published; else None."""
        return None if self.sources else f"idolctl run ytvis19 --backbone {self.backbone} --steps {self.steps}"


@dataclass(frozen=True, config=_STRICT)
class ZooFolder:
    """A folder of files that belong together; `files` are their names."""

    name: str
    source: str
    files: tuple[str, ...]


@dataclass(frozen=True, config=_STRICT)
class Zoo:
    """All weights and folders of zoo.yaml, in its order."""

    weights: tuple[ZooEntry, ...]
    folders: tuple[ZooFolder, ...]

    def find(self, name: str) -> ZooEntry | ZooFolder:
        """Look up an entry by name. Raises InvalidInput (exit 2), suggesting the nearest name."""
        everything: dict[str, ZooEntry | ZooFolder] = {entry.name: entry for entry in self.weights}
        everything |= {folder.name: folder for folder in self.folders}
        if name not in everything:
            fix = suggestion(name, everything)
            raise InvalidInput(f"the zoo has no '{name}'", where="idolctl ls zoo", fix=fix)
        return everything[name]


def load_zoo(path: Path | None = None) -> Zoo:
    """Read and check zoo.yaml. Raises InvalidInput with the entry and field that is wrong."""
    path = path or recipes_folder() / "zoo.yaml"
    tree = {section.key: _named(section.value) for section in read_yaml(path)}
    try:
        return TypeAdapter(Zoo).validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(first["msg"], where=f"{path}: {where}", fix="correct that entry") from error


def _named(section: object) -> list[dict[str, object]]:
    entries = section if isinstance(section, Mapping) else ()
    return [{"name": e.key, **(_plain(e.value) if isinstance(e.value, Mapping) else {})} for e in entries]


def _plain(mapping: Mapping) -> dict[str, object]:
    return {e.key: _plain(e.value) if isinstance(e.value, Mapping) else e.value for e in mapping}
