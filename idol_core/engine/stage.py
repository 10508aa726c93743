"""Run one stage from its folder: read stage.json, load the start weights, train, write weights, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from idol_core.backbones.timm_network import pixel_remark
from idol_core.build import build_model, frozen_parts
from idol_core.classes import parse_same
from idol_core.config import SolverConfig, StageConfig, TimmConfig
from idol_core.data.catalog import is_built_in
from idol_core.data.contents import training_remarks
from idol_core.data.dataset import Dataset
from idol_core.data.loader import item_names, make_loader
from idol_core.data.stage_sets import mixed_images, training_set, validation_set
from idol_core.engine.best import describe_kept, keep_best, load_best, read_best, without_rise
from idol_core.engine.checkpoint import sweep
from idol_core.engine.distributed import Group, join_group, leave_group, place_in_group
from idol_core.engine.evaluate import evaluate_stage
from idol_core.engine.journal import Journal
from idol_core.engine.stage_files import StageOrder, newest_iteration, read_order
from idol_core.engine.train import Trained, train
from idol_core.errors import IdolError, Integrity, InvalidInput
from idol_core.metadata import to_metadata
from idol_core.model.idol import IDOL
from idol_core.structures import Batch
from idol_core.system.cache import find_weights
from idol_core.system.cpu import keep_freed_memory
from idol_core.system.files import write_json
from idol_core.weights import Classes, Transfer, save_weights, start_from

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
    root = order.root or Path()
    train_set = training_set(config, root, on_read=journal.reading)
    mixed = mixed_images(config, root, train_set, on_read=journal.reading)
    if group.rank == 0:
        of_mixed = training_remarks(mixed, "the mixed images") if mixed else []
        for remark in [*training_remarks(train_set), *of_mixed]:
            journal.warn(remark)
    val_set = validation_set(config, root, train_set.category_names, on_read=journal.reading)
    torch.manual_seed(config.solver.seed)
    model = build_model(config.model)
    if group.rank == 0:
        write_json(folder / CLASSES, train_set.category_names)
        if isinstance(config.model.backbone, TimmConfig):
            remark = pixel_remark(config.model.backbone.name, config.input.pixel_mean, config.input.pixel_std)
            if remark:
                journal.warn(remark)
    metadata = to_metadata(config, train_set.category_names)

    patience = config.solver.patience if val_set.has_ground_truth else 0
    if patience < config.solver.patience and group.rank == 0:
        journal.warn("solver.patience has no effect: the validation set has no ground truth")

    def evaluate(scored: IDOL, into: Path, *, pictures: bool = False) -> dict[str, float] | None:
        return evaluate_stage(
            config, scored, val_set, into, pictures=pictures, group=group, journal=journal, should_stop=should_stop
        )

    def evaluate_between(iteration: int, scored: IDOL) -> bool:
        if not group.any(group.rank == 0 and journal.has_evaluated(iteration)):  # in an earlier session
            metrics = evaluate(scored, folder / "evaluations" / f"{iteration:08d}", pictures=True)
            if group.rank == 0:
                keep_best(folder, iteration, metrics, scored, metadata)
                journal.line(event="evaluated", iteration=iteration, metrics=metrics)
        stops = group.rank == 0 and patience > 0 and without_rise(journal.scores(iteration)) >= patience
        return group.any(stops)

    def initialise() -> None:
        journal.start_from(_initialise(model, order, config, train_set.category_names))

    trained = train(
        config,
        model,
        _Batches(config, train_set, mixed, group),
        group=group,
        folder=folder,
        journal=journal,
        should_stop=should_stop,
        warn=journal.warn,
        initialise=initialise,
        evaluate=evaluate_between,
    )
    _conclude(
        folder, config.solver, trained, metadata, group=group, journal=journal, evaluate=evaluate, choose=patience > 0
    )


def _conclude(
    folder: Path,
    solver: SolverConfig,
    trained: Trained,
    metadata: dict[str, str],
    *,
    group: Group,
    journal: Journal,
    evaluate: Callable[[IDOL, Path], dict[str, float] | None],
    choose: bool,
) -> None:
    """Save the final weights and score them; with `choose` the best that were scored, if those of the end are not."""
    model, reached = trained.model, trained.iteration

    def save_and_score() -> dict[str, float] | None:
        if group.rank == 0:
            save_weights(folder / "weights.safetensors", model.state_dict(), metadata)
        journal.state("running", phase="evaluate", iteration=reached)
        return evaluate(model, folder)

    metrics = None
    best = group.gather(read_best(folder))[0] if choose else None
    if reached == solver.iterations or best is None:
        metrics = save_and_score()
        if group.rank == 0 and solver.evaluate_every:
            keep_best(folder, reached, metrics, model, metadata)
        best = group.gather(read_best(folder))[0] if choose else None
    if best is not None and best.iteration != reached:
        load_best(folder, model)
        journal.line(event="kept", text=describe_kept(best, reached, solver))
        metrics = save_and_score()
    journal.state("done", phase="evaluate", iteration=reached, metrics=metrics)


class _Batches:
    """The training set's micro-batches for this process."""

    def __init__(self, config: StageConfig, dataset: Dataset, mixed: Dataset | None, group: Group) -> None:
        self._config, self._sets, self._group = config, (dataset, mixed), group

    def start(self, iteration: int) -> Iterator[list[Batch]]:
        """Yield the micro-batches of `iteration`, of the next one, and so on."""
        rank, world = self._group.rank, self._group.world
        return make_loader(self._config, *self._sets, start_iteration=iteration, rank=rank, world=world)

    def names(self, iteration: int) -> list[str]:
        """Names of the items of `iteration`, known before they are loaded."""
        return item_names(self._config, *self._sets, iteration, rank=self._group.rank, world=self._group.world)


def _initialise(model: IDOL, order: StageOrder, config: StageConfig, names: Sequence[str]) -> str:
    """Load the start weights into `model`; returns a text on which they are and what was loaded."""
    source = order.parent or config.init
    if source is None:
        return "from scratch"
    path = find_weights(source)
    by_name = order.parent is None and not is_built_in(config.data.train.name)
    of_file = order.init_classes or None
    classes = Classes(tuple(names), config.step, parse_same(config.data.classes_map), by_name, of_file)
    found = start_from(model, path, classes)
    _check_frozen(model, config, found, path)
    return f"from {path}: {found}"


def _check_frozen(model: IDOL, config: StageConfig, found: Transfer, path: Path) -> None:
    """Raise InvalidInput if a part that is to be frozen was not in the weights."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for part, modules in frozen_parts(model, config.model.freeze).items():
        if any(names[id(p)] in found.reinitialised for module in modules for p in module.parameters()):
            what = f"model.freeze names {part}, which the initial weights don't have: it would stay random"
            kept = ",".join(name for name in config.model.freeze if name != part)
            raise InvalidInput(what, where=str(path), fix=f"--set model.freeze=[{kept}], or other initial weights")


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise IdolError(
            "another process is running this stage", where=str(folder), fix="wait until it ends, or stop it"
        ) from error
    return lock
