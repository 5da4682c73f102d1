"""The C library's heaps, told how to be used by a process that takes large pieces; glibc alone listens."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h.
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
_LARGE = 1 << 20


def few_arenas() -> None:
    """Let all threads share one heap.

    Glibc gives the threads that serve requests up to eight heaps for each core, and every heap keeps what its
    largest picture took: the process would grow with the number of clients, although nothing is held.
    """
    _set(_ARENA_MAX, 1)


def give_back_large() -> None:
    """Let the system have every piece of 1 MiB or more again as soon as it is freed.

    By itself glibc puts pieces of up to 32 MiB into its heap, once one of that size was freed. There, freed
    pieces lie between those that live, and a step's second part finds no room that is large enough: training
    mini at batch 2 took 2.00 GiB for one part of a step and 2.48 for three; so set, 1.58 and 1.64.
    """
    _set(_MMAP_THRESHOLD, _LARGE)


def _set(name: int, value: int) -> None:
    setting = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if setting is not None:  # other C libraries have no such heaps
        setting(name, value)
