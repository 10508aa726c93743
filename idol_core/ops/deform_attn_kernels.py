"""Triton kernels of multi-scale deformable attention, and the functions that launch them.

A program works on `BLOCK_Q` queries of one head of one sample and walks over levels, sampling all points of a level at
once: a tile of [BLOCK_P, BLOCK_Q, BLOCK_D] numbers. It is a single warp, for several would wait for each other whenever
threads exchange offsets and shares (forward on an H200: 741 us with four warps, 249 us with one). Everything is
computed and accumulated in float32. Arrays are contiguous:

    value [N, S, M, D]   locations [N, Q, M, L, P, 2] float32   weights [N, Q, M, L, P]   output [N, Q, M, D]

Importing this file needs Triton, so the rest of the package imports it only where a failure is handled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from idol_core.ops.deform_attn_triton import MAX_LEVELS

# Arguments whose values must not trigger a recompilation: they change with the size of the image. The sizes of the
# levels are arguments, not a tensor, so that no launch waits for a copy to the device.
VARYING = ("cells", "queries", *(f"size{i}" for i in range(MAX_LEVELS)))


@triton.jit
def _level_size(level, size0, size1, size2, size3, size4, size5, size6, size7):
    """(height, width) of one level, both int32, unpacked from its size: height << 32 | width."""
    size = tl.where(level == 1, size1, size0)
    size = tl.where(level == 2, size2, size)
    size = tl.where(level == 3, size3, size)
    size = tl.where(level == 4, size4, size)
    size = tl.where(level == 5, size5, size)
    size = tl.where(level == 6, size6, size)
    size = tl.where(level == 7, size7, size)
    return (size >> 32).to(tl.int32), size.to(tl.int32)


@triton.jit
def _corners(x, y, height, width):
    """Find the upper left of the four cells around a location, and the fractional position between the cells.

    Returns:
        column, row of that cell (-1 at the border); fx, fy in 0..1; and whether the left, right, upper and lower cells
        lie in the map. All four are False, and fx = fy = 0, where no cell does, or where the location is NaN.
    """
    px = x * width.to(tl.float32) - 0.5
    py = y * height.to(tl.float32) - 0.5
    inside = (px > -1.0) & (py > -1.0) & (px < width.to(tl.float32)) & (py < height.to(tl.float32))
    px = tl.where(inside, px, 0.0)
    py = tl.where(inside, py, 0.0)
    column = tl.floor(px).to(tl.int32)
    row = tl.floor(py).to(tl.int32)
    left = inside & (column >= 0)
    right = inside & (column + 1 < width)
    upper = inside & (row >= 0)
    lower = inside & (row + 1 < height)
    return column, row, px - column.to(tl.float32), py - row.to(tl.float32), left, right, upper, lower


@triton.jit
def _channels(cell, in_map, d, M: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Offsets and mask [BLOCK_P, BLOCK_Q, BLOCK_D] of the channels of cells; the mask is False outside of the map."""
    mask = in_map[:, :, None]
    if D != BLOCK_D:
        mask = mask & (d < D)[None, None, :]
    return (cell * (M * D))[:, :, None] + d[None, None, :], mask


