"""The training objective (paper section 4.1): assignment, losses of all layers, contrastive losses of the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from idol_core.config import LossConfig
from idol_core.losses.contrastive import Samples, pair_losses, sample_rounds
from idol_core.losses.detection import focal_loss, giou_loss, l1_loss
from idol_core.losses.mask import mask_losses
from idol_core.losses.memory import memory_losses, recurring
from idol_core.losses.simota import Assignment, match_rounds, settle
from idol_core.ops.boxes import cxcywh_to_xyxy
from idol_core.ops.constants import constant
from idol_core.structures import Batch, Decoded, Targets, chosen

DETECTION = ("loss_ce", "loss_bbox", "loss_giou", "loss_mask", "loss_dice")
Draws = torch.Generator | Sequence[torch.Generator] | None


class Heads(Protocol):
    """The methods of the model that the losses call, for masks and embeddings of chosen queries."""

    def mask_features(self, decoded: Decoded) -> Tensor: ...

    def mask_logits(self, decoded: Decoded, features: Tensor, layer: Tensor, row: Tensor, query: Tensor) -> Tensor: ...

    def embed(self, queries: Tensor) -> Tensor: ...


class Matched(NamedTuple):
    """The n matched queries of all layers, sorted by layer. All are int64 [n]."""

    layer: Tensor
    row: Tensor  # index of the key frame
    query: Tensor
    instance: Tensor

    def per_layer(self, values: Tensor, layers: int) -> Tensor:
        """Sum `values` [..., n] over the matches of each layer: [..., layers]."""
        return (values[..., None] * (self.layer[:, None] == torch.arange(layers, device=values.device))).sum(-2)


class Criterion:
    """Compute the weighted training losses of a batch. Has no parameters and no state."""

    def __init__(self, config: LossConfig) -> None:
        self.config = config
        self._weights = (config.classification, config.l1, config.giou, config.mask, config.dice)

    def __call__(
        self,
        model: Heads,
        decoded: Decoded,
        batch: Batch,
        *,
        generator: Draws = None,
        total_matches: Callable[[Tensor], Tensor] = lambda counts: counts,
    ) -> dict[str, Tensor]:
        """Return the weighted losses by their published names; their sum is the objective.

        `decoded` holds all frames of `batch`. Names without a suffix belong to the last decoder layer, `_0`, `_1`, ...
        to those before it; `loss_reid` and `loss_reid_aux` exist only where the batch has reference frames.

        `generator` (or one per pair, so that the draws don't depend on how pairs are spread over batches) draws the
        auxiliary negatives; None takes the first ones in query order. `total_matches` is called once, with the number
        of matched queries of every layer and, for pairs, also the number of contrastive instances: float [L] or
        [L + 1]. The losses are divided by what it returns (by 1 where that is 0).
        """
        # Assign the queries of labelled frames to instances, in every decoder layer, and those of frames to compare.
        keys = decoded if batch.ref is None else decoded.frames(slice(0, None, 2))
        compared = _compared(decoded, batch)
        assignment, samples = _assign(keys, batch.key, compared)

        # Count what divides the losses: the matches of each layer, then the instances that are compared.
        counts = (assignment.gt >= 0).sum((1, 2))
        if batch.ref is not None:
            counts = torch.cat((counts, batch.ref.valid.sum()[None]))
        elif batch.clip_frames > 1:
            counts = torch.cat((counts, recurring(_by_clip(batch.key.valid, batch)).sum()[None]))
        total = total_matches(counts.float())
        normalizer = torch.where(total > 0, total, 1.0)

        # Detection losses of the labelled frames, then the contrastive losses between frames.
        layers = len(assignment.gt)
        losses = self._named(self._detection(model, keys, batch.key, assignment) / normalizer[:layers])
        if batch.ref is not None or batch.clip_frames > 1:
            anchor = assignment.anchor[-1]
            contrastive = self._contrastive(model, keys.queries[-1], anchor, compared, samples, batch, generator)
            losses |= {name: value / normalizer[-1] for name, value in contrastive.items()}
        return losses

    def _detection(self, model: Heads, keys: Decoded, targets: Targets, assignment: Assignment) -> Tensor:
        """Weighted sums of the detection and mask losses, in the order of DETECTION, per layer: [5, L]."""
        alpha, layers = self.config.focal_alpha, len(keys.logits)
        layer, row, query = (assignment.gt >= 0).nonzero(as_tuple=True)
        matched = Matched(layer, row, query, assignment.gt[layer, row, query])

        present = torch.zeros_like(keys.logits, dtype=torch.bool)
        present[layer, row, query, targets.labels[row, matched.instance]] = True
        classification = focal_loss(keys.logits.float(), present, alpha=alpha).sum((1, 2, 3))

        boxes = chosen(keys.boxes, keys.place(layer, row, query)).float()
        goals = targets.boxes[row, matched.instance]
        giou = giou_loss(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(goals))

        mask, dice = self._masks(model, keys, targets, matched)
        of_matches = matched.per_layer(torch.stack((l1_loss(boxes, goals), giou, mask, dice)), layers)
        return _column(self._weights, boxes.device) * torch.cat((classification[None], of_matches))

    def _masks(self, model: Heads, keys: Decoded, targets: Targets, matched: Matched) -> tuple[Tensor, Tensor]:
        """Mask (focal) and Dice loss of every match: [n] each. Without a match, the mask branch gets zero gradients and
        the dynamic filters none at all."""
        features = model.mask_features(keys)
        if len(matched.row) == 0:
            return features.sum((1, 2, 3))[:0].float(), features.sum((1, 2, 3))[:0].float()
        logits = model.mask_logits(keys, features, matched.layer, matched.row, matched.query).float()
        goals = targets.masks[matched.row, matched.instance]
        return mask_losses(logits, goals, alpha=self.config.focal_alpha)

    def _contrastive(
        self,
        model: Heads,
        queries: Tensor,
        anchor: Tensor,
        compared: Compared | None,
        samples: Samples | None,
        batch: Batch,
        generator: Draws,
    ) -> dict[str, Tensor]:
        """Weighted sums over the instances in both frames of a pair, or in a frame of a clip and an earlier one.

        queries [B, Q, C] of the labelled frames, anchor [B, N]. Without such an instance (`samples` is None) the
        embedding head gets no gradient."""
        if compared is None or samples is None:
            names = ("loss_reid", "loss_reid_aux", *(("loss_reid_memory",) if batch.ref is None else ()))
            return dict.fromkeys(names, 0.0 * queries.sum())
        anchors, embeddings = model.embed(_rows(queries, anchor)).float(), model.embed(compared.queries).float()
        if batch.ref is None:
            clips, present = _by_clip(anchors, batch), _by_clip(batch.key.valid, batch)
            sums = memory_losses(clips, present, embeddings, samples, generator)
        else:
            sums = pair_losses(anchors, embeddings, samples, generator)
        weights = {"loss_reid_aux": self.config.auxiliary}
        return {name: weights.get(name, self.config.contrastive) * value for name, value in sums.items()}

    def _named(self, losses: Tensor) -> dict[str, Tensor]:
        """One entry per loss and layer of `losses` [5, L]."""
        last = losses.shape[1] - 1
        chosen = range(last + 1) if self.config.deep_supervision else [last]
        return {
            name if layer == last else f"{name}_{layer}": values[layer]
            for name, values in zip(DETECTION, (row.unbind() for row in losses.unbind()), strict=True)
            for layer in chosen
        }


@constant()
def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values)[:, None].to(device)


class Compared(NamedTuple):
    """Frames whose queries are compared with instances of earlier frames: last layer [n, Q, ...], and targets."""

    queries: Tensor
    logits: Tensor
    boxes: Tensor
    targets: Targets


def _compared(decoded: Decoded, batch: Batch) -> Compared | None:
    """The reference frames of pairs, the frames but the first of clips; None if no object is in several frames."""
    if not batch.objects_recur():
        return None
    queries, logits, boxes = decoded.queries[-1], decoded.logits[-1], decoded.boxes[-1]
    if batch.ref is not None:
        return Compared(queries[1::2], logits[1::2], boxes[1::2], batch.ref)

    def later(values: Tensor) -> Tensor:
        return _by_clip(values, batch)[:, 1:].flatten(0, 1)

    return Compared(later(queries), later(logits), later(boxes), Targets(*map(later, batch.key)))


def _by_clip(values: Tensor, batch: Batch) -> Tensor:
    """[B * T, ...] -> [B, T, ...]."""
    return values.unflatten(0, (-1, batch.clip_frames))


def _rows(queries: Tensor, anchor: Tensor) -> Tensor:
    """The queries [B, N, C] at the places `anchor` [B, N] of [B, Q, C]."""
    return queries.gather(1, anchor[..., None].expand(-1, -1, queries.shape[-1]))


def _assign(keys: Decoded, key: Targets, compared: Compared | None) -> tuple[Assignment, Samples | None]:
    """Assign the queries of labelled frames, and choose the samples of frames to compare, in the same rounds."""
    rounds: list[Any] = [match_rounds(keys.logits, keys.boxes, key)]
    if compared is not None:
        rounds.append(sample_rounds(compared.logits.float().sigmoid(), compared.boxes, compared.targets))
    assignment, *samples = settle(*rounds)
    return assignment, samples[0] if samples else None
