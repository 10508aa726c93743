"""Facts about the evaluation servers, read from recipes/servers.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from idol_core.data.separate_truth import TRUTH_FILES, truth_place
from idolctl.config.library import recipes_folder
from idolctl.config.load_yaml import Mapping, read_yaml


@dataclass(frozen=True)
class Server:
    """An evaluation server: address if known, largest upload (`limit`, bytes), status, and the date of these facts.

    `truth` names the file with the ground truth and where it is published, if it is.
    """

    address: str | None
    limit: int
    status: str
    as_of: str
    truth: str | None = None


def find_server(dataset: str) -> Server | None:
    """The server of a data set ('ovis'); None if it has none (toy, a user's own set)."""
    entry = read_yaml(recipes_folder() / "servers.yaml").get(dataset)
    if entry is None or not isinstance(entry.value, Mapping):
        return None
    values = {e.key: e.value for e in entry.value}
    return Server(
        values["server"], int(values["limit_mb"] * 1e6), values["status"], str(values["as_of"]), values.get("truth")
    )


class LocalTruth(NamedTuple):
    """The file with a data set's ground truth, there or not, and what to do to have it, as a sentence."""

    file: Path
    told: str


def local_truth(dataset: str, annotations: Path) -> LocalTruth | None:
    """The ground truth ('ovis') with which results on `annotations` are scored here; None if it is not published."""
    server = find_server(dataset)
    if server is None or server.truth is None:
        return None
    file = annotations if annotations.name in TRUTH_FILES.values() else truth_place(annotations)
    if file is None:
        return LocalTruth(Path(server.truth.split()[0]), f"the ground truth is {server.truth}")
    told = f"the ground truth is {file}" if file.is_file() else f"put {server.truth}, at {file}"
    return LocalTruth(file, told)
