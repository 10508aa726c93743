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

from idol_core.config import InputConfig, StageConfig, SwinConfig
from idol_core.data.collate import STRIDE
from idol_core.data.transforms import short_side_size
from idol_core.errors import InvalidInput, Missing
from idol_core.export.graph import traced
from idol_core.export.onnx_file import OPSET, write_onnx
from idol_core.export.openvino_file import convert_to_openvino, weights_aside
from idol_core.export.proof import Deviation, Expected, compare, expect, raise_if_apart
from idol_core.export.torch_file import open_torch, write_torch
from idol_core.inference.exported import GRAPH, ExportedModel, GraphFacts, open_exported, read_facts
from idol_core.inference.prepare import for_evaluation
from idol_core.inference.pretrained import check_tracks, open_pretrained
from idol_core.inference.runtimes import open_onnxruntime
from idol_core.metadata import to_metadata
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
    say: Callable[[str], None] = lambda _: None,
) -> Export:
    """Export weights that carry their recipe; the file appears only if its runtime computes the same as torch.

    Args:
        out: the file to write; "openvino" writes a .bin of the same name beside it.
        size: (height, width) of the graph's input, multiples of 32; None: any multiples of 32. Frames are resized to
            fit, and the recipe in the file says how.
        rows: most detections of a frame.

    Raises:
        Missing: a library of the format's extra is not installed, or as `open_pretrained`.
        InvalidInput: for weights of step 1 and sizes that can't be.
        IdolError: the file's outputs are too far from torch's.
    """
    check_libraries(form)
    check_ending(out, form)
    with _aside(out, form) as aside:
        first = aside.with_suffix(".onnx") if form == "openvino" else aside
        try:
            expected = _write(weights, first, form=form, size=size, rows=rows, say=say)
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
        raise_if_apart(deviations, where=str(out))
    assert exported.carried.recipe is not None
    files = [out, out.with_suffix(".bin")] if form == "openvino" else [out]
    return Export(files, exported.facts, exported.carried.recipe.input, deviations)


def _write(
    weights: Path, path: Path, *, form: Form, size: Size | None, rows: int, say: Callable[[str], None]
) -> list[Expected]:
    """Write the graph of these weights. Returns what torch computes on the frames of the comparison."""
    model, recipe, classes = open_pretrained(weights)
    check_tracks(model, where=str(weights))
    check_size(size, recipe)
    solver = dataclasses.replace(recipe.solver, evaluation_precision="float32")
    recipe = dataclasses.replace(recipe, input=fitted_input(recipe.input, size), solver=solver)
    facts = GraphFacts(
        size=size,
        rows=min(rows, recipe.model.queries),
        select_threshold=recipe.tracker.select_threshold,
        box_nms=recipe.tracker.box_nms,
        opset=None if form == "torch" else OPSET,
    )
    metadata = to_metadata(recipe, classes) | {GRAPH: json.dumps(facts._asdict())}
    network = for_evaluation(model)
    expected = expect(network, recipe, sizes=proof_sizes(recipe.input, size))
    say("writing the graph")
    write = write_torch if form == "torch" else write_onnx
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
        yield aside


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


def check_size(size: Size | None, recipe: StageConfig) -> None:
    """Raise InvalidInput for a size of the graph's input that can't be."""
    if size is None and isinstance(recipe.model.backbone, SwinConfig):
        what = "a Swin backbone can be exported with a fixed size only"
        raise InvalidInput(what, where="--size dynamic", fix="--size 480x864")
    if size is not None and any(side % STRIDE or side <= 0 for side in size):
        near = "x".join(str(max(1, -(-side // STRIDE)) * STRIDE) for side in size)
        what = f"{size[0]}x{size[1]} is no size of the network: both sides must be multiples of {STRIDE}"
        raise InvalidInput(what, where="--size", fix=f"--size {near} (smaller frames are padded)")


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
