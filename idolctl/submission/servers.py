"""Facts about the evaluation servers, read from recipes/servers.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from idolctl.config.library import recipes_folder
from idolctl.config.load_yaml import Mapping, read_yaml


@dataclass(frozen=True)
class Server:
    """An evaluation server: address if known, largest upload (`limit`, bytes), status, and the date of these facts."""

    address: str | None
    limit: int
    status: str
    as_of: str


def find_server(dataset: str) -> Server | None:
    """The server of a data set ('ovis'); None if it has none (toy, a user's own set)."""
    entry = read_yaml(recipes_folder() / "servers.yaml").get(dataset)
    if entry is None or not isinstance(entry.value, Mapping):
        return None
    values = {e.key: e.value for e in entry.value}
    return Server(values["server"], int(values["limit_mb"] * 1e6), values["status"], str(values["as_of"]))
