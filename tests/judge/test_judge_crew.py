"""Threads that judge side by side: each uses one core, and nobody else's number of threads changes."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
import torch

from castsheet.judge.cast import read_cast
from castsheet.judge.crew import crew
from castsheet.judge.evidence import Witness
from castsheet.judge.judge import Judge, Options
from tests.doubles.judge_doubles import fixture_clip, fixture_sheet
from tests.judge.test_judge_looks import Colours, Middle

torch.set_num_threads(1)


def test_every_thread_uses_one_core_and_the_rest_of_the_program_keeps_its_own() -> None:
    """Red: torch's threads of several pictures wait for each other, or a program that judged computes on one
    core from then on."""
    before = 2
    torch.set_num_threads(before)
    with crew() as hands:
        assert set(hands.map(lambda _: torch.get_num_threads(), range(20))) == {1}
        later: list[int] = []
        other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        other.start()
        other.join()
    after = torch.get_num_threads()
    torch.set_num_threads(1)
    assert (after, later) == (before, [before])


def test_a_failure_reaches_the_caller_and_ends_the_threads() -> None:
    """Red: a judge that fails hangs, or its threads stay."""
    with pytest.raises(ZeroDivisionError), crew() as hands:
        hands.submit(lambda: 1 // 0).result()
    assert not [one for one in threading.enumerate() if one.name.startswith("castsheet-judge")]


def test_a_crew_that_is_sent_home_at_once_had_begun(caplog: pytest.LogCaptureFixture) -> None:
    """Red: a judge that fails early tells its threads that they failed to begin, and waits for one."""
    for _ in range(200):
        with suppress(ZeroDivisionError), crew():
            raise ZeroDivisionError
    assert not caplog.records
    assert not [one for one in threading.enumerate() if one.name.startswith("castsheet-judge")]


def test_frames_side_by_side_are_seen_as_one_after_the_other() -> None:
    """Red: frames that are looked at together change each other, or come back in another order."""
    sheet, clip = fixture_sheet(), fixture_clip("clean")
    judged = Judge(sheet, Options(matter=Middle(), lookers=(Colours(),)))(clip)
    height, width = clip.frames.shape[1:3]
    witness = Witness(read_cast(sheet, width, height), Middle(), (Colours(),))
    seen = {one.id: one.glimpses for one in judged.elements if one.glimpses}
    numbers = [one.frame for one in seen["hero"]]
    assert len(numbers) == 6
    assert seen == witness.look(clip.frames, numbers)
