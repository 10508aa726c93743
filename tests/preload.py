"""What the fork server of the tests imports, once: the worker, and every command of the command line."""

import importlib

import idol_core.engine.failure
import idol_core.engine.stage
import idol_core.worker  # noqa: F401
from idolctl.app import COMMANDS

for name in COMMANDS:
    importlib.import_module(f"idolctl.commands.{name}")
