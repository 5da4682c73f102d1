"""Twenty seconds of fuzzing, and everything that longer runs found: see tools/fuzz."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.fuzz.__main__ import start
from tools.fuzz.loop import Findings, fuzz, try_input
from tools.fuzz.targets import TARGETS

SECONDS = 20


@pytest.mark.parametrize("name", TARGETS)
def test_readers_end_in_a_value_or_our_error(name: str, tmp_path: Path):
    """Red: some bytes make this reader end in another error than a `CastsheetError`; the place is named."""
    target, found = TARGETS[name], Findings()
    for data in start(name):
        try_input(target, data, tmp_path, found)
    longer = fuzz(target, start(name), tmp_path, seconds=SECONDS / len(TARGETS))
    crashes = found.crashes | longer.crashes
    assert not crashes, {place: data[:200] for place, data in crashes.items()}
    assert longer.inputs > 1
