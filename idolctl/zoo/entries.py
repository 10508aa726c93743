"""Read recipes/zoo.yaml: published weights by name, with their sources, hashes and scores."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from idol_core.errors import InvalidInput
from idol_core.system.hub import HubCopy
from idolctl.config import load_yaml
from idolctl.config.library import recipes_folder
from idolctl.config.load_yaml import read_yaml
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
    """One set of weights. `sources` is empty if the weights were announced but never published.

    `hub` describes the copy on Hugging Face (the source that starts with hf:), `probable` says why a file that nobody
    names so is taken to be these weights.
    """

    name: str
    kind: Literal["pretrained", "imagenet", "finetuned"]
    backbone: str
    steps: str | None = None  # training steps that produced the file
    dataset: str | None = None
    sources: tuple[str, ...] = ()
    sha256: str | None = None  # all hex digits or the first few
    hub: HubCopy = HubCopy()
    probable: str | None = None
    scores: Scores | None = None
    log: str | None = None
    note: str | None = None

    @property
    def trained_by(self) -> str | None:
        """The command that trains these weights, if they were never published; else None."""
        return None if self.sources else f"idolctl run ytvis19 --backbone {self.backbone} --steps {self.steps}"

    @property
    def published_names(self) -> frozenset[str]:
        """What its publishers call the file, without ending, in lower case: cocopretrain_r50."""
        return frozenset(_published(source) for source in self.sources if "/" in source)


@dataclass(frozen=True, config=_STRICT)
class ZooFolder:
    """A folder of files that belong together; `files` are their names.

    `source` is a folder of Google Drive. `hub` gives the zip on Hugging Face that holds each file.
    """

    name: str
    files: tuple[str, ...]
    source: str | None = None
    hub: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the folder can be fetched from: drive:ID, and the first of its zips for all of them."""
        return tuple(s for s in (self.source, next(iter(self.hub.values()), None)) if s)


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
            ours = self.called_here(name)
            fix = f"that file is called {ours} here: idolctl fetch {ours}" if ours else suggestion(name, everything)
            raise InvalidInput(f"the zoo has no '{name}'", where="idolctl ls zoo", fix=fix)
        return everything[name]

    def called_here(self, file: str) -> str | None:
        """Our name of a published file: YTVIS21_R50_478AP.pth, with or without folder and ending, is ytvis21-r50."""
        return next((entry.name for entry in self.weights if _published(file) in entry.published_names), None)


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


def _published(path: str) -> str:
    """The file's name without ending, in lower case, without the -001 that Drive adds to it."""
    name = re.sub(r"\.(pth|pkl|safetensors)$", "", path.rpartition("/")[2].lower())
    return re.sub(r"-\d{3}$", "", name)


def _named(section: object) -> list[dict[str, object]]:
    entries = section if isinstance(section, load_yaml.Mapping) else ()
    return [{"name": e.key, **(_plain(e.value) if isinstance(e.value, load_yaml.Mapping) else {})} for e in entries]


def _plain(mapping: load_yaml.Mapping) -> dict[str, object]:
    return {e.key: _plain(e.value) if isinstance(e.value, load_yaml.Mapping) else e.value for e in mapping}
