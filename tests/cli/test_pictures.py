"""`castsheet elements`: folders that say what they left out, single pictures edited, the page of cut-outs,
masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from castsheet.authoring.library import Library, Sorter
from castsheet.cli import main
from castsheet.sheet.box import Box
from castsheet.sheet.look.matting import mask_path
from tests.doubles.drawn import figure, place
from tests.doubles.faces import Finds, a_face


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(one) for one in arguments])
    return int(end.value.code or 0)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library with one figure on white, seen as front."""
    monkeypatch.setenv("CASTSHEET_CACHE", str(tmp_path / "cache"))
    picture = tmp_path / "hero-front.png"
    back = Image.new("RGB", (300, 600), "white")
    back.paste(figure(), mask=figure().getchannel("A"))
    back.save(picture)
    Library(tmp_path / "library").add("hero", [picture], Sorter(None, "plain"), view="front")
    return tmp_path / "library"


def only(shelf: Path) -> str:
    [kept] = Library(shelf).load("hero").pictures
    return kept.file


def test_a_folder_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red: files of a folder are skipped in silence, or one damaged file refuses the whole folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    figure().save(folder / "front.png")
    (folder / "notes.txt").write_text("x")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xffno picture")
    (folder / "lost.mask.png").write_bytes(b"")
    (folder / "more").mkdir()
    library = ("--library", tmp_path / "library")
    assert run("elements", "add", "hero", folder, *library, "--quality", "plain", "--view", "front") == 0
    told = capsys.readouterr().err.replace("\n", " ")
    for name in ("notes.txt", "broken.jpg", "lost.mask.png", "more"):
        assert name in told
    assert len(Library(tmp_path / "library").load("hero").pictures) == 1


def test_single_pictures_are_edited(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red: a wrong view, a bad picture or a missing word can only be mended by editing YAML, or an error does
    not say which pictures there are, or what to do about the only one."""
    library = ("--library", shelf)
    assert run("elements", "edit", "hero", *library) == 2
    assert "nothing is to be changed" in capsys.readouterr().err
    file = only(shelf)
    described = ("--description", "a man in a red coat")
    assert run("elements", "edit", "hero", *library, "--view", f"{file}=side", *described) == 0
    entry = Library(shelf).load("hero")
    assert [kept.view for kept in entry.pictures] == ["side"]
    assert entry.element.description == "a man in a red coat"
    other = tmp_path / "other.png"
    figure("back").save(other)
    assert run("elements", "edit", "hero", *library, "--replace", f"{only(shelf)}={other}") == 0
    [kept] = Library(shelf).load("hero").pictures
    assert (kept.view, kept.origin) == ("side", other.as_posix())
    capsys.readouterr()
    assert run("elements", "edit", "hero", *library, "--drop", "nobody.png") == 2
    assert only(shelf) in capsys.readouterr().err.replace("\n", "")
    assert run("elements", "edit", "hero", *library, "--drop", only(shelf)) == 2
    assert "elements remove hero" in " ".join(capsys.readouterr().err.split())
    assert run("elements", "edit", "hero", *library, "--view", "side.png") == 2


def test_the_page_shows_cutouts_and_a_mask_is_taken(shelf: Path, tmp_path: Path) -> None:
    """Red: cut-outs cannot be seen before the sheet, an edited mask is not used, or the option lacks the name
    that the notes give it.
    """
    out, file = tmp_path / "page.html", only(shelf)
    asked = ("hero", "--library", shelf, "--cut", "plain")
    assert run("elements", "show", *asked, "--cutouts", "-o", out) == 0
    text = out.read_text()
    assert text.count("data:image/jpeg") == 3
    assert "on pink" in text
    assert "look at" not in text or "cut by" in text
    assert run("elements", "mask", "hero", file, "--library", shelf, "--quality", "plain") == 0
    mask = mask_path(shelf / "hero/default" / file)
    grey = np.asarray(Image.open(mask))
    assert 0.1 < float((grey > 127).mean()) < 0.5
    half = tmp_path / "half.png"
    edited = grey.copy()
    edited[:300] = 0
    Image.fromarray(edited).save(half)
    assert run("elements", "mask", "hero", file, half, "--library", shelf) == 0
    assert run("elements", "show", *asked, "--cutouts", "-o", out) == 0
    assert "drawn by hand" in out.read_text()
    assert np.asarray(Image.open(mask))[:280].max() == 0


def test_a_face_of_several_keeps_the_whole_person(tmp_path: Path) -> None:
    """Red: `--face 2` keeps only the head of a person who is in the picture from head to foot."""
    party = tmp_path / "party.png"
    group = place(size=(900, 600))
    for x in (0, 300, 600):
        group.paste(figure(), (x, 0), figure())
    group.save(party)
    faces = [a_face(Box(x + 122, 40, 56, 50)) for x in (0, 300, 600)]
    added = Library(tmp_path / "library").add("hero", [party], Sorter(Finds(*faces), "plain"), pick=2)
    [kept] = added.new
    assert kept.view == "front"
    with Image.open(added.entry.folder / kept.file) as part:
        assert part.size == (300, 600)
