"""C code of this package, compiled with the system's C compiler on first use and kept in the cache folder.

No build step is needed: where there is no compiler, `load` returns None and the caller uses torch instead.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sysconfig
from functools import cache
from pathlib import Path

from idol_core.system.cache import cache_folder
from idol_core.system.files import write_aside

# Not -ffast-math: a library linked with it makes the whole process flush denormal numbers to zero.
MATH = ("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-fopenmp-simd")
FLAGS = ("-O3", "-march=native", *MATH, "-std=c11", "-fPIC", "-shared")


@cache
def load(source: Path) -> ctypes.CDLL | None:
    """Load the shared library compiled from a C file; None if it can't be built, or if IDOL_NATIVE=0 is set."""
    if os.environ.get("IDOL_NATIVE") == "0":
        return None
    preferred = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]
    compiler = shutil.which(preferred) or shutil.which("cc")
    if compiler is None:
        return None
    code = source.read_bytes()
    key = hashlib.sha256(b"\0".join((code, " ".join(FLAGS).encode(), _processor()))).hexdigest()[:16]
    library = cache_folder() / "native" / f"{source.stem}-{key}.so"
    try:
        if not library.is_file():
            with write_aside(library) as aside:
                if not _compile(compiler, source, aside, ("-fopenmp",)) and not _compile(compiler, source, aside, ()):
                    return None
        return ctypes.CDLL(str(library))
    except OSError:  # the cache can't be written, or the library can't be loaded
        return None


def _compile(compiler: str, source: Path, out: Path, extra: tuple[str, ...]) -> bool:
    command = [compiler, *FLAGS, *extra, str(source), "-o", str(out), "-lm"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _processor() -> bytes:
    """Describe the processor for the cache key: `-march=native` libraries must not be shared by different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
        return "\n".join(sorted(known)).encode()
    except OSError:
        return f"{platform.machine()} {platform.processor()}".encode()
