"""`idolctl eval RUN|CKPT|NAME` and `idolctl eval --results FILE --annotations FILE`."""

from __future__ import annotations

import json
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idol_core.errors import InvalidInput
from idolctl.commands import complete, options
from idolctl.evaluation.evaluate import EvalRequest, EvalResult, evaluate, evaluate_oracle, evaluate_sweep, mean_of
from idolctl.evaluation.report import error_rows, identity_rows, rows_report, score_report, sweep_report
from idolctl.evaluation.scores import Extras, Figures, Scores, mean_and_spread, score_files
from idolctl.runs.find import RUNS
from idolctl.submission.servers import local_truth
from idolctl.terminal.text import printable

if TYPE_CHECKING:
    from idolctl.report.subject import Subject

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Oracle(StrEnum):
    """Where the oracle gives the true identities: in every frame, or between clips."""

    frame = "frame"
    clip = "clip"


@app.command(
    name="eval",
    epilog=options.examples(
        "idolctl eval toy-tiny",
        "idolctl eval toy-tiny --set tracker.new_threshold=.2,.3,.4",
        "idolctl eval toy-tiny --errors --identity --threshold .3",
        "idolctl eval toy-tiny --details --plots charts",
        "idolctl eval toy-tiny --oracle clip --clip-length 5",
    ),
)
def eval_command(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs, weights files or zoo names; for several: mean and spread.", autocompletion=complete.targets
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="SET or SET@SPLIT; default: the run's validation set.", autocompletion=complete.data_sets),
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Score this results file instead of a run.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="The ground truth of --results.")] = None,
    occlusion: Annotated[bool, typer.Option("--occlusion", help="Also score OVIS's occlusion groups.")] = False,
    per_video: Annotated[bool, typer.Option("--per-video", help="AP and identity switches of every video.")] = False,
    errors: Annotated[bool, typer.Option("--errors", help="Error types, and the AP with each of them fixed.")] = False,
    identity: Annotated[
        bool, typer.Option("--identity", help="Identity metrics: HOTA, IDF1, MOTA and their components.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, metavar="SCORE", help="Minimum score of the tracks used for --identity; default: 0 (all)."),
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="AP by object group, confused classes, calibration of scores.")
    ] = False,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Write each chart as SVG into DIR.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE[,VALUE]",
            help="Change a tracker setting: tracker.new_threshold=.3; several values give a table.",
        ),
    ] = None,
    oracle: Annotated[
        Oracle | None, typer.Option(help="Use the true identities: in every frame, or only to link clips.")
    ] = None,
    clip_length: Annotated[
        int, typer.Option("--clip-length", min=1, help="Frames per clip, for the clip oracle.")
    ] = 10,
    classes_map: options.CLASSES_MAP = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; default: cuda if available.")] = None,
    precision: options.PRECISION = None,
    runs_dir: options.RUNS = None,
    root: options.ROOT = None,
    as_json: options.JSON = False,
) -> None:
    """Score runs, weights or results; detections are cached, so other tracker settings need no new inference."""
    if (results is None) == (not targets):
        raise InvalidInput("name a run, weights or a zoo entry, or give --results FILE", where="command line",
                           fix="idolctl eval RUN, or idolctl eval --results FILE --annotations FILE")  # fmt: skip
    if threshold is not None and not identity:
        raise InvalidInput("--threshold needs --identity", where="command line", fix="add --identity")
    if not math.isfinite(threshold or 0.0):
        raise InvalidInput(f"--threshold {threshold} is not a score", where="command line", fix="--threshold .3")
    extras = Extras(occlusion, per_video, errors, identity, threshold or 0.0)
    if results is not None:
        if annotations is None or settings or oracle or data or classes_map:
            what = "--results needs --annotations, and excludes --set, --data, --oracle and --classes-map"
            raise InvalidInput(what, where="command line",
                               fix=f"idolctl eval --results {results} --annotations FILE")  # fmt: skip
        scores = score_files(annotations, results, extras)
        _warn(scores, results.name)
        content, text = dict(scores.as_dict()), score_report(scores, results.name, {})
        if details or plots is not None:
            from idolctl.report.subject import of_files

            text += _look_closer(of_files(results, annotations, None), details, plots, content)
        _finish(content, text, as_json)
        return
    names = targets or []
    if (details or plots is not None) and (len(names) > 1 or oracle or any("," in text for text in settings or ())):
        raise InvalidInput("--details and --plots need a single set of results", where="command line",
                           fix=f"idolctl eval {names[0]} --details, or idolctl report {' '.join(names)}")  # fmt: skip
    same = options.class_pairs(classes_map)
    asked = EvalRequest(
        data,
        runs_dir or RUNS,
        root,
        tuple(settings or ()),
        device,
        extras,
        same,
        precision.value if precision else None,
    )
    if len(names) > 1:
        if oracle:
            raise InvalidInput("--oracle needs a single target", where="command line", fix=f"name only {names[0]}")
        several = [evaluate(name, asked) for name in names]
        for each in several:
            _warn(each.scores, each.name)
        _several(several, as_json)
    elif oracle:
        _need_one_setting(extras, "--oracle")
        found = evaluate_oracle(names[0], asked, clip_length=clip_length)
        labels = {"normal": "normal", "clip": f"clip oracle, {clip_length} frames", "frame": "frame oracle"}
        table = rows_report("identities", [(label, found.rows[key]) for key, label in labels.items()])
        content = {
            **found.rows[oracle.value],
            "clip_length": clip_length,
            **found.rows,
            "data": found.data,
        }
        _finish(content, f"{names[0]} on {found.data}\n{table}", as_json)
    else:
        if any("," in text for text in asked.settings):
            _need_one_setting(extras, "several values of --set")
        sweep = evaluate_sweep(names[0], asked)
        if sweep is not None:
            pairs = zip(sweep.settings, sweep.figures, strict=True)
            rows: list[dict[str, Any]] = [{**figures, "settings": chosen} for chosen, figures in pairs]
            best = rows[sweep.best]
            content = {**best, "sweep": rows, "data": sweep.data}
            told = sweep_report(sweep.settings, sweep.figures, sweep.best)
            _finish(content, f"{names[0]} on {sweep.data}\n{told}", as_json)
            return
        one = evaluate(names[0], asked)
        _warn(one.scores, one.name)
        text = _unscored(one) if one.scores is None else score_report(one.scores, one.name, one.published)
        content = dict(one.as_dict())
        if details or plots is not None:
            from idolctl.report.subject import of_result

            text += _look_closer(of_result(one), details, plots, content)
        _finish(content, f"{one.name} on {one.data}\n{text}\n\nresults: {one.results}", as_json)


