"""Class 2: folders of ours are marked; a foreign one is refused before the work, and stays whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from castsheet.authoring.library import Library, Sorter
from castsheet.clip import Clip
from castsheet.errors import OutputError, SceneError
from castsheet.machine.marks import MARK, Kind, claim, owned, refuse_foreign
from tests.doubles.hostile import Run, Work, good, picture, run, work
from tests.doubles.train_tiny import build_data

BOX = Kind("boxes", lambda folder: (folder / "box").is_file())


def shots(work: Work, out: Path, text: str = "shots: [{id: mine, action: mara waves}]") -> list[str | Path]:
    work.write("l.yaml", text.encode())
    shared = ["--model", work.bundle, "--cache-dir", work.folder / "cache", "--device", "cpu", "--force"]
    return ["generate", work.scene, *shared, "-o", out, "--shots", work.folder / "l.yaml"]


def precious(folder: Path) -> Path:
    path = folder / "deep" / "novel.txt"
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    return path


def test_a_folder_that_has_a_shots_name_stays(run: Run, work: Work) -> None:
    """Red: `generate --shots` deletes a user's folder because a shot has its name."""
    novel = precious(work.folder / "mine")
    result = run([*shots(work, work.folder), "--overwrite"])
    assert (result.code, novel.read_text()) == (2, "precious")
    assert not (work.folder / MARK).exists()
    assert run(shots(work, work.out)).code == 0
    novel = precious(work.out / "other")
    result = run(shots(work, work.out, "shots: [{id: other, action: mara waves}]"))
    assert (result.code, novel.read_text()) == (2, "precious")
    assert "another id" in result.err


def test_a_sheet_in_the_shots_folder_is_not_replaced(run: Run, work: Work) -> None:
    """Red: the scene's sheet replaces somebody's sheet.png."""
    work.out.mkdir()
    (work.out / MARK).write_text('{"castsheet": "shots"}')
    picture(64, 64).save(work.out / "sheet.png")
    before = (work.out / "sheet.png").read_bytes()
    assert run(shots(work, work.out)).code == 2
    assert (work.out / "sheet.png").read_bytes() == before


def test_every_kind_of_foreign_folder_is_refused(run: Run, work: Work) -> None:
    """Red: a library, a training set or a run is put among a user's files."""
    for name in ("library", "set", "run"):
        precious(work.folder / name)
    clip = Clip(np.zeros((9, 32, 64, 3), np.uint8), 24.0).save(work.folder / "a.mp4").video.name
    work.write("t.csv", f"video,sheet,caption\n{clip},face.png,mara waves\n".encode())
    build_data(work.folder / "data", 1)
    work.write(
        "run.yaml",
        f"model: {work.bundle}\ndata: {work.folder / 'data'}\noutput: {work.folder / 'run'}".encode(),
    )
    for words in (
        [
            "elements",
            "add",
            "hero",
            work.folder / "face.png",
            "--library",
            work.folder / "library",
            "--quality",
            "plain",
        ],
        ["encode", work.folder / "t.csv", "-o", work.folder / "set", "--model", work.bundle, "--frames", "9"],
        ["train", work.folder / "run.yaml"],
    ):
        result = run(words)
        assert (result.code, "choose a new or an empty folder" in result.err) == (2, True), result
    for name in ("library", "set", "run"):
        assert [path.name for path in (work.folder / name).rglob("*")] == ["deep", "novel.txt"]


def test_folders_of_earlier_versions_are_adopted_with_a_line(tmp_path: Path) -> None:
    """Red: after an update the user's own results are refused, or taken without a word."""
    said: list[str] = []
    (tmp_path / "box").touch()
    claim(tmp_path, BOX, said.append)
    assert (len(said), json.loads((tmp_path / MARK).read_text())) == (1, {"castsheet": "boxes"})
    claim(tmp_path, BOX, said.append)
    assert len(said) == 1
    with pytest.raises(OutputError, match="folder of boxes"):
        refuse_foreign(tmp_path, Kind("shots", lambda _: True))


def test_a_run_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    """Red: a refused command leaves an empty folder, or takes away one that was there."""
    for folder in (tmp_path / "new", tmp_path / "there"):
        folder.name == "there" and folder.mkdir()
        with pytest.raises(SceneError), owned(folder, BOX, print):
            raise SceneError("no", remedy="yes")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def library(tmp_path: Path) -> Library:
    shelf = Library(tmp_path / "library")
    for number in (1, 2):
        picture(320, 480, number).save(tmp_path / f"{number}.png")
        shelf.add("hero", [tmp_path / f"{number}.png"], Sorter(None, "plain"), view="front")
    return shelf


def test_a_removed_look_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    """Red: `elements remove` deletes notes that a user kept beside the pictures, or files behind a link."""
    shelf = library(tmp_path)
    notes = tmp_path / "library" / "hero" / "default" / "notes.txt"
    notes.write_text("precious")
    shelf.remove("hero")
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]
    notes.unlink()
    shelf = library(tmp_path)
    elsewhere = (tmp_path / "library" / "hero" / "default").rename(tmp_path / "elsewhere")
    (tmp_path / "library" / "hero" / "default").symlink_to(elsewhere)
    with pytest.raises(SceneError, match="symbolic link"):
        shelf.remove("hero")
    assert (elsewhere / "element.yaml").is_file()


@pytest.mark.parametrize("changes", [{"importance": float("nan")}, {"importance": 0.0}, {"view": "detail"}])
def test_a_refused_element_leaves_no_picture(tmp_path: Path, changes: dict) -> None:
    """Red: a library keeps pictures of an element that it refused."""
    picture(320, 480).save(tmp_path / "p.png")
    with pytest.raises(SceneError):
        Library(tmp_path / "library").add(
            "hero", [tmp_path / "p.png"], Sorter(None, "plain"), **({"view": "front"} | changes)
        )
    assert not (tmp_path / "library").exists()
