"""Shot lists: the file, the folder that survives a kill, the page, and workers that may be lost."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from castsheet.cli import main
from castsheet.errors import NumericsError, SettingsError
from castsheet.jobs.folder import RECORD, ShotFolder
from castsheet.jobs.shotlist import Shot, load_shots
from castsheet.jobs.workers import Cluster, WorkerLost, here, on_ray
from tests.doubles.shot_doubles import OpenCounting
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet

torch.set_num_threads(1)


def listed(folder: Path, text: str) -> tuple[Shot, ...]:
    path = folder / "list.yaml"
    path.write_text(text, encoding="utf-8")
    return load_shots(path)


def test_list_is_read_with_its_defaults(tmp_path: Path) -> None:
    """Red: shots lose seeds, takes or settings, or relative pictures are sought elsewhere."""
    shots = listed(
        tmp_path,
        """
        takes: 3
        settings: {steps: 5, guidance: 2}
        shots:
          - hero waves
          - {id: barn, action: hero jumps, seeds: [4, 9], settings: {guidance: 3}}
          - {prompt: "Reference sheet: a Generated video: b", takes: 1, first_frame: open.png}
        """,
    )
    assert [shot.id for shot in shots] == ["shot-001", "barn-4", "barn-9", "shot-003"]
    assert [shot.seed for shot in shots] == [None, 4, 9, None]
    assert [shot.takes for shot in shots] == [3, 3, 3, 1]
    assert shots[1].settings == {"steps": 5, "guidance": 3}
    assert shots[3].first_frame == tmp_path / "open.png"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a mapping"),
        ("shots: []", "no list"),
        ("shots: [1]", "shot 1 is 1"),
        ("shots: [{seed: 3}]", "give an action"),
        ("shots: [{action: a, prompt: b}]", "not both"),
        ("shots: [{id: ../up, action: a}]", "id"),
        ("shots: [{id: a, action: a}, {id: A, action: a}]", "used 2 times"),
        ("shots: [{action: a, seed: -1}]", "seed"),
        ("shots: [{action: a, seeds: 3}]", "seeds is 3"),
        ("shots: [{action: a, takes: 0}]", "takes"),
        ("shots: [{action: a, colour: red}]", "colour"),
        ("shots: [hero waves]\nsteps: 3", "unknown field 'steps'"),
        ("shots: [!!python/object:os.system {}]", "not plain YAML"),
        ("settings: 4\nshots: [a]", "settings is 4"),
    ],
)
def test_mistakes_in_a_list_are_named(tmp_path: Path, text: str, told: str) -> None:
    """Red: a typing error in a list of fifty ends in a traceback, or after an hour."""
    with pytest.raises(SettingsError, match=told):
        listed(tmp_path, text)


def test_folder_keeps_whole_shots_only(tmp_path: Path) -> None:
    """Red: a half-written shot counts as finished, or a finished one is lost when it is made anew."""
    record = json.dumps({"key": "k", "files": ["a.mp4"]}).encode()
    with ShotFolder.open(tmp_path / "out", print) as folder:
        folder.publish("a", {"a.mp4": b"1", RECORD: record})
        assert folder.record("a", "k") == json.loads(record)
        assert folder.record("a", "another") is None
        (folder.path / "a" / "mine.txt").write_text("somebody's")
        folder.publish("a", {"a.mp4": b"2", RECORD: record})
        assert (folder.path / "a" / "a.mp4").read_bytes() == b"2"
        assert (folder.path / "a" / "mine.txt").read_text() == "somebody's"
        (folder.path / "a" / "a.mp4").unlink()
        assert folder.record("a", "k") is None
        assert folder.strangers(["b"]) == ["a"]
    assert sorted(path.name for path in folder.path.iterdir()) == [".castsheet", "a"]


def test_an_error_of_one_shot_does_not_stop_the_rest(tmp_path: Path) -> None:
    """Red: the list ends at its first bad shot, or the bad one passes for made."""
    shots = [Shot(id=name, action="a") for name in ("one", "broken", "three")]
    made = list(here(OpenCounting(tmp_path), shots))
    assert [isinstance(result, NumericsError) for _, result in made] == [False, True, False]


@pytest.fixture
def _workers_find_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.mark.usefixtures("_workers_find_doubles")
def test_lost_ray_workers_lose_no_shot(tmp_path: Path) -> None:
    """Red: a worker that dies takes finished shots with it, its own shot is never made again, a shot that
    kills every worker goes round for ever, errors lose their remedy on the way home, or a shot is begun
    before the one that it goes on from is there."""
    before = {"four": "dies-once", "seven": "four", "six": "always-dies"}
    names = ["one", "dies-once", "broken", "four", "always-dies", "six", "seven"]
    shots = [Shot(id=name, action="a") for name in names]
    made = {
        shot.id: result
        for shot, result in on_ray(
            OpenCounting(tmp_path), shots, Cluster(workers=2), after=lambda shot: before.get(shot.id)
        )
    }
    order = list(made)
    assert all(order.index(first) < order.index(then) for then, first in before.items())
    assert sorted(made) == sorted(names)
    assert isinstance(made["always-dies"], WorkerLost)
    assert isinstance(made["broken"], NumericsError)
    assert made["broken"].remedy == "another seed"
    whole = [name for name in names if name not in ("broken", "always-dies")]
    assert all(made[name] == {"name": name.encode()} for name in whole)
    attempts = [path.read_text() for path in tmp_path.glob("*.attempts")]
    assert sorted(len(one) for one in attempts) == [1, 1, 1, 1, 1, 2, 3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    # Of one colour: noise makes each of the hundreds of contact sheets take a quarter of a second.
    replace(tiny_sheet(), image=Image.new("RGB", (128, 64), "red")).save(folder / "sheet.png")
    actions = [f"  - {{id: s{n}, action: hero waves {n} times, seeds: {[*range(4)]}}}" for n in range(3)]
    (folder / "twelve.yaml").write_text("\n".join(["settings: {steps: 1, guidance: 1}", "shots:", *actions]))
    return build_bundle(folder)


def arguments(bundle: Path, out: Path, *more: str) -> list[str]:
    words = ["generate", str(bundle / "sheet.png"), "--model", str(bundle), "--device", "cpu", "--force"]
    return [*words, "--cache-dir", str(bundle / "cache"), "-o", str(out), *more]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too; clips by their bytes, other files by name only."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix in (".mp4", ".png") or path.name == RECORD
        else ""
        for path in files
    }


def test_a_killed_list_goes_on_and_ends_as_if_nothing_had_happened(bundle: Path, tmp_path: Path) -> None:
    """Red: after kill -9 shots are lost, made twice, half there, or different; or something is left lying."""
    more = ("--shots", str(bundle / "twelve.yaml"))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(*arguments(bundle, whole, *more)) == 0

    command = [sys.executable, "-m", "castsheet.cli", *arguments(bundle, killed, *more)]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **threads})
    until = time.monotonic() + 240
    while len(list(killed.glob(f"*/{RECORD}"))) < 4:
        assert process.poll() is None, "the list ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in killed.glob(f"*/{RECORD}")}
    assert 4 <= len(finished) < 12

    assert run(*arguments(bundle, killed, *more)) == 0
    assert content(killed) == content(whole)
    assert len(list(whole.glob("*/*.mp4"))) == 12
    assert all(path.stat().st_mtime_ns == made for path, made in finished.items())


def test_changed_shots_are_made_again_and_the_page_tells_all(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: a shot keeps its old clip after its words changed, or unchanged ones are made for nothing."""
    file, out = tmp_path / "list.yaml", tmp_path / "out"
    text = "settings: {steps: 1, guidance: 1}\nshots: [hero waves, {id: two, action: hero %s, takes: 2}]"
    file.write_text(text % "jumps")
    assert run(*arguments(bundle, out, "--shots", str(file))) == 0
    before = {path.parent.name: path.stat().st_mtime_ns for path in out.glob(f"*/{RECORD}")}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "2 of 2 are made" in page
    assert 'src="two/two.mp4"' in page
    record = json.loads((out / "two" / RECORD).read_text())
    assert record["takes"] in (1, 2)
    assert (out / "two" / "judgement.html").is_file()
    file.write_text(text % "turns")
    assert run(*arguments(bundle, out, "--shots", str(file))) == 0
    after = {path.parent.name: path.stat().st_mtime_ns for path in out.glob(f"*/{RECORD}")}
    assert after["shot-001"] == before["shot-001"]
    assert after["two"] != before["two"]
    capsys.readouterr()


