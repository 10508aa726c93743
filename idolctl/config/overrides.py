"""Settings given on the command line: `--set solver.lr=1e-4 --set steps.2.solver.batch_size=16`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from idol_core.errors import IdolError, InvalidInput
from idol_core.yacs import FIELDS, Sets, Unread, defaults
from idolctl.config.load_yaml import COMMAND_LINE, Entry, Mapping, parse_value
from idolctl.config.recipe_file import RecipeFile, parse_document


def settings_document(assignments: Sequence[str]) -> RecipeFile:
    """Turn --set options into a document that overrides the recipe; malformed ones are in its `mistakes`."""
    mistakes: list[IdolError] = []
    tree: dict[str, object] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if foreign := detectron2_key(key.strip()):
            mistakes.append(foreign)
        elif equals and all(key.strip().split(".")):
            _put(tree, key.strip().split("."), parse_value(value))
        else:
            mistakes.append(InvalidInput(f"'{text}' is not KEY=VALUE", where="--set", fix="--set solver.lr=1e-4"))
    document = parse_document(_as_mapping(tree))
    document.mistakes.extend(mistakes)
    return document


def detectron2_key(key: str) -> InvalidInput | None:
    """If a key is one of the published configurations (SOLVER.MAX_ITER, or MAX_ITER), the error that tells ours."""
    name = next((k for k in FIELDS if k == key or k.endswith(f".{key}")), None) if key.isupper() else None
    if name is None:
        return None
    field, fix = FIELDS[name], "idolctl run --config-file FILE KEY VALUE takes such keys"
    if isinstance(field, Unread):
        fix = f"leave it out: {field.reason}"
    elif isinstance(field, Sets):
        with suppress(ValueError):  # a default that is not supported here
            fix = f"it is called {' and '.join(field.settings(field.default, defaults()))} here"
    return InvalidInput(f"{name} is a key of the published configurations", where=f"--set:{key}", fix=fix)


def _put(tree: dict[str, object], keys: list[str], value: object) -> None:
    for key in keys[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    tree[keys[-1]] = value


def _as_mapping(tree: dict[str, object]) -> Mapping:
    entries = (Entry(k, _as_mapping(v) if isinstance(v, dict) else v, COMMAND_LINE) for k, v in tree.items())
    return Mapping(tuple(entries), COMMAND_LINE)
