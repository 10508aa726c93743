"""The published weights by name: sources, sizes, scores (recipes/zoo.yaml)."""

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
    """Published figures of a validation server, 0..100."""

    AP: float
    AP50: float
    AP75: float
    AR1: float
    AR10: float


@dataclass(frozen=True, config=_STRICT)
class ZooEntry:
    """Weights that can be fetched. `sources` is empty for what was never published."""

    name: str
    kind: Literal["pretrained", "imagenet", "finetuned"]
    backbone: str
    steps: str | None = None  # the steps that produced the file
    dataset: str | None = None
    sources: tuple[str, ...] = ()
    sha256: str | None = None  # or its beginning
    scores: Scores | None = None
    log: str | None = None
    note: str | None = None

    @property
    def trained_by(self) -> str | None:
        """The command that makes weights that were never published."""
        return None if self.sources else f"idolctl run ytvis19 --backbone {self.backbone} --steps {self.steps}"


@dataclass(frozen=True, config=_STRICT)
class ZooFolder:
    """A folder of files that belong together; `files` are the names that are known."""

    name: str
    source: str
    files: tuple[str, ...]


@dataclass(frozen=True, config=_STRICT)
class Zoo:
    """All there is to fetch, in the order of the file."""

    weights: tuple[ZooEntry, ...]
    folders: tuple[ZooFolder, ...]

    def find(self, name: str) -> ZooEntry | ZooFolder:
        """An entry by name. InvalidInput (exit 2) with the nearest name."""
        everything: dict[str, ZooEntry | ZooFolder] = {entry.name: entry for entry in self.weights}
        everything |= {folder.name: folder for folder in self.folders}
        if name not in everything:
            fix = suggestion(name, everything)
            raise InvalidInput(f"the zoo has no '{name}'", where="idolctl ls zoo", fix=fix)
        return everything[name]


def load_zoo(path: Path | None = None) -> Zoo:
    """Read and check zoo.yaml. InvalidInput with the entry and field that is wrong."""
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
