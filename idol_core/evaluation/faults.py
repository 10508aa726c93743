"""Collect the faults of a results file and raise one error for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from idol_core.data.annotations.json_stream import json_list, open_json
from idol_core.errors import Integrity


class Faults:
    """Collects what is wrong with a file and raises one error: a count and an example for each kind of fault."""

    def __init__(self, where: str, fix: str) -> None:
        self._where, self._fix = where, fix
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, example: str) -> None:
        """Count one more fault of this `kind`; the first example is kept."""
        count, first = self._found.get(kind, (0, example))
        self._found[kind] = (count + 1, first)

    def check(self) -> None:
        """Raise Integrity if anything was added."""
        if self._found:
            parts = [f"{kind}: {count} (for example {example})" for kind, (count, example) in self._found.items()]
            raise Integrity("; ".join(parts), where=self._where, fix=self._fix)


def result_items(source: Iterable[Mapping[str, Any]] | Path) -> Iterator[Any]:
    """Yield the entries of a results file, or the given ones.

    Raises Missing if there is no such file, Integrity if it is not a JSON list.
    """
    if isinstance(source, Path):
        with open_json(source) as file:
            yield from json_list(file, str(source))
    else:
        yield from source
