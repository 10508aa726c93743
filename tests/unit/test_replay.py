"""Replays of the network: recorded at the second batch of a form, and used only where they agree with it."""

import pytest
import torch

from idol_core.config import InputConfig
from idol_core.data.collate import collate_frames
from idol_core.errors import InvalidInput
from idol_core.inference.replay import MOST, Replayed
from idol_core.ops.constants import constant, kept_alive
from idol_core.ops.pixels import normalized
from idol_core.structures import Decoded
from tests.unit.test_streaming import segmenter


def frames(count=1, width=64, seed=0):
    images = torch.randint(0, 256, (count, 3, 96, width), generator=torch.Generator().manual_seed(seed))
    return collate_frames(list(images.byte()), config=InputConfig())


def plain(given):
    """In place of a network: something that depends on every pixel."""
    values = normalized(given).images.mean((1, 3))[None, ..., None]
    return Decoded(values, values, values, values, values[0], ((1, 1),), given.sizes)


class Recorder:
    """Records replays that add `error` to the logits, and counts what it is asked for."""

    def __init__(self, error=0.0):
        self.error, self.recorded, self.replayed = error, 0, 0

    def __call__(self, forward, like):
        self.recorded += 1

        def replay(given):
            self.replayed += 1
            decoded = forward(given)
            return decoded.__class__(**{**vars(decoded), "logits": decoded.logits + self.error})

        return replay


def test_a_form_is_recorded_when_it_comes_again_and_replayed_from_then_on(capsys):
    record = Recorder()
    run = Replayed(plain, record)
    for seed in range(4):
        assert torch.equal(run(frames(seed=seed)).logits, plain(frames(seed=seed)).logits)
    assert (record.recorded, record.replayed) == (1, 3)  # of which the first is compared with the network
    run(frames(count=2))
    assert record.recorded == 1
    run(frames(count=2))
    assert record.recorded == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"recording a CUDA graph for {what} of 96x64" for what in ("1 frame", "2 frames")]


@pytest.mark.parametrize("error", [1.0, float("nan")])
def test_a_replay_that_is_wrong_is_said_once_and_not_used(capsys, error):
    run = Replayed(plain, Recorder(error))
    for seed in range(4):
        assert torch.equal(run(frames(seed=seed)).logits, plain(frames(seed=seed)).logits)
    assert capsys.readouterr().err.count("is wrong by") == 1


def test_a_form_that_cannot_be_recorded_is_computed_as_usual(capsys):
    def record(forward, like):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    run = Replayed(plain, record)
    for seed in range(3):
        assert torch.equal(run(frames(seed=seed)).logits, plain(frames(seed=seed)).logits)
    assert capsys.readouterr().err.count("can't be recorded (operation not permitted when stream is capturing);") == 1


def test_no_more_forms_are_recorded_than_memory_is_meant_for():
    record = Recorder()
    run = Replayed(plain, record)
    for _ in range(2):
        for width in range(64, 64 + 32 * (MOST + 2), 32):
            run(frames(width=width))
    assert record.recorded == MOST


def test_constants_of_a_graph_are_kept_alive():
    made = constant(keep=1)(lambda size: torch.zeros(size))
    first = made(1)
    with kept_alive() as used:
        assert made(1) is first
        second = made(2)
    assert used[0] is first
    assert used[1] is second
    made(3)
    assert len(used) == 2


def test_cuda_graphs_on_a_cpu_are_refused():
    with pytest.raises(InvalidInput, match="need a GPU"):
        segmenter(cuda_graphs=True)
