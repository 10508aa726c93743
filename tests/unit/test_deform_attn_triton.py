"""The Triton kernels without a GPU: interpreted on the CPU, compiled ahead of time for three GPUs, fake tensors."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from idol_core.ops.deform_attn import deformable_attention
from idol_core.ops.deform_attn_triton import MAX_LEVELS, Variant, prove

triton = pytest.importorskip("triton", reason="Triton is not installed here")

from idol_core.ops import deform_attn_kernels  # noqa: E402

VARIABLES = {"cells": "i32", "queries": "i32", **{f"size{i}": "i64" for i in range(MAX_LEVELS)}}
# Registers a thread, of a multiprocessor's 65536. Backward adds one number at a time before sm_90, four from then on.
KERNELS = {
    "forward": ("forward_kernel", {"value": "V", "locations": "fp32", "weights": "fp32", "output": "V"}, 80),
    "backward": (
        "backward_kernel",
        {"value": "V", "locations": "fp32", "weights": "fp32", "grad_output": "V"}
        | {"grad_value": "fp32", "grad_locations": "fp32", "grad_weights": "fp32"},
        160,
    ),
    "corners": ("corners_kernel", {"locations": "fp32", "weights": "fp32", "keys": "i32", "shares": "fp32"}, 64),
    "gather": (
        "gather_kernel",
        {"order": "i64", "starts": "i32", "shares": "fp32", "grad_output": "V", "grad_value": "V"},
        64,
    ),
}


def compile_for(capability: int, kernel: str, dtype: str, folder: Path) -> tuple[str, str]:
    """PTX of a kernel for heads of 32 channels, 8 heads, 4 levels, 4 points; and the assembler's report on it."""
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import get_ptxas
    from triton.compiler import ASTSource

    name, pointers, _ = KERNELS[kernel]
    function = getattr(deform_attn_kernels, name)
    sampling = kernel in ("forward", "backward")
    numbers = deform_attn_kernels.FORWARD_TILE if kernel == "forward" else deform_attn_kernels.BACKWARD_TILE
    blocks = {"BLOCK_Q": deform_attn_kernels.SORTED, "BLOCK_D": 32}
    if sampling:
        blocks = deform_attn_kernels.tile(32, 4, numbers)
    options = deform_attn_kernels.ONE_WARP if sampling else deform_attn_kernels.FOUR_WARPS
    fixed = {"M": 8, "D": 32, "L": 4, "P": 4, "ATOMIC": True, **blocks}
    types = VARIABLES | {pointer: "*" + kind.replace("V", dtype) for pointer, kind in pointers.items()}
    source = ASTSource(
        fn=function,
        signature={argument: types.get(argument, "constexpr") for argument in function.arg_names},
        constexprs={argument: fixed[argument] for argument in function.arg_names if argument in fixed},
        attrs={(i,): [["tt.divisibility", 16]] for i, name in enumerate(function.arg_names) if name in pointers},
    )
    target = GPUTarget("cuda", capability, 32)
    ptx = triton.compile(source, target=target, options=options).asm["ptx"]
    (folder / "kernel.ptx").write_text(ptx)
    gpu = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
    assert gpu is not None
    command = [get_ptxas(90).path, "-v", f"--gpu-name={gpu[1]}", "kernel.ptx", "-o", "kernel.cubin"]
    return ptx, subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [*itertools.product(("forward", "backward"), ("fp32", "bf16")), ("corners", "fp32"), ("gather", "bf16")],
)
@pytest.mark.skipif(not hasattr(triton, "knobs"), reason="compiling ahead of time is written for Triton 3.4 or newer")
def test_kernels_compile_for_gpus_without_spilling_registers(
    capability: int, kernel: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path / "cache"))
    ptx, report = compile_for(capability, kernel, dtype, tmp_path)
    registers = re.search(r"Used (\d+) registers", report)
    assert registers is not None, report
    assert int(registers[1]) <= KERNELS[kernel][2]
    assert re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", report) == ["0", "0", "0"]
    if kernel in ("forward", "backward"):
        assert ptx.count("ld.global.v4.b32") >= 4  # each corner's channels by loads of 16 bytes a thread


def test_interpreted_kernels_agree_with_float64() -> None:
    tests = Path(__file__).with_name("interpreted_deform_attn.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    run = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_fake_cuda_tensors_run_the_operator(dtype: torch.dtype) -> None:
    with FakeTensorMode():
        value = torch.empty(2, 42, 8, 32, dtype=dtype, device="cuda", requires_grad=True)
        locations = torch.empty(2, 9, 8, 3, 4, 2, device="cuda")
        weights = torch.empty(2, 9, 8, 3, 4, device="cuda")
        output = deformable_attention(value, ((5, 7), (3, 2), (1, 1)), locations, weights)
        assert (output.shape, output.dtype, output.device.type) == ((2, 9, 256), dtype, "cuda")
        assert output.grad_fn is not None
        assert "idol_deformable_attention" in output.grad_fn.name()
        gradients = torch.ops.idol.deformable_attention_backward(
            output.detach(), value.detach(), [5, 7, 3, 2, 1, 1], locations, weights
        )
        for gradient, given in zip(gradients, (value, locations, weights), strict=True):
            assert (gradient.shape, gradient.dtype) == (given.shape, given.dtype)
            assert gradient.device.type == "cuda"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there to run the kernel")
@pytest.mark.parametrize("kernel", ["forward", "backward", "deterministic backward"])
def test_a_kernel_that_cannot_run_says_so_in_one_line(kernel: str, capfd: pytest.CaptureFixture[str]) -> None:
    variant = Variant(kernel, torch.device("cpu"), torch.float32, torch.float32, heads=2, dim=4, levels=2, points=2)
    assert not prove(variant)
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert f"{kernel} kernel (float32, cpu) does not run (" in line
    assert "grid_sample is used instead" in line
