"""Swin transformer (Liu et al. 2021): feature maps of frames of any size.

Maps are [B, H, W, C]. After its norm, a map is padded to whole windows, then rolled; padded cells are keys, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idol_core.ops.constants import constant
from idol_core.ops.recompute import recomputed

MASKED = -100.0  # added to attention logits between cells that are neighbours only because of the roll


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for every relative position."""

    relative_position_index: Tensor

    def __init__(self, *, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """windows: [B, W, N, C], N cells in each of W windows; mask: [W, N, N] to add, or None -> [B, W, N, C]."""
        b, w, n, c = windows.shape
        qkv = self.qkv(windows).view(b, w, n, 3, self.heads, c // self.heads)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(n, n, self.heads).permute(2, 0, 1)[None]  # [1, heads, N, N]
        bias = (bias if mask is None else bias + mask[:, None]).to(qkv.dtype)
        if b == 1 or mask is None:  # the bias holds for the windows of all maps: attention reads qkv as it lies
            q, k, v = qkv.flatten(0, 1).permute(2, 0, 3, 1, 4)  # [B * W, heads, N, C / heads] each
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            return self.proj(mixed.transpose(1, 2).reshape(b, w, n, c))
        # A bias for each window: windows count as heads, as copying qkv costs less than copying the bias for each map.
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)  # [B, W * heads, N, C / heads] each
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(0, 1)[None])
        return self.proj(mixed.unflatten(1, (w, self.heads)).transpose(2, 3).flatten(3))


class FeedForward(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Window attention, then feed-forward; each a residual branch with norm first and stochastic depth."""

    def __init__(self, *, dim: int, heads: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift, self.drop_path = window, shift, drop_path
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim=dim, window=window, heads=heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._drop(self._attend(self.norm1(x)))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        _, h, w, _ = x.shape
        size = (whole_windows(h, self.window), whole_windows(w, self.window))
        gaps = (size[0] - h, size[1] - w)
        open_sizes = isinstance(h, torch.SymInt) or isinstance(w, torch.SymInt)  # under torch.export
        if open_sizes or any(gaps):
            x = F.pad(x, (0, 0, 0, gaps[1], 0, gaps[0]))
        mask = None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
            mask = shift_mask(size, self.window, self.shift, x.device)
        x = join_windows(self.attn(split_windows(x, self.window), mask), size, self.window)
        if self.shift:
            x = x.roll((self.shift, self.shift), dims=(1, 2))
        if open_sizes:  # a view would make torch.export assume that the gaps are not 0
            return x.index_select(1, torch.arange(h)).index_select(2, torch.arange(w))
        return x[:, :h, :w]

    def _drop(self, x: Tensor) -> Tensor:
        """Stochastic depth: zero `x` for random samples, scale it up for the others."""
        if not self.training or self.drop_path == 0.0:
            return x
        keep = 1.0 - self.drop_path
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep).div_(keep)


class PatchEmbedding(nn.Module):
    """Embed 4x4 patches: [B, 3, H, W] -> [B, H/4, W/4, C], layer-normalized."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Halve a map: [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 2C]; cells of a 2x2 block in order 00, 10, 01, 11."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % 2 or x.shape[2] % 2:  # F.pad copies in any case
            x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        blocks = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        return self.reduction(self.norm(torch.cat(blocks, dim=-1)))


class SwinStage(nn.Module):
    """Blocks of one resolution, every second one shifted, then downsampling (None in the last stage)."""

    def __init__(self, blocks: Sequence[SwinBlock], downsample: PatchMerging | None, *, checkpoint: bool) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, H, W, C] -> the stage's map and the downsampled input of the next stage (None after the last)."""
        for block in self.blocks:
            x = recomputed(block, x, enabled=self.checkpoint)
        return x, None if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """[B, 3, H, W] -> maps of stride 8, 16 and 32, each with its own layer norm; `channels` lists their channels.

    Args:
        dim: channels at stride 4; doubles at every stage.
        depths, heads: blocks and attention heads of the four stages.
        window: side of a window in cells; shifted blocks roll by half of it.
        drop_path: drop probability (stochastic depth) of the last block; grows linearly from 0 at the first.
        checkpoint: recompute every block in the backward pass to save memory.
    """

    def __init__(
        self,
        *,
        dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
        drop_path: float,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(dim)
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        stages = []
        for i, depth in enumerate(depths):
            blocks = [
                SwinBlock(
                    dim=dim << i,
                    heads=heads[i],
                    window=window,
                    shift=window // 2 * (j % 2),
                    drop_path=next(rates),
                )
                for j in range(depth)
            ]
            merging = PatchMerging(dim << i) if i + 1 < len(depths) else None
            stages.append(SwinStage(blocks, merging, checkpoint=checkpoint))
        self.layers = nn.ModuleList(stages)
        self.norms = nn.ModuleList(nn.LayerNorm(dim << i) for i in range(len(depths)))
        self.norms[0].requires_grad_(False)  # of stride 4: in the published weights, but unused
        self.channels = (dim << 1, dim << 2, dim << 3)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.patch_embed(images)
        features = []
        for i, (stage, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            out, x = stage(x)
            if i > 0:
                features.append(norm(out).permute(0, 3, 1, 2))
        return features


def whole_windows(side: int, window: int) -> int:
    """The side of a map after padding to whole windows."""
    return (side + window - 1) // window * window


def split_windows(x: Tensor, window: int) -> Tensor:
    """Split a map of whole windows: [B, H, W, C] -> [B, windows, window * window, C]."""
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c).transpose(2, 3)
    return x.reshape(b, -1, window * window, c)


def join_windows(windows: Tensor, size: tuple[int, int], window: int) -> Tensor:
    """Inverse of `split_windows` for a map of `size` (H, W)."""
    h, w = size
    x = windows.unflatten(1, (h // window, w // window)).unflatten(3, (window, window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for each pair of cells: [N, N] int64, N = window * window."""
    side = torch.arange(window, device="cpu")  # also where a network is built without values, on the meta device
    y, x = torch.meshgrid(side, side, indexing="ij")
    places = torch.stack((y.flatten(), x.flatten()))
    dy, dx = places[:, :, None] - places[:, None, :] + (window - 1)
    return dy * (2 * window - 1) + dx


@constant(keep=32)
def shift_mask(size: tuple[int, int], window: int, shift: int, device: torch.device) -> Tensor:
    """Attention mask [windows, N, N] float32: 0 between cells that were neighbours before the roll, else MASKED."""

    def region(length: int) -> Tensor:
        cells = torch.arange(length)
        return (cells >= length - window).long() + (cells >= length - shift).long()

    regions = 3 * region(size[0])[:, None] + region(size[1])
    cells = split_windows(regions[None, :, :, None], window)[0, :, :, 0]
    return ((cells[:, :, None] != cells[:, None, :]).float() * MASKED).to(device)
