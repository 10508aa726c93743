"""Write a traced graph as an ONNX file, with metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from idol_core.export.quiet import quiet
from idol_core.inference.exported import ExportedRows
from idol_core.system.onnx_header import length_delimited, seal_onnx

OPSET = 18
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # field numbers of ModelProto, GraphProto and TensorProto


def write_onnx(program: ExportedProgram, metadata: Mapping[str, str], path: Path) -> None:
    """Translate a traced `FrameToDetections` and write it as one file; imports the exporter's libraries."""
    with quiet(), torch.no_grad():
        written = torch.onnx.export(
            program,
            input_names=["frame", "size"][: len(program.graph_signature.user_inputs)],
            output_names=list(ExportedRows._fields),
            opset_version=OPSET,
            optimize=False,  # `_simplify` takes half the time, and is all that a runtime leaves to do
            verbose=False,
        )
        assert written is not None
        _simplify(written.model)
        written.model.metadata_props.update(metadata)
        written.model.producer_name = "idolctl"
        _save(written.model, path)
        seal_onnx(path)


def _save(model: Any, path: Path) -> None:
    """Write a model of onnx_ir, weights inside, with one weight at a time in memory besides the network's own.

    The library's own way holds all weights three times. Fields of protobuf messages may come in any order.
    """
    import onnx_ir

    weights = [value.const_value for value in model.graph.initializers.values()]
    model.graph.initializers.clear()
    rest = onnx_ir.to_proto(model)
    graph = rest.graph.SerializeToString()
    rest.ClearField("graph")
    heads = [_described(weight) for weight in weights]
    length = len(graph) + sum(
        len(length_delimited(_INITIALIZER, len(head) + weight.nbytes)) + len(head) + weight.nbytes
        for head, weight in zip(heads, weights, strict=True)
    )
    with open(path, "wb") as file:
        file.write(rest.SerializeToString())
        file.write(length_delimited(_GRAPH, length))
        file.write(graph)
        for head, weight in zip(heads, weights, strict=True):
            file.write(length_delimited(_INITIALIZER, len(head) + weight.nbytes))
            file.write(head)
            file.write(weight.tobytes())


def _described(weight: Any) -> bytes:
    """A TensorProto up to its numbers: name, type, shape, and how many bytes of numbers follow."""
    import onnx

    described = onnx.TensorProto(name=weight.name, data_type=int(weight.dtype), dims=list(weight.shape))
    return bytes(described.SerializeToString() + length_delimited(_RAW_DATA, weight.nbytes))


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
        _transpose_weights,
        common.RemoveUnusedNodesPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        clean(model)


def _transpose_weights(model: Any) -> None:
    """Store the weights of linear layers as they are multiplied, or else a runtime keeps both forms while it loads."""
    import onnx_ir

    for node in list(model.graph):
        if node.op_type != "Transpose" or not node.inputs[0].is_initializer() or len(node.inputs[0].shape) != 2:
            continue
        stored, used = node.inputs[0], node.outputs[0]
        turned = onnx_ir.tensor(stored.const_value.raw.T, name=f"{stored.name}.transposed")
        weight = onnx_ir.Value(name=turned.name, shape=used.shape, type=used.type, const_value=turned)
        model.graph.register_initializer(weight)
        used.replace_all_uses_with(weight)
        model.graph.remove(node, safe=True)
