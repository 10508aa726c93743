"""Stop on a gradient that is not finite, naming the training items that caused it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from idol_core.engine.distributed import Group
from idol_core.errors import IdolError
from idol_core.structures import Batch


def refuse_not_finite(
    iteration: int,
    losses: Sequence[dict[str, Tensor]],
    micro_batches: Sequence[Batch],
    group: Group,
    *,
    scaled: bool,
) -> None:
    """Raise IdolError over a gradient that is not finite; to be called in every process of a group, the same in all.

    Args:
        losses: scalars by name, of each of this process's `micro_batches`. The items of those whose losses are not
            finite are named, whichever process they are of; all items where only the gradient is not finite.
        scaled: the gradient was scaled up for fp16. If it alone is not finite nothing is raised: the scaler leaves out
            such a step and scales less.
    """
    here = [(_bad(values), batch.sample_ids) for values, batch in zip(losses, micro_batches, strict=True)]
    everywhere = [entry for entries in group.gather(here) for entry in entries]
    guilty = [entry for entry in everywhere if entry[0]]
    if scaled and not guilty:
        return
    names = sorted({name for bad, _ in guilty for name in bad}) or ["gradient"]
    items = [item for _, items in guilty or everywhere for item in items]
    raise IdolError(
        f"the loss is not finite in iteration {iteration} ({', '.join(names)})",
        where=f"samples {', '.join(items)}",
        fix="lower solver.lr or look at these samples; the same command resumes from the last checkpoint",
    )


def _bad(values: dict[str, Tensor]) -> list[str]:
    return [name for name, value in values.items() if not torch.isfinite(value)]
