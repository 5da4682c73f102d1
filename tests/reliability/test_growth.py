"""Large inputs: work grows in line with them, and a limit is told before the work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from castsheet.elements import Prop, Scene
from castsheet.errors import LayoutError, SettingsError, SheetError
from castsheet.jobs.shotlist import MAX_SHOTS, load_shots
from castsheet.lint.prompt import lint_prompt
from castsheet.media.contact import contact_sheet
from castsheet.prompt import parse
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import ElementNote, Sheet
from castsheet.train.data.encode import read_table

PATIENCE = 120  # seconds, on the slowest machine; a quadratic step over these inputs takes many minutes


@pytest.fixture(autouse=True)
def hangs_end() -> Iterator[None]:
    """A step that does not grow in line ends the test instead of the whole suite."""

    def late(*_: object) -> None:
        raise TimeoutError("this does not grow in line with its input")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("count", [MAX_SHOTS + 1, 60_000])
@pytest.mark.parametrize("form", ["seeds", "shots"])
def test_long_shot_lists_are_refused_by_their_number(form: str, count: int, tmp_path: Path):
    """Red: tens of thousands of seeds are compared with each other before the limit is told."""
    path = tmp_path / "l.yaml"
    if form == "seeds":
        path.write_text(f"shots: [{{action: a, seeds: [{', '.join(map(str, range(count)))}]}}]\n")
    else:
        path.write_text("shots:\n" + "- a\n" * count)
    with pytest.raises(SettingsError, match=f"{count:,} shots"):
        load_shots(path)


def test_the_longest_shot_list_is_read(tmp_path: Path):
    """Red: the checks of ids go through all pairs of shots."""
    path = tmp_path / "l.yaml"
    path.write_text(f"shots: [{{action: a, seeds: [{', '.join(map(str, range(MAX_SHOTS)))}]}}]\n")
    assert len(load_shots(path)) == MAX_SHOTS


def test_long_tables(tmp_path: Path):
    """Red: names of clips are compared in pairs; a training set of tens of thousands takes minutes."""
    count = 12_000
    (tmp_path / "s.png").touch()
    (tmp_path / "a.mp4").touch()
    folders = [tmp_path / str(number) for number in range(200)]
    for folder in folders:
        folder.mkdir()
        for number in range(count // 200):
            (folder / f"{number}.mp4").symlink_to(tmp_path / "a.mp4")
    rows = (
        f"{folder.name}/{number}.mp4,s.png,hero\n" for folder in folders for number in range(count // 200)
    )
    (tmp_path / "t.csv").write_text("video,sheet,caption\n" + "".join(rows))
    assert len(read_table(tmp_path / "t.csv")) == count


@pytest.mark.parametrize(
    "text", ["word " * 200_000, "x" * 1_000_000, "\u00e9, " * 300_000], ids=["words", "a word", "accents"]
)
def test_a_prompt_of_a_megabyte(text: str):
    """Red: after an hour of sampling, the contact sheet wraps a long prompt for minutes."""
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    assert contact_sheet(
        frames, 24.0, Image.new("RGB", (64, 48)), notes=[("Prompt", text), ("Seed", "7")]
    ).width
    sheet = Sheet(
        Image.new("RGB", (64, 32), (9, 9, 9)), elements=(ElementNote("hero", "character", "a hero in red"),)
    )
    prompt = parse(f"Reference sheet: a hero in red\n\nGenerated video: {text}")
    assert lint_prompt(prompt, sheet) is not None


def test_a_large_cast_is_refused_before_its_pictures(tmp_path: Path):
    """Red: 3,000 pictures are cut out before "at most 12" is told."""
    picture = tmp_path / "p.png"
    picture.write_bytes(b"is never read")
    props = tuple(Prop(id=f"p{number}", description="a thing", images=picture) for number in range(3000))
    with pytest.raises(LayoutError, match="3000"):
        compose(Scene(elements=props))


def test_a_manifest_of_thousands(tmp_path: Path):
    """Red: the overlap of every pair of 100,000 panels is looked for."""
    notes = tuple(ElementNote(f"e{number}", "prop", "a thing") for number in range(20_000))
    with pytest.raises(SheetError, match="at most"):
        Sheet(Image.new("RGB", (64, 32)), elements=notes).save(tmp_path / "s.png")
