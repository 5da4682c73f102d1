"""Class 1: outputs replace no input and nothing that Castsheet did not write; names are tried first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from castsheet.clip import Clip, clip_bytes
from castsheet.elements import Scene
from castsheet.errors import CastsheetError, OutputError
from castsheet.jobs.saving import save_somewhere
from castsheet.machine.files import write_text
from castsheet.machine.outputs import Output, require_space, try_outputs
from castsheet.machine.refusals import cannot_write
from castsheet.machine.replace import replacing, settle
from castsheet.media.page import html_page, wrote_page
from castsheet.sheet.manifest import Sheet
from tests.doubles.hostile import Run, Work, good, picture, run, work

Make = Callable[[Work], list[str | Path]]


def clip(path: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 64, 3), dtype=np.uint8)
    return Clip(frames, 24.0).save(path).video


def bare(work: Work, name: str = "bare.png") -> Path:
    path = work.folder / name
    picture(384, 224, 4).save(path)
    return path


def beside(work: Work, name: str, text: str = "somebody's") -> Path:
    return work.write(name, text.encode())


def scene_of(work: Work, name: str, image: str) -> Path:
    elements = [{"kind": "location", "id": "quay", "description": "a quay", "images": [image]}]
    return work.write(name, json.dumps({"elements": elements, "action": "quay lies still"}).encode())


def sheet_of(work: Work, *more: str | Path, scene: Path | None = None) -> list[str | Path]:
    return ["sheet", scene or work.scene, "--cut", "none", *more]


def generate(work: Work, source: Path, *more: str | Path) -> list[str | Path]:
    shared = ["--model", work.bundle, "--cache-dir", work.folder / "cache", "--device", "cpu", "--force"]
    return ["generate", source, *shared, *more]


def over_manifest(work: Work) -> list[str | Path]:
    beside(work, "w.json", '{"nodes": []}')
    return sheet_of(work, "-o", work.folder / "w.png")


def over_scene_json(work: Work) -> list[str | Path]:
    return sheet_of(work, "-o", work.folder / "s.png", scene=scene_of(work, "s.json", "quay.png"))


def over_panel(work: Work) -> list[str | Path]:
    shutil.copy(work.folder / "quay.png", work.folder / "a.sheet.png")
    scene = scene_of(work, "a.yaml", "a.sheet.png")
    return generate(work, scene, "-o", work.folder / "a.mp4")


def over_first_frame(work: Work) -> list[str | Path]:
    first = bare(work, "a.contact.png")
    return generate(work, work.scene, "-o", work.folder / "a.mp4", "--first-frame", first)


def over_own_first_frame(work: Work) -> list[str | Path]:
    clip(work.folder / "a.mp4")
    first = work.folder / "a.contact.png"
    return generate(work, work.scene, "-o", work.folder / "a.mp4", "--first-frame", first)


def over_film(work: Work) -> list[str | Path]:
    clip(work.folder / "a.mp4").write_bytes(b"somebody's film")
    return generate(work, work.scene, "-o", work.folder / "a.mp4")


def over_take(work: Work) -> list[str | Path]:
    beside(work, "a.take-1.mp4")
    return generate(work, work.scene, "-o", work.folder / "a.mp4", "--takes", "2", "--keep", "all")


def over_judgement(work: Work) -> list[str | Path]:
    beside(work, "a.judge.html")
    return generate(work, work.scene, "-o", work.folder / "a.mp4", "--takes", "2")


def judged(html: str) -> Make:
    def make(work: Work) -> list[str | Path]:
        made = clip(work.folder / "a.mp4")
        return ["judge", made, "--sheet", bare(work), "--html", work.folder / html]

    return make


def into_pipe(work: Work) -> list[str | Path]:
    os.mkfifo(work.folder / "pipe.html")
    return judged("pipe.html")(work)


OVER: dict[str, Make] = {
    "sheet over a picture of its scene": lambda w: sheet_of(w, "-o", w.folder / "face.png"),
    "sheet through a link to a picture": lambda w: (
        (w.folder / "l.png").symlink_to("face.png"),
        sheet_of(w, "-o", w.folder / "l.png"),
    )[1],
    "manifest over somebody's JSON": over_manifest,
    "manifest over the scene": over_scene_json,
    "generate's sheet over a picture of its scene": over_panel,
    "contact sheet over the first frame": over_first_frame,
    "contact sheet over a first frame of our own": over_own_first_frame,
    "clip over somebody's film": over_film,
    "a take over somebody's film": over_take,
    "a judgement over somebody's page": over_judgement,
    "lint --report over the scene": lambda w: ["lint", w.scene, "--no-look", "--report", w.scene],
    "lint --report over the sheet": lambda w: ["lint", b := bare(w), "--no-look", "--report", b],
    "lint --fix over the sheet": lambda w: ["lint", b := bare(w), "--no-look", "--fix", b],
    "preview over a picture": lambda w: sheet_of(
        w, "-o", w.out / "s.png", "--preview", w.folder / "face.png"
    ),
    "judge --html over the clip": judged("a.mp4"),
    "judge --html over the sheet": judged("bare.png"),
    "judge --html over somebody's page": lambda w: (beside(w, "p.html"), judged("p.html")(w))[1],
    "describe over the scene": lambda w: ["describe", w.scene, "-o", w.scene],
    "elements scene over a scene": lambda w: ["elements", "scene", w.scene, "hero"],
    "split over a picture": lambda w: ["split", bare(w), "--no-look", "-o", w.folder / "views"],
}
NEVER: dict[str, Make] = {
    "judge --html into a pipe": into_pipe,
    "preview and sheet are one file": lambda w: sheet_of(
        w, "-o", w.out / "s.png", "--preview", w.out / "s.png"
    ),
    "fix and its report are one file": lambda w: [
        "lint",
        bare(w),
        "--no-look",
        "--fix",
        w.out / "f.png",
        "--report",
        w.out / "f.json",
    ],
    "a folder in the clip's place": lambda w: (
        (w.folder / "d.mp4").mkdir(),
        generate(w, w.scene, "-o", w.folder / "d.mp4"),
    )[1],
}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "cache" not in path.parts and "tiny" not in path.parts
    }


@pytest.mark.parametrize("case", OVER)
def test_what_castsheet_did_not_write_stays(run: Run, work: Work, case: str) -> None:
    """Red: a user's photo, film, scene, page or workflow is replaced without a word."""
    if case.startswith("split"):
        beside_views = work.folder / "views"
        beside_views.mkdir()
        (beside_views / "01-unnamed.png").write_bytes(b"somebody's")
    words = OVER[case](work)
    before = bytes_of(work.folder)
    result = run(words)
    assert result.code == 2, result
    assert "--overwrite" in result.err
    assert bytes_of(work.folder) == before


