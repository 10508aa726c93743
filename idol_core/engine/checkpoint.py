"""Save and load a stage's training checkpoints, `checkpoints/<iteration>.pt`; only the newest few are kept.

A checkpoint holds the iteration to run next, model, optimiser and gradient-scaler state, and the averaged model
(`solver.ema`) if there is one. No generator state is needed:
every random draw of an iteration is seeded by (seed, iteration, item). Loading skips unusable checkpoints.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idol_core.engine.stage_files import list_checkpoints, number, whole
from idol_core.system.files import write_aside

_MESSAGE = 300  # characters of an error in a warning; torch lists every key of a network


class Unusable(Exception):
    """A readable checkpoint that does not belong to this network and its optimisers."""


def save_checkpoint(folder: Path, iteration: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write `folder/<iteration>.pt` atomically, then delete all but the newest `keep` checkpoints."""
    path = folder / f"{iteration:08d}.pt"
    content = io.BytesIO()  # torch.save to a file would hide what is wrong with the disk behind a RuntimeError
    torch.save({"iteration": iteration, **state}, content)
    with write_aside(path) as aside:
        aside.write_bytes(content.getbuffer())
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def sweep(folder: Path) -> None:
    """Remove the partial files of a process that was killed while it wrote a checkpoint."""
    for path in folder.glob(".*.part.pt"):
        path.unlink(missing_ok=True)


def load_newest(
    folder: Path, *, like: Mapping[str, Any], warn: Callable[[str], None]
) -> tuple[dict[str, Any] | None, list[Path]]:
    """Load the newest usable checkpoint to the CPU (None if there is none); also returns newer, unusable ones.

    `like` is the content expected of a checkpoint ("model", "optimizers", "scaler", perhaps "average"). A checkpoint
    with other names, shapes or types is unusable, as is one that is truncated, altered or not a file. `warn` is called
    for each.
    """
    found, unusable = list_checkpoints(folder), list[Path]()
    for path in reversed(found):
        try:
            state = _load(path)
            _check(state, like)
            return state, unusable
        except Exception as error:  # a damaged file fails in torch's and zipfile's readers in many ways
            reason = " ".join(str(error).split())[:_MESSAGE] or type(error).__name__
            unusable.append(path)
            then = "falling back to the one before" if len(unusable) < len(found) else "starting the stage over"
            warn(f"checkpoint {path} is damaged ({reason}); {then}")
    return None, unusable


def set_aside(paths: Sequence[Path]) -> None:
    """Rename unusable checkpoints: they are no longer loaded, but can still be inspected."""
    for path in paths:
        tries = (path.with_name(f"{path.name}.damaged{n or ''}") for n in range(1000))
        path.rename(next(free for free in tries if not free.exists()))


def _load(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:  # torch.load itself does not verify the archive's checksums
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise Unusable("it is compressed, but checkpoints never are")
        if damaged := archive.testzip():
            raise Unusable(f"bad checksum of {damaged}")
    return torch.load(path, map_location="cpu", weights_only=True)


def _check(state: Any, like: Mapping[str, Any]) -> None:
    if not isinstance(state, dict) or whole(state.get("iteration"), -1) < 0:
        raise Unusable("it has no iteration number")
    for name in ("model", "average"):
        if name in like:
            _check_tensors(state.get(name), like[name])
    if not isinstance(state.get("optimizers"), list) or len(state["optimizers"]) != len(like["optimizers"]):
        raise Unusable("it was written with other optimisers")
    for moments, wanted in zip(state["optimizers"], like["optimizers"], strict=True):
        _check_optimizer(moments, wanted)
    scaler = state.get("scaler")
    if not isinstance(scaler, dict) or scaler.keys() != like["scaler"].keys() or None in map(number, scaler.values()):
        raise Unusable("its gradient scaler's state does not fit")


def _check_tensors(found: Any, wanted: Mapping[str, Tensor]) -> None:
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        differing = set(found if isinstance(found, dict) else ()) ^ set(wanted)
        raise Unusable(f"it is of another network; only one has {', '.join(sorted(map(str, differing))[:3])}")
    for name, tensor in wanted.items():
        if not _alike(found[name], tensor):
            raise Unusable(f"{name} is not {list(tensor.shape)} of {tensor.dtype}")


def _check_optimizer(found: Any, wanted: Mapping[str, Any]) -> None:
    """Raise Unusable unless `found` fits `wanted`, which has the state of every parameter.

    A parameter that never had a gradient has no state in `found`.
    """
    if not isinstance(found, dict) or not isinstance(found.get("state"), dict):
        raise Unusable("an optimiser's state is missing")
    groups = found.get("param_groups")
    indices = [group.get("params") for group in groups if isinstance(group, dict)] if isinstance(groups, list) else []
    if indices != [group["params"] for group in wanted["param_groups"]]:
        raise Unusable("an optimiser has other parameters")
    for index, state in found["state"].items():
        own = wanted["state"].get(index)
        same = own is not None and isinstance(state, dict) and state.keys() == own.keys()
        if not same or not all(_alike(state[name], own[name]) for name in own):
            raise Unusable(f"an optimiser's state of parameter {index!r} does not fit")


def _alike(found: Any, wanted: Tensor) -> bool:
    return isinstance(found, Tensor) and found.shape == wanted.shape and found.dtype == wanted.dtype
