"""A run (stages, folder, data root), made from the command-line options."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idol_core.config import StageConfig, data_sources
from idol_core.data.catalog import find_layout, known_names, resolve_source
from idol_core.data.stage_sets import mixed_images, training_set, validation_set
from idol_core.errors import IdolError, InvalidInput, Missing
from idol_core.system.cache import find_weights
from idolctl.config.detectron2_recipe import import_config
from idolctl.config.library import Recipe, is_path, load_recipe, recipe_names
from idolctl.datasets.old_splits import warn_of_old_split
from idolctl.datasets.root import DATASETS, TOY, data_root, is_toy
from idolctl.datasets.splits import leaking_videos
from idolctl.errors import raise_all, suggestion
from idolctl.runs.find import RUNS
from idolctl.runs.fingerprint import SCRATCH, FileHashes, annotations_hash, stage_fingerprint
from idolctl.runs.own_set import is_own_set, own_set_names, recipe_for
from idolctl.runs.plan import Action, make_plan
from idolctl.runs.processes import LaunchConfig, check_launch
from idolctl.runs.stages import Stage, make_stages, parse_steps
from idolctl.runs.state import WEIGHTS, StageState, read_stage
from idolctl.terminal.progress import say, transfer
from idolctl.zoo.entries import load_zoo


@dataclass(frozen=True)
class RunRequest:
    """The options of `idolctl run` and `idolctl plan`. With a `config_file`, `recipe` is ''."""

    recipe: str
    backbone: str | None = None
    steps: str | None = None
    assignments: tuple[str, ...] = ()
    runs: Path | None = None
    name: str | None = None
    root: Path | None = None
    init: str | None = None
    force_step: int | None = None
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    log: tuple[str, ...] = ()  # experiment trackers
    config_file: Path | None = None  # a detectron2-style file instead of a recipe
    overrides: tuple[str, ...] = ()  # for `config_file`: KEY, VALUE, KEY, VALUE, ...

    @property
    def subject(self) -> tuple[str, ...]:
        """The recipe or configuration file, as words of a command line."""
        if self.config_file is None:
            return (self.recipe,)
        return ("--config-file", str(self.config_file), *self.overrides)

    def command(self, *, force_step: int | None = None) -> str:
        """The same request as a command line, without --force-step unless one is given here."""
        further = ["--", *self.launch.torchrun] if self.launch.torchrun else []
        return shlex.join(["idolctl", *self.arguments(force_step=force_step), *further])

    def arguments(self, *, force_step: int | None = None) -> list[str]:
        """The same request as arguments of `idolctl`, without --force-step unless one is given here."""
        given = {
            "--backbone": self.backbone,
            "--steps": self.steps,
            "--runs-dir": self.runs,
            "--name": self.name,
            "--root": self.root,
            "--init": self.init,
            "--force-step": force_step,
            "--log": ",".join(self.log) or None,
            **self.launch.options(),
        }
        options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
        options += [part for setting in self.assignments for part in ("--set", setting)]
        options += [part for setting in self.launch.slurm for part in ("--slurm", setting)]
        return ["run", *self.subject, *options]


@dataclass(frozen=True)
class Run:
    """Stages in order, with the folders of the run and of its data."""

    request: RunRequest
    stages: tuple[Stage, ...]
    folder: Path
    root: Path
    hashes: FileHashes = dataclasses.field(default_factory=FileHashes)

    def stage_folder(self, chain: str) -> Path:
        """The folder of one stage."""
        return self.folder / chain

    def state(self, stage: Stage) -> StageState:
        """Read the current state of a stage from disk."""
        return read_stage(self.stage_folder(stage.chain))

    def fingerprint(self, stage: Stage) -> dict[str, Any]:
        """The stage's current fingerprint; parts are None if the parent is not done or files are missing."""
        data = stage.config.data
        return stage_fingerprint(
            stage.config,
            start=self._start(stage),
            train=annotations_hash(data.train, self.root, self.hashes),
            val=annotations_hash(data.val, self.root, self.hashes),
            mix=annotations_hash(data.mix.images, self.root, self.hashes) if data.mix.share else None,
        )

    def plan(self) -> list[Action]:
        """Decide what to do now: one action per stage."""
        return self._plan(self.stages, self.request.force_step)

    def plan_stage(self, stage: Stage) -> Action:
        """Decide what to do with a stage whose parent is done; stages of --force-step have been cleared by then."""
        return self._plan([stage], None)[0]

    def _plan(self, stages: Sequence[Stage], force_step: int | None) -> list[Action]:
        found = {s.chain: self.state(s) for s in stages}
        wanted = {s.chain: self.fingerprint(s) for s in stages}
        return make_plan(stages, found, wanted, force_step=force_step)

    def _start(self, stage: Stage) -> str | None:
        if stage.parent:
            folder = self.stage_folder(stage.parent)
            return self.hashes.of(folder / WEIGHTS) if read_stage(folder).done else None
        if stage.config.init is None:
            return SCRATCH
        try:
            return self.hashes.of(find_weights(stage.config.init))
        except Missing:
            return None


