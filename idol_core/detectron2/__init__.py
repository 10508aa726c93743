"""Use IDOL in detectron2. Importing this package registers the meta architecture `IDOL` and the data sets.

    from detectron2.config import get_cfg
    import idol_core.detectron2 as idol

    cfg = get_cfg()
    idol.add_idol_config(cfg)
    cfg.merge_from_file("ytvis19_r50.yaml")       # a published configuration, unchanged
    model = build_model(cfg)                      # loss dict in training, tracks of a video in evaluation
    idol.IdolCheckpointer(model).load("ytvis19_r50.pth")      # or a weights.safetensors of idolctl

Needs detectron2, which is not on PyPI: see README.
"""

try:
    import detectron2 as _detectron2  # noqa: F401
except ImportError as error:
    raise ImportError(
        "idol_core.detectron2 needs detectron2: pip install --no-build-isolation 'idolctl[detectron2]', "
        "or pip install --no-build-isolation DIR of a checkout of it"
    ) from error

from idol_core.detectron2.backbone import RegisteredBackbone
from idol_core.detectron2.catalog import open_registered, register_data_sets
from idol_core.detectron2.checkpoint import IdolCheckpointer
from idol_core.detectron2.config import add_idol_config, network_config, stage_config
from idol_core.detectron2.convert import (
    bit_masks_to_rles,
    frames_to_image_list,
    image_list_to_frames,
    instances_to_sample,
    rles_to_bit_masks,
    sample_to_instances,
    stills_to_instances,
    tracked_to_instances,
)
from idol_core.detectron2.evaluator import VideoEvaluator
from idol_core.detectron2.mapper import IdolMapper
from idol_core.detectron2.meta_arch import IDOL

register_data_sets()

__all__ = [
    "IDOL",
    "IdolCheckpointer",
    "IdolMapper",
    "RegisteredBackbone",
    "VideoEvaluator",
    "add_idol_config",
    "bit_masks_to_rles",
    "frames_to_image_list",
    "image_list_to_frames",
    "instances_to_sample",
    "network_config",
    "open_registered",
    "register_data_sets",
    "rles_to_bit_masks",
    "sample_to_instances",
    "stage_config",
    "stills_to_instances",
    "tracked_to_instances",
]
