"""Write a traced graph with torch.export (.pt2), for AOTInductor and other users of torch's own format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from idol_core.export.quiet import quiet
from idol_core.export.room import check_room
from idol_core.inference.exported import GRAPH, ExportedModel, ExportedRows, parse_facts
from idol_core.inference.runtimes import Runtime

_GRAPH_BYTES = 16 << 20  # at most, of what is written besides the weights
_METADATA = ("recipe", "classes", GRAPH)


def write_torch(program: ExportedProgram, metadata: Mapping[str, str], path: Path) -> None:
    """Write a traced `FrameToDetections`; the metadata becomes torch.export's `extra_files`."""
    numbers = sum(tensor.nbytes for tensor in program.state_dict.values())
    check_room(path, numbers + _GRAPH_BYTES)  # torch ends the whole process if a disk becomes full while it writes
    with quiet():
        torch.export.save(program, path, extra_files=dict(metadata))


def open_torch(path: Path) -> ExportedModel:
    """Open a file of `write_torch`. For files made here only: torch.export.load executes code from the file."""
    metadata = dict.fromkeys(_METADATA, "")
    with quiet():
        graph = torch.export.load(path, extra_files=metadata).module()
    facts, carried = parse_facts({key: text for key, text in metadata.items() if text}, path)

    def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [output.numpy() for output in graph(*map(torch.from_numpy, inputs.values()))]

    return ExportedModel(path, facts, carried, Runtime(ExportedRows._fields, run))