@pytest.mark.parametrize("case", NEVER)
def test_some_places_are_never_written_to(run: Run, work: Work, case: str) -> None:
    """Red: a pipe or a device becomes a file, or of two results one is lost."""
    words = NEVER[case](work)
    before = bytes_of(work.folder)
    for more in ((), ("--overwrite",)):
        result = run([*words, *more])
        assert (result.code, "fix: " in result.err) == (2, True), result
        assert bytes_of(work.folder) == before


@pytest.mark.parametrize(
    "case", ["sheet over a picture of its scene", "lint --report over the sheet", "clip over somebody's film"]
)
def test_overwrite_is_the_remedy_that_works(run: Run, work: Work, case: str) -> None:
    """Red: the refusal names an option that does not help."""
    assert run([*OVER[case](work), "--overwrite"]).code in (0, 1, 2)
    words = OVER[case](work)
    assert "exists already" not in run([*words, "--overwrite"]).err


def test_own_results_are_replaced_and_edited_ones_are_not(run: Run, work: Work) -> None:
    """Red: a second run of the same command is refused, or replaces what the user has changed by hand."""
    out = work.out
    for words in (
        sheet_of(work, "-o", out / "s.png", "--preview", out / "p.png"),
        work.generate("--force"),
        ["describe", work.scene, "-o", out / "words.yaml"],
        ["lint", out / "s.png", "--no-look", "--report", out / "r.html"],
    ):
        assert run(words).code in (0, 1)
        assert run(words).code in (0, 1)
    with (out / "words.yaml").open("a") as file:
        file.write("title: mine\n")
    assert run(["describe", work.scene, "-o", out / "words.yaml"]).code == 2
    assert Scene.load(out / "words.yaml").title == "mine"
    Image.new("RGB", (64, 64)).save(out / "s.png")
    assert run(sheet_of(work, "-o", out / "s.png")).code == 2


