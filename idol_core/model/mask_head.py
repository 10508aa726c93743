"""Mask head of CondInst (Tian et al. 2020): each query predicts the convolution weights that compute its mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idol_core.model.layers import MLP
from idol_core.ops.constants import constant
from idol_core.ops.deform_attn import LevelShapes
from idol_core.ops.numeric import at_least_float32

STRIDE = 8  # of the mask features


class MaskHead(nn.Module):
    """Compute mask features of frames, and mask logits of chosen queries.

    Args:
        dim: C of the memory and of the queries.
        channels: M of the mask features and of the dynamic convolutions.
    """

    def __init__(self, *, dim: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv32 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv16 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv8 = nn.Conv2d(dim, dim, 3, padding=1)
        self.reduce = nn.Conv2d(dim, dim // 4, 3, padding=1)
        self.final = nn.Conv2d(dim // 4, channels, 3, padding=1)
        # three 1x1 convolutions: (2 + M) -> M -> M -> 1; all weights ([out, in]), then all biases
        self.parts = [(2 + channels) * channels, channels * channels, channels, channels, channels, 1]
        self.controller = MLP(dim, dim, sum(self.parts), layers=3)

    def features(self, memory: Tensor, level_shapes: LevelShapes) -> Tensor:
        """Mask features [B, M, H/8, W/8], >= 0, of memory [B, S, C]; its first three levels have stride 8, 16, 32."""
        sizes = [h * w for h, w in level_shapes]
        maps = [
            part.unflatten(1, shape).permute(0, 3, 1, 2)
            for part, shape in zip(memory.split(sizes, dim=1), level_shapes, strict=True)
        ]
        x = F.relu(self.conv32(maps[2]))
        x = F.relu(self.conv16(maps[1] + F.interpolate(x, size=level_shapes[1], mode="nearest")))
        x = F.relu(self.conv8(maps[0] + F.interpolate(x, size=level_shapes[0], mode="nearest")))
        return F.relu(self.final(F.relu(self.reduce(x))))

    def forward(self, queries: Tensor, points: Tensor, features: Tensor, row: Tensor) -> Tensor:
        """Compute mask logits of n queries.

        Args:
            queries: [n, C].
            points: [n, 2] (x, y) in pixels, the queries' reference points; convolutions get each cell's position
                relative to them.
            features: [B, M, h, w] of all frames.
            row: [n] int64, index of each query's frame in the batch.

        Returns:
            [n, 2h, 2w] logits at stride 4.
        """
        n, m = queries.shape[0], self.channels
        h, w = features.shape[-2:]
        with torch.autocast(queries.device.type, enabled=False):  # products of pixel positions and weights need float32
            parts = self.controller(at_least_float32(queries)).split(self.parts, dim=1)
            w1, w2, w3 = parts[0].view(n, m, 2 + m), parts[1].view(n, m, m), parts[2].view(n, 1, m)
            b1, b2, b3 = parts[3].view(n, m, 1), parts[4].view(n, m, 1), parts[5].view(n, 1, 1)

            # The first layer is linear in (point - cell), so the cells' part is shared by all queries of a frame. Both
            # are measured from the middle of the map, to keep the terms small.
            cells = cell_centres(h, w, STRIDE, points.device).to(points.dtype)
            middle = cells.mean(1)
            b1 = torch.baddbmm(b1, w1[..., :2], (points - middle)[..., None])
            places = (middle[:, None] - cells).expand(features.shape[0], -1, -1)
            inputs = torch.cat((places, at_least_float32(features).flatten(2)), dim=1)  # [B, 2 + M, h*w]

            x = F.relu_(torch.baddbmm(b1, w1, inputs.index_select(0, row)))  # [n, M, h*w]
            x = F.relu_(torch.baddbmm(b2, w2, x))
            x = torch.baddbmm(b3, w3, x)
        return upsample_twice(x.view(n, h, w))


@constant()
def cell_centres(h: int, w: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Centres of a map's cells: [2, h*w] float32 (x, y) in pixels, row-major, stride * index + stride // 2."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return (torch.stack((x.flatten(), y.flatten())).float() * stride + stride // 2).to(device)


def upsample_twice(x: Tensor) -> Tensor:
    """Upsample [n, h, w] -> [n, 2h, 2w]: cell i goes to 2i + 1, the mean of i - 1 and i to 2i; border repeated."""
    return _double(_double(x, 2), 1)


def _double(x: Tensor, axis: int) -> Tensor:
    before = torch.cat((x.narrow(axis, 0, 1), x.narrow(axis, 0, x.shape[axis] - 1)), dim=axis)
    return torch.stack(((before + x) * 0.5, x), dim=axis + 1).flatten(axis, axis + 1)
