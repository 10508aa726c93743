"""Precision of matrix products and convolutions: float32, TF32, or bfloat16 and float16 by autocast."""

from __future__ import annotations

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
    """Context manager: allow or forbid TF32 in CUDA's float32 products and convolutions; restored afterwards."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def default_precision(device: torch.device) -> Precision:
    """The fastest precision without a visible loss of quality: bf16 on GPUs that support it, else float32."""
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
