"""Takes and shots that stay: every take is kept until one is chosen; shots go on, and become a film."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from castsheet.cli import main
from castsheet.clip import Clip
from castsheet.errors import OutputError, SettingsError
from castsheet.jobs.chosen import choose_take
from castsheet.jobs.film import Part, join
from castsheet.jobs.folder import LAST, RECORD
from castsheet.jobs.request import Request, run
from castsheet.jobs.shotlist import load_list
from castsheet.jobs.shotmaker import Ready
from castsheet.jobs.shots import run_shots
from castsheet.jobs.watcher import Watcher
from castsheet.jobs.workers import After, Made, OpenMaker, Pack
from castsheet.machine.files import sha256
from castsheet.media.video import read_sound, read_video


@pytest.fixture
def three(request_: Request) -> Request:
    """A request of three takes of one step each."""
    return request_.model_copy(update={"seed": 5, "takes": 3, "settings": {**request_.settings, "steps": 1}})


class Noting(Watcher):
    """Notes what is said, what work is called, and draws the first picture."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.works: list[str] = []
        self.picture: Image.Image | None = None

    def working(self, what, total=None):
        self.works.append(what)
        return super().working(what, total)

    def said(self, line, _tone="plain"):
        self.lines.append(line)

    def drawn(self, _step, _steps, picture):
        self.picture = self.picture or picture()


def test_every_take_stays_until_one_is_chosen(three: Request) -> None:
    """Red: takes are thrown away, are not on one page, progress does not say which take is made, or a
    choice leaves half of the old clip."""
    face, out = Noting(), three.out
    run(three.model_copy(update={"keep": "all"}), face)
    assert "sampling take 2 of 3, seed 6" in face.works
    assert face.picture is not None
    page = out.with_suffix(".takes.html").read_text(encoding="utf-8")
    assert all(f'src="clip.take-{seed}.mp4"' in page for seed in (5, 6, 7))
    assert all(out.with_suffix(f".take-{seed}.judge.html").is_file() for seed in (5, 6, 7))
    kept = json.loads(out.with_suffix(".clip.json").read_text())["provenance"]["seed"]
    other = next(seed for seed in (5, 6, 7) if seed != kept)
    wanted = out.with_suffix(f".take-{other}.mp4").read_bytes()
    with pytest.raises(OutputError, match="its takes are 5, 6, 7"):
        choose_take(out, 8, print)
    choose_take(out, other, print)
    assert out.read_bytes() == wanted
    sidecar = json.loads(out.with_suffix(".clip.json").read_text())
    assert sidecar["video"]["file"] == "clip.mp4"
    assert sidecar["provenance"]["seed"] == other
    assert len(sidecar["provenance"]["takes"]["made"]) == 3
    left = sorted(path.name for path in out.parent.glob("clip*"))
    assert left == ["clip.clip.json", "clip.contact.png", "clip.judge.html", "clip.mp4"]
    run(three.model_copy(update={"keep": "best"}), Watcher())
    assert not list(out.parent.glob("clip.take*"))


LIST = """
takes: 2
continues: true
film: true
settings: {steps: 1, guidance: 1}
shots: [hero waves, {id: two, action: hero jumps}, {id: three, action: hero turns, takes: 1}]
"""


def in_turn(
    open_maker: OpenMaker[Ready], jobs: Sequence[Ready], *, pack: Pack[Ready], after: After[Ready]
) -> Iterator[Made[Ready]]:
    """A double of workers elsewhere: they see no disk of ours, and get a shot when it can be begun."""
    make, done = open_maker(), set()
    for job in jobs:
        assert after(job) is None or after(job) in done
        yield job, make(replace(pack(job), after=None))
        done.add(job.id)


def test_workers_get_the_frame_that_a_shot_goes_on_from(three: Request, tmp_path: Path) -> None:
    """Red: shots that go on from each other cannot be spread over workers, or start elsewhere there."""
    file = tmp_path / "list.yaml"
    file.write_text("continues: true\nsettings: {steps: 1, guidance: 1}\nshots: [hero waves, hero jumps]\n")
    asked = three.model_copy(update={"takes": 1})
    digests = []
    for out, spread in ((tmp_path / "here", None), (tmp_path / "there", in_turn)):
        run_shots(asked.model_copy(update={"out": out}), file, Watcher(), spread)
        digests.append((out / "shot-002" / "shot-002.mp4").read_bytes())
        opened = json.loads((out / "shot-002" / RECORD).read_text())["opening"]
        assert opened == sha256(out / "shot-001" / f"shot-001{LAST}")
    assert digests[0] == digests[1]


