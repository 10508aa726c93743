"""Load and save checkpoints of detectron2 models, in detectron2's format or idolctl's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer

from idol_core.detectron2.names import to_published
from idol_core.weights import open_weights


class IdolCheckpointer(DetectionCheckpointer):
    """A DetectionCheckpointer that also reads idolctl's `weights.safetensors`.

    It saves tensors under their published names: the original can load them, as can `idolctl run --init` and
    `idolctl convert`.
    """

    def _load_file(self, filename: str) -> dict[str, Any]:
        if not filename.endswith(".safetensors"):
            loaded: dict[str, Any] = super()._load_file(filename)
            return loaded
        return {"model": to_published(open_weights(Path(filename)).state)}
