"""Freed memory stays with the process as long as somebody wants that, and no longer."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")

FAULTS = """
import resource, torch
from etl.heap import freed_memory_kept

def faults():
    for _ in range(30):  # 48 MiB are freed at once; the heap takes a while to have room for them
        torch.ones(48 << 18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(48 << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

print(faults())
with freed_memory_kept():
    with freed_memory_kept():
        pass
    print(faults())
    held = resident()
print(held - resident(), faults())
"""


def test_pages_are_not_asked_for_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, kept, given_back, after = map(int, done.stdout.split())
    pages = 10 * (48 << 20) // resource.getpagesize()
    assert kept < pages / 5
    assert given_back >= 40  # MiB
    # Where the system hands out huge pages, there are few faults anyway.
    assert before > 3 * kept or before < pages / 100
    assert after > 3 * kept or after < pages / 100