def test_the_command_line_wins_over_a_shot(bundle: Path, tmp_path: Path) -> None:
    """Red: an option that was typed is ignored because the list has one of the same name."""
    file, out = tmp_path / "list.yaml", tmp_path / "out"
    file.write_text(
        "settings: {steps: 3, guidance: 1}\nshots: [{id: a, action: hero waves, settings: {frames: 9}}]"
    )
    assert run(*arguments(bundle, out, "--shots", str(file), "--steps", "1", "--frames", "1")) == 0
    settings = json.loads((out / "a" / "a.clip.json").read_text())["provenance"]["settings"]
    assert (settings["steps"], settings["frames"], settings["guidance"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--shots", "list.yaml", "-o", "clip.mp4"), "looks like a file"),
        (("--workers", "2"), "--shots"),
    ],
)
def test_options_that_contradict_are_told(
    bundle: Path, tmp_path: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: options are silently ignored."""
    (tmp_path / "list.yaml").write_text("shots: [hero waves]")
    placed = [str(tmp_path / word) if word.endswith((".yaml", ".mp4")) else word for word in words]
    assert run(*arguments(bundle, tmp_path / "out", *placed)) == 2
    assert told in capsys.readouterr().err


def test_a_list_is_refused_under_torchrun(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: every process of torchrun makes all shots, into one folder at the same time."""
    (tmp_path / "list.yaml").write_text("shots: [hero waves]")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(*arguments(bundle, tmp_path / "out", "--shots", str(tmp_path / "list.yaml"))) == 2
    assert "--workers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bad_shot_is_told_before_the_first_is_made(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: shot 50's mistake is found after 49 were made."""
    file = tmp_path / "list.yaml"
    file.write_text("shots: [hero waves, {id: last, action: hero jumps, settings: {frames: 18}}]")
    assert run(*arguments(bundle, tmp_path / "out", "--shots", str(file))) == 2
    assert "shot last: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_generate_takes_tells_why_it_kept_one(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: takes are made and thrown away unjudged, the reasons are lost, or keep all keeps one."""
    out = tmp_path / "clip.mp4"
    words = arguments(bundle, out, "--action", "hero waves", "--steps", "1", "--seed", "5")
    assert run(*words, "--takes", "3", "--keep", "all") == 0
    told = capsys.readouterr()
    assert "kept seed" in told.err
    assert {path.name for path in tmp_path.glob("clip.take-*.mp4")} == {
        f"clip.take-{n}.mp4" for n in (5, 6, 7)
    }
    sidecar = json.loads(out.with_suffix(".clip.json").read_text())["provenance"]
    assert [one["seed"] for one in sidecar["takes"]["made"]] == [5, 6, 7]
    best = max(sidecar["takes"]["made"], key=lambda one: (one["passed"], one["score"]))
    assert sidecar["seed"] == best["seed"]
    assert out.with_suffix(".judge.html").is_file()
    twin = out.with_suffix(f".take-{best['seed']}.mp4")
    assert twin.read_bytes() == out.read_bytes()
