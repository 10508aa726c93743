"""Infer model sizes from a state dict (our names), and check whether it fits a configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from idol_core.build import assemble
from idol_core.config import BackboneConfig, ModelConfig, PluginConfig, ResNetConfig, SwinConfig, TimmConfig
from idol_core.constraints import model_ranges
from idol_core.errors import Integrity, InvalidInput

State = dict[str, Tensor]
POINTS = 4  # of all published models; a state dict shows only heads * points


def infer_config(state: Mapping[str, Tensor], *, where: str = "") -> ModelConfig:
    """Infer the model configuration from `state` (our names); only heads * points is visible, so POINTS is assumed.

    Raises Integrity if tensors are missing or have an unusable shape.
    """
    try:
        levels, dim = state["pyramid.level_embedding"].shape
        sampled = state["encoder.layers.0.attention.weights.weight"].shape[0] // levels  # heads * points
        config = ModelConfig(
            backbone=infer_backbone(state),
            num_classes=state["decoder.class_heads.0.weight"].shape[0],
            hidden_dim=dim,
            heads=max(1, sampled // POINTS),
            encoder_layers=_count(state, "encoder.layers."),
            decoder_layers=_count(state, "decoder.layers."),
            levels=levels,
            feedforward_dim=state["encoder.layers.0.feedforward.linear1.weight"].shape[0],
            queries=state["decoder.query_embedding"].shape[0],
            mask_channels=state["mask_head.final.weight"].shape[0],
            embedding=any(name.startswith("embed_head.") for name in state),
        )
    except KeyError as error:
        what = f"these are not the weights of an IDOL model: {error} is missing"
        raise Integrity(what, where=where, fix="fetch or train them again") from error
    except (ValueError, IndexError, ArithmeticError) as error:
        what = f"these are not the weights of an IDOL model: a tensor has a wrong shape ({error})"
        raise Integrity(what, where=where, fix="fetch or train them again") from error
    wrong = next(model_ranges(config), None)
    if wrong is not None:
        what = f"these are not the weights of an IDOL model: {wrong.what}"
        raise Integrity(what, where=where, fix="fetch or train them again")
    return config


def infer_backbone(state: Mapping[str, Tensor]) -> BackboneConfig:
    """Infer the backbone's sizes; of timm and of packages only the kind. Raises KeyError if tensors are missing."""
    names = [name for name in state if name.startswith("backbone.")]
    if any(name.startswith("backbone.net.") for name in names):
        return TimmConfig(name="")
    if names and not any(
        name.startswith(("backbone.res", "backbone.stem.", "backbone.patch_embed.")) for name in names
    ):
        return PluginConfig()
    if "backbone.patch_embed.proj.weight" in state:
        tables = [state[f"backbone.layers.{i}.blocks.0.attn.relative_position_bias_table"] for i in range(4)]
        return SwinConfig(
            embed_dim=state["backbone.patch_embed.proj.weight"].shape[0],
            depths=_four(_count(state, f"backbone.layers.{i}.blocks.") for i in range(4)),
            heads=_four(table.shape[1] for table in tables),
            window=window_of(tables[0]),
        )
    return ResNetConfig(
        blocks=_four(_count(state, f"backbone.res{i}.") for i in range(2, 6)),
        stem_channels=state["backbone.stem.weight"].shape[0],
        bottleneck_channels=state["backbone.res2.0.conv1.weight"].shape[0],
        out_channels=state["backbone.res2.0.conv3.weight"].shape[0],
    )


def window_of(table: Tensor) -> int:
    """Window size of a Swin bias table [(2 * window - 1) ** 2, heads]."""
    return (round(table.shape[0] ** 0.5) + 1) // 2


def backbone_name(config: BackboneConfig) -> str:
    """Name a backbone: ResNet-50, ResNet-101, Swin-L, or its kind and sizes; equal tensor shapes give equal names."""
    if isinstance(config, TimmConfig):
        return f"timm {config.name}".rstrip()
    if isinstance(config, PluginConfig):
        return f"package's {config.name}".rstrip()
    if isinstance(config, SwinConfig):
        sizes = f"embed {config.embed_dim}, depths {config.depths}, heads {config.heads}, window {config.window}"
        plain = config == SwinConfig(drop_path=config.drop_path)
        return "Swin-L" if plain else f"Swin ({sizes})"
    known = {(3, 4, 6, 3): "ResNet-50", (3, 4, 23, 3): "ResNet-101"}.get(config.blocks)
    plain = config == ResNetConfig(blocks=config.blocks, freeze_at=config.freeze_at)
    if known and plain:
        return known
    widths = f"stem {config.stem_channels}, width {config.bottleneck_channels}, out {config.out_channels}"
    return f"ResNet (blocks {config.blocks}, {widths})"


