"""What the C library does with freed memory. A CPU training step frees and asks again for the same hundreds of MiB."""

from __future__ import annotations

import ctypes

# Of glibc's mallopt(3). Beyond the second limit blocks come straight from the system, 32 MiB is the most it takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, LARGEST_BYTES = 1 << 30, 32 << 20


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory instead of having the system clear the same pages every step;
    returns whether the C library knows how (glibc does).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl; macOS; Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
