"""Every setting of a training stage, as frozen dataclasses: the one definition that recipes are checked against.

Imports neither torch nor pydantic, so that the command line can read it at no cost. Sizes are in pixels, learning
rates and probabilities are plain numbers; the published value of each field is its default or is set in `recipes/`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from idol_core.typed import TypeMistake, read_dataclass

Part = Literal["stem", "stage1", "stage2", "stage3", "stage4", "backbone", "encoder"]  # of the network, in order
Precision = Literal["float32", "tf32", "bf16", "fp16"]  # of matrix products and convolutions


@dataclass(frozen=True)
class ResNetConfig:
    """Bottleneck ResNet V1.5 with frozen batch norm; `blocks` (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101."""

    kind: Literal["resnet"] = "resnet"
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    stem_channels: int = 64
    bottleneck_channels: int = 64  # of the 3x3 convolutions in res2; doubles at every stage
    out_channels: int = 256  # of res2; doubles at every stage
    freeze_at: int = 2  # 0: train all, 1: freeze the stem, 2: stem and res2 (detectron2's FREEZE_AT)


@dataclass(frozen=True)
class SwinConfig:
    """Swin transformer (Liu et al. 2021); the defaults are Swin-L with window 12."""

    kind: Literal["swin"] = "swin"
    embed_dim: int = 192
    depths: tuple[int, int, int, int] = (2, 2, 18, 2)
    heads: tuple[int, int, int, int] = (6, 12, 24, 48)
    window: int = 12
    drop_path: float = 0.3


@dataclass(frozen=True)
class TimmConfig:
    """A network of the timm library: features of stride 8, 16 and 32, or a vision transformer with patches of 16."""

    kind: Literal["timm"] = "timm"
    name: str = "convnext_tiny"


@dataclass(frozen=True)
class PluginConfig:
    """A backbone that an installed package offers under `name` (entry point group `idolctl.backbones`)."""

    kind: Literal["plugin"] = "plugin"
    name: str = ""


BackboneConfig = ResNetConfig | SwinConfig | TimmConfig | PluginConfig


@dataclass(frozen=True)
class ModelConfig:
    """IDOL's network (paper section 4; Deformable DETR, CondInst)."""

    backbone: BackboneConfig = field(default_factory=ResNetConfig)
    num_classes: int = 40
    hidden_dim: int = 256
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    encoder_points: int = 4
    decoder_points: int = 4
    levels: int = 4
    feedforward_dim: int = 1024
    dropout: float = 0.1
    queries: int = 300
    mask_channels: int = 8  # of the mask feature map and of the dynamic convolutions
    embedding: bool = True  # False in step 1: no embedding head
    checkpoint: bool = False  # gradient checkpointing in backbone and encoder: less memory, more time
    # Parts that are not trained, besides the backbone's freeze_at: stem and stages of the backbone (stage1 is res2, or
    # Swin's first), encoder with the projections before it.
    freeze: tuple[Part, ...] = ()


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses (paper section 4.1; `*_WEIGHT` of the published recipes)."""

    classification: float = 2.0
    l1: float = 5.0
    giou: float = 2.0
    mask: float = 2.0
    dice: float = 5.0
    contrastive: float = 2.0
    auxiliary: float = 3.0  # the auxiliary contrastive loss; 1.5 x contrastive
    focal_alpha: float = 0.25
    deep_supervision: bool = True
    # pairs: an instance of the key frame against the reference frame (the paper); memory: each frame of a clip against
    # a memory of the frames before it, as the tracker works (an experiment; docs/steps.md has what it gained)
    association: Literal["pairs", "memory"] = "pairs"


@dataclass(frozen=True)
class TrackerConfig:
    """Online inference and association (paper section 4.2)."""

    select_threshold: float = 0.1  # queries at or below it are dropped before tracking
    box_nms: float = 0.9
    mask_nms: float = 0.5  # NMS_PRE; .3 for OVIS
    init_threshold: float = 0.2  # a new track needs a higher score, while the memory is empty
    new_threshold: float = 0.2  # ADD_NEW_SCORE; the same while it is not empty; .3 for OVIS
    match_threshold: float = 0.5
    memory_length: int = 3
    max_missed: int = 10  # frames unseen before a track leaves the memory
    frame_weighting: bool = True
    temporal_weighting: bool = True
    # In place of temporal weighting: each embedding enters a track's average with its mean cosine similarity to those
    # kept (CTVIS), as loss.association "memory" trains it.
    similarity_weighting: bool = False
    class_score: float = 0.05  # APPLY_CLS_THRES: a track's classes scoring above it are reported
    multi_class: bool = True
    score: Literal["mean", "max"] = "mean"
    batch_frames: int = 10  # frames sent through the network at once


@dataclass(frozen=True)
class CropConfig:
    """Random crop in training: sides of `size` (min, max) pixels, after a resize to one of `resize` for image pairs."""

    probability: float = 0.5
    size: tuple[int, int] = (384, 600)
    resize: tuple[int, ...] = (400, 500, 600)


@dataclass(frozen=True)
class ColorConfig:
    """Color jitter in training, one draw for all frames of an item; the published runs have none.

    Ranges as in torchvision's ColorJitter: factors within 1 +- `brightness`, `contrast`, `saturation`; hue shift within
    +- `hue`, in turns of the color wheel.
    """

    probability: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.4
    hue: float = 0.5


@dataclass(frozen=True)
class InputConfig:
    """Normalization, augmentation and test size. Pixels are RGB, 0..255."""

    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    short_sides: tuple[int, ...] = (320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640)
    max_size: int = 768
    flip: float = 0.5
    color: ColorConfig = field(default_factory=ColorConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    frame_range: int = 10  # largest distance in frames between key and reference frame, or from the middle of a clip
    clip_frames: int = 2  # frames of a training item in steps 2 and 3; more than 2 with loss.association "memory"
    test_short_side: int = 480
    test_max_size: int = 1333


@dataclass(frozen=True)
class DataSource:
    """A labelled set: a known `name` (looked up below the data root), or `frames` and `annotations` given directly.

    `kind` is the annotation format: COCO instances (images) or YouTube-VIS (videos).
    """

    name: str = ""
    kind: Literal["coco", "vis"] | None = None  # None: the kind of the set called `name`
    frames: str | None = None
    annotations: str | None = None


@dataclass(frozen=True)
class MixConfig:
    """Images mixed into step 3: an image, augmented several times, is a pair or clip as in step 2."""

    share: float = 0.0  # of the training items; 0: videos only
    images: DataSource = field(default_factory=DataSource)  # of a video set every frame is an image
    # Classes of `images` to learn from, with the name in `train` where it differs: "cat", "skis=snowboard". Objects of
    # other classes count as background. Empty: all classes that `train` has by the same name.
    classes: tuple[str, ...] = ()
    crop: CropConfig = field(default_factory=CropConfig)  # in place of input.crop


@dataclass(frozen=True)
class DataConfig:
    """Training set and validation set of a stage, and how they are read."""

    train: DataSource = field(default_factory=DataSource)
    val: DataSource = field(default_factory=DataSource)
    mix: MixConfig = field(default_factory=MixConfig)
    # "person=human": class person of the initial weights is human in train; class person of train is human in val.
    classes_map: tuple[str, ...] = ()
    skip_empty: bool = False  # FILTER_EMPTY_ANNOTATIONS: leave out images without a usable instance
    workers: int = 4  # loader processes per rank


@dataclass(frozen=True)
class SolverConfig:
    """Optimizer and schedule. `batch_size` counts images (step 1), pairs or clips, over all processes."""

    iterations: int = 12000
    batch_size: int = 32
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon learns faster from scratch, with adamw's learning rates
    lr: float = 1e-4
    backbone_lr_factor: float = 0.1
    pretrained_lr_factor: float = 1.0  # of everything but the class heads, the backbone's included
    weight_decay: float = 1e-4
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = (8000,)
    gamma: float = 0.1
    warmup_iterations: int = 10
    warmup_factor: float = 1.0
    clip_norm: float = 0.01
    normalize: Literal["micro", "global"] = "micro"  # divide losses by the matches in a micro-batch or the batch
    micro_batches: int = 8  # 8 as in the published runs, which had 8 processes
    precision: Precision = "float32"
    evaluation_precision: Precision = "float32"  # of evaluations that are part of the stage
    seed: int = 0
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    log_every: int = 20
    evaluate_every: int = 0  # 0: only at the end
    ema: float = 0.0  # decay of an average of the weights, such as .999, which is scored and saved; 0: the weights
    patience: int = 0  # evaluations without a higher AP after which training stops, the best is kept; 0: never


@dataclass(frozen=True)
class StageConfig:
    """One step of one recipe with one backbone, fully resolved: all settings that a worker needs."""

    recipe: str
    backbone: str
    step: Literal[1, 2, 3]
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    input: InputConfig = field(default_factory=InputConfig)
    data: DataConfig = field(default_factory=DataConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    init: str | None = None  # initial weights where no step came before: a zoo name or a file; None: random


def data_sources(data: DataConfig) -> dict[str, DataSource]:
    """The sets that a stage reads, by their setting below `data`: "train", "val" and, if used, "mix.images"."""
    found = {"train": data.train, "val": data.val}
    return found | {"mix.images": data.mix.images} if data.mix.share else found


def stage_to_dict(config: StageConfig) -> dict[str, Any]:
    """JSON-ready dict of a stage (tuples as lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    result: dict[str, Any] = plain(dataclasses.asdict(config))
    return result


def read_stage(values: Any) -> tuple[StageConfig, list[TypeMistake]]:
    """Read a stage from its JSON form (`stage_to_dict`), with all type mistakes: see `read_dataclass`."""
    return read_dataclass(StageConfig, values)


def stage_from_dict(values: Any) -> StageConfig:
    """Inverse of `stage_to_dict`. Raises ValueError, naming the first value of a wrong type."""
    config, mistakes = read_stage(values)
    if mistakes:
        raise ValueError(str(mistakes[0]))
    return config
