"""One request: plain data, settled once, checked once; and a face that looks on and cancels."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import castsheet.run
from castsheet.errors import LintRefused, SettingsError
from castsheet.jobs.request import Request, run
from castsheet.jobs.shots import run_shots
from castsheet.jobs.watcher import Watcher
from castsheet.lint.panels import lint_sheet
from tests.doubles.shot_doubles import CountingEncoder, Elsewhere


class Noting(Watcher):
    """Notes what a face hears; cancels at a step."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.heard: list[object] = []
        self.cancel_at = cancel_at

    def prepared(self, run):
        self.heard.append((run.settings.steps, run.words.action))

    def stepped(self, step, steps, latents_BCFHW):
        self.heard.append((step, steps, latents_BCFHW.dim()))
        if step == self.cancel_at:
            raise KeyboardInterrupt


def test_a_request_is_plain_data(request_: Request) -> None:
    """Red: a queue cannot store a request, or gets another one back; or a typing error in one passes."""
    assert Request.read(request_.model_dump_json()) == request_
    with pytest.raises(SettingsError, match="colour"):
        Request.read('{"source": "a.png", "out": "a.mp4", "colour": "red"}')
    with pytest.raises(SettingsError, match="takes"):
        Request.read('{"source": "a.png", "out": "a.mp4", "takes": 0}')
    with pytest.raises(SettingsError, match="seed"):
        Request.read('{"source": "a.png", "out": "a.mp4", "seed": true}')


def test_a_stored_request_makes_the_same_clip(request_: Request, tmp_path: Path) -> None:
    """Red: what a page stored and a worker read back is another clip than the command line's."""
    first = run(request_, Watcher())["clip"].read_bytes()
    again = Request.read(request_.model_copy(update={"out": tmp_path / "again.mp4"}).model_dump_json())
    assert run(again, Watcher())["clip"].read_bytes() == first


def test_a_face_hears_of_every_step(request_: Request) -> None:
    """Red: a page shows neither settings nor progress nor previews."""
    face = Noting()
    run(request_, face)
    assert face.heard == [(2, "hero waves"), (1, 2, 5), (2, 2, 5)]


def test_a_face_cancels_between_steps(request_: Request) -> None:
    """Red: a cancelled job runs on to its end, or leaves half a clip."""
    face = Noting(cancel_at=1)
    with pytest.raises(KeyboardInterrupt):
        run(request_, face)
    assert face.heard[-1] == (1, 2, 5)
    assert not list(request_.out.parent.glob("clip*"))


@pytest.fixture
def linted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every sheet that the checks looked at; the checks themselves are the real ones."""
    seen: list[object] = []

    def counting(sheet, **options):
        seen.append(sheet)
        return lint_sheet(sheet, **options)

    monkeypatch.setattr(castsheet.run, "lint_sheet", counting)
    return seen


def test_the_checks_run_once(request_: Request, linted: list[object], tmp_path: Path) -> None:
    """Red: the checks look at a run again for every take, or for the sidecar."""
    run(request_.model_copy(update={"takes": 2, "keep": "all"}), Watcher())
    assert len(linted) == 1
    (tmp_path / "list.yaml").write_text("shots: [hero waves, {action: hero jumps, takes: 2}]")
    run_shots(request_.model_copy(update={"out": tmp_path / "shots"}), tmp_path / "list.yaml", Watcher())
    assert len(linted) == 3


def test_refused_before_weights(request_: Request, tmp_path: Path) -> None:
    """Red: an error of the checks is found after the model was loaded, or force is needed twice."""
    Image.new("RGB", (300, 64), "red").save(tmp_path / "odd.png")
    odd = request_.model_copy(
        update={"source": tmp_path / "odd.png", "prompt": "Reference sheet: a Generated video: b"}
    )
    with pytest.raises(LintRefused, match="S03"):
        run(odd.model_copy(update={"force": False}), Watcher())
    assert not (tmp_path / "cache").exists()


def test_prompts_are_encoded_once_for_all_workers(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: every worker loads the text encoder, 24 GB at full size, for prompts that are encoded already."""
    monkeypatch.setattr("castsheet.loading.models.GemmaEncoder", CountingEncoder)
    monkeypatch.setattr(CountingEncoder, "loads", 0)
    (tmp_path / "list.yaml").write_text("shots: [hero waves, hero jumps, hero turns]")
    there, here = tmp_path / "there", tmp_path / "here"
    elsewhere = Elsewhere(workers=2, folder=tmp_path)
    run_shots(request_.model_copy(update={"out": there}), tmp_path / "list.yaml", Watcher(), elsewhere)
    assert (CountingEncoder.loads, elsewhere.opened) == (1, 2)
    run_shots(request_.model_copy(update={"out": here}), tmp_path / "list.yaml", Watcher())
    for clip in sorted(here.glob("*/*.mp4")):
        assert (there / clip.relative_to(here)).read_bytes() == clip.read_bytes()
    assert len(list(here.glob("*/*.mp4"))) == 3
