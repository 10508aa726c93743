"""Run a model that `idolctl export` wrote: from frames to the detections that go to the tracker."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from idol_core.config import InputConfig, ModelConfig, Precision, TrackerConfig
from idol_core.data.collate import STRIDE
from idol_core.data.transforms import resize_for_test, short_side_size
from idol_core.errors import IdolError, Integrity, InvalidInput, Missing
from idol_core.inference.runtimes import FIX, Runtime, first_line, open_onnxruntime, open_openvino
from idol_core.metadata import EXPORTED, Carried, read_metadata
from idol_core.structures import Detections
from idol_core.system.onnx_header import onnx_is_sealed
from idol_core.system.openvino_header import openvino_is_sealed
from idol_core.tracking.masks import Size

GRAPH = "graph"  # metadata key of `GraphFacts`, as JSON
_MASK_CELL = 4  # pixels of the padded frame, in height and width
_OPENERS = {".onnx": open_onnxruntime, ".xml": open_openvino}
_SEALED = {".onnx": onnx_is_sealed, ".xml": openvino_is_sealed}


class ExportedRows(NamedTuple):
    """Outputs of the graph for one frame: R rows, the first `count` of which are its detections, by falling score.

    The rows from `count` on hold queries that were not selected, by falling score. Tensors in torch, arrays elsewhere.
    """

    count: Any  # [] int64
    selected: Any  # [] int64: larger than `count` if there were more detections than rows
    scores: Any  # [R] best class probability
    labels: Any  # [R] int64
    probs: Any  # [R, K] all class probabilities
    boxes: Any  # [R, 4] cxcywh, normalized by the frame without padding
    embeddings: Any  # [R, C]
    mask_logits: Any  # [R, H/4, W/4] over the padded frame
    queries: Any  # [R] int64: index of the query that each row came from


class GraphFacts(NamedTuple):
    """What is fixed in an exported graph."""

    size: Size | None  # (height, width) of its input; None: any multiples of 32
    rows: int
    select_threshold: float
    box_nms: float
    opset: int | None  # of ONNX; None in other formats
    precision: Precision = "float32"  # or "fp16": weights and arithmetic; inputs and outputs are the same
    frame: Size | None = None  # frames of this size are resized in the graph; None: they come resized
    resized: Size | None = None  # what `frame` is resized to; `size` is this, padded to multiples of 32


class ExportedModel:
    """An exported model, open in a runtime. Raises Integrity if the graph's outputs are not `ExportedRows`."""

    def __init__(self, path: Path, facts: GraphFacts, carried: Carried, runtime: Runtime) -> None:
        self.path, self.facts, self.carried, self.runtime = path, facts, carried, runtime
        self._warned = False  # of frames that are padded more than torch pads them
        if list(runtime.outputs) != list(ExportedRows._fields):
            raise Integrity("the graph has other outputs than its metadata promises", where=str(path), fix=FIX)

    def check_settings(self, tracker: TrackerConfig, input: InputConfig, precision: Precision) -> None:
        """Raise InvalidInput for settings other than the graph's: selection of queries, precision, size."""
        if precision != self.facts.precision:
            what = f"the exported graph computes in {self.facts.precision}, not in {precision}"
            raise InvalidInput(what, where=str(self.path), fix="leave --precision out")
        for name in ("select_threshold", "box_nms"):
            has, asked = getattr(self.facts, name), getattr(tracker, name)
            if has != asked:
                what = f"tracker.{name} is {has:g} in the exported graph and can't become {asked:g}"
                raise InvalidInput(what, where=str(self.path), fix="evaluate the weights that it was exported from")
        if (
            self.facts.frame is not None
            and short_side_size(self.facts.frame, input.test_short_side, input.test_max_size) != self.facts.resized
        ):
            what = "the exported graph resizes frames itself, to a size that can't be changed"
            raise InvalidInput(what, where=str(self.path), fix="leave input.test_short_side and test_max_size out")

    def image(self, frame: NDArray[np.uint8], input: InputConfig) -> Tensor:
        """Prepare a frame [h, w, 3] for `detect`: uint8 [3, h, w], resized unless the graph resizes it itself."""
        if self.facts.frame is None:
            return resize_for_test(frame, input)
        return torch.from_numpy(frame).permute(2, 0, 1)

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detections of each frame [3, h, w] uint8, one after another.

        Raises InvalidInput for a frame that does not fit the graph and for more detections than it has rows, IdolError
        if the network computes numbers that are not finite.
        """
        return [self._detect(image) for image in images]

    def run(self, image: Tensor) -> ExportedRows:
        """All rows of one frame [3, h, w] uint8, as arrays."""
        height, width = image.shape[-2:]
        if self.facts.frame is not None:
            if (height, width) != self.facts.frame:
                rows, columns = self.facts.frame
                what = f"a frame is {height}x{width}, the exported graph resizes frames of {rows}x{columns} only"
                raise InvalidInput(what, where=str(self.path), fix=f"export again with --frame {height}x{width}")
            assert self.facts.size is not None
            inputs = {"frame": np.ascontiguousarray(image.permute(1, 2, 0).numpy())}
            return self._run(inputs, padded=self.facts.size)
        own = (-(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE)
        rows, columns = self.facts.size or own
        if height > rows or width > columns:
            what = f"a frame of {height}x{width} (in the network) does not fit the exported graph's {rows}x{columns}"
            raise InvalidInput(what, where=str(self.path), fix=f"export again with --size {own[0]}x{own[1]} or dynamic")
        if own != (rows, columns) and not self._warned:
            self._warned = True
            what = f"frames of {height}x{width} are padded to the exported graph's {rows}x{columns}"
            fix = f"for the very tracks of the weights export with --size {own[0]}x{own[1]}"
            print(f"warning: {what}, so tracks differ from those of the weights; {fix}", file=sys.stderr, flush=True)
        padded = F.pad(image, (0, columns - width, 0, rows - height)).permute(1, 2, 0)
        inputs = {"frame": np.ascontiguousarray(padded.numpy()), "size": np.array((height, width), np.int64)}
        return self._run(inputs, padded=(rows, columns))

    def _run(self, inputs: Mapping[str, NDArray[Any]], *, padded: Size) -> ExportedRows:
        assert self.carried.recipe is not None
        try:
            found = ExportedRows(*self.runtime.run(inputs))
        except Exception as error:  # each runtime's own types
            fix = "export again, or use the weights it came from"
            raise IdolError(f"the graph does not run: {first_line(error)}", where=str(self.path), fix=fix) from error
        wrong = wrong_rows(found, rows=self.facts.rows, model=self.carried.recipe.model, padded=padded)
        if wrong:
            what = f"the graph's outputs are not what its metadata promises: {wrong}"
            raise Integrity(what, where=str(self.path), fix=FIX)
        return found

    def _detect(self, image: Tensor) -> Detections:
        found = self.run(image)
        if not all(np.isfinite(part).all() for part in found if part.dtype.kind == "f"):
            raise IdolError("the exported graph computes numbers that are not finite from a frame",
                            where=str(self.path), fix="export again with --precision float32")  # fmt: skip
        if found.selected > found.count:
            what = f"a frame has {int(found.selected)} detections, the exported graph {self.facts.rows} rows"
            raise InvalidInput(what, where=str(self.path), fix="export again with a larger --max-detections")
        fields = (found.scores, found.labels, found.probs, found.boxes, found.embeddings, found.mask_logits)
        return Detections(*(torch.from_numpy(field[: int(found.count)]) for field in fields))


def wrong_rows(found: ExportedRows, *, rows: int, model: ModelConfig, padded: Size) -> str:
    """Say which output for a frame of this padded size has a wrong type, shape or range; "" if none has."""
    height, width = padded
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        "count": ((), "int64"),
        "selected": ((), "int64"),
        "scores": ((rows,), "float32"),
        "labels": ((rows,), "int64"),
        "probs": ((rows, model.num_classes), "float32"),
        "boxes": ((rows, 4), "float32"),
        "embeddings": ((rows, model.hidden_dim), "float32"),
        "mask_logits": ((rows, height // _MASK_CELL, width // _MASK_CELL), "float32"),
        "queries": ((rows,), "int64"),
    }
    for (name, (shape, dtype)), part in zip(expected.items(), found, strict=True):
        if part.shape != shape or part.dtype != dtype:
            return f"{name} is {part.dtype} {list(part.shape)}, not {dtype} {list(shape)}"
    for name, part, most in (
        ("count", found.count, min(rows, int(found.selected))),
        ("labels", found.labels, model.num_classes - 1),
        ("queries", found.queries, model.queries - 1),
    ):
        if part.min() < 0 or part.max() > most:
            return f"{name} is not from 0 to {most}"
    return ""


def open_exported(path: Path, *, device: str = "cpu") -> ExportedModel:
    """Open a model for onnxruntime (.onnx) or OpenVINO (.xml); warns if the file was changed since it was exported.

    Raises Missing if the runtime is not installed, InvalidInput if it can't use the device, Integrity if the file is
    not readable or not one of `idolctl export`.
    """
    facts, carried = read_facts(path)
    opened = ExportedModel(path, facts, carried, _OPENERS[path.suffix](path, device=device))
    if not _SEALED[path.suffix](path):
        what = "was changed after idolctl export compared it with the weights, so its results may be others"
        print(f"warning: {path} {what}", file=sys.stderr, flush=True)
    return opened


def read_facts(path: Path) -> tuple[GraphFacts, Carried]:
    """Read and check an exported model's metadata. Raises Missing, Integrity."""
    if not path.is_file():
        raise Missing("there is no such exported model", where=str(path), fix="check the path")
    try:
        metadata = EXPORTED[path.suffix](path)
    except (ValueError, OSError) as error:
        raise Integrity(f"the exported model can't be read: {error}", where=str(path), fix=FIX) from error
    return parse_facts(metadata, path)


