"""Weights of Hugging Face repositories in the cache folder: `hub/USER/NAME/COMMIT/PATH`, and `refs.json` beside them.

The hub is asked which commit a branch or tag is; where it does not answer, the one that was last downloaded is used.
"""

from __future__ import annotations

import re
from pathlib import Path

from idol_core.errors import InvalidInput, Missing, NetworkError
from idol_core.system.cache import cache_folder
from idol_core.system.download import Progress, Say, say_on_stderr
from idol_core.system.files import read_object, write_json
from idol_core.system.hub import HubPlace, ask_hub, hub_file
from idol_core.system.partial_files import one_at_a_time, private_part

ENDINGS = (".safetensors", ".pth", ".onnx")
TIMEOUT = 30.0  # seconds without data
_COMMIT = re.compile(r"[0-9a-f]{40}")


def cached_hub_weights(name: str) -> Path:
    """The file of hf:USER/NAME[@REVISION][/PATH] in the cache, for a branch the newest that was downloaded.

    Raises InvalidInput for another form, Missing with the command that downloads it if it is not there.
    """
    place = _weights_place(name)
    path = _path(place, _known_commit(place))
    if not path.is_file():
        raise Missing(f"{place} is not in the cache", where=str(path), fix=f"idolctl fetch {name}")
    return path


def hub_weights(
    name: str, *, timeout: float = TIMEOUT, progress: Progress = lambda *_: None, say: Say = say_on_stderr
) -> Path:
    """Bring hf:USER/NAME[@REVISION][/PATH] into the cache, unless that commit's file is there; returns its path.

    Raises as `hub_file` does, InvalidInput for another form.
    """
    place = _weights_place(name)
    commit = place.revision
    if not _COMMIT.fullmatch(commit):
        try:
            commit = ask_hub(place, timeout=timeout).commit or commit
        except NetworkError as error:
            path = _path(place, _known_commit(place))
            if not error.transient or not path.is_file():
                raise
            say(f"{place}: {error.what}; using what was downloaded before ({path.parent.name[:12]})")
            return path
    path = _path(place, commit)
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(path.with_name(f".{path.name}.lock"), str(place), say):
        if not (path.is_file() and _COMMIT.fullmatch(commit)):
            there = HubPlace(place.repository, commit, place.path)
            part = private_part(path, str(there))
            hub_file(there, part, timeout=timeout, progress=progress, say=say)
            part.replace(path)
    _remember(place, commit)
    return path


def _weights_place(name: str) -> HubPlace:
    place = HubPlace.parse(name)
    if not place.path.endswith(ENDINGS):
        what = f"{place.path} is no weights file"
        raise InvalidInput(what, where=name, fix=f"a file that ends in {', '.join(ENDINGS)}")
    return place


def _repository(place: HubPlace) -> Path:
    return cache_folder() / "hub" / place.repository


def _path(place: HubPlace, commit: str) -> Path:
    return _repository(place) / commit / place.path


def _known_commit(place: HubPlace) -> str:
    known = read_object(_repository(place) / "refs.json").get(place.revision)
    return known if isinstance(known, str) and _COMMIT.fullmatch(known) else place.revision


def _remember(place: HubPlace, commit: str) -> None:
    path = _repository(place) / "refs.json"
    known = read_object(path)
    if _COMMIT.fullmatch(commit) and known.get(place.revision) != commit and place.revision != commit:
        write_json(path, known | {place.revision: commit})
