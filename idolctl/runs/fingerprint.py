"""Fingerprint of a stage: its settings, the weights it starts from and the annotations it reads."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from idol_core.config import DataSource, StageConfig, stage_to_dict
from idol_core.data.catalog import resolve_source
from idol_core.errors import Missing
from idol_core.system.cache import cache_folder
from idol_core.system.files import read_object, sha256_of, write_json

SCRATCH = "scratch"
# Settings of how a stage is run, not of what it learns: they may change before it is resumed.
_NOT_LEARNT = {
    ("recipe",),
    ("backbone",),
    ("init",),
    ("data", "train"),
    ("data", "val"),
    ("data", "mix", "images"),
    ("data", "workers"),
    ("solver", "log_every"),
    ("solver", "checkpoint_every"),
    ("solver", "keep_checkpoints"),
    ("solver", "evaluate_every"),
    ("solver", "evaluation_precision"),
    ("model", "checkpoint"),
}
# Settings that older runs lack, with the value that changes nothing: left out of fingerprints. data.mix.* count where a
# share is mixed in.
_LATER: dict[str, Any] = {
    "data.classes_map": [],
    "loss.association": "pairs",
    "input.clip_frames": 2,
    "model.freeze": [],
    "solver.pretrained_lr_factor": 1.0,
    "solver.ema": 0.0,
    "solver.patience": 0,
    "tracker.similarity_weighting": False,
}
_NAMES = {
    "start": "the weights it starts from",
    "train": "data.train's annotations",
    "val": "data.val's annotations",
    "mix": "data.mix.images' annotations",
}


def stage_fingerprint(
    config: StageConfig, *, start: str | None, train: str | None, val: str | None, mix: str | None = None
) -> dict[str, Any]:
    """Settings and content hashes. `start` is SCRATCH or the hash of the initial weights; None: not known yet."""
    settings = _without_unset(flat_settings(stage_to_dict(config)))
    if config.solver.patience:  # decides which weights are kept
        settings["solver.evaluate_every"] = config.solver.evaluate_every
    parts = {"settings": settings, "start": start, "train": train, "val": val}
    return parts | {"mix": mix} if config.data.mix.share else parts


def _without_unset(settings: dict[str, Any]) -> dict[str, Any]:
    later = dict(_LATER)
    if not settings.get("data.mix.share"):
        later |= {name: value for name, value in settings.items() if name.startswith("data.mix.")}
    return {name: value for name, value in settings.items() if name not in later or value != later[name]}


def stage_key(fingerprint: dict[str, Any]) -> str:
    """Hex digest of a fingerprint; no part may be None."""
    text = json.dumps(fingerprint, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def differences(recorded: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """List the changes, one line each; unknown (None) parts of `wanted` count as unchanged."""
    old, new = _without_unset(recorded.get("settings", {})), wanted["settings"]
    lines = [
        f"{k}: {_text(old, k)} -> {_text(new, k)}" for k in sorted(old.keys() | new.keys()) if _differ(old, new, k)
    ]
    for part, name in _NAMES.items():
        if wanted.get(part) is not None and recorded.get(part) != wanted[part]:
            lines.append(f"{name} changed")
    return lines


_ABSENT: Any = object()


def _differ(old: dict[str, Any], new: dict[str, Any], key: str) -> bool:
    values = [side.get(key, _LATER.get(key, _ABSENT)) for side in (old, new)]
    return _ABSENT in values or bool(values[0] != values[1])


def _text(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "(none)"


def flat_settings(tree: dict[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings that decide what a stage learns, as {dotted key: value}; `tree` is its config as a dict."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        inner = (*path, key)
        if inner in _NOT_LEARNT:
            continue
        flat |= flat_settings(value, inner) if isinstance(value, dict) else {".".join(inner): value}
    return flat


class FileHashes:
    """SHA-256 of files, cached in the cache folder by path, size and modification time."""

    def __init__(self) -> None:
        self._path = cache_folder() / "hashes.json"
        found = read_object(self._path)
        self._known = {path: known for path, known in found.items() if isinstance(known, list) and len(known) == 3}

    def of(self, path: Path) -> str:
        """The hex digest of the content of `path`. Raises OSError where it can't be read."""
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(path.resolve()))
        if known is None or known[:2] != stamp:
            known = self._known[str(path.resolve())] = [*stamp, sha256_of(path)]
            with contextlib.suppress(OSError):  # without a writable cache, hash again next time
                write_json(self._path, self._known)
        return str(known[2])


def annotations_hash(source: DataSource, root: Path, hashes: FileHashes) -> str | None:
    """Content hash of a source's annotation file; None where the data is not there."""
    try:
        annotations = resolve_source(source, root).annotations
    except Missing:
        return None
    return hashes.of(Path(annotations)) if annotations else None
