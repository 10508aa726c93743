"""Collect the faults of a results or annotation file and raise one error for all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from idol_core.errors import Integrity, Missing


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


def load_json(path: Path) -> Any:
    """The content of a JSON file. Raises Missing where there is none, Integrity where it is not JSON."""
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise Missing("no such file", where=str(path), fix="check the path") from error
    except (OSError, ValueError) as error:
        raise Integrity(f"not readable as JSON: {error}", where=str(path), fix="make or download it again") from error
