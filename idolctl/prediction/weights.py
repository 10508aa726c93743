"""Find the weights for `idolctl predict` and build the network from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idol_core.config import Precision
from idol_core.errors import InvalidInput, Missing
from idol_core.metadata import EXPORTED, file_metadata
from idol_core.system.cache import find_weights
from idol_core.system.cpu import configure_threads
from idolctl.config.variants import single_variant
from idolctl.errors import suggestion
from idolctl.zoo.entries import ZooEntry, load_zoo

if TYPE_CHECKING:
    from idol_core.inference.streaming import VideoSegmenter


def check_weights(name: str) -> Path:
    """Path of a weights file or of zoo weights in the cache. Doesn't import torch.

    Raises InvalidInput for a name that is neither a file nor in the zoo (suggesting the nearest) and for a backbone,
    Missing for zoo weights that are not in the cache (with the fetch command), were never published (with the command
    that trains them) and for a path that does not exist, Integrity for a file whose recipe is not valid.
    """
    zoo = load_zoo()
    entries = {entry.name: entry for entry in zoo.weights}
    entry: ZooEntry | None = entries.get(name)
    if entry is not None and entry.kind == "imagenet":
        raise InvalidInput(f"{name} is only a backbone, which can't segment", where="--weights", fix="idolctl ls zoo")
    if entry is not None and entry.trained_by:
        raise Missing(f"{name} was announced but never published", where="idolctl ls zoo", fix=entry.trained_by)
    try:
        path = find_weights(name)
    except Missing as error:
        if ours := None if entry else zoo.called_here(name):
            fix = f"check the path; {Path(name).name} is called {ours} here: idolctl fetch {ours}"
            raise Missing(error.what, where=error.where, fix=fix) from None
        if entry is not None or "/" in name or Path(name).suffix:
            raise
    else:
        file_metadata(path)
        return path
    usable = [e.name for e in entries.values() if e.kind != "imagenet" and e.sources]
    raise InvalidInput(f"'{name}' is neither a weights file nor a zoo name", where="--weights",
                       fix=suggestion(name, usable))  # fmt: skip


def open_segmenter(
    path: Path,
    device: str | None,
    precision: Precision | None = None,
    *,
    cuda_graphs: bool | None = None,
    assignments: Sequence[str] = (),
) -> VideoSegmenter:
    """Build the network on `device` (default: a GPU if there is one) in `precision` (default: the device's best).

    `cuda_graphs`: see VideoSegmenter; by default on a GPU. `assignments` (KEY=VALUE) change the tracker and the size at
    which frames go through the network.

    An exported model is run by onnxruntime or OpenVINO, on the CPU unless a device is given.

    Raises InvalidInput for a device that does not exist, for `cuda_graphs` on a CPU, for wrong assignments, and as
    VideoSegmenter.from_pretrained does.
    """
    configure_threads()
    from idol_core.inference.streaming import VideoSegmenter
    from idol_core.ops.devices import usable_device

    exported = path.suffix in EXPORTED
    chosen = (device or "cpu") if exported else usable_device(device)
    if cuda_graphs and exported:
        raise InvalidInput("an exported model has no CUDA graphs", where="--cuda-graphs", fix="leave the option out")
    if cuda_graphs and not chosen.startswith("cuda"):
        raise InvalidInput(f"CUDA graphs need a GPU, not {chosen}", where="--cuda-graphs", fix="leave the option out")
    replay = chosen.startswith("cuda") and not exported if cuda_graphs is None else cuda_graphs
    changed: dict[str, Any] = {}
    if assignments and (recipe := file_metadata(path).recipe):  # without a recipe from_pretrained refuses the file
        config = single_variant(recipe, assignments)
        changed = {"tracker": config.tracker, "input": config.input}
    return VideoSegmenter.from_pretrained(str(path), device=chosen, precision=precision, cuda_graphs=replay, **changed)
