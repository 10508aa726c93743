"""What the fork server of the tests imports, once: the worker, every command of the command line, and the C code."""

import importlib

import idol_core.engine.failure
import idol_core.engine.stage
import idol_core.worker  # noqa: F401
from idol_core.ops import deform_attn_cpu, native
from idolctl.app import COMMANDS

for name in COMMANDS:
    importlib.import_module(f"idolctl.commands.{name}")

native.load(deform_attn_cpu.SOURCE)  # or each process with a cache of its own would compile it
