"""`idolctl bench`."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from idol_core.errors import InvalidInput
from idol_core.system.cpu import configure_threads
from idol_core.system.files import write_json
from idolctl.commands import options

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=options.examples("idolctl bench", "idolctl bench --quick", "idolctl bench --json bench.json"))
def bench(
    against: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A checkout of the original with its operator built: measure that, too."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer figures, each measured for a shorter time.")] = False,
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there, too.")] = None,
    device: Annotated[str | None, typer.Option(help="cuda or cpu; default: cuda if available.")] = None,
) -> None:
    """Measure operator, inference and training on this machine: speed, memory, and share of what the device can do.

    Weights and frames are random. Takes at most about 8 minutes; close other programs that use the device.
    """
    threads = configure_threads()
    import torch

    from idol_core.ops.devices import usable_device
    from idolctl.bench.operator import original_operator
    from idolctl.bench.row import as_lines
    from idolctl.bench.suite import measure, suite_for

    chosen = torch.device(usable_device(device))
    if against is not None and chosen.type != "cuda":
        raise InvalidInput("the original's operator runs on a GPU only", where="--against", fix="leave it out")
    original = original_operator(against) if against is not None else None
    about = _about(chosen, threads)
    print("\n".join(f"{name}: {value}" for name, value in about.items()), flush=True)
    began, rows = time.monotonic(), []
    for _, part in itertools.groupby(measure(chosen, suite_for(chosen, quick=quick), original), lambda row: row.part):
        found = list(part)
        rows += found
        print("\n" + "\n".join(as_lines(found)), flush=True)
    print(f"\nmeasured in {time.monotonic() - began:.0f} s", file=sys.stderr)
    if file is not None:
        write_json(file, {"about": about, "rows": [row._asdict() for row in rows]})


def _about(device: Any, threads: int) -> dict[str, str]:
    """What the figures depend on."""
    import torch

    from idol_core.ops import deform_attn_cpu
    from idol_core.ops.deform_attn_triton import HAS_TRITON

    if device.type == "cuda":
        name, operator = torch.cuda.get_device_name(device), "Triton" if HAS_TRITON else "grid_sample"
    else:
        name = f"CPU, {threads} thread{'s' * (threads > 1)}"
        operator = "C code" if deform_attn_cpu.available(torch.empty(0)) else "grid_sample"
    return {"device": name, "torch": torch.__version__, "deformable attention": operator}
