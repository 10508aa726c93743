"""Backbones of the timm library (extra `timm`): any network with features of stride 8, 16 and 32, and plain ViTs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.ops.recompute import recomputed

STRIDES = (8, 16, 32)


class TimmNetwork(nn.Module):
    """[B, 3, H, W] -> feature maps of stride 8, 16 and 32; `channels` lists their channels.

    Batch norms are frozen, as in the ResNets: their statistics do not follow the training data. A plain vision
    transformer with patches of 16 pixels gives its last layer at stride 16, enlarged by a transposed convolution to
    stride 8 and max-pooled to stride 32 (the simple pyramid of Li et al. 2022, "Exploring plain vision transformer
    backbones for object detection").

    Args:
        net: made by `timm.create_model(name, features_only=True)`.
        checkpoint: recompute the whole backbone in the backward pass to save memory.
    """

    def __init__(self, name: str, net: Any, *, checkpoint: bool) -> None:
        super().__init__()
        self.name, self.checkpoint = name, checkpoint
        self.net = net
        strides = net.feature_info.reduction()
        self._last_axis = str(getattr(net, "output_fmt", "")).endswith("NHWC")  # where channels are
        widths = net.feature_info.channels()
        self.enlarge: nn.Module | None = None
        if set(strides) == {16}:
            self.enlarge = nn.ConvTranspose2d(widths[-1], widths[-1] // 2, 2, 2)
            self.channels = (widths[-1] // 2, widths[-1], widths[-1])
        elif set(STRIDES) <= set(strides):
            self._chosen = tuple(strides.index(stride) for stride in STRIDES)
            self.channels = tuple(widths[i] for i in self._chosen)
        else:
            what = f"timm's {name} has features of stride {', '.join(map(str, sorted(set(strides))))}"
            fix = "choose a network with strides 8, 16 and 32, or a vision transformer with patches of 16 pixels"
            raise InvalidInput(what, where="model.backbone.name", fix=fix)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = recomputed(self._features, images, enabled=self.checkpoint)
        if self._last_axis:
            maps = [each.permute(0, 3, 1, 2) for each in maps]
        if self.enlarge is not None:
            return [self.enlarge(maps[-1]), maps[-1], F.max_pool2d(maps[-1], 2)]
        return [maps[i] for i in self._chosen]

    def _features(self, images: Tensor) -> list[Tensor]:
        return list(self.net(images))


def timm_network(name: str, *, checkpoint: bool = False) -> TimmNetwork:
    """Build a network with timm's own initialisation; nothing is downloaded.

    Raises Missing without timm, InvalidInput for a name that timm does not know or features of other strides.
    """
    return TimmNetwork(name, _frozen_norms(_create(name, features_only=True)), checkpoint=checkpoint)


def load_timm(network: TimmNetwork, state: Mapping[str, Tensor], *, where: str) -> None:
    """Copy weights of timm's model of the same name, as timm publishes them, into a network.

    Raises Integrity, naming what differs, if they are not the weights of that model.
    """
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(state)}}
    try:
        _create(network.name, **overlay)  # the whole model is strict about names, its features are not
        loaded = _create(network.name, features_only=True, **overlay)
    except (RuntimeError, KeyError, AttributeError, ValueError, TypeError) as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = f"these are not timm's weights of {network.name}: {' '.join(said[1:2] or said[:1])[:160]}"
        raise Integrity(what, where=where, fix="choose the backbone of the weights, or other weights") from error
    network.net.load_state_dict(_frozen_norms(loaded).state_dict())


def pixel_remark(name: str, mean: Sequence[float], std: Sequence[float]) -> str:
    """A warning if pixels are not scaled as for timm's weights of a network; empty if they are. 0..255."""
    import timm

    found = timm.get_pretrained_cfg(name)
    if found is None:
        return ""
    expected = [[round(255 * v, 3) for v in values] for values in (found.mean, found.std)]
    if all(abs(a - b) < 0.01 for a, b in zip([*mean, *std], [*expected[0], *expected[1]], strict=True)):
        return ""
    settings = [f"--set input.pixel_{what}={values}" for what, values in zip(("mean", "std"), expected, strict=True)]
    return f"timm's weights of {name} expect pixels of another scale: {' '.join(settings)}".replace(", ", ",")


def _create(name: str, **options: Any) -> Any:
    """timm.create_model for registered names only: others would be downloaded. Any image size where the network can."""
    try:
        import timm
    except ImportError as error:
        fix = "pip install 'idolctl[timm]'"
        raise Missing("the backbone is one of the timm library, which is not installed", where="model.backbone",
                      fix=fix) from error  # fmt: skip
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.partition('_')[0]}*")[:3] if name.isidentifier() else []
        fix = f"one of: {', '.join(near)}" if near else "python -c 'import timm; print(timm.list_models())'"
        raise InvalidInput(f"timm has no network '{name}'", where="model.backbone.name", fix=fix)
    create: Callable[..., Any] = functools.partial(timm.create_model, name, **options)
    found = timm.get_pretrained_cfg(name)
    if found is not None and found.fixed_input_size:
        for flexible in ({"dynamic_img_size": True}, {"strict_img_size": False}):
            try:
                return create(**flexible)
            except TypeError:  # the network has no such argument
                continue
    return create()


def _frozen_norms(net: Any) -> Any:
    from timm.layers import freeze_batch_norm_2d  # type: ignore[attr-defined]

    return freeze_batch_norm_2d(net)
