"""The devices that a network may be asked to run on: the CPU, CUDA GPUs, Apple's GPU (mps)."""

from __future__ import annotations

import re

import torch

from idol_core.errors import InvalidInput

_FORM = re.compile(r"cpu|mps(?::0)?|cuda(?::(\d{1,3}))?", re.ASCII)


def usable_device(asked: str | None) -> str:
    """The device asked for, or a CUDA GPU if there is one, else the CPU.

    Apple's GPU is used only when asked for. Raises InvalidInput, saying what there is, for a device that is not here.
    """
    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    form = _FORM.fullmatch(asked)
    if form is None:
        raise InvalidInput(f"'{asked}' is no device", where="--device", fix="cpu, cuda, cuda:N or mps")
    reason = _cuda(int(form[1] or 0)) if asked.startswith("cuda") else _mps() if asked.startswith("mps") else None
    if reason is None:
        try:
            torch.empty(0, device=asked)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
    if reason is not None:
        raise InvalidInput(f"device '{asked}' can't be used: {reason}", where="--device", fix=f"--device {_here()}")
    return asked


def _cuda(index: int) -> str | None:
    if not torch.cuda.is_available():
        built = torch.version.cuda
        return "torch finds no CUDA GPU" if built else "this torch is built without CUDA"
    count = torch.cuda.device_count()
    return None if index < count else f"there are {count} GPUs, cuda:0 to cuda:{count - 1}"


def _mps() -> str | None:
    if torch.backends.mps.is_available():
        return None
    return "torch finds no Apple GPU" if torch.backends.mps.is_built() else "this torch is built without mps"


def _here() -> str:
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
