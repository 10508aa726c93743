"""Map parameter names between published checkpoints and ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

_DETECTOR = "detr.detr"
_BACKBONE = f"{_DETECTOR}.backbone.0.backbone"
_ENCODER = f"{_DETECTOR}.transformer.encoder.layers.#"
_DECODER = f"{_DETECTOR}.transformer.decoder.layers.#"
_DEFORMABLE = (
    ("offsets", "sampling_offsets"),
    ("weights", "attention_weights"),
    ("value", "value_proj"),
    ("output", "output_proj"),
)

# (ours, published) name prefixes; # is a number, the rest of the name is kept, the first matching prefix applies
_STARTS = [
    ("backbone.stem.", f"{_BACKBONE}.stem.conv1."),
    ("backbone.norms.#.", f"{_BACKBONE}.norm#."),
    ("backbone.", f"{_BACKBONE}."),
    ("pyramid.projections.#.conv.", f"{_DETECTOR}.input_proj.#.0."),
    ("pyramid.projections.#.norm.", f"{_DETECTOR}.input_proj.#.1."),
    ("pyramid.level_embedding", f"{_DETECTOR}.transformer.level_embed"),
    *((f"encoder.layers.#.attention.{ours}.", f"{_ENCODER}.self_attn.{theirs}.") for ours, theirs in _DEFORMABLE),
    ("encoder.layers.#.norm.", f"{_ENCODER}.norm1."),
    ("encoder.layers.#.feedforward.norm.", f"{_ENCODER}.norm2."),
    ("encoder.layers.#.feedforward.", f"{_ENCODER}."),
    ("decoder.layers.#.self_attention.qkv.", f"{_DECODER}.self_attn.in_proj_"),
    ("decoder.layers.#.self_attention.output.", f"{_DECODER}.self_attn.out_proj."),
    ("decoder.layers.#.self_norm.", f"{_DECODER}.norm2."),
    *(
        (f"decoder.layers.#.cross_attention.{ours}.", f"{_DECODER}.cross_attn.{theirs}.")
        for ours, theirs in _DEFORMABLE
    ),
    ("decoder.layers.#.cross_norm.", f"{_DECODER}.norm1."),
    ("decoder.layers.#.feedforward.norm.", f"{_DECODER}.norm3."),
    ("decoder.layers.#.feedforward.", f"{_DECODER}."),
    ("decoder.query_embedding", f"{_DETECTOR}.query_embed.weight"),
    ("decoder.reference_head.", f"{_DETECTOR}.transformer.reference_points."),
    ("decoder.class_heads.#.", f"{_DETECTOR}.class_embed.#."),
    ("decoder.box_heads.#.", f"{_DETECTOR}.bbox_embed.#."),
    ("mask_head.controller.", "detr.controller."),
    ("mask_head.conv32.", "detr.mask_head.lay3."),
    ("mask_head.conv16.", "detr.mask_head.lay4."),
    ("mask_head.conv8.", "detr.mask_head.dcn."),
    ("mask_head.reduce.", "detr.mask_head.lay1."),
    ("mask_head.final.", "detr.mask_head.lay2."),
    ("embed_head.", "detr.reid_embed_head."),
]
# the published decoder has a second copy of the box heads
_SECOND = ("decoder.box_heads.#.", f"{_DETECTOR}.transformer.decoder.bbox_embed.#.")

Rule = tuple[re.Pattern[str], str]


def _rules(pairs: Sequence[tuple[str, str]]) -> list[Rule]:
    """Compile (prefix, replacement) pairs to a pattern and a template each; # is carried over."""
    return [(re.compile(re.escape(start).replace(r"\#", r"(\d+)")), end.replace("#", r"\g<1>")) for start, end in pairs]


_TO_PUBLISHED = _rules(_STARTS)
_TO_PUBLISHED_SECOND = _rules([_SECOND])
_TO_OURS = _rules([(theirs, ours) for ours, theirs in [_SECOND, *_STARTS]])


def _rename(name: str, rules: Sequence[Rule]) -> str | None:
    for pattern, template in rules:
        if found := pattern.match(name):
            return found.expand(template) + name[found.end() :]
    return None


@cache
def published_names(name: str) -> tuple[str, ...]:
    """All published names of one of our tensors; two for those of a box head, the decoder's first.

    Raises ValueError if the name is not ours.
    """
    published = _rename(name, _TO_PUBLISHED)
    if published is None:
        raise ValueError(f"no module of ours holds {name!r}")
    second = _rename(name, _TO_PUBLISHED_SECOND)
    return (published,) if second is None else (second, published)


def published_name(name: str) -> str:
    """The main published name of one of our tensors; for a box head, the one outside of the decoder."""
    return published_names(name)[-1]


@cache
def our_name(published: str) -> str | None:
    """Our name of a published tensor; None if published models have no such name."""
    return _rename(published, _TO_OURS)
