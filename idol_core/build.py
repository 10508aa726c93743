"""Build the network from its configuration and initialise it. No other code turns settings into modules."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from idol_core.backbones.plugins import plugin_backbone
from idol_core.backbones.resnet import NormedConv, ResNet
from idol_core.backbones.swin import Swin, WindowAttention
from idol_core.backbones.timm_network import timm_network
from idol_core.config import BackboneConfig, ModelConfig, Part, PluginConfig, ResNetConfig, SwinConfig, TimmConfig
from idol_core.errors import InvalidInput
from idol_core.model.attention import DeformableAttention, SelfAttention
from idol_core.model.decoder import Decoder, DecoderLayer
from idol_core.model.encoder import Encoder, EncoderLayer
from idol_core.model.idol import IDOL
from idol_core.model.layers import MLP, EmbedHead, FeedForward
from idol_core.model.mask_head import MaskHead
from idol_core.model.pyramid import PyramidProjection


def build_model(config: ModelConfig, *, backbone: nn.Module | None = None) -> IDOL:
    """Build the network of a configuration: float32, on the CPU, freshly initialised from torch's global generator.

    Parts frozen by `freeze` and ResNet's `freeze_at` do not require gradients. A given `backbone` replaces the
    configured one and is not initialised: it maps images to feature maps of stride 8, 16 and 32 and lists their
    channels in `channels`.
    """
    if backbone is not None:
        model = _around(backbone, config)
    else:
        model = assemble(config)
        _initialise_backbone(model.backbone)
    _initialise(model)
    return model


def build_from(config: ModelConfig, state: Mapping[str, Tensor]) -> IDOL:
    """Build the network of a configuration with these weights, which are known to fit it.

    Weights that have the network's dtype are taken over, not copied: changing one changes the other.
    """
    if not isinstance(config.backbone, ResNetConfig | SwinConfig):  # others may have buffers beside their weights
        model = build_model(config)
        model.load_state_dict(state)
        return model
    with torch.device("meta"):
        model = assemble(config)
    own, taken = model.state_dict(), set[int]()
    ours = {name: _unshared(tensor.to(own[name].dtype), taken) for name, tensor in state.items()}
    model.load_state_dict(ours, assign=True)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    return model


def _unshared(tensor: Tensor, taken: set[int]) -> Tensor:
    """Copy a tensor if it is a part of a larger storage, or if its storage is among those `taken`; adds its own."""
    storage = tensor.untyped_storage()
    if not tensor.is_contiguous() or storage.nbytes() != tensor.nbytes or storage.data_ptr() in taken:
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    taken.add(tensor.untyped_storage().data_ptr())
    return tensor


def assemble(config: ModelConfig) -> IDOL:
    """Build the network of a configuration without initialising its weights; free on the meta device."""
    return _around(_backbone(config.backbone, config.checkpoint), config)


def _backbone(config: BackboneConfig, checkpoint: bool) -> nn.Module:
    match config:
        case ResNetConfig():
            return _resnet(config, checkpoint)
        case SwinConfig():
            return _swin(config, checkpoint)
        case TimmConfig():
            return timm_network(config.name, checkpoint=checkpoint)
        case PluginConfig():
            return plugin_backbone(config.name)


def frozen_parts(model: IDOL, names: Sequence[str]) -> dict[str, list[nn.Module]]:
    """The modules of a model's named parts (`ModelConfig.freeze`). The norms of Swin's outputs are in no stage.

    Raises InvalidInput for a stage of a backbone whose stages are not known here.
    """
    body = model.backbone
    if isinstance(body, Swin):
        stages = [body.patch_embed, *body.layers]
    elif isinstance(body, ResNet):
        stages = [body.stem, body.res2, body.res3, body.res4, body.res5]
    else:
        stages = []
    parts = {name: [module] for name, module in zip(get_args(Part), stages, strict=False)}
    parts |= {"backbone": [body], "encoder": [model.pyramid, model.encoder]}
    unknown = [name for name in names if name not in parts]
    if unknown:
        what = f"model.freeze names {', '.join(unknown)}, and the stages of this backbone are not known"
        raise InvalidInput(what, where="model.freeze", fix="--set model.freeze=[backbone]")
    return {name: parts[name] for name in names}


def _around(backbone: Any, config: ModelConfig) -> IDOL:
    model = IDOL(
        backbone=backbone,
        pyramid=PyramidProjection(channels=backbone.channels, dim=config.hidden_dim, levels=config.levels),
        encoder=Encoder([_encoder_layer(config) for _ in range(config.encoder_layers)], checkpoint=config.checkpoint),
        decoder=_decoder(config),
        mask_head=MaskHead(dim=config.hidden_dim, channels=config.mask_channels),
        embed_head=EmbedHead(config.hidden_dim) if config.embedding else None,
    )
    for modules in frozen_parts(model, config.freeze).values():
        for module in modules:
            module.requires_grad_(False)
    return model


def _resnet(config: ResNetConfig, checkpoint: bool) -> ResNet:
    resnet = ResNet(
        blocks=config.blocks,
        stem=config.stem_channels,
        width=config.bottleneck_channels,
        outputs=config.out_channels,
        checkpoint=checkpoint,
    )
    resnet.freeze(config.freeze_at)
    return resnet


def _swin(config: SwinConfig, checkpoint: bool) -> Swin:
    return Swin(
        dim=config.embed_dim,
        depths=config.depths,
        heads=config.heads,
        window=config.window,
        drop_path=config.drop_path,
        checkpoint=checkpoint,
    )


def _encoder_layer(config: ModelConfig) -> EncoderLayer:
    return EncoderLayer(
        attention=DeformableAttention(
            dim=config.hidden_dim, heads=config.heads, levels=config.levels, points=config.encoder_points
        ),
        feedforward=_feedforward(config),
        dim=config.hidden_dim,
        dropout=config.dropout,
    )


def _decoder(config: ModelConfig) -> Decoder:
    dim, count = config.hidden_dim, config.decoder_layers
    layers = [
        DecoderLayer(
            self_attention=SelfAttention(dim=dim, heads=config.heads, dropout=config.dropout),
            cross_attention=DeformableAttention(
                dim=dim, heads=config.heads, levels=config.levels, points=config.decoder_points
            ),
            feedforward=_feedforward(config),
            dim=dim,
            dropout=config.dropout,
        )
        for _ in range(count)
    ]
    class_head = nn.Linear(dim, config.num_classes)
    nn.init.constant_(class_head.bias, -math.log(99))  # so that initial probabilities are about .01 (focal loss prior)
    class_heads = [copy.deepcopy(class_head) for _ in range(count)]  # the copies start equal
    box_head = MLP(dim, dim, 4, layers=3)
    nn.init.zeros_(box_head.get_parameter("layers.2.weight"))
    nn.init.zeros_(box_head.get_parameter("layers.2.bias"))
    box_heads = [copy.deepcopy(box_head) for _ in range(count)]
    box_heads[0].get_parameter("layers.2.bias").data[2:] = -2.0
    return Decoder(
        layers=layers,
        class_heads=class_heads,
        box_heads=box_heads,
        queries=config.queries,
        dim=dim,
    )


def _feedforward(config: ModelConfig) -> FeedForward:
    return FeedForward(dim=config.hidden_dim, hidden=config.feedforward_dim, dropout=config.dropout)


def _initialise_backbone(backbone: nn.Module) -> None:
    """Initialise ResNets (Kaiming normal by fan-out) and Swins (truncated normal); others do so themselves."""
    if not isinstance(backbone, ResNet | Swin):
        return
    for module in backbone.modules():
        if isinstance(module, NormedConv):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            _zero_bias(module)
        elif isinstance(module, WindowAttention):
            nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)


@torch.no_grad()
def _initialise(model: IDOL) -> None:
    """Initialise all but the backbone and the decoder's heads; modules not handled here keep torch's defaults."""
    for module in model.pyramid.modules():
        if isinstance(module, nn.Conv2d):
            _xavier(module)
    nn.init.normal_(model.pyramid.level_embedding)

    for module in (*model.encoder.modules(), *model.decoder.layers.modules()):
        if isinstance(module, DeformableAttention):
            _init_deformable(module)
        elif isinstance(module, SelfAttention):
            _xavier(module.qkv)
            _xavier(module.output)
        elif isinstance(module, FeedForward):
            nn.init.xavier_uniform_(module.linear1.weight)
            nn.init.xavier_uniform_(module.linear2.weight)

    nn.init.normal_(model.decoder.query_embedding)
    _xavier(model.decoder.reference_head)

    for module in model.mask_head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=1)
            _zero_bias(module)
        elif isinstance(module, nn.Linear):  # the controller, which predicts the dynamic filters
            _xavier(module)


def _xavier(layer: nn.Linear | nn.Conv2d) -> None:
    nn.init.xavier_uniform_(layer.weight)
    _zero_bias(layer)


def _zero_bias(layer: nn.Linear | nn.Conv2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _init_deformable(attention: DeformableAttention) -> None:
    """Initialise: each head samples in its own direction, point p at a distance of p + 1 cells, with equal weights."""
    nn.init.zeros_(attention.offsets.weight)
    angles = torch.arange(attention.heads) * (2 * math.pi / attention.heads)
    directions = torch.stack((angles.cos(), angles.sin()), dim=-1)
    directions = directions / directions.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, attention.points + 1.0)
    bias = directions[:, None, None] * steps[:, None]  # [heads, 1, points, 2]
    attention.offsets.bias.copy_(bias.expand(-1, attention.levels, -1, -1).flatten())
    nn.init.zeros_(attention.weights.weight)
    nn.init.zeros_(attention.weights.bias)
    _xavier(attention.value)
    _xavier(attention.output)
