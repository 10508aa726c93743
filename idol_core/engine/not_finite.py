"""Stop on a gradient that is not finite, naming the training items that caused it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from idol_core.engine.distributed import Group
from idol_core.errors import IdolError


def refuse_not_finite(
    iteration: int,
    losses: Sequence[dict[str, Tensor]],
    sample_ids: Sequence[tuple[str, ...]],
    group: Group,
    *,
    scaled: bool,
) -> None:
    """Raise the same IdolError in every process for a gradient that is not finite. A collective: all must call it.

    Args:
        losses: scalars by name for each of this process's micro-batches; `sample_ids` are their items. The error names
            the items of all micro-batches with a loss that is not finite, on any process; if all losses are finite, all
            items.
        scaled: the gradient was scaled up for fp16. If all losses are finite nothing is raised then: the gradient
            scaler skips the step and lowers its scale.
    """
    here = [(_bad(values), items) for values, items in zip(losses, sample_ids, strict=True)]
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
