"""A training step's weights are made once: losses and gradients are those of casting and folding at every use."""

from contextlib import nullcontext

import pytest
import torch

from idol_core.backbones.resnet import FrozenBatchNorm
from idol_core.config import LossConfig, ResNetConfig
from idol_core.engine.step_weights import step_weights
from idol_core.losses.criterion import Criterion
from idol_core.ops.precision import arithmetic
from tests.unit.test_criterion import make_batch
from tests.unit.test_model import random_model
from tests.unit.tiny import RESNET, SWIN

CPU = torch.device("cpu")
FROZEN = ResNetConfig(**{**vars(RESNET), "freeze_at": 2})


def step(model, precision, weights):
    """Losses and gradients by name."""
    batch = make_batch([2, 1])
    torch.manual_seed(1)  # stochastic depth
    with weights:
        with arithmetic(CPU, precision):
            losses = Criterion(LossConfig())(model, model(batch.frames), batch)
        torch.stack(list(losses.values())).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return losses, gradients


@pytest.mark.parametrize("checkpoint", [False, True], ids=["", "checkpoint"])
@pytest.mark.parametrize("backbone", [RESNET, FROZEN, SWIN], ids=["resnet", "frozen", "swin"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_step_has_the_same_losses_and_gradients_to_the_bit(precision, backbone, checkpoint):
    model = random_model(backbone=backbone, num_classes=3, dropout=0.0, checkpoint=checkpoint).train()
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm):
            for buffer in (module.weight, module.bias, module.running_mean, module.running_var):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    losses, gradients = step(model, precision, nullcontext())
    same, made = step(model, precision, step_weights(model, precision))
    assert all(torch.equal(same[name], loss) for name, loss in losses.items())
    assert made.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.equal(made[name], gradient), name


def test_the_weights_are_the_trained_ones_again_afterwards_whatever_happens():
    model = random_model()
    before, state = dict(model.named_parameters()), list(model.state_dict())
    weight = model.encoder.layers[0].attention.value

    def fail():
        assert weight.weight.dtype == torch.bfloat16
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), step_weights(model, "bf16"):
        fail()
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is weight for name, weight in before.items())
    assert list(model.state_dict()) == state
