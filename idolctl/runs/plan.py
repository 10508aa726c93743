"""Decide what a run would do, and why: a pure function of the wanted stages and the state on disk.

nothing there ............................ run
other settings, data or weights .......... changed   (never resumed into; --force-step starts it again)
done ..................................... skip
a checkpoint is there .................... resume
the step before has work left ............ wait
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from idolctl.runs.fingerprint import differences
from idolctl.runs.stages import Stage
from idolctl.runs.state import StageState

Kind = Literal["skip", "resume", "run", "wait", "changed"]


@dataclass(frozen=True)
class Action:
    """What to do with one stage, and the facts behind the decision.

    kind: "skip" (it is done), "resume" (from its checkpoint), "run" (from the start), "wait" (for the step before) or
    "changed" (its weights were trained with other settings, data or initial weights).
    """

    stage: Stage
    kind: Kind
    reason: str
    found: StageState  # the state on disk
    fingerprint: dict[str, Any]  # of the stage as it is wanted now
    fresh: bool = False  # whether its folder is cleared first
    changes: tuple[str, ...] = ()  # since its weights were trained


def make_plan(
    stages: Sequence[Stage],
    found: Mapping[str, StageState],
    wanted: Mapping[str, dict[str, Any]],
    *,
    force_step: int | None = None,
) -> list[Action]:
    """One action per stage, in order. `found` (states) and `wanted` (fingerprints) are keyed by chain."""
    actions: dict[str, Action] = {}
    for stage in stages:
        before = actions.get(stage.parent) if stage.parent else None
        forced = stage.step == force_step or bool(before and before.fresh)
        actions[stage.chain] = _decide(stage, found[stage.chain], wanted[stage.chain], before, forced, force_step)
    return list(actions.values())


def _decide(
    stage: Stage,
    found: StageState,
    wanted: dict[str, Any],
    before: Action | None,
    forced: bool,
    force_step: int | None,
) -> Action:
    def action(kind: Kind, reason: str, *, fresh: bool = False, changes: tuple[str, ...] = ()) -> Action:
        return Action(stage, kind, reason, found, wanted, fresh=fresh, changes=changes)

    waits = before is not None and before.kind != "skip"
    after = f"after step {before.stage.step}" if before else ""
    if forced and (found.recorded or found.worth_keeping):
        reason = f"forced by --force-step {force_step}"
        return action("wait" if waits else "run", f"{after}, {reason}" if waits else reason, fresh=True)
    if not found.worth_keeping:
        reason = "not started" if not found.recorded else "started before, no checkpoint yet"
        start = _start(stage) if not stage.parent else ""
        return action("wait" if waits else "run", after if waits else f"{reason}{start}", fresh=forced)
    changes = tuple(differences(found.recorded, wanted)) if found.recorded else ("stage.json can't be read",)
    if changes:
        reason = f"{len(changes)} thing{'s' * (len(changes) > 1)} changed since its weights were trained"
        return action("changed", reason, changes=changes)
    if waits:
        return action("wait", after)
    if found.done:
        early = f", stopped after {found.reached}" if 0 < found.reached < found.iterations else ""
        return action("skip", f"done, {stage.config.solver.iterations} iterations{early}")
    total = stage.config.solver.iterations
    if found.iteration >= total or found.has_weights:
        return action("resume", "trained, not evaluated yet")
    return action("resume", f"at iteration {found.iteration} of {total}")


def _start(stage: Stage) -> str:
    return f", from {stage.config.init}" if stage.config.init else ", from scratch"
