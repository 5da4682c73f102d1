"""What the C library keeps of memory that was freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.doubles import train_tiny as tiny

PROGRAM = """
import sys
import torch
from castsheet.machine.heap import give_back_large

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if sys.argv[1] == "set":
    give_back_large()
del_me = torch.ones(31 << 18)
del del_me  # 31 MiB: pieces of up to that size come from the heap from now on
before = resident()
kept = []
large = []
for _ in range(40):
    large.append(torch.ones(2 << 20))
    kept.append(torch.ones(64 << 8))  # 64 KiB lie behind each
large.clear()
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such a heap")
def test_freed_memory_goes_back_to_the_system():
    """Red: what a part of a training step freed still counts when the next part takes its own."""

    def left(setting: str) -> int:
        command = [sys.executable, "-c", PROGRAM, setting]
        told = subprocess.run(command, env=tiny.environment(), check=True, capture_output=True, text=True)
        return int(told.stdout)

    assert left("set") < 30 < 200 < left("unset")
