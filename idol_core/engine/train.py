"""The training loop of a stage: forward, backward, optimizer step, checkpoints, reports."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from idol_core.config import SolverConfig, StageConfig
from idol_core.data.collate import pad_batch
from idol_core.data.sampler import per_process
from idol_core.engine.average import Average
from idol_core.engine.checkpoint import load_newest, save_checkpoint, set_aside
from idol_core.engine.distributed import Group
from idol_core.engine.feed import next_batches
from idol_core.engine.journal import Journal
from idol_core.engine.meter import Meter
from idol_core.engine.objective import drop_unused_gradients, in_group
from idol_core.engine.optim import clip_gradients, full_state, make_optimizers, set_lr, skip_unless_finite
from idol_core.engine.outcomes import Outcomes
from idol_core.engine.step_weights import step_weights
from idol_core.errors import IdolError, Preempted
from idol_core.model.idol import IDOL
from idol_core.ops.precision import arithmetic, tf32
from idol_core.structures import Batch


class Batches(Protocol):
    """Source of this process's micro-batches of the training set."""

    def start(self, iteration: int) -> Iterator[list[Batch]]:
        """Yield the micro-batches of `iteration`, of the next one, and so on."""

    def names(self, iteration: int) -> list[str]:
        """Names of the items of an iteration, for messages."""


class Trained(NamedTuple):
    """What training ends with."""

    model: IDOL  # to be scored and saved: with `solver.ema` the averaged one
    iteration: int  # iterations done; fewer than `solver.iterations` if `evaluate` ended training


