"""IDOL, online video instance segmentation: model, data, training, tracking and evaluation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idol_core.inference.streaming import VideoSegmenter

__all__ = ["VideoSegmenter", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "VideoSegmenter":  # imported on first access, because it imports torch
        from idol_core.inference.streaming import VideoSegmenter

        return VideoSegmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
