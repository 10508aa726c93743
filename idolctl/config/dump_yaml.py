"""Write settings as YAML, each value with the file and line it comes from in a comment."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence

from idol_core.config import stage_to_dict
from idolctl.config.resolve import Resolved

Line = tuple[str, str]  # text, and the comment after it


def as_yaml(stage: Resolved) -> str:
    """YAML text of one step, with `# file:line` after every value; inferred settings are noted at the top."""
    config = stage.config
    lines = [(f"# {config.recipe}, backbone {config.backbone}, step {config.step}", "")]
    if stage.inferred:
        lines += [(f"# {part}", "") for part in textwrap.wrap(f"inferred: {stage.inferred}", 100)]
    values: dict[tuple[str, ...], tuple[object, str]] = {}
    tree = stage_to_dict(config)
    for path, setting in stage.settings.items():
        value = tree
        for key in path:
            value = value[key]
        values[path] = (value, f"# {setting.origin}")
    return aligned(lines + nested(values))


def nested(values: Mapping[tuple[str, ...], tuple[object, str]], *, depth: int = 0) -> list[Line]:
    """Lines for settings keyed by path, indented by `depth` levels; settings of a section must be adjacent."""
    lines: list[Line] = []
    open_at: tuple[str, ...] = ()
    for path, (value, note) in values.items():
        for level, key in enumerate(path[:-1]):
            if path[: level + 1] != open_at[: level + 1]:
                lines.append((f"{'  ' * (depth + level)}{key}:", ""))
                open_at = path[: level + 1]
        open_at = path[:-1]
        lines.append((f"{'  ' * (depth + len(path) - 1)}{path[-1]}: {_scalar(value)}", note))
    return lines


def aligned(lines: Sequence[Line]) -> str:
    """Join lines into one text, with the comments aligned in a column."""
    width = min(64, max((len(text) for text, note in lines if note), default=0))
    return "".join(f"{text.ljust(width)}  {note}".rstrip() + "\n" for text, note in lines)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value if value.replace("_", "").replace("-", "").isalnum() else json.dumps(value)
    return json.dumps(value)
