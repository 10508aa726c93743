"""What the device can do at best: matrix products a second in each precision, and bytes a second."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch

from idol_core.config import Precision
from idol_core.ops.precision import HALVES, arithmetic
from idolctl.bench import clock
from idolctl.bench.row import Row

SIDE = {"cuda": 8192, "cpu": 1024}  # of the matrices
COPIED = {"cuda": 2**30, "cpu": 2**27}  # bytes


class Machine(NamedTuple):
    """A device with its measured rates."""

    device: torch.device
    rates: dict[Precision, float]  # floating point operations a second of matrix products
    bandwidth: float  # bytes a second, read and written

    def rows(self) -> list[Row]:
        products = [Row("machine", f"matmul, {p}", rate / 1e12, "TFLOPS") for p, rate in self.rates.items()]
        return [*products, Row("machine", "copy within the device", self.bandwidth / 1e9, "GB/s")]


def measure_machine(device: torch.device, precisions: tuple[Precision, ...], budget: float) -> Machine:
    """Measure the rates, spending about `budget` seconds on each."""
    side = SIDE[device.type]
    rates: dict[Precision, float] = {}
    for precision in precisions:
        a, b = (torch.randn(side, side, device=device).to(HALVES.get(precision)) for _ in range(2))
        product = functools.partial(torch.mm, a, b, out=torch.empty_like(a))
        with arithmetic(device, precision):
            rates[precision] = 2 * side**3 / clock.seconds(product, device, budget)
    source = torch.zeros(COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Machine(device, rates, 2 * source.numel() / clock.seconds(lambda: target.copy_(source), device, budget))