def _look_closer(subject: Subject, details: bool, plots: Path | None, content: dict[str, Any]) -> str:
    """Return the text of --details and --plots; add their figures to `content`."""
    from idolctl.report.plots import write_plots
    from idolctl.report.text import details_json, details_text

    text = ""
    if details:
        content["details"] = details_json(subject)
        text += f"\n\n{details_text(subject)}"
    if plots is not None:
        written = write_plots(plots, [], [subject])
        content["plots"] = [str(path.resolve()) for path in written]
        text += f"\n\n{len(written)} charts in {printable(str(plots))}"
    return text


def _need_one_setting(extras: Extras, other: str) -> None:
    if extras.errors or extras.identity:
        what = f"--errors and --identity need a single set of results, not {other}"
        raise InvalidInput(what, where="command line", fix=f"leave out {other.split()[-1]}")


def _warn(scores: Scores | None, name: str) -> None:
    for note in scores.notes if scores is not None else ():
        print(f"warning: {printable(name)}: {note}", file=sys.stderr)


def _several(found: list[EvalResult], as_json: bool) -> None:
    for one in found:
        if one.scores is None:
            raise InvalidInput(f"{one.data} has no ground truth, so no mean score", where=str(one.results),
                               fix="--data SET with ground truth")  # fmt: skip
    mean, spread = mean_of(found)
    rows = [(one.name, one.scores.stats) for one in found if one.scores]
    published = {f"{k} (published)": v for one in found for k, v in one.published.items()}
    text = rows_report("run", [*rows, ("mean", mean), ("standard deviation", spread), *published.items()])
    content = {**mean, "std": spread, "runs": [one.as_dict() for one in found], "data": found[0].data}
    scored = [(one.name, one.scores) for one in found if one.scores]
    if errors := [(name, scores.errors) for name, scores in scored if scores.errors]:
        text += "\n\n" + error_rows(errors)
    identities: list[tuple[str, Figures]] = [
        (n, {**scores.identity.combined}) for n, scores in scored if scores.identity
    ]
    if identities:
        mean, spread = mean_and_spread([figures for _, figures in identities])
        content |= {"identity": mean, "identity_std": spread}
        text += "\n\n" + identity_rows([*identities, ("mean", mean), ("standard deviation", spread)])
    _finish(content, f"on {found[0].data}\n{text}", as_json)


def _unscored(one: EvalResult) -> str:
    base = one.data.removesuffix("_val")
    text = (
        f"{one.annotations} has no ground truth, so nothing is scored here.\n"
        f"Next: idolctl submit {base} --results {one.results}"
    )
    if truth := local_truth(base, one.annotations):
        text += f"\nFor a score here: {truth.told}"
    if one.published:
        text += "\n\n" + rows_report("published", list(one.published.items()))
    return text


def _finish(content: dict[str, Any], text: str, as_json: bool) -> None:
    print(text, file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(content))