@pytest.mark.parametrize(
    "name", ["a\udcff.mp4", "x" * 252 + ".mp4", "x" * 300 + ".mp4", "y" * 300 + "/a.mp4"]
)
def test_names_are_tried_before_the_model_is_opened(run: Run, work: Work, name: str) -> None:
    """Red: after an hour of sampling the clip is lost, because its name cannot be written."""
    broken = work.generate("--model", work.folder / "no-model")
    broken[broken.index("-o") + 1] = work.out / name
    result = run(broken)
    assert result.code == 2
    assert "no-model" not in result.err
    assert "fix: choose a" in result.err, result.err
    assert not work.out.exists()


@pytest.mark.parametrize("name", ["", ".", "a\0.mp4"])
def test_the_api_refuses_such_names_too(tmp_path: Path, name: str) -> None:
    """Red: Python users get a ValueError of pathlib's."""
    frames = np.zeros((1, 32, 64, 3), np.uint8)
    for save in (Clip(frames, 24.0).save, Sheet(picture(64, 64)).save, Sheet.load):
        with pytest.raises(CastsheetError):
            save(name if name in ("", ".") else tmp_path / name)


def test_what_no_json_holds_is_told_or_left_out(tmp_path: Path) -> None:
    """Red: a clip is lost after the sampling for a text in its sidecar, or a sheet in its manifest."""
    loop: dict[str, object] = {"text": "\ud800"}
    loop["itself"] = loop
    saved = Clip(np.zeros((1, 32, 64, 3), np.uint8), 24.0, provenance=loop).save(tmp_path / "a.mp4")
    assert json.loads(saved.sidecar.read_bytes())["provenance"]["text"] == "\\ud800"
    for layout in ({"a": float("nan")}, {"a": "\ud800"}):
        with pytest.raises(CastsheetError, match="JSON"):
            Sheet(picture(64, 64), layout=layout).save(tmp_path / "s.png")
    with pytest.raises(CastsheetError, match="no pixels"):
        Sheet(Image.new("RGB", (0, 0)), output=(1, 1)).save(tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()


def test_a_disk_that_is_too_small_is_noticed_first(tmp_path: Path) -> None:
    """Red: an hour of sampling ends in 'no space left'."""
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OutputError, match="MiB free"):
        require_space(tmp_path / "not" / "there", 2 * free)
    require_space(tmp_path, clip_bytes(64, 32, 9))


def test_each_cause_has_its_remedy(tmp_path: Path) -> None:
    """Red: 'free disk space' is said of a name that is too long."""
    told = {
        code: cannot_write(tmp_path, OSError(code, os.strerror(code))).remedy
        for code in (2, 13, 24, 27, 28, 30, 36)
    }
    assert len(set(told.values())) == len(told)
    assert "space" in told[28]
    assert (
        "space" in cannot_write(tmp_path, OSError("I/O error: No space left on device (os error 28)")).remedy
    )


def test_a_set_is_replaced_as_a_set_and_leftovers_are_swept(tmp_path: Path) -> None:
    """Red: half of a set is new after a kill, a killed run's files stay, or a living run's are swept."""
    write_text(tmp_path / "one", "old")
    dead = tmp_path / ".castsheet-00000000"
    for name in ("one", "two"):
        (dead / "new").mkdir(parents=True, exist_ok=True)
        (dead / "new" / name).write_text("new")
    (dead / "journal").write_text(json.dumps({"put": ["one", "two"], "drop": []}))
    torn = tmp_path / ".castsheet-11111111"
    (torn / "new").mkdir(parents=True)
    (torn / "new" / "one").write_text("half")
    (tmp_path / ".castsheet-swap.lock").touch()
    with replacing(tmp_path) as living:
        living.new("three").write_text("new")
        settle(tmp_path)
        assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {
            "one": "new",
            "two": "new",
        }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]


