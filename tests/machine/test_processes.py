"""Processes beside this one."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import torch

from mini.script import one_thread_each


def threads(name: str) -> tuple[int, str | None]:
    return torch.get_num_threads(), os.environ.get(name)


def test_workers_compute_in_one_thread(monkeypatch):
    """Red: on 64 cores 36 workers start 64 threads each, and everything takes ten times as long."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    context = multiprocessing.get_context("spawn")
    with one_thread_each(CARD="1"), ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(threads, "CARD").result() == (1, "1")
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "CARD" not in os.environ