def check_backbone(found: BackboneConfig, wanted: BackboneConfig, *, where: str) -> None:
    """Raise InvalidInput, naming both, if the backbones differ; of timm's and a package's no name is visible."""
    if type(found) is type(wanted) and isinstance(found, TimmConfig | PluginConfig):
        return
    if backbone_name(found) != backbone_name(wanted):
        what = f"the weights have a {backbone_name(found)} backbone, the model a {backbone_name(wanted)}"
        raise InvalidInput(what, where=where, fix="choose the backbone of the weights, or other weights")


def check_fits(state: Mapping[str, Tensor], config: ModelConfig, *, where: str = "") -> None:
    """Check that a state dict (our names) fits `config`, before a model of that size is built.

    Raises InvalidInput for another backbone, class count or step, Integrity for other sizes, tensors missing or left
    over, and weights that are NaN or infinite.
    """
    found = infer_config(state, where=where)
    check_backbone(found.backbone, config.backbone, where=where)
    if found.num_classes != config.num_classes:
        what = f"the weights have {found.num_classes} classes, the model {config.num_classes}"
        raise InvalidInput(what, where=where, fix=f"--set model.num_classes={found.num_classes}, or other weights")
    if found.embedding != config.embedding:
        sides = ("have an", "no") if found.embedding else ("have no", "an")
        what = f"the weights {sides[0]} embedding head, the model has {sides[1]} such head"
        raise InvalidInput(what, where=where, fix="use weights of another step: step 1 has no such head")
    _check_sizes(state, found, config, where=where)
    wanted = expected_shapes(config)
    check_names(state.keys(), wanted.keys(), where=where)
    for name, shape in wanted.items():
        check_shape(name, state[name], shape, where=where)
    check_finite(state, where=where)


def _check_sizes(state: Mapping[str, Tensor], found: ModelConfig, config: ModelConfig, *, where: str) -> None:
    """Compare all model sizes with those inferred from the tensors: a recipe in the file may claim anything."""
    sizes = ("hidden_dim", "encoder_layers", "decoder_layers", "levels", "feedforward_dim", "queries", "mask_channels")
    pairs = {name: (getattr(found, name), getattr(config, name)) for name in sizes}
    for part in ("encoder", "decoder"):
        attention = "attention" if part == "encoder" else "cross_attention"
        weights = state.get(f"{part}.layers.0.{attention}.weights.weight")
        if weights is not None:
            points = config.heads * getattr(config, f"{part}_points")
            pairs[f"heads * {part}_points"] = (weights.shape[0] // found.levels, points)
    for name, (has, asked) in pairs.items():
        if has != asked:
            what = f"the weights do not fit the model: their {name} is {has}, the model's {asked}"
            raise Integrity(what, where=where, fix="use weights of a model of these sizes")


def check_finite(state: Mapping[str, Tensor], *, where: str) -> None:
    """Raise Integrity, naming the first few, if weights are NaN or infinite."""
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    bad = [name for name, tensor in floats.items() if not bool(tensor.float().isfinite().all())]  # 1e300 fails too
    if bad:
        what = f"weights are NaN or infinite in {some(bad)}"
        raise Integrity(what, where=where, fix="fetch them again, or use an earlier checkpoint")


def check_names(found: Collection[str], wanted: Collection[str], *, where: str) -> None:
    """Raise Integrity, naming the first few, if names are missing or left over."""
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    if missing or unexpected:
        parts = [f"{some(missing)} missing"] * bool(missing) + [f"{some(unexpected)} unexpected"] * bool(unexpected)
        raise Integrity(
            f"the weights do not fit the model: {', '.join(parts)}", where=where, fix="fetch or train them again"
        )


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], *, where: str) -> None:
    """Raise Integrity, naming both, if the shapes differ."""
    if tuple(tensor.shape) != tuple(shape):
        what = f"{name} has shape {list(tensor.shape)}, the model's is {list(shape)}"
        raise Integrity(what, where=where, fix="use weights of a model of these sizes")


def some(names: Collection[str]) -> str:
    """Format names as `n tensors (first, second, third, ...)`."""
    shown = ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} tensor{'s' * (len(names) != 1)} ({shown})"


@lru_cache(maxsize=8)
def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the state dict of a configuration's model."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in assemble(config).state_dict().items()}


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Count the distinct name parts that follow `prefix`."""
    return len({name[len(prefix) :].split(".", 1)[0] for name in state if name.startswith(prefix)})


def _four(values: Iterable[int]) -> tuple[int, int, int, int]:
    a, b, c, d = values
    return (a, b, c, d)