def seed_of(*parts: int) -> int:
    """Hash `parts` to a 63-bit seed."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def train(
    config: StageConfig,
    model: IDOL,
    batches: Batches,
    *,
    group: Group,
    folder: Path,
    journal: Journal,
    should_stop: Callable[[], bool],
    warn: Callable[[str], None],
    initialise: Callable[[], None],
    evaluate: Callable[[int, IDOL], bool],
    read_at_once: bool | None = None,
) -> Trained:
    """Train `model` in place for the remaining iterations, resuming from `folder/checkpoints`.

    `initialise()` loads the start weights; it is called if there is no usable checkpoint. `evaluate(i, model)` is
    called every `solver.evaluate_every` iterations, and again on resuming after that iteration; if it returns True, in
    all processes, training ends there. With `solver.ema` it gets the averaged model.
    Raises Preempted, after writing a checkpoint, when `should_stop` says so, and IdolError on a loss that is not finite
    (the last good checkpoint stays). Unless `read_at_once` (default: on a CPU), losses are read only every
    `solver.log_every` steps and before anything is written; a step that is not finite changes no weight before that.
    """
    solver = config.solver
    model.to(group.device).train()
    optimizers = make_optimizers(model, solver)
    scaler = torch.amp.GradScaler(group.device.type, enabled=solver.precision == "fp16")
    average = Average(model, solver.ema) if solver.ema else None
    start = _restore(folder, model, optimizers, scaler, average, group=group, warn=warn)
    if start is None:
        initialise()
        start = 0
        if average is not None:
            average.start(model)
    kept = model if average is None else average.model
    journal.resume_at(start)
    journal.state("running", phase="train", iteration=start)
    if start >= solver.iterations:
        return Trained(kept, start)
    normalizer = group.mean if solver.normalize == "global" else _identity
    backwards = per_process(solver, group.world)
    objective = in_group(model, config.loss, normalizer, group, backwards=backwards)

    def save(iteration: int) -> None:
        if group.rank == 0:
            moments = [optimizer.state_dict() for optimizer in optimizers]
            state = {"model": model.state_dict(), "optimizers": moments, "scaler": scaler.state_dict()}
            if average is not None:
                state["average"] = average.model.state_dict()
            save_checkpoint(folder / "checkpoints", iteration, state, keep=solver.keep_checkpoints)
        journal.state("running", phase="train", iteration=iteration)

    incoming = batches.start(start)
    meter = Meter(start, group.device)
    at_once = group.device.type == "cpu" if read_at_once is None else read_at_once
    outcomes = Outcomes(group, scaled=scaler.is_enabled(), at_once=at_once)
    for iteration in range(start, solver.iterations):
        if iteration and solver.evaluate_every and iteration % solver.evaluate_every == 0:
            outcomes.read()
            if evaluate(iteration, kept):
                save(iteration)
                return Trained(kept, iteration)
            model.train()
        with meter.waiting_for_data():
            micro_batches = next_batches(incoming, iteration, names=batches.names, warn=warn)
        if solver.normalize == "global":
            micro_batches = [_padded_alike(batch, group) for batch in micro_batches]
        micro_batches = [batch.to(group.device) for batch in micro_batches]
        lr = set_lr(optimizers, iteration, solver)
        losses = _gradients(model, objective, micro_batches, scaler, iteration, solver, group)
        drop_unused_gradients(model, micro_batches, group)
        for optimizer in optimizers:
            scaler.unscale_(optimizer)
        norm = clip_gradients(model, solver.clip_norm)
        outcomes.add(iteration, losses, norm, [batch.sample_ids for batch in micro_batches])
        if not outcomes.at_once:
            skip_unless_finite(optimizers, norm)
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()
        if average is not None:
            average.update(iteration + 1)
        model.zero_grad(set_to_none=True)

        done, last = iteration + 1, iteration + 1 == solver.iterations
        if done % solver.log_every == 0 or last or done == start + 1:
            values = _mean_losses(losses, group)
            found = {"grad_norm": outcomes.read(), "loss": sum(values.values()), "losses": values}
            journal.line(**meter.report(done), lr=lr, **found)
        stop = group.any(should_stop())
        if stop or done % solver.checkpoint_every == 0 or last:
            outcomes.read()
            save(done)
        if stop and not last:
            raise Preempted(f"stopped after iteration {done} of {solver.iterations}", where=str(folder))
    return Trained(kept, solver.iterations)


def _mean_losses(parts: list[dict[str, Tensor]], group: Group) -> dict[str, float]:
    """Each loss of the global batch by name, read from the device at once."""
    sums = torch.stack([torch.stack([part[name] for part in parts]).sum() for name in parts[0]])
    return dict(zip(parts[0], group.mean(sums).tolist(), strict=True))


def _padded_alike(batch: Batch, group: Group) -> Batch:
    """Pad to the largest frames of the group's batch, so that padding doesn't depend on the number of processes."""
    return pad_batch(batch, *group.largest(*batch.frames.images.shape[-2:]))


def _gradients(
    model: IDOL, objective: nn.Module, micro_batches: list[Batch], scaler: torch.amp.GradScaler, iteration: int,
    solver: SolverConfig, group: Group,
) -> list[dict[str, Tensor]]:  # fmt: skip
    """Accumulate the gradients of this process's micro-batches; returns each one's contribution to the mean weighted
    losses, detached."""
    share = 1.0 / len(micro_batches)
    parts: list[dict[str, Tensor]] = []
    for position, batch in enumerate(micro_batches):
        size = len(batch.sample_ids)
        first = (group.rank * len(micro_batches) + position) * size  # place in the global batch
        torch.manual_seed(seed_of(solver.seed, iteration, first))  # dropout
        seeds = [seed_of(solver.seed, iteration, first + i, 1) for i in range(size)]
        generators = [torch.Generator(group.device).manual_seed(seed) for seed in seeds]
        last = position + 1 == len(micro_batches)
        sync = nullcontext() if last or group.world == 1 else objective.no_sync()  # type: ignore[operator]
        with sync, step_weights(model, solver.precision):
            with arithmetic(group.device, solver.precision):
                losses = objective(batch, generators)
            values = torch.stack(list(losses.values()))
            with tf32(allowed=solver.precision == "tf32"):
                scaler.scale(values.sum() * share).backward()
        parts.append(dict(zip(losses, (values.detach() * share).unbind(), strict=True)))
    return parts


def _restore(
    folder: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    scaler: torch.amp.GradScaler,
    average: Average | None,
    *,
    group: Group,
    warn: Callable[[str], None],
) -> int | None:
    """Load the newest usable checkpoint; returns the iteration to run next, None if there is none.

    Raises IdolError if the processes of the group read different checkpoints.
    """
    like = {
        "model": model.state_dict(),
        "optimizers": [full_state(optimizer) for optimizer in optimizers],
        "scaler": scaler.state_dict(),
    }
    if average is not None:
        like["average"] = average.model.state_dict()
    saved, unusable = load_newest(folder / "checkpoints", like=like, warn=warn if group.rank == 0 else _unheard)
    start = None if saved is None else int(saved["iteration"])
    if len(set(group.gather(start))) > 1:
        what = f"rank {group.rank} reads the checkpoint of iteration {start}, another process another one"
        raise IdolError(what, where=str(folder / "checkpoints"), fix="look at the disk, then run again")
    if group.rank == 0:  # all have read by now
        set_aside(unusable)
    if saved is None:
        return None
    model.load_state_dict(saved["model"])
    for optimizer, found in zip(optimizers, saved["optimizers"], strict=True):
        groups = optimizer.state_dict()["param_groups"]  # from the recipe, not from the checkpoint
        optimizer.load_state_dict({"state": found["state"], "param_groups": groups})
    scaler.load_state_dict(saved["scaler"])
    if average is not None:
        average.model.load_state_dict(saved["average"])
    return start


def _unheard(_text: str) -> None:
    """Ignore a warning: rank 0 gives it for all processes."""


def _identity(value: Tensor) -> Tensor:
    return value
