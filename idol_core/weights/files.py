"""Read and write weights files: safetensors with metadata (ours), torch's zip and pickle files, detectron2's `.pkl`.

Reading never executes code from a file.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.system.files import write_aside
from idol_core.system.stand_ins import refuse_stand_in
from idol_core.weights.pickles import load_arrays

TORCH_ENDINGS = (".pth", ".pt", ".bin")


class Weights(NamedTuple):
    """Contents of a weights file."""

    state: dict[str, Tensor]
    metadata: dict[str, str]  # of safetensors; empty for other formats


def open_weights(path: Path) -> Weights:
    """Read .safetensors, .pth/.pt/.bin (a state dict, or a checkpoint with one under "model") or detectron2's .pkl.

    Raises Missing, InvalidInput for another file extension, Integrity for a corrupt or hostile file.
    """
    if not path.is_file():
        raise Missing("there is no such weights file", where=str(path), fix="check the path, or idolctl fetch NAME")
    refuse_stand_in(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in TORCH_ENDINGS:
        return Weights(_tensors(_open_torch(path), path), {})
    if path.suffix == ".pkl":
        return Weights(_tensors(_open_pickle(path), path), {})
    if path.suffix == ".pt2":
        what = "a file of torch.export is for AOTInductor; it is not opened here"
        raise InvalidInput(what, where=str(path), fix="use the weights it came from")
    endings = ", ".join((".safetensors", *TORCH_ENDINGS, ".pkl"))
    raise InvalidInput(f"weights files end in {endings}", where=str(path), fix="rename the file to its right ending")


def save_weights(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write our format atomically: safetensors with `metadata` (such as the recipe's JSON under "recipe").

    The same tensors and metadata give the same bytes.
    """
    content = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in state.items()}, dict(metadata))
    header, data = _sorted_header(content)
    with write_aside(path) as aside, open(aside, "wb") as file:
        file.write(header)
        file.write(data)


def _sorted_header(content: bytes) -> tuple[bytes, memoryview]:
    """Sort the metadata in a safetensors header. Returns header (8-byte length, JSON, padded to 8 bytes) and data.

    The library writes metadata in random order, but tensors in an order that depends only on them.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, memoryview(content)[8 + size :]


def _open_safetensors(path: Path) -> Weights:
    """Read tensors one after another: those of the library are the mapped file, which may be changed while in use."""
    try:
        with safetensors.safe_open(path, framework="pt") as stored, open(path, "rb") as file:
            file.seek(8 + int.from_bytes(file.read(8), "little"))  # the library has checked the header's size
            state = {name: _next_tensor(file, like=stored.get_tensor(name)) for name in stored.offset_keys()}
            if file.read(1):
                raise ValueError("the file was changed while it was read")
            return Weights(state, stored.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _next_tensor(file: BinaryIO, *, like: Tensor) -> Tensor:
    """Read the numbers of a tensor of this shape and dtype. Raises ValueError if the file ends before."""
    content = torch.empty(like.nbytes, dtype=torch.uint8)
    if content.nbytes and file.readinto(content.numpy()) != content.nbytes:  # type: ignore[attr-defined]
        raise ValueError("the file was changed while it was read")
    return content.view(like.dtype).view(like.shape)


def _open_torch(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Integrity:
        raise
    except pickle.UnpicklingError as error:
        raise _hostile(path, error) from error
    except Exception as error:  # a damaged file can raise many errors in torch's reader
        raise _unreadable(path, error) from error


def _check_archive(path: Path) -> None:
    """Check what torch does not: checksums, and that members don't expand to more memory than the file has bytes."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        packed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
        if packed or sum(m.file_size for m in members) > path.stat().st_size:
            what = f"{packed[0]} is compressed" if packed else "its members overlap"
            what += ", which torch never writes: such a file could expand to any amount of memory"
            raise Integrity(what, where=str(path), fix="fetch it again from a source that you trust")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"bad checksum of {damaged}")


# Schedules in detectron2's checkpoints may carry numpy numbers. Their module name differs between old and new numpy.
_NUMPY_SCALARS: list[Any] = [
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")},
]


def _open_pickle(path: Path) -> Any:
    try:
        return load_arrays(path)
    except pickle.UnpicklingError as error:
        raise _hostile(path, error) from error
    except Exception as error:  # a damaged pickle can raise many errors
        raise _unreadable(path, error) from error


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """Extract the state dict of a checkpoint; arrays become tensors."""
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise Integrity("the file holds no weights", where=str(path), fix="fetch it again")
    state = {}
    for name, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            value = torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise Integrity(f"{name!r} is not a tensor", where=str(path), fix="fetch the file again")
        if not _is_stored(value):
            raise Integrity(f"{name!r} is not an array of plain numbers", where=str(path), fix="fetch the file again")
        state[name] = value
    return state


def _is_stored(tensor: Tensor) -> bool:
    """Whether a tensor is stored in full: not sparse, nor a few numbers repeated (expanded) to look like many."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return plain and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _unreadable(path: Path, error: Exception) -> Integrity:
    return Integrity(f"the weights can't be read: {_first_line(error)}", where=str(path), fix="fetch the file again")


def _hostile(path: Path, error: Exception) -> Integrity:
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()  # drop torch's advice to trust the file
    asked = re.search(r"GLOBAL (\S+)", text)
    reason = f"it asks for {asked[1]}" if asked else (text or "no reason given").splitlines()[0]
    what = f"the file was not loaded, as it is damaged or contains more than arrays: {reason}"
    return Integrity(what, where=str(path), fix="fetch it again from a source that you trust")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
