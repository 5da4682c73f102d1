"""Runs that are asked to end: within a step, before the first one, and twice."""

from __future__ import annotations

import signal
import time

import pytest
import torch
from rich.console import Console

from castsheet.machine.processes import World
from castsheet.train import checkpoint
from castsheet.train.leaving import Wish, noted
from castsheet.train.trainer import Trainer, train
from tests.doubles import train_tiny as tiny


class After(Wish):
    """Asks the run to end when it was asked so many times itself, each time before or after a block."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("further", [1, 2, 3, 4])
def test_a_step_is_left_within_it_and_made_again_bit_for_bit(model, data, tmp_path, further):
    """Red: a step of minutes is made to its end first, or a step left half done changes what comes after."""
    whole = tiny.config(model, data, tmp_path / "whole", steps=6, save_every=100)
    train(whole)
    config = tiny.config(model, data, tmp_path / "run", steps=6, save_every=100)
    trainer = Trainer(config, World(0, 1, torch.device("cpu")), Console(quiet=True))
    blocks = trainer.learner.transformer.transformer_blocks
    asks = 2 * len(blocks) + 1  # of a step: itself, and each block forward and backward
    with pytest.raises(SystemExit) as caught:
        trainer.run(After(4 * asks + further))
    assert caught.value.code == 128 + signal.SIGTERM
    assert trainer.step == 4
    saved = checkpoint.latest(config.output)
    assert saved is not None
    assert saved.name == "step_000004"
    train(config)
    assert tiny.losses(config.output) == tiny.losses(whole.output)


def test_a_run_left_before_its_first_step_begins_anew(model, data, tmp_path, capsys):
    """Red: a checkpoint of no step is written, or the words promise one."""
    config = tiny.config(model, data, tmp_path / "run", steps=2)
    with pytest.raises(SystemExit):
        Trainer(config, World(0, 1, torch.device("cpu")), Console(width=200)).run(After(2))
    assert "begins anew" in capsys.readouterr().out
    assert checkpoint.latest(config.output) is None
    train(config)
    assert len(tiny.losses(config.output)) == 2


def test_a_second_ctrl_c_ends_at_once():
    """Red: one who presses Ctrl-C twice waits all the same, or a wrapper's echo of the first counts as it."""
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(1))
    try:
        with noted() as wish:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert wish()
            assert wish.code == 130
            assert not came
            time.sleep(1.1)
            signal.raise_signal(signal.SIGINT)
            assert came
        assert not isinstance(signal.getsignal(signal.SIGINT), int)
    finally:
        signal.signal(signal.SIGINT, before)
