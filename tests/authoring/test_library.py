"""The library of elements: sorting in, looks, re-use by scenes, and its commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from castsheet.authoring.apart import apart
from castsheet.authoring.library import Added, Library, Sorter
from castsheet.authoring.revise import revise
from castsheet.cli import main
from castsheet.elements import Character, Scene, View
from castsheet.errors import ImageError, SceneError, SheetError
from castsheet.lint.pixels import Readers
from castsheet.sheet.box import Box
from castsheet.sheet.compose import compose
from castsheet.sheet.look.ocr import TextLine
from tests.doubles.drawn import face, figure, place, thing
from tests.doubles.faces import Finds, a_face


class FindsBySize:
    """A detector's double: tall pictures show a small face, square ones a large one, dark ones none."""

    name = "double-2"

    def find(self, rgb: Image.Image) -> tuple:
        if rgb.height > rgb.width:
            return (a_face(Box(rgb.width // 2 - 20, rgb.height // 12, 40, 50)),)
        return (a_face(Box(rgb.width // 3, rgb.height // 4, rgb.width // 3, rgb.height // 2)),)


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """A folder as a phone leaves it."""
    folder = tmp_path / "shots"
    folder.mkdir()
    face().save(folder / "IMG_1.png")
    figure().save(folder / "IMG_2.png")
    figure("back").save(folder / "IMG_3_back.png")
    return folder


def sorter() -> Sorter:
    return Sorter(FindsBySize(), "plain")


def test_pictures_are_sorted_copied_and_remembered(tmp_path: Path, shots: Path) -> None:
    """Red: `elements add` loses a picture, its view or where it came from."""
    library = Library(tmp_path / "library")
    added = library.add("hero", sorted(shots.iterdir()), sorter(), description="a tall man")
    assert {kept.origin.rsplit("/", 1)[1]: kept.view for kept in added.new} == {
        "IMG_1.png": "face",
        "IMG_2.png": "front",
        "IMG_3_back.png": "front",  # the double sees a face there: the name is reported, not believed
    }
    assert [kept.unsure for kept in added.new] == [False, False, True]
    entry = library.load("hero")
    assert entry.element.description == "a tall man"
    assert entry.element.images["front"][0].read_bytes() == (shots / "IMG_2.png").read_bytes()
    assert library.names() == {"hero": ("default",)}


def test_a_folder_stands_for_its_pictures(tmp_path: Path, shots: Path) -> None:
    """Red: a folder per character, as people keep them, has to be typed out picture by picture."""
    (shots / "notes.txt").write_text("not a picture")
    (shots / "IMG_1.mask.png").write_bytes((shots / "IMG_1.png").read_bytes())
    added = Library(tmp_path / "library").add("hero", [shots], sorter())
    assert len(added.new) == 3


def test_a_scene_is_written_from_names(
    tmp_path: Path, shots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: a newcomer has to write YAML by hand, or a name that is not in the library is found out late."""
    Library(tmp_path / "library").add("hero", [shots], sorter(), description="a tall man")
    command = ["elements", "scene", str(tmp_path / "out" / "s.yaml"), "--library", str(tmp_path / "library")]
    for names, code in ((["hero"], 0), (["hero"], 2), (["nobody", "--overwrite"], 2)):
        with pytest.raises(SystemExit) as caught:
            main([*command, *names, "--action", "hero waves"])
        assert caught.value.code == code
    told = capsys.readouterr().err
    assert "exists already" in told
    assert "no nobody in the library" in told
    scene = Scene.load(tmp_path / "out" / "s.yaml")
    assert (scene.elements[0].description, scene.action) == ("a tall man", "hero waves")


def test_a_ready_made_sheet_is_taken_apart(tmp_path: Path) -> None:
    """Red: a labelled sheet of eight views goes into the library as one picture, or its origin is lost."""
    page, lines = Image.new("RGB", (800, 460), "#d8d8d8"), []
    for i, view in enumerate(("front", "back")):
        person = figure(view)
        page.paste(person.resize((190, 380)), (60 + 400 * i, 20), person.resize((190, 380)))
        lines.append(TextLine(f"Full Body {view}", 0.99, Box(60 + 400 * i, 420, 190, 20)))
    page.save(tmp_path / "page.png")

    class Reads:
        def read(self, _image: Image.Image) -> list[TextLine]:
            return lines

    def put(paths: list[Path], view: View | None, origin: str) -> Added:
        return Library(tmp_path / "l").add("hero", paths, sorter(), view=view, origin=origin)

    found = apart(tmp_path / "page.png", put, Readers(text=Reads()))
    assert (len(found.added), found.left) == (2, 0)
    entry = Library(tmp_path / "l").load("hero")
    assert set(entry.element.images) == {"front", "back"}
    assert {Path(kept.origin).name for kept in entry.pictures} == {"page.png"}


def test_a_sheet_without_labels_is_sorted_by_what_it_shows(tmp_path: Path) -> None:
    """Red: without a reader of labels a ready-made sheet gives nothing, or its views pass for stated ones."""
    page = Image.new("RGB", (800, 460), "#d8d8d8")
    for i, view in enumerate(("front", "back")):
        person = figure(view).resize((190, 380))
        page.paste(person, (60 + 400 * i, 20), person)
    page.save(tmp_path / "page.png")

    def put(paths: list[Path], view: View | None, origin: str) -> Added:
        return Library(tmp_path / "l").add("hero", paths, sorter(), view=view, origin=origin)

    (added,) = apart(tmp_path / "page.png", put, Readers(), "page").added
    assert len(added.new) == 2
    assert all(kept.reason != "stated" for kept in added.new)
    assert {kept.origin for kept in added.new} == {"page"}
    Image.new("RGB", (400, 300), "#d8d8d8").save(tmp_path / "blank.png")
    with pytest.raises(SheetError, match="no parts"):
        apart(tmp_path / "blank.png", put, Readers())


def test_adding_again_adds_nothing(tmp_path: Path, shots: Path) -> None:
    """Red: the same photo under another name fills the library twice."""
    library = Library(tmp_path / "library")
    library.add("hero", [shots / "IMG_1.png"], sorter(), description="a tall man")
    twin = shots / "copy.png"
    twin.write_bytes((shots / "IMG_1.png").read_bytes())
    again = library.add("hero", [twin, shots / "IMG_2.png"], sorter())
    assert again.known == (twin,)
    assert len(again.entry.pictures) == 2
    assert again.entry.element.description == "a tall man"


def test_a_look_keeps_the_face_and_scenes_use_it(tmp_path: Path, shots: Path) -> None:
    """Red: a scene cannot re-use an element, or gets the wrong clothes, or loses the person's face."""
    library = Library(tmp_path / "library")
    library.add("hero", sorted(shots.iterdir()), sorter(), description="a tall man")
    coat = tmp_path / "coat-front.png"
    figure(coat="#20a0a0").save(coat)
    library.add("hero", [coat], sorter(), look="Act 2", description="a tall man in a teal coat")
    assert library.names() == {"hero": ("default", "act-2")}
    file = tmp_path / "scene.yaml"
    file.write_text(
        "elements:\n- use: hero@act2\n  importance: 2\n- {use: hero, id: young-hero}\naction: hero walks\n"
    )
    scene = Scene.load(file)
    hero, young = scene.elements
    assert (hero.id, hero.description, hero.importance) == ("hero", "a tall man in a teal coat", 2)
    assert hero.images["front"][0].read_bytes() == coat.read_bytes()
    assert hero.images["face"][0].read_bytes() == (shots / "IMG_1.png").read_bytes()
    assert young.id == "young-hero"
    assert len(compose(scene).panels) == 4
    saved = scene.save(tmp_path / "elsewhere" / "scene.yaml")
    assert Scene.load(saved).elements[0].images["front"][0].read_bytes() == coat.read_bytes()


def test_a_puppet_stays_one_in_the_library(tmp_path: Path, shots: Path) -> None:
    """Red: another picture, another look or another description makes a person of it again."""
    library = Library(tmp_path / "library")
    pictures = sorted(shots.iterdir())
    library.add("robot", pictures[:1], sorter(), human=False)
    library.add("robot", pictures[1:], sorter())
    entries = [revise(library, "robot", description="a tin robot")]
    entries.append(library.add("robot", pictures, sorter(), look="rusty").entry)
    assert [one.element.human for one in entries if isinstance(one.element, Character)] == [False, False]
    grown = revise(library, "robot", human=True).element
    assert isinstance(grown, Character)
    assert grown.human
    assert "human" not in (library.root / "robot" / "default" / "element.yaml").read_text()


def test_a_scene_names_its_library(tmp_path: Path) -> None:
    """Red: several films cannot share one library."""
    picture = tmp_path / "lamp.png"
    thing().save(picture)
    Library(tmp_path / "props").add("lamp", [picture], sorter(), kind="prop", description="a lamp")
    folder = tmp_path / "film"
    folder.mkdir()
    (folder / "scene.yaml").write_text("library: ../props\nelements: [{use: lamp}]\n")
    assert Scene.load(folder / "scene.yaml").elements[0].kind == "prop"


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("villain", "there is no villain in the library"),
        ("hero@act9", "there is no hero@act9"),
        ("../../etc", "does not name an element"),
        ("hero@..", "cannot name"),
        (3, "does not name an element"),
    ],
)
def test_a_wrong_use_is_refused(tmp_path: Path, shots: Path, use: object, message: str) -> None:
    """Red: a misspelt element is dropped, or a name reaches outside the library."""
    Library(tmp_path / "library").add("hero", [shots / "IMG_1.png"], sorter())
    file = tmp_path / "scene.yaml"
    file.write_text(f"elements: [{{use: {use!r}}}]\n")
    with pytest.raises(SceneError, match=message) as caught:
        Scene.load(file)
    assert str(file) in caught.value.what


def test_a_misspelt_use_is_answered_with_the_nearest_name(tmp_path: Path, shots: Path) -> None:
    """Red: whoever mistypes a name has to look the library through."""
    Library(tmp_path / "library").add("hero", [shots / "IMG_1.png"], sorter())
    file = tmp_path / "scene.yaml"
    file.write_text("elements: [{use: herro}]\n")
    with pytest.raises(SceneError) as caught:
        Scene.load(file)
    assert caught.value.remedy.startswith("did you mean hero?")


def test_several_faces_are_refused_unless_one_is_picked(tmp_path: Path) -> None:
    """Red: a group photo becomes the hero's picture."""
    party = tmp_path / "party.png"
    place().save(party)
    two = Sorter(Finds(a_face(Box(600, 100, 150, 200)), a_face(Box(150, 100, 150, 200))), "plain")
    library = Library(tmp_path / "library")
    with pytest.raises(ImageError, match="shows 2 faces"):
        library.add("hero", [party], two)
    assert library.names() == {}
    added = library.add("hero", [party], two, pick=1)
    [kept] = added.new
    assert kept.view == "face"
    with Image.open(added.entry.folder / kept.file) as crop:
        assert crop.width < 500
    again = library.add("hero", [party], two, pick=2)
    assert len(again.entry.pictures) == 2


def test_props_and_places_are_not_sorted_by_face(tmp_path: Path) -> None:
    """Red: a poster with a face in it, or a place with people, is treated as a character."""
    picture = tmp_path / "back.png"
    place().save(picture)
    added = Library(tmp_path / "library").add("yard", [picture], sorter(), kind="location")
    assert set(added.entry.element.images) == {"front"}
    with pytest.raises(SceneError, match="is a location already"):
        Library(tmp_path / "library").add("yard", [picture], sorter(), kind="prop")


def test_a_stated_view_is_taken(tmp_path: Path, shots: Path) -> None:
    """Red: the user cannot overrule the sorting."""
    added = Library(tmp_path / "library").add("hero", [shots / "IMG_2.png"], sorter(), view="side")
    assert added.new[0].view == "side"
    assert not added.new[0].unsure


def test_a_mask_travels_with_its_picture(tmp_path: Path, shots: Path) -> None:
    """Red: a mask drawn by hand is lost on the way into the library, or added as a picture."""
    figure().getchannel("A").save(shots / "IMG_2.mask.png")
    added = Library(tmp_path / "library").add("hero", sorted(shots.iterdir()), sorter())
    assert len(added.new) == 3
    front = added.entry.element.images["front"][0]
    assert front.with_name(f"{front.stem}.mask.png").is_file()


def test_an_inherited_face_keeps_its_mask(tmp_path: Path, shots: Path) -> None:
    """Red: a face's hand-made mask is lost in every new look, whose close-ups are then cut out by a model."""
    face().getchannel("A").save(shots / "IMG_1.mask.png")
    library = Library(tmp_path / "library")
    library.add("hero", sorted(shots.iterdir()), sorter())
    coat = tmp_path / "coat-front.png"
    figure(coat="#20a0a0").save(coat)
    inherited = library.add("hero", [coat], sorter(), look="Act 2").entry.element.images["face"][0]
    mask = inherited.with_name(f"{inherited.stem}.mask.png")
    assert mask.read_bytes() == (shots / "IMG_1.mask.png").read_bytes()


def test_a_changed_picture_is_noticed(tmp_path: Path, shots: Path) -> None:
    """Red: an edited picture of the library changes clips without a trace, or the remedy does not work."""
    library = Library(tmp_path / "library")
    entry = library.add("hero", [shots / "IMG_1.png"], sorter()).entry
    figure().save(entry.folder / entry.pictures[0].file)
    with pytest.raises(SceneError, match="was changed") as caught:
        library.load("hero")
    assert caught.value.remedy.endswith("castsheet elements remove hero --look default")
    library.remove("hero", "default")
    library.add("hero", [shots / "IMG_1.png"], sorter())
    assert library.load("hero").pictures == entry.pictures


def test_a_lost_picture_is_named(tmp_path: Path, shots: Path) -> None:
    """Red: a picture that only the library's notes list is gone, and the user sees a traceback."""
    library = Library(tmp_path / "library")
    entry = library.add("hero", [shots / "IMG_1.png", shots / "IMG_2.png"], sorter()).entry
    lost = entry.folder / next(kept.file for kept in entry.pictures if kept.view == "front")
    lost.unlink()
    listed = entry.folder / "element.yaml"
    kept_lines = [
        line for line in listed.read_text().splitlines() if line not in ("  front:", f"  - {lost.name}")
    ]
    listed.write_text("\n".join(kept_lines) + "\n")
    with pytest.raises(SceneError, match=f"{lost.name} is missing"):
        library.load("hero")


def test_details_alone_are_no_character(tmp_path: Path, shots: Path) -> None:
    """Red: a library entry is written that no scene can load."""
    library = Library(tmp_path / "library")
    with pytest.raises(SceneError, match="only details"):
        library.add("hero", [shots / "IMG_1.png"], sorter(), view="detail")
    assert library.names() == {}


@pytest.mark.usefixtures("shots")
def test_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: `castsheet elements` add, list, show or remove stops working end to end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASTSHEET_CACHE", str(tmp_path / "cache"))

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(["elements", *words])
        return int(left.value.code or 0), capsys.readouterr().out

    code, told = run("add", "hero", "shots/IMG_2.png", "--view", "front", "--description", "a tall man")
    assert code == 0
    assert "front" in told
    assert run("list") == (0, "hero@default  character  1 front\n")
    assert "description: a tall man" in run("show", "hero")[1]
    assert run("add", "hero", "missing.png")[0] == 2
    assert run("add", "Hero!", "shots/IMG_2.png")[0] == 2
    assert run("remove", "hero")[0] == 0
    assert run("list") == (0, "")
    assert run("remove", "hero")[0] == 2
