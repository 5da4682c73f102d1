"""Shared test set-up."""

from __future__ import annotations

import os
import signal
import tempfile

# Set before torch is imported: several test processes on two cores are faster with one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before triton is, which torch does where it can: kernels run in its interpreter, on the CPU.
os.environ.setdefault("TRITON_INTERPRET", "1")
# Cut-outs and faces are kept between runs; tests must neither find earlier ones nor leave any.
_CACHE = tempfile.TemporaryDirectory(prefix="castsheet-tests-")
os.environ["CASTSHEET_CACHE"] = _CACHE.name
# A suite in a shell's background ignores Ctrl-C, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
