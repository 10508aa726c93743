"""Run a command that gets SIGTERM when its parent dies: `python -m idolctl.launch.die_with_parent PARENT COMMAND...`.

A killed command line would otherwise leave its worker training for days. The setting survives exec (prctl(2)); it is
made here, in the child, because running Python code between fork and exec in the parent is not safe.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Ask the system, if it can, for SIGTERM when the parent dies; then exec the command."""
    parent, command = int(argv[0]), argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died before prctl was called
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