def test_a_journal_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    """Red: a folder that somebody sent moves files elsewhere when it is opened."""
    (tmp_path / "mine").write_text("mine")
    evil = tmp_path / "place" / ".castsheet-00000000"
    evil.mkdir(parents=True)
    (evil / "journal").write_text(json.dumps({"put": [], "drop": ["../mine"]}))
    settle(tmp_path / "place")
    assert (tmp_path / "mine").read_text() == "mine"


def test_nothing_is_left_by_the_trial(tmp_path: Path) -> None:
    """Red: a refused run leaves folders."""
    try_outputs([Output(tmp_path / "a" / "b" / "c.mp4")])
    assert list(tmp_path.iterdir()) == []


def test_a_clip_is_saved_beside_a_file_that_came_meanwhile(tmp_path):
    """Red: an hour of sampling is lost, because somebody put a file where the clip should go."""
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 64, 3), dtype=np.uint8)
    (tmp_path / "a.mp4").write_text("somebody's")
    (tmp_path / "a.saved-1.clip.json").write_text("somebody's too")
    files, told = save_somewhere(Clip(frames, 24.0), tmp_path / "a.mp4", overwrite=False)
    assert files.video == tmp_path / "a.saved-2.mp4"
    assert all(path.is_file() for path in (files.video, files.contact, files.sidecar))
    assert "a.saved-2.mp4" in told.what
    assert (tmp_path / "a.mp4").read_text() == "somebody's"


def test_a_clip_is_saved_elsewhere_if_its_folder_takes_nothing(tmp_path, monkeypatch):
    """Red: the clip is lost with its folder."""
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 64, 3), dtype=np.uint8)
    (tmp_path / "gone").write_text("a file, where the folder was")
    monkeypatch.chdir(tmp_path)
    files, told = save_somewhere(Clip(frames, 24.0), tmp_path / "gone" / "a.mp4", overwrite=False)
    assert files.video == Path("a.saved-1.mp4")
    assert "saved as" in told.what


def test_pages_of_earlier_versions_are_known(tmp_path):
    """Red: the first rerun after an update is refused, or a page of somebody else's is replaced."""
    page = tmp_path / "page.html"
    for title, ours in (("castsheet judge", True), ("sheet.png: checks", True), ("My diary", False)):
        text = html_page(title, "body {}", "").replace('<meta name="generator" content="castsheet">\n', "")
        page.write_text(text)
        assert wrote_page(page) == ours
    text = text.replace("My diary", "castsheet judge").replace("<style>", "<!-- mine --><style>")
    page.write_text(text)
    assert not wrote_page(page)


def test_a_page_about_a_file_whose_name_is_no_text():
    """Red: `judge --html` of such a film is called a fault of Castsheet, after all was judged."""
    assert "a\\udcff.mp4" in html_page("castsheet judge", "", "a\udcff.mp4").encode().decode()


def test_what_is_put_into_place_is_on_the_disk_before(tmp_path, monkeypatch):
    """Red: after a power cut a finished clip has its name and no content."""
    order = []
    sync, move = os.fsync, os.replace

    def synced(handle):
        order.append(Path(f"/proc/self/fd/{handle}").readlink().as_posix())
        sync(handle)

    def moved(old, new):
        order.append(f"to {new}")
        move(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    with replacing(tmp_path) as change:
        change.new("a").write_text("1")
        change.new("b").write_text("2")
    said = [Path(one).name for one in order]
    assert said.index("a") < said.index("journal.draft") < said.index("journal")
    assert said.index("b") < said.index("journal")
    assert order[-1] == str(tmp_path)
