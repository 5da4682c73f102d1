"""Shared test set-up."""

from __future__ import annotations

import os

# Set before torch is imported: several test processes on two cores are faster with one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
