"""Run one stage from its folder: read stage.json, load the start weights, train, write weights, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from idol_core.build import build_model
from idol_core.classes import parse_same
from idol_core.config import StageConfig
from idol_core.data.contents import training_remarks
from idol_core.data.dataset import Dataset
from idol_core.data.loader import item_names, make_loader
from idol_core.data.stage_sets import training_set, validation_set
from idol_core.engine.checkpoint import keep_best, sweep
from idol_core.engine.distributed import Group, join_group, leave_group, place_in_group
from idol_core.engine.evaluate import evaluate_stage
from idol_core.engine.journal import Journal
from idol_core.engine.stage_files import StageOrder, newest_iteration, read_order
from idol_core.engine.train import train
from idol_core.errors import IdolError, Integrity
from idol_core.metadata import to_metadata
from idol_core.model.idol import IDOL
from idol_core.structures import Batch
from idol_core.system.cache import find_weights
from idol_core.system.cpu import keep_freed_memory
from idol_core.system.files import write_json
from idol_core.weights import Classes, save_weights, start_from

CLASSES = "classes.json"  # class names by index, for users of the stage's checkpoints
LOCK_SECONDS = 60.0  # time for a previous process that is stopping to write its checkpoint


def run_stage(folder: Path, *, should_stop: Callable[[], bool]) -> None:
    """Run or resume the stage of `folder` to its end.

    Raises IdolError; Preempted, after writing a checkpoint, when `should_stop` says so.
    """
    order = _order(folder)
    config = order.config()
    rank, _ = place_in_group()
    settings = order.fingerprint.get("settings", {})
    journal = Journal(folder, iterations=config.solver.iterations, silent=rank > 0, log=order.log, settings=settings)
    with _lock(folder) if rank == 0 else nullcontext():
        if rank == 0:
            sweep(folder / "checkpoints")
        journal.state("running", phase="train", iteration=newest_iteration(folder / "checkpoints"))
        group = join_group()  # after state.json: errors of other processes are recorded later than this
        if group.device.type == "cpu":
            keep_freed_memory()
        done = False
        try:
            _run(folder, order, config, group, journal, should_stop)
            done = True
        finally:
            journal.close(done=done)
    leave_group()


def _order(folder: Path) -> StageOrder:
    order = read_order(folder)
    if not order.settings or order.root is None:
        raise Integrity("stage.json can't be read", where=str(folder / "stage.json"), fix="run the recipe again")
    return order


def _run(
    folder: Path,
    order: StageOrder,
    config: StageConfig,
    group: Group,
    journal: Journal,
    should_stop: Callable[[], bool],
) -> None:
    root, last = order.root or Path(), config.solver.iterations
    train_set = training_set(config, root, on_read=journal.reading)
    if group.rank == 0:
        for remark in training_remarks(train_set):
            journal.warn(remark)
    val_set = validation_set(config, root, train_set.category_names, on_read=journal.reading)
    torch.manual_seed(config.solver.seed)
    model = build_model(config.model)
    if group.rank == 0:
        write_json(folder / CLASSES, train_set.category_names)
    metadata = to_metadata(config, train_set.category_names)

    def evaluate(into: Path, *, pictures: bool = False) -> dict[str, float] | None:
        return evaluate_stage(
            config, model, val_set, into, pictures=pictures, group=group, journal=journal, should_stop=should_stop
        )

    def evaluate_between(iteration: int) -> None:
        if group.any(group.rank == 0 and journal.has_evaluated(iteration)):  # in an earlier session
            return
        metrics = evaluate(folder / "evaluations" / f"{iteration:08d}", pictures=True)
        if group.rank == 0:
            keep_best(folder, iteration, metrics, model, metadata)
            journal.line(event="evaluated", iteration=iteration, metrics=metrics)

    def initialise() -> None:
        journal.start_from(_initialise(model, order, config, train_set.category_names))

    train(
        config,
        model,
        _Batches(config, train_set, group),
        group=group,
        folder=folder,
        journal=journal,
        should_stop=should_stop,
        warn=journal.warn,
        initialise=initialise,
        evaluate=evaluate_between,
    )
    if group.rank == 0:
        save_weights(folder / "weights.safetensors", model.state_dict(), metadata)
    journal.state("running", phase="evaluate", iteration=last)
    metrics = evaluate(folder)
    if group.rank == 0 and config.solver.evaluate_every:
        keep_best(folder, last, metrics, model, metadata)
    journal.state("done", phase="evaluate", iteration=last, metrics=metrics)


class _Batches:
    """The training set's micro-batches for this process."""

    def __init__(self, config: StageConfig, dataset: Dataset, group: Group) -> None:
        self._config, self._dataset, self._group = config, dataset, group

    def start(self, iteration: int) -> Iterator[list[Batch]]:
        """Yield the micro-batches of `iteration`, of the next one, and so on."""
        place = {"rank": self._group.rank, "world": self._group.world}
        return make_loader(self._config, self._dataset, start_iteration=iteration, **place)

    def names(self, iteration: int) -> list[str]:
        """Names of the items of `iteration`, known before they are loaded."""
        return item_names(self._config, self._dataset, iteration, rank=self._group.rank, world=self._group.world)


def _initialise(model: IDOL, order: StageOrder, config: StageConfig, names: Sequence[str]) -> str:
    """Load the start weights into `model`; returns a text on which they are and what was loaded."""
    source = order.parent or config.init
    if source is None:
        return "from scratch"
    path = find_weights(source)
    classes = Classes(tuple(names), config.step, parse_same(config.data.classes_map))
    return f"from {path}: {start_from(model, path, classes)}"


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise IdolError(
            "another process is running this stage", where=str(folder), fix="wait until it ends, or stop it"
        ) from error
    return lock
