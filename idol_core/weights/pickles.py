"""Safely read pickles of numpy arrays and plain containers; anything else is refused."""

from __future__ import annotations

import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np


def load_arrays(path: Path) -> Any:
    """Load dicts, lists, strings, numbers and numpy arrays from a pickle (detectron2's `.pkl`).

    Raises pickle.UnpicklingError for any other type, before it is imported; a damaged pickle may raise other errors.
    """
    with open(path, "rb") as stream:
        _check_memo(stream)
        stream.seek(0)
        return _ArrayUnpickler(stream, encoding="latin1").load()


def _check_memo(stream: IO[bytes]) -> None:
    """Refuse memo indices above the number of operations so far: the unpickler allocates memory up to the index."""
    for operations, (operation, argument, _) in enumerate(pickletools.genops(stream)):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > operations:
            raise pickle.UnpicklingError(f"it remembers an object as number {argument} after {operations} operations")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Resolve the few allowed names; any other is refused."""
        admitted = _ADMITTED.get((module.replace("numpy._core", "numpy.core"), name))
        if admitted is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return admitted


def _latin1(text: str, encoding: str) -> bytes:
    """Replaces codecs.encode, by which old pickle protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """Replaces bytes(), by which old pickle protocols write empty bytes."""
    return b""


_reconstruct: Callable[..., Any] = np.empty(1).__reduce__()[0]  # type: ignore[assignment]
_frombuffer: Callable[..., Any] = np.empty(1).__reduce_ex__(5)[0]  # type: ignore[assignment]
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _empty_bytes,
}
