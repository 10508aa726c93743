"""Convert an ONNX file for OpenVINO: an .xml file with the graph and the metadata, a .bin file with the weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from idol_core.export.room import check_room
from idol_core.system.openvino_header import seal_openvino


def convert_to_openvino(onnx_file: Path, path: Path) -> None:
    """Convert with OpenVINO's own converter, all weights in float32; writes `path` and its .bin."""
    import openvino

    model = openvino.Core().read_model(str(onnx_file))  # convert_model would report its use to a server
    check_room(path, onnx_file.stat().st_size)  # OpenVINO does not say what is wrong
    openvino.save_model(model, str(path), compress_to_fp16=False)
    seal_openvino(path)


@contextmanager
def weights_aside(path: Path, aside: Path) -> Iterator[None]:
    """Beside `write_aside(path)`: on success fsync the .bin of `aside` and give it its name, on failure remove it."""
    weights = aside.with_suffix(".bin")
    try:
        yield
        with open(weights, "rb") as written:
            os.fsync(written.fileno())
        os.replace(weights, path.with_suffix(".bin"))
    finally:
        weights.unlink(missing_ok=True)
