"""Export a model to another format, and prove the file before it gets its name."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from idol_core.config import InputConfig, Precision
from idol_core.data.collate import STRIDE
from idol_core.data.transforms import short_side_size
from idol_core.errors import InvalidInput, Missing
from idol_core.export.graph import LONGEST, traced
from idol_core.export.onnx_file import OPSET, write_onnx
from idol_core.export.openvino_file import convert_to_openvino, weights_aside
from idol_core.export.proof import Deviation, Expected, compare, expect, raise_if_apart
from idol_core.export.resize import MOST_TIMES
from idol_core.export.room import check_room
from idol_core.export.torch_file import open_torch, write_torch
from idol_core.inference.exported import GRAPH, ExportedModel, GraphFacts, open_exported, read_facts
from idol_core.inference.prepare import for_evaluation
from idol_core.inference.pretrained import check_tracks, open_pretrained
from idol_core.inference.runtimes import open_onnxruntime
from idol_core.metadata import to_metadata
from idol_core.ops.precision import HALVES
from idol_core.system.cpu import return_freed_memory
from idol_core.system.files import write_aside
from idol_core.tracking.masks import Size

Form = Literal["onnx", "openvino", "torch"]


class Format(NamedTuple):
    """What an exported file is written and checked with."""

    ending: str
    libraries: tuple[str, ...]
    extra: str  # of idolctl, which brings these
    runtime: str  # that the file is checked with


FORMATS: dict[Form, Format] = {
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), "export", "onnxruntime"),
    "openvino": Format(".xml", ("onnx", "onnxscript", "openvino"), "openvino", "OpenVINO"),
    "torch": Format(".pt2", (), "", "torch.export"),
}


class Export(NamedTuple):
    """A finished export."""

    files: list[Path]
    facts: GraphFacts
    input: InputConfig  # how frames are to be resized
    deviations: list[Deviation]  # the largest ones from torch


def export_model(
    weights: Path,
    out: Path,
    *,
    form: Form = "onnx",
    size: Size | None,
    rows: int = 100,
    precision: Precision = "float32",
    frame: Size | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Export:
    """Export weights that carry their recipe; the file appears only if its runtime computes the same as torch.

    Args:
        out: the file to write; "openvino" writes a .bin of the same name beside it.
        size: (height, width) of the graph's input, multiples of 32; None: any multiples of 32. Frames are resized to
            fit, and the recipe in the file says how.
        rows: most detections of a frame.
        precision: "fp16" stores and computes in float16 what torch's autocast does; the rest, inputs and outputs are
            as in "float32".
        frame: (height, width) of the frames that the graph takes and resizes to fit `size`; None: they come resized.

    Raises:
        Missing: a library of the format's extra is not installed, or as `open_pretrained`.
        InvalidInput: for weights of step 1 and sizes that can't be.
        IdolError: the file's outputs are too far from torch's.
    """
    check_libraries(form)
    check_ending(out, form)
    with _aside(out, form) as aside:
        first = aside.with_suffix(".onnx") if form == "openvino" else aside
        check_room(aside, _least_size(weights, form, precision))
        try:
            asked = _Asked(form, size, rows, precision, frame)
            expected = _write(weights, first, asked, say)
            gc.collect()
            return_freed_memory()
            if form == "openvino":
                convert_to_openvino(first, aside)
        finally:
            if first != aside:
                first.unlink(missing_ok=True)
        say(f"comparing {FORMATS[form].runtime} with torch")
        exported = _open(aside, form)
        return_freed_memory()
        deviations = compare(exported, expected)
        raise_if_apart(deviations, where=str(out), precision=precision)
    assert exported.carried.recipe is not None
    files = [out, out.with_suffix(".bin")] if form == "openvino" else [out]
    return Export(files, exported.facts, exported.carried.recipe.input, deviations)


class _Asked(NamedTuple):
    """Arguments of `export_model`."""

    form: Form
    size: Size | None
    rows: int
    precision: Precision
    frame: Size | None


def _write(weights: Path, path: Path, asked: _Asked, say: Callable[[str], None]) -> list[Expected]:
    """Write the graph of these weights. Returns what torch computes in float32 on the frames of the comparison."""
    model, recipe, classes = open_pretrained(weights)
    check_tracks(model, where=str(weights))
    check_size(asked.size)
    solver = dataclasses.replace(recipe.solver, evaluation_precision=asked.precision)
    recipe = dataclasses.replace(recipe, input=fitted_input(recipe.input, asked.size), solver=solver)
    resized = None if asked.frame is None else frame_in_network(asked.frame, recipe.input)
    size = asked.size if resized is None else padded(resized)
    facts = GraphFacts(
        size=size,
        rows=min(asked.rows, recipe.model.queries),
        select_threshold=recipe.tracker.select_threshold,
        box_nms=recipe.tracker.box_nms,
        opset=None if asked.form == "torch" else OPSET,
        precision=asked.precision,
        frame=asked.frame,
        resized=resized,
    )
    metadata = to_metadata(recipe, classes) | {GRAPH: json.dumps(facts._asdict())}
    network = for_evaluation(model)
    sizes = proof_sizes(recipe.input, size) if asked.frame is None else [asked.frame, asked.frame]
    expected = expect(network, recipe, sizes=sizes, resize=asked.frame is not None)
    say("writing the graph")
    write = write_torch if asked.form == "torch" else write_onnx
    network = for_evaluation(network, asked.precision)
    write(traced(network, recipe, facts), metadata, path)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.new_empty(0)  # torch keeps references; a runtime is to load the weights again
    return expected


def _open(path: Path, form: Form) -> ExportedModel:
    if form == "torch":
        return open_torch(path)
    if form == "onnx":
        return ExportedModel(path, *read_facts(path), open_onnxruntime(path, lean=True))
    return open_exported(path)


@contextlib.contextmanager
def _aside(out: Path, form: Form) -> Iterator[Path]:
    with write_aside(out) as aside, weights_aside(out, aside) if form == "openvino" else contextlib.nullcontext():
        aside.touch()  # a folder that can't be written to is found before the work
        yield aside


def _least_size(weights: Path, form: Form, precision: Precision) -> int:
    """About how many bytes an export takes on the disk, as long as it lasts."""
    size = weights.stat().st_size if weights.exists() else 0
    return int(size * (2 if form == "openvino" else 1) * (0.5 if precision in HALVES else 1))


def check_libraries(form: Form) -> None:
    """Raise Missing if a library that the export takes is not installed."""
    for name in FORMATS[form].libraries:
        try:
            importlib.import_module(name)
        except ImportError as error:
            fix = f"pip install 'idolctl[{FORMATS[form].extra}]'"
            raise Missing(f"{name} is not installed", where=f"--to {form}", fix=fix) from error


def check_ending(out: Path, form: Form) -> None:
    """Raise InvalidInput if the file would not be recognised as what it is."""
    ending = FORMATS[form].ending
    if out.suffix != ending:
        what = f"models for {FORMATS[form].runtime} end in {ending}"
        raise InvalidInput(what, where=str(out), fix=f"--out {out.with_suffix(ending)}")


def check_size(size: Size | None) -> None:
    """Raise InvalidInput for a size of the graph's input that can't be."""
    if size is not None and any(side % STRIDE or side <= 0 for side in size):
        height, width = padded((max(1, size[0]), max(1, size[1])))
        what = f"{size[0]}x{size[1]} is no size of the network: both sides must be multiples of {STRIDE}"
        raise InvalidInput(what, where="--size", fix=f"--size {height}x{width} (smaller frames are padded)")
    if size is not None and max(size) > LONGEST:
        what = f"{size[0]}x{size[1]} is too large: the longest side that a graph takes is {LONGEST}"
        raise InvalidInput(what, where="--size", fix="--size 480x864 is the usual one")


def frame_in_network(frame: Size, input: InputConfig) -> Size:
    """What the graph resizes frames to. Raises InvalidInput for frames that can't be resized there."""
    new = (0, 0) if 0 in frame else short_side_size(frame, input.test_short_side, input.test_max_size)
    if any(side > MOST_TIMES * resized for side, resized in zip(frame, new, strict=True)) or 0 in new:
        what = f"frames of {frame[0]}x{frame[1]} can't be resized in the graph"
        fix = f"frames up to {MOST_TIMES} times as large as in the network"
        raise InvalidInput(what, where="--frame", fix=fix)
    return new


def padded(size: Size) -> Size:
    """The next larger size of which both sides are multiples of 32."""
    return -(-size[0] // STRIDE) * STRIDE, -(-size[1] // STRIDE) * STRIDE


def fitted_input(input: InputConfig, size: Size | None) -> InputConfig:
    """The recipe's test size, made smaller so that frames of the graph's orientation fit its input."""
    if size is None:
        return input
    short, longest = min(input.test_short_side, min(size)), min(input.test_max_size, max(size))
    return dataclasses.replace(input, test_short_side=short, test_max_size=longest)


def proof_sizes(input: InputConfig, size: Size | None) -> list[Size]:
    """Sizes of the frames that the file and torch are compared on, with and without padding."""
    if size is not None:
        return [size, (size[0] - 13, size[1] - 11)]
    usual = short_side_size((1080, 1920), input.test_short_side, input.test_max_size)
    return [(4 * STRIDE, 6 * STRIDE), (7 * STRIDE - 13, 5 * STRIDE - 11), usual]