def parse_facts(metadata: Mapping[str, str], path: Path) -> tuple[GraphFacts, Carried]:
    """Check an exported model's metadata. Raises Integrity, naming the file `path`."""
    carried = read_metadata(metadata, where=str(path))
    if GRAPH not in metadata or carried.recipe is None:
        raise Integrity("this file was not written by idolctl export", where=str(path), fix=FIX)
    try:
        facts = GraphFacts(**json.loads(metadata[GRAPH]))
        sizes = [size for size in (facts.size, facts.frame, facts.resized) if size is not None]
        numbers = (facts.rows, facts.opset or 1, *(side for size in sizes for side in size))
        if any(len(size) != 2 for size in sizes) or not all(type(n) is int and n > 0 for n in numbers):
            raise ValueError("sizes are no whole numbers above 0")
        if not all(isinstance(n, int | float) for n in (facts.select_threshold, facts.box_nms)):
            raise ValueError("thresholds are no numbers")
        if facts.precision not in get_args(Precision):
            raise ValueError("there is no such precision")
        if facts.frame is not None and None in (facts.size, facts.resized):
            raise ValueError("a size is missing")
        fixed: dict[str, Any] = {name: tuple(value) for name, value in facts._asdict().items() if type(value) is list}
    except (ValueError, TypeError, RecursionError) as error:
        what = f"the graph's description can't be understood: {error}"
        raise Integrity(what, where=f"{path}: metadata, {GRAPH}", fix=FIX) from error
    return facts._replace(**fixed), carried
