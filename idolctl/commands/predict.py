"""`idolctl predict SOURCE`."""

from __future__ import annotations

import functools
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from idol_core.errors import Integrity, InvalidInput
from idolctl.commands import complete, options
from idolctl.errors import Mistakes, suggestion
from idolctl.signals import stoppable
from idolctl.terminal.text import printable

if TYPE_CHECKING:
    from idol_core.inference.streaming import VideoSegmenter

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_FORMS = ("mp4", "json", "png", "csv")
OUT = Path("predictions")


@app.command(
    epilog=options.examples(
        "idolctl fetch ovis-r50 && idolctl predict clip.mp4 --weights ovis-r50",
        "idolctl predict runs/toy-tiny/overlay.mp4 --weights runs/toy-tiny/weights.safetensors",
        "idolctl predict clip.mp4 --weights ovis-r50 --set tracker.new_threshold=.4 --out fewer",
    )
)
def predict(
    source: Annotated[
        str,
        typer.Argument(
            help="A video, a folder of frames, a 'glob*.png', a data set (ovis_val), camera:0, rtsp://... or http://..."
        ),
    ],
    weights: Annotated[
        str,
        typer.Option(help="A zoo name (idolctl ls zoo) or a weights file.", autocompletion=complete.weights),
    ],
    out: Annotated[Path | None, typer.Option(help="Output folder; default: predictions/SOURCE.")] = None,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="Minimum score of a reported track.")] = 0.3,
    save: Annotated[
        str,
        typer.Option(
            help="Files to write: any of mp4,json,png,csv; and labels: cvat,labelme,coco,label-studio,yolo,davis,mots,"
            "kitti-mots."
        ),
    ] = ",".join(_FORMS),
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a tracker setting or the network's input size: tracker.new_threshold=.3, "
            "input.test_short_side=360.",
        ),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Frames per second for image files; default: 6.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; default: cuda if available.")] = None,
    precision: Annotated[
        options.Arithmetic | None,
        typer.Option(help="Numeric precision of the network; default: bf16 on a GPU that supports it, else float32."),
    ] = None,
    cuda_graphs: Annotated[
        bool | None,
        typer.Option(
            "--cuda-graphs/--no-cuda-graphs",
            help="Record the network once per frame size, then replay it; default: on a GPU.",
            show_default=False,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show it in a window as it happens; write nothing.")] = False,
    serve: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Show it at http://127.0.0.1:PORT as it happens (0: a free port)."),
    ] = None,
    root: options.ROOT = None,
    classes_map: options.CLASSES_MAP = None,
    as_json: options.JSON = False,
) -> None:
    """Track the objects of a video: overlay.mp4, results.json, contact.png, and tracks/ with one CSV per track.

    With several videos, unreadable ones are skipped and listed at the end (exit 4).
    A camera or network stream is read until Ctrl-C. Otherwise Ctrl-C and SIGTERM leave no half-written file.
    """
    asked = _asked(save)
    if rate is not None and not 0 < rate <= 10_000:
        what = f"--rate {rate:g} is out of range"
        raise InvalidInput(what, where="--rate", fix="give frames per second, above 0 and at most 10,000, such as 0.2")
    from idol_core.data.exchange.formats import FORMATS  # what follows brings numpy, PyAV, torch
    from idolctl.prediction.weights import check_weights, open_segmenter

    _check(asked, [*_FORMS, *FORMATS])

    path = check_weights(weights)
    open_network = functools.partial(
        open_segmenter, path, device, precision.value if precision else None, cuda_graphs=cuda_graphs,
        assignments=assignments or (),
    )  # fmt: skip
    if show or serve is not None:
        if out is not None or save != ",".join(_FORMS):
            raise InvalidInput(
                "--show and --serve write no files", where="--out, --save", fix="leave these options out"
            )
        segmenter = open_network()
        _live(segmenter, source, root=root, rate=rate, threshold=threshold, show=show, serve=serve, as_json=as_json)
        return
    from idolctl.prediction.sources import find_sources

    stopped = threading.Event()
    with (
        stoppable("run it again; it starts over"),
        tempfile.TemporaryDirectory(prefix="idolctl-") as scratch,
    ):
        recording = Path(scratch) / "recording.mp4"
        sources = find_sources(source, root=root, recording=recording, stop=stopped.is_set, rate=rate)
        segmenter = open_network()
        from idolctl.prediction.predict import Save
        from idolctl.prediction.predict import predict as work

        if sources.live:
            _end_on_ctrl_c(stopped)
        folder = out or OUT / sources.name
        done = work(
            segmenter, sources, folder, save=frozenset(Save(form) for form in asked if form in _FORMS),
            threshold=threshold, classes_map=options.class_pairs(classes_map),
            labels=[form for form in asked if form not in _FORMS],
        )  # fmt: skip
    speed = done.frames / max(done.seconds, 1e-6)
    told = sys.stderr if as_json else sys.stdout
    gaps = f", {sources.gaps}" if sources.gaps.count else ""
    print(f"{done.tracks} tracks in {done.frames} frames, {speed:.1f} frames/s{gaps}", file=told)
    made = len(sources.clips) + len(sources.failed) - len(done.failed)
    if sources.single:
        for file in done.files:
            print(f"  {printable(str(file))}", file=told)
    else:
        print(f"  {printable(str(folder))}, with a folder for each of {made} videos", file=told)
    if not done.tracks:
        again = printable(f"idolctl predict {source} --weights {weights} --threshold {threshold / 3:.2g}")
        print(f"Next: a lower threshold: {again}", file=told)
    if as_json:
        content = {
            "out": str(folder),
            "frames": done.frames,
            "tracks": done.tracks,
            "frames_per_second": round(speed, 3),
            "gaps": sources.gaps.count,
            "files": list(map(str, done.files)),
            "damaged": {name: sorted({d.frame for d in damage}) for name, damage in done.damage.items()},
            "failed": [{"where": error.where, "what": error.what} for error in done.failed],
        }
        print(json.dumps(content))
    if done.failed:
        raise Mistakes(done.failed, exit_code=Integrity.exit_code)


def _live(
    segmenter: VideoSegmenter,
    source: str,
    *,
    root: Path | None,
    rate: float | None,
    threshold: float,
    show: bool,
    serve: int | None,
    as_json: bool,
) -> None:
    from idol_core.video.reconnect import Gaps
    from idol_core.video.streams import hidden, is_stream
    from idolctl.prediction.live import live_frames, show_live

    stopped = threading.Event()
    gaps = Gaps()
    frames = live_frames(source, root=root, stop=stopped.is_set, rate=rate, gaps=gaps)
    name = hidden(source) if is_stream(source) else source
    with stoppable("run it again; it starts over"):
        _end_on_ctrl_c(stopped)
        done = show_live(segmenter, frames, name=name, threshold=threshold, window=show, port=serve,
                         stop=stopped.is_set, gaps=gaps)  # fmt: skip
    print(json.dumps(done.as_dict()) if as_json else f"{done.frames} frames tracked: {done}")


def _asked(text: str) -> list[str]:
    asked = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not asked:
        raise InvalidInput("--save names no output", where="--save", fix=f"--save {','.join(_FORMS)}")
    return asked


def _check(asked: Sequence[str], known: Sequence[str]) -> None:
    for form in asked:
        if form not in known:
            raise InvalidInput(f"unknown output '{form}'", where="--save", fix=suggestion(form, known))


def _end_on_ctrl_c(stopped: threading.Event) -> None:
    """Let the first Ctrl-C end the camera's clip and a second one the command."""

    def end(*_: object) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, end)
    print("Ctrl-C ends it", file=sys.stderr)
