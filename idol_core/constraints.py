"""Check the values of a stage beyond their types: ranges, divisibility, order. Findings name the settings involved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from idol_core.classes import parse_chosen, parse_same
from idol_core.config import (
    CropConfig,
    DataSource,
    InputConfig,
    MixConfig,
    ModelConfig,
    SolverConfig,
    StageConfig,
    SwinConfig,
    stage_to_dict,
)
from idol_core.errors import InvalidInput


@dataclass(frozen=True)
class Finding:
    """One mistake: `about` holds the dotted names of the settings involved, the main culprit first."""

    about: tuple[str, ...]
    what: str
    fix: str


def findings(config: StageConfig) -> Iterator[Finding]:
    """Yield all mistakes of a stage whose types are right."""
    yield from _ranges(stage_to_dict(config))
    yield from _model(config.model, config.step)
    yield from _solver(config.solver)
    yield from _input(config.input)
    yield from _clip(config)
    yield from _classes(config.data.classes_map)
    yield from _source(config.data.train, "data.train", config.step)
    yield from _source(config.data.val, "data.val", config.step)
    yield from _mix(config.data.mix, config.step)


def model_ranges(model: ModelConfig) -> Iterator[Finding]:
    """Yield the numbers of a model that are out of range."""
    yield from _ranges({"model": dataclasses.asdict(model)})


# Allowed range of each setting (prefix, names, lowest, highest); of a tuple, every number is checked.
_MODEL = "num_classes hidden_dim heads encoder_layers decoder_layers feedforward_dim mask_channels"
_POINTS = "encoder_points decoder_points"
_BACKBONE = "blocks stem_channels bottleneck_channels out_channels embed_dim depths heads"
_RANGES: list[tuple[str, str, float, float]] = [
    ("model.", f"{_MODEL} {_POINTS}", 1, math.inf),
    ("model.", "levels", 3, math.inf),  # the mask head uses three
    ("model.", "queries", 10, math.inf),  # the assignment uses the ten largest overlaps
    ("model.", "dropout", 0, 1),
    ("model.backbone.", _BACKBONE, 1, math.inf),
    ("model.backbone.", "window", 1, 64),  # relative_position_index has window ** 4 entries
    ("model.backbone.", "freeze_at", 0, 2),
    ("model.backbone.", "drop_path", 0, 1),
    ("loss.", "classification l1 giou mask dice contrastive auxiliary", 0, math.inf),
    ("loss.", "focal_alpha", 0, 1),
    ("tracker.", "select_threshold box_nms mask_nms init_threshold new_threshold match_threshold class_score", 0, 1),
    ("tracker.", "memory_length max_missed", 1, math.inf),
    ("tracker.", "batch_frames", 1, 10_000),
    ("input.", "short_sides max_size crop.size crop.resize test_short_side test_max_size", 1, 16384),
    ("input.", "frame_range", 1, math.inf),
    ("input.", "clip_frames", 2, 100),
    ("input.", "flip crop.probability color.probability", 0, 1),
    ("input.color.", "brightness contrast saturation", 0, 1),
    ("input.color.", "hue", 0, 0.5),
    ("input.", "pixel_mean", -1e6, 1e6),
    ("input.", "pixel_std", 1e-12, math.inf),
    ("data.", "workers", 0, math.inf),
    ("data.mix.", "share crop.probability", 0, 1),
    ("data.mix.", "crop.size crop.resize", 1, 16384),
    ("solver.", "iterations batch_size micro_batches milestones", 1, math.inf),
    ("solver.", "checkpoint_every keep_checkpoints log_every", 1, math.inf),
    ("solver.", "backbone_lr_factor pretrained_lr_factor weight_decay warmup_iterations warmup_factor", 0, math.inf),
    ("solver.", "seed evaluate_every patience", 0, math.inf),
    ("solver.", "ema", 0, 0.999999),
    ("solver.", "lr gamma clip_norm", 1e-12, math.inf),
]


def _ranges(values: dict[str, Any]) -> Iterator[Finding]:
    for prefix, names, least, most in _RANGES:
        for name in (prefix + n for n in names.split()):
            value = _at(values, name)
            numbers = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
            if not all(math.isfinite(n) and least <= n <= most for n in numbers):
                span = f"at least {least}" if math.isinf(most) else f"within {least} and {most}"
                span = "above 0" if least == 1e-12 else span
                yield Finding((name,), f"'{name}' is {value}, it must be {span}", f"choose a number {span}")


def _at(values: Any, name: str) -> Any:
    for key in name.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _model(model: ModelConfig, step: int) -> Iterator[Finding]:
    if model.heads > 0 and model.hidden_dim % model.heads:
        what = f"model.heads {model.heads} does not divide model.hidden_dim {model.hidden_dim}"
        yield Finding(("model.heads", "model.hidden_dim"), what, "choose heads that divide hidden_dim")
    if model.hidden_dim % 32:
        what = f"model.hidden_dim {model.hidden_dim} is not a multiple of 32 (group norm has 32 groups)"
        yield Finding(("model.hidden_dim",), what, f"model.hidden_dim: {max(32, round(model.hidden_dim / 32) * 32)}")
    if model.embedding != (step != 1):
        what = f"model.embedding is {model.embedding} in step {step}; steps 2 and 3 have that head, step 1 does not"
        yield Finding(("model.embedding",), what, f"steps: {{{step}: {{model: {{embedding: {step != 1}}}}}}}".lower())
    swin = model.backbone
    if isinstance(swin, SwinConfig) and all(h > 0 for h in swin.heads):
        for stage, heads in enumerate(swin.heads):
            if (swin.embed_dim << stage) % heads:
                what = f"Swin stage {stage}: {heads} heads do not divide its {swin.embed_dim << stage} channels"
                yield Finding(("model.backbone.heads", "model.backbone.embed_dim"), what, "heads: [6, 12, 24, 48]")


def _solver(solver: SolverConfig) -> Iterator[Finding]:
    milestones = list(solver.milestones)
    if milestones != sorted(set(milestones)):
        what = f"solver.milestones {milestones} do not ascend"
        yield Finding(("solver.milestones",), what, f"milestones: {sorted(set(milestones))}")
    kept = [m for m in milestones if m < solver.iterations]
    if solver.schedule == "step" and kept != milestones:
        what = f"solver.milestones {milestones} are not all below solver.iterations {solver.iterations}"
        fix = f"--set solver.milestones={kept}".replace(" [", "[").replace(", ", ",")
        yield Finding(("solver.milestones", "solver.iterations", "solver.schedule"), what, fix)
    if solver.normalize == "micro" and solver.micro_batches > 0 and solver.batch_size % solver.micro_batches:
        what = f"solver.batch_size {solver.batch_size} can't be split into {solver.micro_batches} equal micro-batches"
        about = ("solver.batch_size", "solver.micro_batches", "solver.normalize")
        even = max(n for n in range(1, solver.micro_batches) if solver.batch_size % n == 0)
        yield Finding(about, what, f"--set solver.micro_batches={even}, or --set solver.normalize=global")

    if solver.patience and not solver.evaluate_every:
        what = f"solver.patience is {solver.patience}, but solver.evaluate_every 0 scores at the end only"
        fix = f"--set solver.evaluate_every={max(1, solver.iterations // 10)}"
        yield Finding(("solver.patience", "solver.evaluate_every"), what, fix)
    if solver.optimizer == "muon" and solver.precision == "fp16":  # its two optimizers would skip overflows separately
        what = "solver.optimizer muon can't be combined with solver.precision fp16"
        yield Finding(("solver.optimizer", "solver.precision"), what, "--set solver.precision=bf16")


def _clip(config: StageConfig) -> Iterator[Finding]:
    if config.loss.association == "pairs" and config.input.clip_frames != 2:
        what = f"input.clip_frames is {config.input.clip_frames}, but loss.association pairs compares two frames"
        yield Finding(("input.clip_frames", "loss.association"), what, "--set loss.association=memory")


def _input(values: InputConfig) -> Iterator[Finding]:
    if not values.short_sides:
        yield Finding(("input.short_sides",), "input.short_sides is empty", "name at least one short side")
    elif values.max_size < max(values.short_sides):
        what = f"input.max_size {values.max_size} is below the largest short side {max(values.short_sides)}"
        fix = f"--set input.max_size={max(values.short_sides)}"
        yield Finding(("input.max_size", "input.short_sides"), what, fix)
    if values.test_max_size < values.test_short_side:
        what = f"input.test_max_size {values.test_max_size} is below input.test_short_side {values.test_short_side}"
        fix = f"--set input.test_max_size={values.test_short_side}"
        yield Finding(("input.test_max_size", "input.test_short_side"), what, fix)
    yield from _crop(values.crop, "input.crop.size")


def _crop(crop: CropConfig, name: str) -> Iterator[Finding]:
    if crop.size[0] > crop.size[1]:
        what = f"{name} {list(crop.size)}: the minimum is above the maximum"
        yield Finding((name,), what, f"size: {sorted(crop.size)}")


def _classes(pairs: tuple[str, ...]) -> Iterator[Finding]:
    try:
        parse_same(pairs)
    except InvalidInput as error:
        yield Finding(("data.classes_map",), f"data.classes_map: {error.what}", "classes_map: [person=human]")


def _mix(mix: MixConfig, step: int) -> Iterator[Finding]:
    yield from _crop(mix.crop, "data.mix.crop.size")
    if not mix.share:
        return
    if step != 3:
        what = f"data.mix.share is {mix.share} in step {step}, which learns from images alone"
        yield Finding(("data.mix.share",), what, f"steps: {{3: {{data: {{mix: {{share: {mix.share}}}}}}}}}")
    yield from _source(mix.images, "data.mix.images", 2)
    try:
        parse_chosen(mix.classes)
    except InvalidInput as error:
        yield Finding(("data.mix.classes",), f"data.mix.classes: {error.what}", "classes: [cat, skis=snowboard]")


def _source(source: DataSource, name: str, step: int) -> Iterator[Finding]:
    parts = {"kind": source.kind, "frames": source.frames, "annotations": source.annotations}
    given = [k for k in ("frames", "annotations") if parts[k] is not None]
    lacking = [k for k, v in parts.items() if v is None]
    about = tuple(f"{name}.{k}" for k in ("name", *parts))
    if bool(source.name) == bool(given):
        what = f"{name} must name a data set, or give frames and annotations" + (", not both" if given else "")
        yield Finding(about, what, f"{name.rpartition('.')[2]}: {{kind: vis, frames: DIR, annotations: FILE}}")
    elif given and lacking:
        about = (f"{name}.{given[0]}", *about)
        yield Finding(about, f"{name} lacks {' and '.join(lacking)}", "give kind (coco or vis), frames and annotations")
    if step == 3 and source.kind == "coco":
        yield Finding((f"{name}.kind",), f"{name} holds images (coco); step 3 learns from videos", "kind: vis")
