"""Publish the weights of a run: a folder with weights, recipe, scores and model card, or a Hugging Face repository."""

from __future__ import annotations

import dataclasses
import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from idol_core.config import DataSource, StageConfig, stage_to_dict
from idol_core.errors import InvalidInput, NetworkError
from idol_core.metadata import file_metadata, to_metadata
from idol_core.system.files import write_aside, write_json
from idol_core.system.hub import PREFIX, WEIGHTS, HubPlace, endpoint
from idolctl.config.dump_yaml import aligned, nested
from idolctl.evaluation.targets import Target, find_target, published_scores
from idolctl.extras import require_extra
from idolctl.model_card import Card, write_card
from idolctl.runs.state import read_stage
from idolctl.zoo.entries import load_zoo

CARD, RECIPE, SCORES = "README.md", "recipe.yaml", "scores.json"
FILES = (WEIGHTS, RECIPE, SCORES, CARD)


class Published(NamedTuple):
    """Where a model was published, and the name to load it by."""

    where: str
    name: str
    files: tuple[str, ...]


def publish(name: str, to: str, *, runs: Path, license_id: str | None, private: bool = False) -> Published:
    """Publish the weights of a run, a stage or a file to a folder, or to hf:USER/NAME with the package huggingface_hub.

    Paths of this machine are left out of what is published. A folder may only hold files of an earlier publication.

    Raises InvalidInput for an unknown name, a zoo name, a target that is no folder or repository, Missing for weights
    that are not there or if huggingface_hub is needed and not installed, NetworkError if the hub refuses.
    """
    if any(entry.name == name for entry in load_zoo().weights) and not (runs / name).is_dir():
        raise InvalidInput(f"{name} is published already, by its authors", where=name, fix="publish a run of your own")
    target = find_target(name, runs, data=None)
    if not to.startswith(PREFIX):
        folder = Path(to).expanduser()
        _refuse_strangers(folder)
        _write(target, folder, license_id, to)
        return Published(str(folder), str(folder / WEIGHTS), FILES)
    place = HubPlace.parse(to)
    if to != f"{PREFIX}{place.repository}":
        raise InvalidInput("--to names a repository, without revision and path", where=to, fix="--to hf:USER/NAME")
    require_extra("hub", where=f"--to {to}")
    with tempfile.TemporaryDirectory(prefix="idolctl-publish-") as scratch:
        _write(target, Path(scratch), license_id, to)
        url = _upload(Path(scratch), place.repository, private=private)
    return Published(url, to, FILES)


def _refuse_strangers(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder", where="--to", fix="name a new folder, or hf:USER/NAME")
    others = sorted(p.name for p in folder.iterdir() if p.name not in FILES) if folder.is_dir() else []
    if others:
        what = f"{folder} holds other files: {', '.join(others[:3])}"
        raise InvalidInput(what, where="--to", fix="name a new or empty folder")


def _write(target: Target, folder: Path, license_id: str | None, to: str) -> None:
    from idol_core.weights import open_weights, save_weights  # imports torch

    config = without_paths(target.config)
    classes = target.classes or file_metadata(target.weights).classes
    state = open_weights(target.weights).state
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / WEIGHTS, state, to_metadata(config, classes))
    tree = stage_to_dict(config)
    with write_aside(folder / RECIPE) as aside:
        aside.write_text(aligned(nested({path: (value, "") for path, value in _flat(tree)})), encoding="utf-8")
    measured = read_stage(target.stage).metrics if target.stage else None
    published = published_scores(target, config.data.val.name)
    scores = {"data": config.data.val.name or None, "measured": measured, "published_for_comparison": published}
    write_json(folder / SCORES, scores)
    parameters = sum(tensor.numel() for tensor in state.values())
    card = Card(config, classes, measured, published, license_id, parameters, to)
    with write_aside(folder / CARD) as aside:
        aside.write_text(write_card(card), encoding="utf-8")


def without_paths(config: StageConfig) -> StageConfig:
    """The settings without what names files of this machine: data given by paths, and the file it was started from."""

    def source(given: DataSource) -> DataSource:
        return dataclasses.replace(given, frames=None, annotations=None)

    init = Path(config.init).name if config.init and not config.init.startswith(PREFIX) else config.init
    data = dataclasses.replace(config.data, train=source(config.data.train), val=source(config.data.val))
    return dataclasses.replace(config, init=init, data=data)


def _flat(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in tree.items():
        inner = (*path, key)
        found += _flat(value, inner) if isinstance(value, dict) and value else [(inner, value)]
    return found


def _upload(folder: Path, repository: str, *, private: bool) -> str:
    """Upload the folder's files as one commit; the repository is made if there is none. Returns its address."""
    hub = importlib.import_module("huggingface_hub")
    api = hub.HfApi(endpoint=endpoint())
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Weights and card, by idolctl publish")
    except Exception as error:  # of several libraries: the hub's own, its HTTP client's, the operating system's
        text = " ".join(str(error).split())[:300]
        status = getattr(getattr(error, "response", None), "status_code", None)
        fix = "hf auth login, or set HF_TOKEN to a token that may write" if status in (401, 403) else "try again later"
        what = f"the hub took nothing: {type(error).__name__}: {text}"
        raise NetworkError(what, where=f"{PREFIX}{repository}", fix=fix) from error
    return f"{endpoint()}/{repository}"
