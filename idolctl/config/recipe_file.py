"""Parse a recipe file: settings for all steps, single steps and backbones, each with its file and line.

about: text                      extends: another recipe           backbone: the default backbone
model: ... solver: ...           settings of every step (the sections of idol_core.config.StageConfig)
steps: {2: {solver: ...}}        settings of one step
backbones: {swinl: {model: ..., steps: {2: ...}}}                  settings with one backbone
inferred: text                   in any of these places: these settings were never published
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from idol_core.errors import IdolError, InvalidInput
from idolctl.config.load_yaml import Entry, Mapping, Origin
from idolctl.config.schema import Settings, flatten, section_names, unknown_key

STEPS = (1, 2, 3)


@dataclass
class Section:
    """Settings from one place of a file, and its `inferred` note if they were never published."""

    settings: Settings = field(default_factory=dict)
    inferred: str | None = None


@dataclass
class Scope:
    """Settings for all steps, and for single steps."""

    common: Section = field(default_factory=Section)
    steps: dict[int, Section] = field(default_factory=dict)


@dataclass
class RecipeFile:
    """One recipe file (or the `--set` options, which have the same form)."""

    origin: Origin
    scope: Scope = field(default_factory=Scope)
    backbones: dict[str, Scope] = field(default_factory=dict)
    backbone_entries: list[Entry] = field(default_factory=list)  # where each backbone is named
    about: str | None = None
    extends: Entry | None = None
    backbone: Entry | None = None
    mistakes: list[IdolError] = field(default_factory=list)


def parse_document(mapping: Mapping) -> RecipeFile:
    """Read a whole file; errors are collected in its `mistakes` and the rest is still read."""
    mistakes: list[IdolError] = []
    own = frozenset({"about", "extends", "backbone", "backbones"})
    document = RecipeFile(mapping.origin, parse_scope(mapping, "", mistakes, also=own), mistakes=mistakes)
    for entry in mapping:
        if entry.key == "about":
            document.about = _text(entry, "about", mistakes)
        elif entry.key in ("extends", "backbone") and _text(entry, entry.key, mistakes):
            setattr(document, entry.key, entry)
        elif entry.key == "backbones":
            for named in _below(entry, "backbones", mistakes):
                prefix = f"backbones.{named.key}"
                document.backbone_entries.append(named)
                document.backbones[named.key] = parse_scope(_below(named, prefix, mistakes), prefix, mistakes)
    return document


def parse_scope(
    mapping: Mapping, prefix: str, mistakes: list[IdolError], *, also: frozenset[str] = frozenset()
) -> Scope:
    """Read settings, `inferred` and `steps`; the keys in `also` are accepted and left to the caller."""
    scope = Scope(common=_section(mapping, prefix, mistakes, also=also | {"steps"}))
    steps = mapping.get("steps")
    for entry in _below(steps, _join(prefix, "steps"), mistakes) if steps else ():
        name = _join(prefix, f"steps.{entry.key}")
        if entry.key in {str(s) for s in STEPS}:
            scope.steps[int(entry.key)] = _section(_below(entry, name, mistakes), name, mistakes)
        else:
            mistakes.append(unknown_key(entry, name, {str(s) for s in STEPS}))
    return scope


def _section(
    mapping: Mapping, prefix: str, mistakes: list[IdolError], *, also: frozenset[str] = frozenset()
) -> Section:
    section = Section()
    known = section_names() | {"inferred"} | also
    for entry in mapping:
        if entry.key == "inferred":
            section.inferred = _text(entry, _join(prefix, "inferred"), mistakes)
        elif entry.key in section_names():
            flatten(entry, prefix, section.settings, mistakes)
        elif entry.key not in known:
            mistakes.append(unknown_key(entry, _join(prefix, entry.key), known))
    return section


def _below(entry: Entry, name: str, mistakes: list[IdolError]) -> Mapping:
    if isinstance(entry.value, Mapping):
        return entry.value
    if entry.value is not None:
        what = f"'{name}' is {entry.value!r}, but must be a section of settings"
        mistakes.append(InvalidInput(what, where=entry.origin.key(name), fix=f"write settings below '{entry.key}:'"))
    return Mapping((), entry.origin)


def _text(entry: Entry, name: str, mistakes: list[IdolError]) -> str | None:
    value: Any = entry.value
    if isinstance(value, str) and value:
        return value
    mistakes.append(InvalidInput(f"'{name}' must be text", where=entry.origin.key(name), fix="write text"))
    return None


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
