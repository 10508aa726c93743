"""What the fork server of the tests imports, once: the worker, every command of the command line, and the C code."""

import contextlib
import importlib

from idol_core.ops import deform_attn_cpu, native
from idolctl.app import COMMANDS

WORKER = ("idol_core.worker", "idol_core.engine.failure", "idol_core.engine.stage")
# Imported by an optimizer, the launcher of a group, the logs of a run, its report.
LATER = ("torch._dynamo", "torch.distributed.run", "torch.utils.tensorboard", "idolctl.report.make", "scipy.optimize")

for name in (*WORKER, *LATER, *(f"idolctl.commands.{name}" for name in COMMANDS)):
    with contextlib.suppress(ImportError):  # tensorboard may not be installed
        importlib.import_module(name)

native.load(deform_attn_cpu.SOURCE)  # or each process with a cache of its own would compile it
