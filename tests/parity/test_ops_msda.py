"""ops_msda.npz: multi-scale deformable sampling and its gradients, in float64 and, less closely, in float32."""

from __future__ import annotations

import pytest
import torch

from idol_core.ops import deform_attn
from tests.parity import kit
from tests.parity.tolerances import SAMPLING

CASES = kit.cases(kit.arrays("ops_msda"))
INPUTS = ("value", "sampling_locations", "attention_weights")
IMPLEMENTATIONS = {"chosen": deform_attn.deformable_attention, "torch": deform_attn.sample_with_torch}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", SAMPLING, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_sampling_and_gradients(case, dtype: torch.dtype, implementation: str) -> None:
    value, locations, weights = (torch.from_numpy(case[key]).to(dtype).requires_grad_() for key in INPUTS)
    shapes = tuple((int(h), int(w)) for h, w in case["spatial_shapes"])
    output = IMPLEMENTATIONS[implementation](value, shapes, locations, weights)
    output.backward(torch.from_numpy(case["grad_output"]).to(dtype))

    SAMPLING[dtype].check(output, case["output"])
    for key, given in zip(INPUTS, (value, locations, weights), strict=True):
        assert given.grad is not None
        SAMPLING[dtype].check(given.grad, case[f"grad_{key}"], key)