def test_shots_go_on_from_each_other_and_become_a_film(three: Request, tmp_path: Path) -> None:
    """Red: a shot starts elsewhere than the one before ended, the seam shows a frame twice, another choice of
    a take leaves later shots as they were, or a finished list is made again."""
    file, out = tmp_path / "list.yaml", tmp_path / "shots"
    file.write_text(LIST)
    asked = three.model_copy(update={"out": out, "keep": "all"})
    written = run_shots(asked, file, Watcher())
    opened = json.loads((out / "two" / "two.clip.json").read_text())["provenance"]["first_frame"]
    assert opened is not None
    count = len(read_video(out / "two" / "two.mp4")[0])
    assert len(read_video(written["film"])[0]) == 3 * count - 2
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 'src="two/two.take-5.mp4"' in page
    before = {path.parent.name: path.stat().st_mtime_ns for path in out.glob(f"*/{RECORD}")}
    run_shots(asked, file, Watcher())
    assert before == {path.parent.name: path.stat().st_mtime_ns for path in out.glob(f"*/{RECORD}")}
    seed = json.loads((out / "shot-001" / RECORD).read_text())["seed"]
    choose_take(out / "shot-001" / "shot-001.mp4", 11 - seed, print)
    chosen = (out / "shot-001" / RECORD).stat().st_mtime_ns
    run_shots(asked, file, Watcher())
    after = {path.parent.name: path.stat().st_mtime_ns for path in out.glob(f"*/{RECORD}")}
    assert after["shot-001"] == chosen
    assert after["two"] != before["two"]
    assert after["three"] != before["three"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shots: [{action: a, continues: true}]", "the first shot continues"),
        ("shots: [a, {action: b, continues: true, first_frame: x.png}]", "not both"),
        ("film: 3\nshots: [a]", "film is 3"),
    ],
)
def test_mistakes_of_chains_are_named(tmp_path: Path, text: str, told: str) -> None:
    """Red: a list that contradicts itself is made somehow."""
    (tmp_path / "list.yaml").write_text(text)
    with pytest.raises(SettingsError, match=told):
        load_list(tmp_path / "list.yaml")


def test_a_film_has_the_sound_of_its_shots(tmp_path: Path) -> None:
    """Red: sound runs away from its picture, is missing, or a silent shot ends the sound of all."""
    tone_S = 0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000).astype(np.float32)
    shades = np.arange(24, dtype=np.uint8)[:, None, None, None]
    frames = np.broadcast_to(shades * 10, (24, 32, 32, 3)).copy()
    loud = Clip(frames, 24.0, np.stack([tone_S, tone_S], 1), 16_000)
    files = [tmp_path / name for name in ("one.mp4", "two.mp4", "three.mp4")]
    for file, clip in zip(files, (loud, Clip(frames, 24.0), loud), strict=True):
        clip.save(file)
    film = tmp_path / "film.mp4"
    join([Part(files[0]), Part(files[1], continues=True), Part(files[2])], film)
    found = read_sound(film)
    assert found is not None
    sound_SC, rate = found
    assert len(read_video(film)[0]) == 71
    assert abs(len(sound_SC) / rate - 71 / 24) < 0.1
    level = [float(np.abs(sound_SC[round(at * rate) :][: rate // 2]).mean()) for at in (0.2, 1.2, 2.2)]
    assert level[0] > 0.2
    assert level[1] < 0.02
    assert level[2] > 0.2
    Clip(frames[:, :16], 24.0).save(files[1])
    with pytest.raises(SettingsError, match="32x16"):
        join([Part(file) for file in files], tmp_path / "other.mp4")


def test_choose_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red: the page names a command that is not there."""
    with pytest.raises(SystemExit) as left:
        main(["choose", str(tmp_path / "clip.mp4"), "--seed", "3"])
    assert left.value.code == 2
    assert "no takes are kept beside it" in capsys.readouterr().err
