"""Make the page from runs or a results file: read, analyze, draw, write. Only the first run's clips are drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from idol_core.errors import Missing
from idolctl.evaluation.evaluate import EvalRequest
from idolctl.report.cards import BUDGET, make_cards
from idolctl.report.collect import RunFacts, collect_run
from idolctl.report.page import write_page
from idolctl.report.subject import Subject, of_run
from idolctl.runs.find import stages_of


def report_runs(runs: Sequence[Path], out: Path, request: EvalRequest, *, budget: int = BUDGET) -> list[str]:
    """Write the page about runs; return notes on what could not be shown. Runs without weights have curves only."""
    facts, subjects, notes = read_runs(runs, request)
    cards = make_cards(subjects[0], budget=budget) if subjects else []
    write_page(out, facts, subjects, cards, notes)
    return notes


def read_runs(runs: Sequence[Path], request: EvalRequest) -> tuple[list[RunFacts], list[Subject], list[str]]:
    """Read run folders: facts, analyzed results of those with a finished stage, and notes on results left out."""
    names = [run.name if [r.name for r in runs].count(run.name) == 1 else str(run) for run in runs]
    subjects: list[Subject] = []
    notes = []
    for name, run in zip(names, runs, strict=True):
        done = [stage for stage in stages_of(run) if stage.state.done]
        if not done:
            notes.append(f"{name}: no step is finished yet, so there are curves only.")
            continue
        newest = max(done, key=lambda stage: (stage.step, stage.changed))
        try:
            found = of_run(str(newest.state.folder), request)
        except Missing as error:
            notes.append(f"{name}: {error.what} ({error.where}), so its results are not looked into.")
            continue
        found = dataclasses.replace(found, name=name)
        subjects.append(found if not subjects else _without_scenes(found))
    facts = [dataclasses.replace(collect_run(run), name=name) for name, run in zip(names, runs, strict=True)]
    return facts, subjects, notes


def _without_scenes(subject: Subject) -> Subject:
    """The subject without its masks and errors, which only the drawn clips need: saves memory."""
    if subject.analysis is None:
        return subject
    return dataclasses.replace(subject, analysis=dataclasses.replace(subject.analysis, scenes={}, images={}, faults=()))
