"""Report settings of a stage that can't work, with the place where each was written."""

from __future__ import annotations

from idol_core.config import StageConfig
from idol_core.constraints import findings
from idol_core.errors import IdolError, InvalidInput
from idolctl.config.load_yaml import COMMAND_LINE
from idolctl.config.schema import Path, Settings


def check_stage(config: StageConfig, settings: Settings, doubtful: frozenset[Path], mistakes: list[IdolError]) -> None:
    """Append to `mistakes`, with its place, every setting that can't work; skip findings that involve `doubtful`."""
    for finding in findings(config):
        paths = [tuple(name.split(".")) for name in finding.about]
        if doubtful.isdisjoint(paths):
            asked = [settings[p] for p in paths if p in settings and settings[p].origin == COMMAND_LINE]
            where = (asked or [settings[paths[0]]])[0].where  # blame a --set option before a file
            mistakes.append(InvalidInput(finding.what, where=where, fix=finding.fix))
