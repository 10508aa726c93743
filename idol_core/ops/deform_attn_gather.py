"""Multi-scale deformable attention with gathers and products only, for exported models.

Other runtimes have no operator for it, and not all of them compute grid_sample correctly. In torch itself it is slower
than the other implementations and takes more memory; it is not meant for training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from idol_core.ops.deform_attn_torch import LevelShapes


def sample_with_gathers(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """`deform_attn.deformable_attention`: each sample is a weighted sum of four neighbours, fetched by one index."""
    n, _, heads, dim = value.shape
    queries, points, device, dtype = locations.shape[1], locations.shape[4], value.device, locations.dtype
    sizes = torch.tensor([(w, h) for h, w in level_shapes], dtype=dtype, device=device)[:, :, None, None, None, None]

    # In cells of the level with its border: the cell before a place and the share of the cell after it, in x and y.
    # Places outside of the level end on the border.
    places = locations.permute(3, 5, 0, 1, 2, 4) * sizes + 0.5  # [L, 2, N, Q, M, P]
    places = torch.minimum(places.clamp(min=0), sizes + 1)
    before = places.floor()
    right, below = (places - before).unbind(1)
    cell = (before[:, 1] * (sizes[:, 0] + 2) + before[:, 0]).long()  # [L, N, Q, M, P]
    corners = ((1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right)
    factors = torch.stack(corners, dim=-1) * weights.to(dtype).permute(3, 0, 1, 2, 4)[..., None]
    factors = factors.view(-1, n * queries * heads, 1, points * 4)

    head = torch.arange(heads, device=device)[:, None]
    frame = torch.arange(n, device=device).view(n, 1, 1, 1)
    maps = value.to(dtype).split([h * w for h, w in level_shapes], dim=1)
    total = torch.zeros((), dtype=dtype, device=device)
    for i, (level, (h, w)) in enumerate(zip(maps, level_shapes, strict=True)):
        index = (cell[i] + frame * ((h + 2) * (w + 2))) * heads + head
        samples = _neighbours(level.unflatten(1, (h, w))).view(-1, 4 * dim).index_select(0, index.flatten())
        total = total + factors[i] @ samples.view(n * queries * heads, points * 4, dim)
    return total.view(n, queries, heads * dim).to(value.dtype)


def _neighbours(level: Tensor) -> Tensor:
    """Join every cell with its right, lower and lower right neighbour: [N, h, w, M, D] -> [N, h + 2, w + 2, M, 4 * D].

    A border of zeros is added on all sides: what lies outside of the map is 0.
    """
    return torch.cat([F.pad(level, (0, 0, 0, 0, 1 - j, 1 + j, 1 - i, 1 + i)) for i in (0, 1) for j in (0, 1)], dim=-1)
