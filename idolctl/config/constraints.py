"""What can't work in a stage, as mistakes that say where the setting was written."""

from __future__ import annotations

from idol_core.config import StageConfig
from idol_core.constraints import findings
from idol_core.errors import IdolError, InvalidInput
from idolctl.config.load_yaml import COMMAND_LINE
from idolctl.config.schema import Path, Settings


def check_stage(config: StageConfig, settings: Settings, doubtful: frozenset[Path], mistakes: list[IdolError]) -> None:
    """Add a mistake, with its place, for every setting that can't work; those that involve `doubtful` are left out."""
    for finding in findings(config):
        paths = [tuple(name.split(".")) for name in finding.about]
        if doubtful.isdisjoint(paths):
            asked = [settings[p] for p in paths if p in settings and settings[p].origin == COMMAND_LINE]
            where = (asked or [settings[paths[0]]])[0].where  # what was just typed is to blame before a file
            mistakes.append(InvalidInput(finding.what, where=where, fix=finding.fix))