def make_run(request: RunRequest) -> Run:
    """Resolve a request to a run. Raises IdolError (exit 2) for any error in the recipe or the options."""
    recipe = _recipe(request)
    steps = parse_steps(request.steps, recipe)
    stages = make_stages(
        recipe, steps=steps, backbone=request.backbone, assignments=request.assignments, init=request.init
    )
    check_launch(request.launch, [stage.config for stage in stages])
    if request.force_step is not None and request.force_step not in steps:
        what = f"step {request.force_step} is not among the steps to run: {','.join(map(str, steps))}"
        raise InvalidInput(what, where="--force-step", fix=f"--force-step {steps[-1]}")
    name = request.name or f"{recipe.name}-{stages[0].config.backbone}"
    if name in (".", "..") or Path(name).name != name:
        raise InvalidInput(f"'{name}' is not a folder name", where="--name", fix="--runs-dir DIR sets the place")
    root = _data_root(request, stages)
    raise_all([*_unknown_sets(stages, root)])
    for source in sorted({stage.config.data.train.name for stage in stages}):
        warn_of_old_split(source, root)
    return Run(request, tuple(stages), (request.runs or RUNS) / name, root)


def _recipe(request: RunRequest) -> Recipe:
    if request.config_file is not None:
        if request.backbone is not None:
            what = "the configuration file says which backbone; --backbone can't change it"
            raise InvalidInput(what, where="--backbone", fix="change MODEL.BACKBONE and what belongs to it")
        return import_config(request.config_file, request.overrides).recipe
    name, root = request.recipe, data_root(request.root)
    if is_own_set(name, root):
        return recipe_for(name, root, init=request.init, backbone=request.backbone, assignments=request.assignments)
    known = name in recipe_names() or is_path(name)
    return load_recipe(name, others=() if known else own_set_names(root))


def _data_root(request: RunRequest, stages: Sequence[Stage]) -> Path:
    """The data root of a run. With --runs-dir alone, a toy set that does not exist yet goes below that folder."""
    asked = request.root
    root = data_root(asked)
    if asked is None and root == DATASETS and request.runs and uses_toy(stages) and not (DATASETS / TOY).is_dir():
        return request.runs / DATASETS
    return root


def _unknown_sets(stages: Sequence[Stage], root: Path) -> Iterator[InvalidInput]:
    """Errors for data set names that are neither built in nor described in the data root."""
    for stage in stages:
        for side, source in data_sources(stage.config.data).items():
            if source.name and find_layout(source.name, root) is None:
                where = stage.resolved.settings[("data", *side.split("."), "name")].where
                fix = suggestion(source.name, known_names(root))
                yield InvalidInput(f"no data set '{source.name}', neither built in nor in {root}", where=where, fix=fix)


def refuse_changes(run: Run, actions: list[Action]) -> None:
    """Raise InvalidInput (exit 2), listing the changes, if weights on disk were trained with other settings."""
    changed = next((a for a in actions if a.kind == "changed"), None)
    if changed is None:
        return
    raise InvalidInput(
        f"step {changed.stage.step} was trained with other settings: {'; '.join(changed.changes)}",
        where=str(run.stage_folder(changed.stage.chain)),
        fix=f"{run.request.command(force_step=changed.stage.step)}   (trains it again; --name NAME keeps both)",
    )


def obstacles(run: Run, actions: Sequence[Action]) -> list[IdolError]:
    """Errors that would stop the remaining stages sooner or later: absent data (with the expected places), annotations
    that can't be read, classes that differ between sets or from the recipe, absent initial weights."""
    found: list[IdolError] = []
    checked = set()
    for action in actions:
        stage = action.stage
        if action.kind == "skip":
            continue
        key = stage.config.data, stage.config.model.num_classes
        if key not in checked:
            checked.add(key)
            found += _data_errors(stage.config, run.root)
        if stage.config.init is not None and action.kind != "resume":
            try:
                find_weights(stage.config.init)
            except Missing as error:
                if ours := load_zoo().called_here(stage.config.init):
                    fix = f"check the path, or --init {ours} (the published file of that name)"
                    error = Missing(error.what, where=error.where, fix=fix)
                found.append(error)
    return found


def _data_errors(config: StageConfig, root: Path) -> list[IdolError]:
    """Errors of the data sets. Large annotation files are parsed here, with progress; the stage finds them cached."""
    absent, to_be_made = list[IdolError](), False
    for source in data_sources(config.data).values():
        try:
            resolve_source(source, root)
        except Missing as error:
            if is_toy(source):  # made when the run starts
                to_be_made = True
            else:
                absent.append(error)
    if absent or to_be_made:
        return absent
    try:
        with transfer("reading annotations") as reading:
            train_set = training_set(config, root, on_read=reading.update)
        with transfer("reading annotations") as reading:
            val_set = validation_set(config, root, train_set.category_names, on_read=reading.update)
        with transfer("reading annotations") as reading:
            mixed_images(config, root, train_set, on_read=reading.update)
    except IdolError as error:
        return [error]
    if leaks := leaking_videos(train_set, val_set):
        names = f"{config.data.val.name or val_set.source} ({', '.join(leaks[:3])}{', ...' if len(leaks) > 3 else ''})"
        what = f"{len(leaks)} of {len(val_set.videos)} videos or images of {names} have frames that are trained on"
        say(f"warning: {what}: the scores will be too high; idolctl split make SET divides a set")
    return []


def uses_toy(stages: Iterable[Stage]) -> bool:
    """Whether any stage reads the embedded toy data set."""
    return any(is_toy(s) for stage in stages for s in data_sources(stage.config.data).values())
