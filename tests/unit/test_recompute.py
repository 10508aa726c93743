"""Gradient checkpointing gives the same gradients, bit for bit, dropout and stochastic depth included."""

import pytest
import torch

from idol_core.build import build_model
from tests.unit.test_model import frames_of
from tests.unit.tiny import SWIN, tiny_config


def kept_and_gradients(checkpoint, **changes):
    """Bytes kept for the backward pass, and every gradient."""
    torch.manual_seed(0)
    model = build_model(tiny_config(checkpoint=checkpoint, dropout=0.3, **changes)).train()
    kept = []

    def keep(tensor):
        kept.append(tensor.nbytes)
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        decoded = model(frames_of((64, 90), (50, 96)))
    size = sum(kept)
    (decoded.queries.square().sum() + decoded.logits.sum() + decoded.boxes.sum()).backward()
    return size, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("changes", [{}, {"backbone": SWIN}], ids=["resnet", "swin"])
def test_checkpointing_keeps_less_and_gives_the_same_gradients(changes):
    (size, gradients), (smaller, same) = (kept_and_gradients(on, **changes) for on in (False, True))
    assert smaller < 0.7 * size
    assert same.keys() == gradients.keys()
    assert all(torch.equal(same[name], gradient) for name, gradient in gradients.items())
