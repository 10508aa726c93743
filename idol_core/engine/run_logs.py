"""Send a stage's numbers to experiment trackers: TensorBoard, Weights & Biases, MLflow, Trackio.

A tracker that fails while a stage trains is left out from then on, with a warning: training never waits for it or stops
because of it. `run-logs.json` in the stage folder holds the run's id in each tracker and the last line sent, so that a
resumed stage goes on in the same run and iterations that are trained again are not sent twice.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from idol_core.engine.stage_files import LOGS, text, whole
from idol_core.errors import IdolError
from idol_core.system.files import read_object, write_json

RUN_LOGS = "run-logs.json"
PROJECT = "idolctl"
Warn = Callable[[str], None]


class About(NamedTuple):
    """What a tracker is told about a run. `id` is the same whenever the stage is resumed."""

    folder: Path  # of the stage
    name: str
    settings: Mapping[str, Any]
    id: str = ""


class RunLog(Protocol):
    """One tracker's run."""

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Send the numbers of an iteration."""

    def close(self, *, done: bool) -> None:
        """End the session; not `done`: the stage was stopped or failed, and may be resumed."""


class TensorBoard:
    """Event files in `tensorboard/`; values after the iteration `start` replace those of earlier sessions."""

    def __init__(self, about: About, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(about.folder / "tensorboard"), purge_step=start + 1)

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """See RunLog."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)
        self._writer.flush()

    def close(self, *, done: bool) -> None:
        """See RunLog."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases: online, or with WANDB_MODE=offline in files below `wandb/` for `wandb sync`."""

    def __init__(self, about: About, start: int) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=about.id,
            name=about.name,
            config=dict(about.settings),
            dir=str(about.folder),
            resume="allow",
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric("*", step_metric="iteration")

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """See RunLog."""
        self._run.log({**values, "iteration": iteration})

    def close(self, *, done: bool) -> None:
        """See RunLog."""
        self._run.finish(exit_code=0 if done else 1)


class MLflow:
    """A run of MLflow, at $MLFLOW_TRACKING_URI or MLflow's default; its tag `idolctl.id` finds it again."""

    def __init__(self, about: About, start: int) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        earlier = self._client.search_runs([experiment], filter_string=f"tags.`idolctl.id` = '{about.id}'")
        if earlier:
            self._run = earlier[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(experiment, run_name=about.name, tags={"idolctl.id": about.id}).info.run_id
        for key, value in about.settings.items():
            self._client.log_param(self._run, key, str(value)[:500])

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """See RunLog."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=iteration)

    def close(self, *, done: bool) -> None:
        """See RunLog."""
        self._client.set_terminated(self._run, "FINISHED" if done else "KILLED")


class Trackio:
    """A run of Trackio, which keeps its data base in $TRACKIO_DIR or the Hugging Face cache."""

    def __init__(self, about: About, start: int) -> None:
        import trackio

        name = f"{about.name} {about.id}"  # runs are resumed by name
        self._run = trackio.init(project=PROJECT, name=name, config=dict(about.settings), resume="allow", embed=False)

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """See RunLog."""
        self._run.log(dict(values), step=iteration)

    def close(self, *, done: bool) -> None:
        """See RunLog."""
        self._run.finish()


KINDS: dict[str, Callable[[About, int], RunLog]] = dict(zip(LOGS, (TensorBoard, WandB, MLflow, Trackio), strict=True))


class RunLogs:
    """All trackers of a stage: those asked for, and TensorBoard where it is installed."""

    def __init__(self, about: About, kinds: Sequence[str], *, warn: Warn) -> None:
        here = ["tensorboard"] if find_spec("tensorboard") else []
        self._kinds = list(dict.fromkeys([*here, *kinds]))
        self._about, self._warn = about, warn
        self._open: dict[str, RunLog] = {}
        self._sent: dict[str, tuple[int, int]] = {}

    def open(self, start: int) -> None:
        """Open every tracker for lines after the iteration `start`.

        Raises IdolError if one can't be opened and nothing is trained yet; later that is only a warning.
        """
        path = self._about.folder / RUN_LOGS
        found = read_object(path)
        about = self._about._replace(id=text(found.get("id")) or uuid.uuid4().hex[:12])
        sent = found.get("sent")
        for kind, last in (sent if isinstance(sent, dict) else {}).items():
            if isinstance(last, list) and len(last) == 2:
                self._sent[kind] = (whole(last[0]), whole(last[1]))
        self._about = about
        self._remember()
        for kind in self._kinds:
            try:
                self._open[kind] = KINDS[kind](about, start)
            except Exception as error:
                what = f"the tracker {kind} can't be opened: {_short(error)}"
                if start == 0:
                    raise IdolError(what, where=f"--log {kind}", fix=_FIXES.get(kind, "leave it out")) from error
                self._warn(f"{what}; training goes on without it")

    def add(self, line: Mapping[str, Any]) -> None:
        """Send a line of metrics.jsonl that has an iteration: training numbers or the scores of an evaluation."""
        numbers = values_of(line)
        place = (int(line["iteration"]), int("event" in line))  # evaluations come after the training line
        for kind, log in list(self._open.items()):
            if not numbers or (kind != "tensorboard" and place <= self._sent.get(kind, (-1, 0))):
                continue
            try:
                log.add(place[0], numbers)
            except Exception as error:
                del self._open[kind]
                self._warn(f"the tracker {kind} failed: {_short(error)}; training goes on without it")
            else:
                self._sent[kind] = place
        self._remember()

    def close(self, *, done: bool) -> None:
        """End the session in every tracker."""
        for kind, log in self._open.items():
            try:
                log.close(done=done)
            except Exception as error:
                self._warn(f"the tracker {kind} could not be closed: {_short(error)}")
        self._open.clear()

    def _remember(self) -> None:
        if set(self._kinds) - {"tensorboard"}:
            write_json(self._about.folder / RUN_LOGS, {"id": self._about.id, "sent": self._sent})


def values_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line, named by group: train/loss, losses/mask, scores/AP."""
    groups = {"train": line, "losses": line.get("losses") or {}, "scores": line.get("metrics") or {}}
    return {
        f"{group}/{name}": value
        for group, values in groups.items()
        for name, value in values.items()
        if isinstance(value, int | float) and name != "iteration"
    }


def _short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


_FIXES = {
    "wandb": "wandb login, or WANDB_MODE=offline",
    "mlflow": "set MLFLOW_TRACKING_URI to a server or data base that answers",
    "trackio": "set TRACKIO_DIR to a folder that can be written",
}
