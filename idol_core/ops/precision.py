"""Precision of matrix products and convolutions: float32, TF32, or bfloat16 and float16 by autocast."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from idol_core.config import Precision

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """Context manager: compute in `precision`. float32 is full float32, even where torch defaults to TF32 convolutions.

    TF32 rounds the factors of products to 10 bits of mantissa, on GPUs that support it; elsewhere it is float32.
    """
    with (
        tf32(allowed=precision == "tf32"),
        torch.autocast(device.type, HALVES.get(precision, torch.bfloat16), enabled=precision in HALVES),
    ):
        yield


@contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Context manager: allow or forbid TF32 in CUDA's float32 products and convolutions; restored afterwards.

    torch has one setting for all threads. Where contexts of several threads overlap, the one entered last decides, and
    the setting is restored when the last of them is left.
    """
    global _outside
    entered = object()
    with _changing:
        if not _within:
            _outside = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        _within[entered] = allowed
        _allow(allowed, allowed)
    try:
        yield
    finally:
        with _changing:
            del _within[entered]
            remaining = list(_within.values())
            _allow(*((remaining[-1],) * 2 if remaining else _outside))


_changing = threading.Lock()
_within: dict[object, bool] = {}  # contexts that are entered, and what they allow
_outside = (False, True)


def _allow(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions


def default_precision(device: torch.device) -> Precision:
    """The fastest precision without a visible loss of quality: bf16 on GPUs that support it, else float32."""
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
