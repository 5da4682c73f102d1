"""What messages say: the cause and its own remedy; quoted values cut, control characters shown."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from castsheet.cli import main
from castsheet.cli.watch import Terminal
from castsheet.clip import Clip
from castsheet.elements import Scene
from castsheet.errors import CastsheetError, CheckpointError, SettingsError, printable, shown
from castsheet.jobs.request import Request
from castsheet.jobs.shotlist import load_shots
from castsheet.loading.bundle import Bundle
from castsheet.ltx.header import read_header
from castsheet.machine.progress import progress, stderr_console, stdout_console
from castsheet.sheet.manifest import Sheet
from castsheet.train.config import make_config
from tests.doubles.hostile import GOOD, Run, Work, good, run, work

DEEP: list[object] = []
for _ in range(500):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        10**5000,
        -(10**5000),
        "x" * 10**6,
        ["x" * 1000] * 1000,
        dict.fromkeys(range(9999), "y" * 99),
        DEEP,
        b"\0" * 9999,
    ],
    ids=["number", "negative", "text", "list", "mapping", "deep", "bytes"],
)
def test_quoted_values_are_cut(value: object):
    """Red: a message prints megabytes, or the message itself is a traceback."""
    assert len(shown(value)) < 600


@pytest.mark.parametrize(
    "text", ["a\x1b[31mb", "a\rb", "a\bb", "a\x00b", "a\udcffb", "a\u202eb", "a\x9bb", "a\x07"]
)
def test_control_characters_are_shown(text: str):
    """Red: a file's name or field moves the cursor, rings, or reverses what the terminal shows."""
    error = CastsheetError(f"cannot read {text}", remedy=f"see {text}")
    assert error.what.isprintable()
    assert error.remedy.isprintable()
    str(error).encode()


def test_usual_letters_stay():
    """Red: names in other scripts are escaped; line breaks of lists are lost."""
    assert printable("h\u00e9ro \u732b\nb") == "h\u00e9ro \u732b\nb"
    assert len(printable("x" * 10**6)) < 2100


def test_the_terminal_gets_no_escapes(run: Run, work: Work):
    """Red: control characters of a field reach the terminal raw."""
    work.scene.write_text(yaml.safe_dump({**GOOD, "bo\x1b[31mld": 1}))
    result = run(["sheet", work.scene, "-o", work.out / "s.png"])
    assert result.code == 2
    assert "\x1b[31m" not in result.err


def test_messages_name_the_users_file(run: Run, work: Work):
    """Red: a message names a temporary file that is gone."""
    result = run(["elements", "scene", work.out / "a.yaml", "nobody", "--library", work.folder / "lib"])
    assert result.code == 2
    assert "nobody" in result.err
    assert "/.a-" not in result.err


MISTAKES: dict[str, Callable[[Path], object]] = {
    "scene: a description of 5": lambda p: _scene(p, description=5),
    "scene: an importance of a word": lambda p: _scene(p, importance="big"),
    "scene: an importance of 1e9": lambda p: _scene(p, importance=1e9),
    "scene: no description": lambda p: _scene(p, description=None),
    "scene: a field by number": lambda _: Scene(**{"elements": [], "settings": {1: 2}}),
    "shots: takes of a word": lambda p: _shots(p, takes="x"),
    "shots: settings by number": lambda p: _shots(p, settings={1: 2}),
    "shots: an id with a space": lambda p: _shots(p, id="a b"),
    "run: steps of a word": lambda _: make_config({"model": "m", "data": "d", "output": "o", "steps": "x"}),
    "run: an unknown optimiser": lambda _: make_config(
        {"model": "m", "data": "d", "output": "o", "optimiser": {"name": "sgd"}}
    ),
    "run: no data": lambda _: make_config({"model": "m", "output": "o"}),
    "request: takes of 0": lambda _: Request.read('{"source": "a", "out": "b", "takes": 0}'),
    "request: no source": lambda _: Request.read('{"out": "b"}'),
    "bundle: no files": lambda p: _bundle(p, {"name": "m"}),
    "bundle: a name of 5": lambda p: _bundle(
        p, {"name": 5, "files": {"checkpoint": "a", "text_encoder": "b"}}
    ),
    "sheet: panels of 5": lambda p: _sheet(p, panels=5),
    "sheet: a version of a text": lambda p: _sheet(p, version="1"),
}


def _scene(folder: Path, **fields: object) -> None:
    (folder / "a.png").touch()
    element = {"kind": "prop", "id": "hat", "description": "a hat", "images": "a.png", **fields}
    (folder / "s.yaml").write_text(yaml.safe_dump({"elements": [element]}))
    Scene.load(folder / "s.yaml")


def _shots(folder: Path, **fields: object) -> None:
    (folder / "l.yaml").write_text(yaml.safe_dump({"shots": [{"action": "a", **fields}]}))
    load_shots(folder / "l.yaml")


def _bundle(folder: Path, content: object) -> None:
    (folder / "bundle.json").write_text(json.dumps(content))
    Bundle.load(folder)


def _sheet(folder: Path, **fields: object) -> None:
    from PIL import Image

    Sheet(Image.new("RGB", (64, 32), (9, 9, 9))).save(folder / "s.png")
    path = folder / "s.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    Sheet.load(path)


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told_in_this_programs_words(case: str, tmp_path: Path):
    """Red: a message is a library's ("Input should be a valid string"), or its remedy says nothing."""
    with pytest.raises(CastsheetError) as caught:
        MISTAKES[case](tmp_path)
    told = str(caught.value)
    assert "Input should" not in told
    assert "Field required" not in told
    assert "[key]" not in told
    assert caught.value.remedy not in (
        "correct the value",
        "correct the entry",
        "correct the field",
        "correct it",
    )


def test_a_file_that_may_not_be_opened_is_not_damaged(tmp_path: Path):
    """Red: out of descriptors, the message tells the user to delete or download a good file again."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    read_header(path)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(CheckpointError, match="too many files") as caught:
            read_header(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "ulimit" in caught.value.remedy


def test_an_odd_clip_may_be_judged(tmp_path: Path):
    """Red: a clip of odd sides is refused by the judge, with the encoder's remedy."""
    clip = Clip(np.zeros((2, 57, 101, 3), np.uint8), 24.0)
    with pytest.raises(SettingsError, match="even sides"):
        clip.save(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_names_are_no_markup(capsys):
    """Red: a file called [/x] is a traceback, and a remedy or the help loses its extra."""
    for console in (stderr_console(), stdout_console()):
        console.print("[/x] castsheet[ocr]")
    Terminal(Console()).said("[/x] castsheet[ocr]")
    told = capsys.readouterr()
    assert (told.out + told.err).count("[/x] castsheet[ocr]") == 3
    with progress("fetching [/x]", 2, console=Console(force_terminal=True), after=0.0) as advance:
        advance(1)
        time.sleep(0.05)
    for command in ("judge", "generate"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
    said = capsys.readouterr().out
    assert all(f"castsheet[{extra}]" in said for extra in ("ray", "ocr", "identity"))
