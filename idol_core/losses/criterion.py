"""The training objective (paper section 4.1): assignment, losses of all layers, contrastive losses of the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from idol_core.config import LossConfig
from idol_core.losses.contrastive import Samples, auxiliary_loss, contrastive_loss, draw_order, sample_rounds
from idol_core.losses.detection import focal_loss, giou_loss, l1_loss
from idol_core.losses.mask import mask_losses
from idol_core.losses.simota import Assignment, match_rounds, settle
from idol_core.ops.boxes import cxcywh_to_xyxy
from idol_core.structures import Batch, Decoded, Targets

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
        """Sum `values` [n] over the matches of each layer: [layers]."""
        return (values[:, None] * (self.layer[:, None] == torch.arange(layers, device=values.device))).sum(0)


class Criterion:
    """Compute the weighted training losses of a batch. Has no parameters and no state."""

    def __init__(self, config: LossConfig) -> None:
        self.config = config

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
        # Assign the queries of the key frames to instances, in every decoder layer, and those of the reference frames.
        keys = decoded if batch.ref is None else decoded.frames(slice(0, None, 2))
        refs = decoded.frames(slice(1, None, 2)) if batch.pairs_share_objects() else None
        assignment, samples = _assign(keys, batch.key, refs, batch.ref)

        # Count the matches that divide the losses: per layer, then the instances in both frames (contrastive losses).
        counts = (assignment.gt >= 0).sum((1, 2))
        if batch.ref is not None:
            counts = torch.cat((counts, batch.ref.valid.sum()[None]))
        total = total_matches(counts.float())
        normalizer = torch.where(total > 0, total, 1.0)

        # Detection losses of the key frames, then the contrastive losses between key and reference frames.
        layers = len(assignment.gt)
        losses = self._named(self._detection(model, keys, batch.key, assignment), normalizer[:layers])
        if batch.ref is not None:
            anchor = assignment.anchor[-1]
            contrastive = self._contrastive(model, keys.queries[-1], anchor, refs, samples, generator)
            losses |= {name: value / normalizer[-1] for name, value in contrastive.items()}
        return losses

    def _detection(self, model: Heads, keys: Decoded, targets: Targets, assignment: Assignment) -> dict[str, Tensor]:
        """Weighted sums of the detection and mask losses, per layer: [L] each."""
        weights, alpha, layers = self.config, self.config.focal_alpha, len(keys.logits)
        layer, row, query = (assignment.gt >= 0).nonzero(as_tuple=True)
        matched = Matched(layer, row, query, assignment.gt[layer, row, query])

        present = torch.zeros_like(keys.logits, dtype=torch.bool)
        present[layer, row, query, targets.labels[row, matched.instance]] = True
        classification = focal_loss(keys.logits.float(), present, alpha=alpha).sum((1, 2, 3))

        boxes, goals = keys.boxes[layer, row, query].float(), targets.boxes[row, matched.instance]
        giou = giou_loss(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(goals))

        mask, dice = self._masks(model, keys, targets, matched)
        return {
            "loss_ce": weights.classification * classification,
            "loss_bbox": weights.l1 * matched.per_layer(l1_loss(boxes, goals), layers),
            "loss_giou": weights.giou * matched.per_layer(giou, layers),
            "loss_mask": weights.mask * matched.per_layer(mask, layers),
            "loss_dice": weights.dice * matched.per_layer(dice, layers),
        }

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
        refs: Decoded | None,
        samples: Samples | None,
        generator: Draws,
    ) -> dict[str, Tensor]:
        """Weighted sums over the instances present in both frames. queries [B, Q, C] of the key frames, anchor [B, N].

        Without such an instance (`samples` is None) the embedding head gets no gradient."""
        if refs is None or samples is None:
            zero = 0.0 * queries.sum()
            return {"loss_reid": zero, "loss_reid_aux": zero}
        chosen = queries.gather(1, anchor[..., None].expand(-1, -1, queries.shape[-1]))
        anchors, embeddings = model.embed(chosen).float(), model.embed(refs.queries[-1]).float()
        order = draw_order(samples.negative.shape, generator, queries.device)
        return {
            "loss_reid": self.config.contrastive * contrastive_loss(anchors, embeddings, samples).sum(),
            "loss_reid_aux": self.config.auxiliary * auxiliary_loss(anchors, embeddings, samples, order=order).sum(),
        }

    def _named(self, losses: dict[str, Tensor], normalizer: Tensor) -> dict[str, Tensor]:
        """One entry per loss and layer, divided by the layer's normalizer [L]."""
        last = len(normalizer) - 1
        chosen = range(last + 1) if self.config.deep_supervision else [last]
        return {
            name if layer == last else f"{name}_{layer}": values[layer] / normalizer[layer]
            for name, values in losses.items()
            for layer in chosen
        }


def _assign(
    keys: Decoded, key: Targets, refs: Decoded | None, ref: Targets | None
) -> tuple[Assignment, Samples | None]:
    """Assign the queries of key frames, and choose the samples of reference frames (if given), in the same rounds."""
    rounds: list[Any] = [match_rounds(keys.logits, keys.boxes, key)]
    if refs is not None and ref is not None:
        rounds.append(sample_rounds(refs.logits[-1].float().sigmoid(), refs.boxes[-1], ref))
    assignment, *samples = settle(*rounds)
    return assignment, samples[0] if samples else None
