"""`idolctl export WEIGHTS --to FORMAT --out FILE`."""

from __future__ import annotations

import json
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from idol_core.config import Precision
from idol_core.errors import InvalidInput
from idol_core.metadata import EXPORTED
from idolctl.commands import complete, options
from idolctl.signals import stoppable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Form(StrEnum):
    """Formats of exported models."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"


class Arithmetic(StrEnum):
    """Number formats of an exported model's weights and arithmetic."""

    float32 = "float32"
    float16 = "float16"


PRECISIONS: dict[Arithmetic, Precision] = {Arithmetic.float32: "float32", Arithmetic.float16: "fp16"}


@app.command(
    epilog=options.examples(
        "idolctl export runs/toy-tiny/weights.safetensors --to onnx --out toy.onnx --size 96x128",
        "idolctl export ovis-r50 --to onnx --out ovis.onnx --size 736x1280",
    )
)
def export(
    weights: Annotated[
        str,
        typer.Argument(
            help="A zoo name (idolctl ls zoo) or a weights file of step 2 or 3.", autocompletion=complete.weights
        ),
    ],
    to: Annotated[
        Form, typer.Option(help="Format: onnx, openvino (a .xml and a .bin file), or torch (.pt2 of torch.export).")
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    size: Annotated[
        str,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Input size, multiples of 32, such as 480x864; or dynamic: any size.",
        ),
    ] = "480x864",
    frame: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Take frames of this size, such as 1080x1920, and resize them in the graph to what fits --size.",
        ),
    ] = None,
    max_detections: Annotated[
        int, typer.Option("--max-detections", min=1, help="Rows of the output: most detections of a frame.")
    ] = 100,
    precision: Annotated[
        Arithmetic, typer.Option(help="Of weights and arithmetic. Inputs and outputs are the same in both.")
    ] = Arithmetic.float32,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    as_json: options.JSON = False,
) -> None:
    """Export a model for other runtimes; the file is kept only if its runtime computes with it what torch does."""
    wanted = None if size == "dynamic" else _sides(size, "--size")
    for file in (out, out.with_suffix(".bin")) if to is Form.openvino else (out,):
        if file.is_dir():
            raise InvalidInput(f"{file} is a folder", where=str(file), fix=f"--out {file / out.name}")
        if file.exists() and not force:
            raise InvalidInput(f"{file} is there already", where=str(file), fix="--force replaces it")
    from idolctl.prediction.weights import check_weights

    path = check_weights(weights)
    if path.suffix in EXPORTED or path.suffix == ".pt2":
        raise InvalidInput("this is an exported model already", where=str(path), fix="give the weights it came from")
    from idol_core.export.model import export_model  # brings torch
    from idol_core.system.cpu import map_large_blocks

    map_large_blocks()

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    with stoppable("run it again; it starts over"):
        done = export_model(
            path,
            out,
            form=to.value,
            size=wanted,
            rows=max_detections,
            precision=PRECISIONS[precision],
            frame=None if frame is None else _sides(frame, "--frame"),
            say=say,
        )
    told = sys.stderr if as_json else sys.stdout
    print("largest difference from torch, and what is allowed", file=told)
    for one in done.deviations:
        print(f"  {one.about:30s} {one.largest:<10.3g} {one.allowed:.3g}", file=told)
    megabytes = sum(file.stat().st_size for file in done.files) / 1e6
    names = " + ".join(str(file) for file in done.files)
    print(f"{names}  {megabytes:.1f} MB, {done.facts.rows} rows, frames resized to "
          f"a short side of {done.input.test_short_side}, at most {done.input.test_max_size}", file=told)  # fmt: skip
    if to is Form.torch:
        print("Next: docs/export.md, AOTInductor", file=told)
    else:
        print(f"Next: idolctl predict VIDEO --weights {out}", file=told)
    if as_json:
        deviations = {one.about: {"largest": one.largest, "allowed": one.allowed} for one in done.deviations}
        print(json.dumps({"file": str(out), "deviations": deviations, **done.facts._asdict()}))


def _sides(text: str, option: str) -> tuple[int, int]:
    sides = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if sides is None:
        example = "480x864 (height x width), or dynamic" if option == "--size" else "1080x1920 (height x width)"
        raise InvalidInput(f"'{text}' is no size", where=option, fix=f"{option} {example}")
    return int(sides[1]), int(sides[2])
