"""A loss that is not finite is told with the items of the micro-batch that it comes from."""

from __future__ import annotations

import os
import socket

import pytest
import torch
from torch import multiprocessing

from idol_core.engine.distributed import Group, join_group, leave_group
from idol_core.engine.not_finite import refuse_not_finite
from idol_core.errors import IdolError
from idol_core.structures import Batch

ALONE = Group(0, 1, torch.device("cpu"))
FINE = {"giou": torch.tensor(1.0), "mask": torch.tensor(2.0)}
BROKEN = {"giou": torch.tensor(1.0), "mask": torch.tensor(float("nan"))}


def batch(*items):
    return Batch(None, None, None, items)


def refuse(losses, batches, group=ALONE, *, scaled=False):
    with pytest.raises(IdolError) as caught:
        refuse_not_finite(7, losses, batches, group, scaled=scaled)
    return caught.value


@pytest.mark.parametrize("scaled", [False, True])
def test_the_items_of_the_broken_micro_batch_are_named(scaled):
    error = refuse([FINE, BROKEN], [batch("a/0.jpg", "a/1.jpg"), batch("b/0.jpg", "b/1.jpg")], scaled=scaled)
    assert error.what == "the loss is not finite in iteration 7 (mask)"
    assert error.where == "samples b/0.jpg, b/1.jpg"


def test_all_items_are_named_where_only_the_gradient_is_broken():
    error = refuse([FINE, FINE], [batch("a"), batch("b")])
    assert "(gradient)" in error.what
    assert error.where == "samples a, b"


def test_an_overflow_of_the_scaled_gradient_is_left_to_the_scaler():
    refuse_not_finite(7, [FINE], [batch("a")], ALONE, scaled=True)


def _in_group(rank, port, found):
    place = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    error = refuse([FINE, BROKEN if rank else FINE], [batch(f"{rank}a"), batch(f"{rank}b")], join_group())
    found.put((error.what, error.where))
    leave_group()


def test_every_process_names_the_items_of_the_one_that_broke():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(_in_group, (port, found), nprocs=2)
    assert [found.get(), found.get()] == [("the loss is not finite in iteration 7 (mask)", "samples 1b")] * 2
