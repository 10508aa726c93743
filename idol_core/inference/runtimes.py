"""Open exported graphs in onnxruntime or OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.system.files import sha256_of
from idol_core.system.openvino_header import WEIGHTS_HASH, openvino_metadata

FIX = "write it with idolctl export"


class Runtime(NamedTuple):
    """An open graph."""

    outputs: Sequence[str]  # their names
    run: Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]  # inputs by name -> outputs in that order


def open_onnxruntime(path: Path, *, device: str = "cpu", lean: bool = False) -> Runtime:
    """Open an ONNX file on "cpu" or "cuda", with as many threads as torch uses.

    `lean`: take less memory and more time; for a few frames.

    Raises Missing if onnxruntime is not installed, InvalidInput if it can't use the device, Integrity if it can't read
    the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        fix = "pip install 'idolctl[export]'"
        raise Missing("onnxruntime is not installed", where=str(path), fix=fix) from error
    kind, _, number = device.partition(":")
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(number or 0)}))
    elif kind != "cpu":
        what = f"device '{device}' can't be used: this onnxruntime has no support for it"
        raise InvalidInput(what, where="--device", fix="--device cpu, or pip install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # tracking runs beside it
    options.log_severity_level = 3
    if lean:
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.enable_mem_reuse = False  # or else large intermediate results are kept for later ones of their size
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=providers, disabled_optimizers=["ConstantFolding"] if lean else None
        )  # half of Swin's size is attention masks and biases that it would add up once for all
    except Exception as error:  # onnxruntime's own types, one for each status
        raise Integrity(f"onnxruntime can't open it: {first_line(error)}", where=str(path), fix=FIX) from error
    outputs = [output.name for output in session.get_outputs()]
    return Runtime(outputs, lambda inputs: session.run(outputs, dict(inputs)))


def open_openvino(path: Path, *, device: str = "cpu") -> Runtime:
    """Open an OpenVINO model, .xml with its weights in .bin beside it, on the CPU, in float32.

    Raises Missing if OpenVINO is not installed or the .bin file is missing, InvalidInput for another device, Integrity
    if OpenVINO can't read the files or the .bin file is another model's.
    """
    try:
        import openvino
    except ImportError as error:
        fix = "pip install 'idolctl[openvino]'"
        raise Missing("openvino is not installed", where=str(path), fix=fix) from error
    if device != "cpu":
        what = f"device '{device}' can't be used: OpenVINO models run on the CPU here"
        raise InvalidInput(what, where="--device", fix="--device cpu")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise Missing("the model's weights are missing", where=str(weights), fix=f"put them beside {path.name}")
    if openvino_metadata(path).get(WEIGHTS_HASH) != sha256_of(weights):
        raise Integrity("these are not the weights of the .xml beside it", where=str(weights), fix=FIX)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    try:
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    except Exception as error:
        raise Integrity(f"OpenVINO can't open it: {first_line(error)}", where=str(path), fix=FIX) from error
    outputs = [output.any_name for output in compiled.outputs]

    def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        found = compiled(dict(inputs))
        return [np.asarray(found[number]) for number in range(len(outputs))]

    return Runtime(outputs, run)


def first_line(error: Exception) -> str:
    """The first line of an exception's text, or else its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
