"""Sheets and prompts for distilling mini: of training identities alone, as `castsheet distill` reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from castsheet.errors import DependencyError
from castsheet.prompt import parse
from castsheet.sheet.manifest import Sheet
from castsheet.train.data.taught import read_lessons
from mini.training.lessons import SEEDS, write


def test_every_identity_gets_a_sheet_and_a_prompt_that_names_its_elements(
    tmp_path: Path,
) -> None:
    """Red: the teacher is asked for somebody who is not on the sheet, or the folder is not what is read."""
    try:
        write(tmp_path, 2)
    except DependencyError:
        pytest.skip("no renderer here")
    lessons = read_lessons(tmp_path)
    assert [one.name for one in lessons] == ["000000-1", "000001-1"]
    for one in lessons:
        words = parse(one.words)
        named = [note.id for note in Sheet.load(one.sheet).elements if note.kind == "character"]
        assert named
        assert all(name in words.action or name in words.reference for name in named)


@pytest.mark.parametrize("count", [0, SEEDS + 1])
def test_only_training_identities_are_drawn(count: int, tmp_path: Path) -> None:
    """Red: a student learns from the people that it is measured on."""
    with pytest.raises(ValueError, match="training"):
        write(tmp_path, count)
