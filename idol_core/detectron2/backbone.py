"""Adapter: use any backbone registered with detectron2 in our model."""

from __future__ import annotations

from detectron2.modeling import Backbone
from torch import Tensor, nn

from idol_core.data.collate import STRIDE
from idol_core.errors import InvalidInput

_STRIDES = (8, 16, 32)


class RegisteredBackbone(nn.Module):
    """A detectron2 backbone: images [B, 3, H, W] -> its maps of stride 8, 16 and 32, with `channels` channels.

    Raises InvalidInput if a map of one of these strides is missing, or images must be padded to multiples beyond 32.
    """

    def __init__(self, body: Backbone) -> None:
        super().__init__()
        shapes = body.output_shape()
        by_stride = {shape.stride: name for name, shape in shapes.items()}
        if lacking := [stride for stride in _STRIDES if stride not in by_stride]:
            what = f"{type(body).__name__} gives no map of stride {' and '.join(map(str, lacking))}, but {by_stride}"
            raise InvalidInput(what, where="MODEL.BACKBONE", fix="let it output res3, res4 and res5, or p3, p4 and p5")
        padded = {"size_divisibility": body.size_divisibility, **body.padding_constraints}
        if STRIDE % (padded["size_divisibility"] or 1) or padded.get("square_size", 0):
            what = (
                f"{type(body).__name__} wants images padded to {padded}; here they are padded to multiples of {STRIDE}"
            )
            raise InvalidInput(what, where="MODEL.BACKBONE", fix="choose another backbone")
        self.body = body
        self.names = tuple(by_stride[stride] for stride in _STRIDES)
        self.channels = tuple(shapes[name].channels for name in self.names)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.body(images)
        return [maps[name] for name in self.names]