@triton.jit
def _sample(value, cell, share, d, M: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Channels of one corner's cells times the corner's share of the output; a cell without a share is not read."""
    at, mask = _channels(cell, share != 0.0, d, M, D, BLOCK_D)
    return tl.load(value + at, mask=mask, other=0.0).to(tl.float32) * share[:, :, None]


@triton.jit(do_not_specialize=VARYING)
def forward_kernel(
    value, locations, weights, output,
    cells, queries, size0, size1, size2, size3, size4, size5, size6, size7,
    M: tl.constexpr, D: tl.constexpr, L: tl.constexpr, P: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_P: tl.constexpr,
):  # fmt: skip
    """output[n, q, m] = sum over l, p of weight * bilinear sample."""
    m = tl.program_id(0)
    q = tl.program_id(1) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    n = tl.program_id(2).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    p = tl.arange(0, BLOCK_P)
    there = (q < queries)[None, :] & (p < P)[:, None]
    value += n * cells * (M * D) + m * D
    point = ((q * M + m) * (L * P))[None, :] + p[:, None]
    locations += n * queries * (M * L * P * 2)
    weights += n * queries * (M * L * P)
    total = tl.zeros([BLOCK_P, BLOCK_Q, BLOCK_D], tl.float32)
    start = 0
    for level in range(L):
        height, width = _level_size(level, size0, size1, size2, size3, size4, size5, size6, size7)
        x = tl.load(locations + 2 * point, mask=there, other=-1.0)
        y = tl.load(locations + 2 * point + 1, mask=there, other=-1.0)
        weight = tl.load(weights + point, mask=there, other=0.0).to(tl.float32)
        column, row, fx, fy, left, right, upper, lower = _corners(x, y, height, width)
        by_left = tl.where(left, 1 - fx, 0.0)
        by_right = tl.where(right, fx, 0.0)
        by_upper = tl.where(upper, 1 - fy, 0.0) * weight
        by_lower = tl.where(lower, fy, 0.0) * weight
        cell = start + row * width + column
        total += _sample(value, cell, by_upper * by_left, d, M, D, BLOCK_D)
        total += _sample(value, cell + 1, by_upper * by_right, d, M, D, BLOCK_D)
        total += _sample(value, cell + width, by_lower * by_left, d, M, D, BLOCK_D)
        total += _sample(value, cell + width + 1, by_lower * by_right, d, M, D, BLOCK_D)
        point += P
        start += height * width
    at = ((q * M + m) * D)[:, None] + d[None, :]
    mask = (q < queries)[:, None] & (d < D)[None, :]
    output += n * queries * (M * D)
    tl.store(output + at, tl.sum(total, axis=0).to(output.dtype.element_ty), mask=mask)


@triton.jit
def _corner_gradients(
    value, grad_value, cell, in_map, share, grad, d,
    M: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, ATOMIC: tl.constexpr,
):  # fmt: skip
    """Dot products of one corner's channels and the incoming gradient; with ATOMIC, add to the gradient of value."""
    at, mask = _channels(cell, in_map, d, M, D, BLOCK_D)
    dot = tl.sum(tl.load(value + at, mask=mask, other=0.0).to(tl.float32) * grad[None, :, :], axis=2)
    if ATOMIC:
        tl.atomic_add(grad_value + at, grad[None, :, :] * share[:, :, None], mask, sem="relaxed")
    return dot


@triton.jit(do_not_specialize=VARYING)
def backward_kernel(
    value, locations, weights, grad_output, grad_value, grad_locations, grad_weights,
    cells, queries, size0, size1, size2, size3, size4, size5, size6, size7,
    M: tl.constexpr, D: tl.constexpr, L: tl.constexpr, P: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_P: tl.constexpr, ATOMIC: tl.constexpr,
):  # fmt: skip
    """Gradients of locations and weights; with ATOMIC also of value, added to `grad_value` (float32, zero on entry)."""
    m = tl.program_id(0)
    q = tl.program_id(1) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    n = tl.program_id(2).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    p = tl.arange(0, BLOCK_P)
    there = (q < queries)[None, :] & (p < P)[:, None]
    value += n * cells * (M * D) + m * D
    grad_value += n * cells * (M * D) + m * D
    point = ((q * M + m) * (L * P))[None, :] + p[:, None]
    locations += n * queries * (M * L * P * 2)
    grad_locations += n * queries * (M * L * P * 2)
    weights += n * queries * (M * L * P)
    grad_weights += n * queries * (M * L * P)
    at = ((q * M + m) * D)[:, None] + d[None, :]
    mask = (q < queries)[:, None] & (d < D)[None, :]
    grad = tl.load(grad_output + n * queries * (M * D) + at, mask=mask, other=0.0).to(tl.float32)
    start = 0
    for level in range(L):
        height, width = _level_size(level, size0, size1, size2, size3, size4, size5, size6, size7)
        x = tl.load(locations + 2 * point, mask=there, other=-1.0)
        y = tl.load(locations + 2 * point + 1, mask=there, other=-1.0)
        weight = tl.load(weights + point, mask=there, other=0.0).to(tl.float32)
        column, row, fx, fy, left, right, upper, lower = _corners(x, y, height, width)
        cell = start + row * width + column
        dot0 = _corner_gradients(
            value, grad_value, cell, upper & left, (1 - fy) * (1 - fx) * weight, grad, d, M, D, BLOCK_D, ATOMIC
        )
        dot1 = _corner_gradients(
            value, grad_value, cell + 1, upper & right, (1 - fy) * fx * weight, grad, d, M, D, BLOCK_D, ATOMIC
        )
        dot2 = _corner_gradients(
            value, grad_value, cell + width, lower & left, fy * (1 - fx) * weight, grad, d, M, D, BLOCK_D, ATOMIC
        )
        dot3 = _corner_gradients(
            value, grad_value, cell + width + 1, lower & right, fy * fx * weight, grad, d, M, D, BLOCK_D, ATOMIC
        )
        by_weight = (1 - fy) * ((1 - fx) * dot0 + fx * dot1) + fy * ((1 - fx) * dot2 + fx * dot3)
        by_x = ((1 - fy) * (dot1 - dot0) + fy * (dot3 - dot2)) * width.to(tl.float32) * weight
        by_y = ((1 - fx) * (dot2 - dot0) + fx * (dot3 - dot1)) * height.to(tl.float32) * weight
        tl.store(grad_weights + point, by_weight.to(grad_weights.dtype.element_ty), mask=there)
        tl.store(grad_locations + 2 * point, by_x, mask=there)
        tl.store(grad_locations + 2 * point + 1, by_y, mask=there)
        point += P
        start += height * width


@triton.jit(do_not_specialize=VARYING)
def corners_kernel(
    locations, weights, keys, shares,
    cells, queries, size0, size1, size2, size3, size4, size5, size6, size7,
    M: tl.constexpr, L: tl.constexpr, P: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Keys and shares (bilinear x attention weight) [Q, M, L, P, 4] of one sample's corners.

    key = m * cells + cell, or M * cells outside of the map.
    """
    q = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    m = tl.program_id(1)
    there = q < queries
    point = (q * M + m) * (L * P)
    nowhere = M * cells
    start = m * cells
    for level in range(L):
        height, width = _level_size(level, size0, size1, size2, size3, size4, size5, size6, size7)
        for _ in range(P):
            x = tl.load(locations + 2 * point, mask=there, other=-1.0)
            y = tl.load(locations + 2 * point + 1, mask=there, other=-1.0)
            weight = tl.load(weights + point, mask=there, other=0.0).to(tl.float32)
            column, row, fx, fy, left, right, upper, lower = _corners(x, y, height, width)
            first = start + row * width + column
            tl.store(keys + 4 * point, tl.where(upper & left, first, nowhere), mask=there)
            tl.store(keys + 4 * point + 1, tl.where(upper & right, first + 1, nowhere), mask=there)
            tl.store(keys + 4 * point + 2, tl.where(lower & left, first + width, nowhere), mask=there)
            tl.store(keys + 4 * point + 3, tl.where(lower & right, first + width + 1, nowhere), mask=there)
            tl.store(shares + 4 * point, (1 - fy) * (1 - fx) * weight, mask=there)
            tl.store(shares + 4 * point + 1, (1 - fy) * fx * weight, mask=there)
            tl.store(shares + 4 * point + 2, fy * (1 - fx) * weight, mask=there)
            tl.store(shares + 4 * point + 3, fy * fx * weight, mask=there)
            point += 1
        start += height * width


@triton.jit(do_not_specialize=("cells",))
def gather_kernel(
    order, starts, shares, grad_output, grad_value,
    cells,
    M: tl.constexpr, D: tl.constexpr, L: tl.constexpr, P: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradient of value at one cell of one head, for one sample: sum over the cell's corners in ascending order."""
    cell = tl.program_id(0)
    m = tl.program_id(1)
    d = tl.arange(0, BLOCK_D)
    key = m * cells + cell
    end = tl.load(starts + key + 1)
    total = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    for i in range(tl.load(starts + key), end, BLOCK_Q):
        j = i + tl.arange(0, BLOCK_Q)
        there = j < end
        corner = tl.load(order + j, mask=there, other=0).to(tl.int32)
        share = tl.load(shares + corner, mask=there, other=0.0)
        at = ((corner // (M * L * P * 4) * M + m) * D)[:, None] + d[None, :]
        mask = there[:, None] & (d < D)[None, :]
        total += tl.load(grad_output + at, mask=mask, other=0.0).to(tl.float32) * share[:, None]
    result = tl.sum(total, axis=0)
    tl.store(grad_value + (cell * M + m) * D + d, result.to(grad_value.dtype.element_ty), mask=d < D)


# FP fusion (fused multiply-add) is Triton's default, which is about to change, so it is set explicitly.
ONE_WARP = {"num_warps": 1, "enable_fp_fusion": True}
FOUR_WARPS = {"num_warps": 4, "enable_fp_fusion": True}
# Numbers of a program's tile, a warp's. Backward needs more registers: 64 a thread, of 512 numbers 114.
FORWARD_TILE, BACKWARD_TILE = 512, 256
SORTED = 32  # queries, then corners, that the kernels of the deterministic gradient work on at once


def launch_forward(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    """Output [N, Q, M * D] in value's dtype. `shapes`: flat list of (height, width)."""
    value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
    n, cells, heads, dim = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    output = value.new_empty(n, queries, heads * dim)
    if output.numel():
        blocks = tile(dim, points, FORWARD_TILE)
        forward_kernel[(heads, triton.cdiv(queries, blocks["BLOCK_Q"]), n)](
            value, locations, weights, output, cells, queries, *_sizes(shapes),
            M=heads, D=dim, L=levels, P=points, **blocks, **ONE_WARP,
        )  # fmt: skip
    return output


def launch_backward(
    grad: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor, *, deterministic: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights, each in its input's dtype.

    deterministic: bit-identical on every run. The gradient of value is then summed cell by cell over the sorted corners
    instead of by atomic additions. This costs, for one sample at a time, a sort of 4 * Q * M * L * P numbers and about
    40 bytes of memory for each.
    """
    grad, value = grad.contiguous(), value.contiguous()
    locations, weights = locations.contiguous(), weights.contiguous()
    n, cells, heads, dim = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    grad_value = torch.zeros_like(value, dtype=value.dtype if deterministic else torch.float32)
    grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
    if grad.numel() and grad_weights.numel():
        sizes = _sizes(shapes)
        fixed = {"M": heads, "L": levels, "P": points}
        blocks = tile(dim, points, BACKWARD_TILE)
        backward_kernel[(heads, triton.cdiv(queries, blocks["BLOCK_Q"]), n)](
            value, locations, weights, grad, grad_value, grad_locations, grad_weights, cells, queries, *sizes,
            D=dim, ATOMIC=not deterministic, **fixed, **blocks, **ONE_WARP,
        )  # fmt: skip
        for i in range(n if deterministic else 0):
            keys = torch.empty(queries, heads, levels, points, 4, dtype=torch.int32, device=value.device)
            shares = torch.empty_like(keys, dtype=torch.float32)
            corners_kernel[(triton.cdiv(queries, SORTED), heads)](
                locations[i], weights[i], keys, shares, cells, queries, *sizes, BLOCK_Q=SORTED, **fixed, **FOUR_WARPS
            )
            keys, order = keys.view(-1).sort(stable=True)
            wanted = torch.arange(heads * cells + 1, dtype=torch.int32, device=value.device)
            starts = torch.searchsorted(keys, wanted, out_int32=True)
            gather_kernel[(cells, heads)](
                order, starts, shares, grad[i], grad_value[i], cells,
                D=dim, BLOCK_Q=SORTED, BLOCK_D=blocks["BLOCK_D"], **fixed, **FOUR_WARPS,
            )  # fmt: skip
    return grad_value.to(value.dtype), grad_locations, grad_weights


def tile(dim: int, points: int, numbers: int) -> dict[str, int]:
    """Block sizes for heads of `dim` channels and `points` a level: at most so many numbers, if a query has no more."""
    block_d, block_p = triton.next_power_of_2(dim), triton.next_power_of_2(points)
    return {"BLOCK_Q": max(1, min(32, numbers // (block_d * block_p))), "BLOCK_D": block_d, "BLOCK_P": block_p}


def _sizes(shapes: Sequence[int]) -> list[int]:
    sizes = [int(h) << 32 | int(w) for h, w in zip(shapes[::2], shapes[1::2], strict=True)]
    return sizes + [1 << 32 | 1] * (MAX_LEVELS - len(sizes))
