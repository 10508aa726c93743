"""Write a model as an ONNX file, with its recipe and classes in the metadata, and prove it before it gets its name."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from idol_core.config import InputConfig, StageConfig, SwinConfig
from idol_core.data.collate import STRIDE
from idol_core.data.transforms import short_side_size
from idol_core.errors import InvalidInput, Missing
from idol_core.export.graph import FrameToDetections
from idol_core.export.proof import Deviation, compare, raise_if_apart
from idol_core.inference.exported import GRAPH, ExportedModel, ExportedRows, GraphFacts
from idol_core.inference.prepare import evaluation_copy
from idol_core.inference.pretrained import check_tracks, open_pretrained
from idol_core.metadata import ONNX, to_metadata
from idol_core.model.idol import IDOL
from idol_core.system.files import write_aside
from idol_core.tracking.masks import Size

OPSET = 18
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
_CPU = torch.device("cpu")
_TRACED = (5 * STRIDE, 7 * STRIDE)  # the example frame of dynamic sizes: no map's side is 1, none is another's


def export_onnx(
    weights: Path,
    out: Path,
    *,
    size: Size | None,
    rows: int = 100,
    say: Callable[[str], None] = lambda _: None,
) -> list[Deviation]:
    """Export weights that carry their recipe; the file appears only if onnxruntime computes the same as torch.

    Args:
        size: (height, width) of the graph's input, multiples of 32; None: any multiples of 32. Frames are resized to
            fit, and the recipe in the file says how.
        rows: most detections of a frame.

    Returns:
        The largest deviations from torch.

    Raises:
        Missing: a library of the extra `export` is not installed, or as `open_pretrained`.
        InvalidInput: for weights of step 1 and sizes that can't be.
        IdolError: the file's outputs are too far from torch's.
    """
    check_libraries()
    check_ending(out)
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
        opset=OPSET,
    )
    metadata = to_metadata(recipe, classes) | {GRAPH: json.dumps(facts._asdict())}
    network = evaluation_copy(model, _CPU)
    del model
    with write_aside(out) as aside:
        say("writing the graph")
        write_graph(network, recipe, facts, metadata, aside)
        say("comparing onnxruntime with torch")
        found = compare(ExportedModel(aside), network, recipe, sizes=proof_sizes(recipe.input, size))
        raise_if_apart(found, where=str(out))
    return found


def write_graph(network: IDOL, recipe: StageConfig, facts: GraphFacts, metadata: dict[str, str], path: Path) -> None:
    """Trace an evaluation copy and write it as ONNX; imports the exporter's libraries."""
    module = FrameToDetections(network, input=recipe.input, tracker=recipe.tracker, rows=facts.rows).eval()
    height, width = facts.size or _TRACED
    example = (torch.zeros(height, width, 3, dtype=torch.uint8), torch.tensor([height, width - 1]))
    shapes: Any = None
    if facts.size is None:
        sides = {axis: STRIDE * torch.export.Dim(name, min=1, max=256) for axis, name in enumerate("hw")}
        shapes = {"frame": sides, "size": None}
    with _quiet(), torch.no_grad():
        program = torch.export.export(module, example, dynamic_shapes=shapes)
        written = torch.onnx.export(
            program,
            input_names=["frame", "size"],
            output_names=list(ExportedRows._fields),
            opset_version=OPSET,
            optimize=False,  # `_simplify` takes half the time, and is all that a runtime leaves to do
            verbose=False,
        )
        assert written is not None
        _simplify(written.model)
        written.model.metadata_props.update(metadata)
        written.model.producer_name = "idolctl"
        written.save(path, external_data=False)


def _simplify(model: Any) -> None:
    """Inline functions, compute what is constant, drop what is unused or double, and leave out the traces of code."""
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants

    common.InlinePass()(model)
    fold_constants(model, onnx_shape_inference=True)
    for clean in (
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),
        common.RemoveUnusedOpsetsPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        clean(model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter logs about its own work."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def check_libraries() -> None:
    """Raise Missing if a library that the export takes is not installed."""
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise Missing(f"{name} is not installed", where="--to onnx", fix="pip install 'idolctl[export]'") from error


def check_ending(out: Path) -> None:
    """Raise InvalidInput if the file would not be recognised as an exported model."""
    if out.suffix != ONNX:
        raise InvalidInput(f"exported models end in {ONNX}", where=str(out), fix=f"--out {out.with_suffix(ONNX)}")


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
    """Sizes of the frames that onnxruntime and torch are compared on, with and without padding."""
    if size is not None:
        return [size, (size[0] - 13, size[1] - 11)]
    usual = short_side_size((1080, 1920), input.test_short_side, input.test_max_size)
    return [(4 * STRIDE, 6 * STRIDE), (7 * STRIDE - 13, 5 * STRIDE - 11), usual]
