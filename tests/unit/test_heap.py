"""Freed memory that stays with the process."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from idol_core.system.cpu import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use():
    block = libc.malloc(16 << 20)
    ctypes.memset(block, 1, 16 << 20)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_reused_without_new_page_faults():
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "return")
    )
    assert kept < 100  # of 4096 pages in a block
    assert returned > 1000
