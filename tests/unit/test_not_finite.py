"""A loss that is not finite is told with the items of the micro-batch that it comes from."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from idol_core.config import SolverConfig
from idol_core.engine.distributed import Group, join_group, leave_group
from idol_core.engine.not_finite import refuse_not_finite
from idol_core.engine.optim import clip_gradients, make_optimizers, skip_unless_finite
from idol_core.engine.outcomes import Outcomes
from idol_core.errors import IdolError
from tests.e2e.stages import fork_ranks

ALONE = Group(0, 1, torch.device("cpu"))
FINE = {"giou": torch.tensor(1.0), "mask": torch.tensor(2.0)}
BROKEN = {"giou": torch.tensor(1.0), "mask": torch.tensor(float("nan"))}


def refuse(losses, batches, group=ALONE, *, scaled=False):
    with pytest.raises(IdolError) as caught:
        refuse_not_finite(7, losses, batches, group, scaled=scaled)
    return caught.value


@pytest.mark.parametrize("scaled", [False, True])
def test_the_items_of_the_broken_micro_batch_are_named(scaled):
    error = refuse([FINE, BROKEN], [("a/0.jpg", "a/1.jpg"), ("b/0.jpg", "b/1.jpg")], scaled=scaled)
    assert error.what == "the loss is not finite in iteration 7 (mask)"
    assert error.where == "samples b/0.jpg, b/1.jpg"


def test_all_items_are_named_where_only_the_gradient_is_broken():
    error = refuse([FINE, FINE], [("a",), ("b",)])
    assert "(gradient)" in error.what
    assert error.where == "samples a, b"


def test_an_overflow_of_the_scaled_gradient_is_left_to_the_scaler():
    refuse_not_finite(7, [FINE], [("a",)], ALONE, scaled=True)


def norms(*values):
    return [torch.tensor(value) for value in values]


def test_steps_read_later_are_refused_as_steps_read_at_once():
    later = Outcomes(ALONE, scaled=False, at_once=False)
    for iteration, (losses, norm) in enumerate(zip((FINE, BROKEN, FINE), norms(1.0, float("nan"), 2.0), strict=True)):
        later.add(iteration, [losses, FINE], norm, [(f"{iteration}a",), (f"{iteration}b",)])
    with pytest.raises(IdolError) as caught:
        later.read()
    assert caught.value.what == "the loss is not finite in iteration 1 (mask)"
    assert caught.value.where == "samples 1a"
    at_once = Outcomes(ALONE, scaled=False, at_once=True)
    at_once.add(0, [FINE], torch.tensor(1.5), [("a",)])
    assert at_once.read() == at_once.read() == 1.5
    with pytest.raises(IdolError, match="iteration 1"):
        at_once.add(1, [BROKEN], torch.tensor(float("inf")), [("b",)])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_that_is_not_finite_changes_nothing_on_a_device_that_is_not_asked(optimizer):
    """Two steps with a broken one between them are the two steps."""

    def trained(*gradients):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
        optimizers = make_optimizers(model, SolverConfig(optimizer=optimizer, lr=0.1))
        for gradient in gradients:
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, gradient)
            skip_unless_finite(optimizers, clip_gradients(model, 1.0))
            for each in optimizers:
                each.step()
        state = [each.state_dict()["state"] for each in optimizers]
        return [*model.parameters(), *(value for part in state for one in part.values() for value in one.values())]

    wanted, found = trained(1.0, -2.0), trained(1.0, float("nan"), -2.0)
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
    assert not torch.equal(wanted[0], trained(1.0)[0])


def _in_group(folder):
    rank = int(os.environ["RANK"])
    error = refuse([FINE, BROKEN if rank else FINE], [(f"{rank}a",), (f"{rank}b",)], join_group())
    (folder / str(rank)).write_text(f"{error.what}, {error.where}")
    leave_group()


def test_every_process_names_the_items_of_the_one_that_broke(tmp_path):
    for process in fork_ranks(2, _in_group, tmp_path):
        process.join(300)
        assert process.exitcode == 0
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert told == dict.fromkeys(("0", "1"), "the loss is not finite in iteration 7 (mask), samples 1b")
