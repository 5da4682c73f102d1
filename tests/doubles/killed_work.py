"""The commands that write, on tiny files, beside results of an earlier run and a file of somebody else's."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from castsheet.clip import Clip, ClipFiles
from castsheet.errors import CastsheetError
from castsheet.machine.files import sha256
from castsheet.machine.replace import settle
from castsheet.sheet.manifest import Sheet
from castsheet.train.log import read_log
from tests.doubles.hostile import GOOD, picture
from tests.doubles.killed import Ended, begin, copy, end, run, steps, tree
from tests.doubles.tiny_bundle import build_bundle, write_bundle
from tests.doubles.train_tiny import build_data

MINE = "somebody's own, and not to be touched"
GENERATE = ("--model", "tiny", "--cache-dir", "cache", "--device", "cpu", "--force")
WAVES = ("--prompt", "Reference sheet: hero is a man.\n\nGenerated video: hero waves.")
ADD = ("--quality", "plain", "--view", "front", "--library", "out/library")


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Args:
        words: after `castsheet`.
        before: what ran earlier in the same place, so that there is something to lose.
        change: what the user changed between.
        done: what the command says when a killed run had done its work.
    """

    name: str
    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    change: Callable[[Path], object] = lambda _: None
    done: str = "\0"


def _generate(out: str, source: str = "sheet.png", *more: str) -> tuple[str, ...]:
    return ("generate", source, *GENERATE, "-o", out, *more)


def _shots(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "shots.yaml").write_text(text)


_ADD = ("elements", "add", "hero", "front.png", *ADD)
_ADD_MORE = ("elements", "add", "hero", "quay.png", "face.png", *ADD)
_REMOVE = ("elements", "remove", "hero", "--library", "out/library")
_SCENE = ("elements", "scene", "out/e.yaml", "hero", "--library", "out/library")
_ENCODE = ("encode", "table.csv", "-o", "out/set", "--model", "tiny", "--size", "64x32", "--frames", "9")
_DISTIL = (
    *("distill", "casts", "-o", "out/fast", "--model", "tiny", "--device", "cpu", "--steps", "2"),
    *("--set", "base.weights=fp32", "--set", "optimiser.name=adamw", "--set", "save_every=1"),
    *("--set", "adapter.rank=2", "--set", "adapter.alpha=2"),
)
_SHOTS = _generate("out/shots", "scene.yaml", "--shots", "shots.yaml")
_OLD = _generate("out/clip.mp4", "scene.yaml", "--seed", "1")
_SHEET = ("sheet", "scene.yaml", "-o", "out/s.png", "--cut", "none", "--preview", "out/p.png")


def _reworded(folder: Path) -> None:
    text = (folder / "scene.yaml").read_text()
    (folder / "scene.yaml").write_text(text.replace("an old quay", "a new quay").replace("red", "blue"))


def _retable(folder: Path) -> None:
    (folder / "table.csv").write_text(
        "video,sheet,caption\na.mp4,sheet.png,hero walks\nb.mp4,sheet.png,hero jumps\n"
    )


COMMANDS = (
    Command("generate", _generate("out/clip.mp4", "sheet.png", *WAVES)),
    Command("generate over", _generate("out/clip.mp4", "scene.yaml", "--seed", "2"), (_OLD,), _reworded),
    Command("takes", _generate("out/clip.mp4", "sheet.png", *WAVES, "--takes", "2", "--keep", "all")),
    Command("shots", _SHOTS),
    Command("shots over", _SHOTS, (_SHOTS,), _shots("shots: [hero waves, {id: b, action: hero turns}]")),
    Command("sheet", _SHEET),
    Command("sheet over", _SHEET, (_SHEET,), _reworded),
    Command("lint --fix", ("lint", "white.png", "--no-look", "--fix", "out/f.png", "--report", "out/f.html")),
    Command("judge", ("judge", "a.mp4", "--sheet", "sheet.png", "--html", "out/j.html")),
    Command("describe", ("describe", "scene.yaml", "-o", "out/words.yaml")),
    Command("elements add", _ADD),
    Command("elements add more", _ADD_MORE, (_ADD,)),
    Command("elements remove", _REMOVE, (_ADD,), done="has no element"),
    Command("elements scene", _SCENE, (_ADD,), done="exists already"),
    Command("encode", _ENCODE),
    Command("encode over", _ENCODE, (_ENCODE,), _retable),
    Command("train", ("train", "run.yaml")),
    Command("distill", (*_DISTIL, "--stages", "2")),
    Command("distill further", (*_DISTIL, "--stages", "2,1"), ((*_DISTIL, "--stages", "2"),)),
    Command("train further", ("train", "run.yaml", "--set", "steps=6"), (("train", "run.yaml"),)),
)


def build(folder: Path) -> Path:
    """The files that all commands begin with."""
    folder.mkdir()
    for seed, name in enumerate(("face", "front", "quay"), 1):
        picture(384, 400, seed).save(folder / f"{name}.png")
    (folder / "scene.yaml").write_text(yaml.safe_dump(GOOD))
    build_bundle(folder / "tiny")
    bucket = {"width": 64, "height": 32, "frames": 9, "fps": 24.0, "stg_blocks": [1]}
    write_bundle(folder / "tiny", bucket=bucket, preset={"steps": 1, "guidance": 1.0, "lora_strength": 1.0})
    Sheet(picture(128, 64, 5), output=(64, 32)).save(folder / "sheet.png")
    white = Image.new("RGB", (256, 128), "white")
    white.paste(picture(60, 100, 6), (20, 10))
    white.save(folder / "white.png")
    frames = np.random.default_rng(0).integers(0, 255, (2, 12, 32, 64, 3), dtype=np.uint8)
    for name, one in zip(("a", "b"), frames, strict=True):
        Clip(one, 24.0).save(folder / f"{name}.mp4")
    (folder / "table.csv").write_text(
        "video,sheet,caption\na.mp4,sheet.png,hero walks\nb.mp4,sheet.png,hero waves\n"
    )
    (folder / "shots.yaml").write_text("shots: [hero waves, {id: b, action: hero jumps}]\n")
    (folder / "casts").mkdir()
    Sheet(picture(128, 64, 7), output=(64, 32)).save(folder / "casts" / "cast.png")
    (folder / "casts" / "cast.txt").write_text("Reference sheet: hero. Generated video: hero waves.\n")
    build_data(folder / "data", 3)
    values = {
        "model": "tiny",
        "data": "data",
        "output": "out/run",
        "device": "cpu",
        "steps": 4,
        "batch": 1,
        "save_every": 1,
        "keep": 2,
        "adapter": {"rank": 2, "alpha": 2.0},
        "optimiser": {"name": "adamw", "rate": [{"until": 50, "start": 1e-2, "end": 1e-3}]},
        "base": {"weights": "fp32"},
        "watch": {"log_every": 0, "page_every": 0},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").write_text(MINE)
    return folder


@dataclass(frozen=True)
class Prepared:
    """A command, the folder as it is before it, and as it is after it."""

    command: Command
    before: Path
    after: Path
    steps: tuple[str, ...]
    code: int | None
    seconds: float
    exact: frozenset[str]  # files that two whole runs write with equal bytes


def prepare(command: Command, good: Path, place: Path) -> Prepared:
    """Run a command twice to its end, and see what it makes."""
    start = copy(good, place / "before")
    for words in command.before:
        ended = run(words, start)
        assert ended.code == 0, ended.said
    command.change(start)
    first = copy(start, place / "after")
    names, ended = steps(command.words, first)
    assert "error: " not in ended.said, ended.said
    assert "Traceback" not in ended.said, ended.said
    second = copy(start, place / "again")
    begun = time.monotonic()
    run(command.words, second)
    seconds = time.monotonic() - begun
    one, two = tree(first), tree(second)
    shutil.rmtree(second)
    exact = frozenset(n for n, h in one.items() if two.get(n) == h)
    return Prepared(command, start, first, tuple(names), ended.code, seconds, exact)


def faults(
    prepared: Prepared,
    work: Path,
    kill: Callable[[Path], Ended],
    *,
    clean: tuple[int, ...] = (),
    rerun: bool = True,
) -> Iterator[str]:
    """What is wrong after a kill, and after the next run of the same command.

    Args:
        clean: exit codes by which the command may end otherwise than by a kill; it then leaves nothing
            behind, and an error is said once.
        rerun: whether to run the command again, and to compare.
    """
    folder = copy(prepared.before, work)
    ended = kill(folder)
    if ended.code is None:
        yield "hang"
        return
    if clean:
        yield from _unclean(prepared, folder, ended, clean)
    for path in [folder / "out", *(one for one in (folder / "out").rglob("*") if one.is_dir())]:
        settle(path)
    yield from _torn(prepared, folder)
    if not rerun:
        return
    again = run(prepared.command.words, folder)
    done = again.code == prepared.code or prepared.command.done in again.said
    if not done or "Traceback" in again.said:
        yield f"rerun: {again.code}: {again.said[-400:]}"
        return
    found, wanted = tree(folder), tree(prepared.after)
    for name in sorted(set(found) ^ set(wanted)):
        if not name.startswith("cache/"):
            yield f"{'left' if name in found else 'missing'}: {name}"
    for name in sorted(prepared.exact & set(found)):
        if found[name] != wanted[name]:
            yield f"other bytes: {name}"
    yield from _torn(prepared, folder)


def _unclean(prepared: Prepared, folder: Path, ended: Ended, codes: tuple[int, ...]) -> Iterator[str]:
    if ended.code not in (prepared.code, *codes):
        yield f"exit: {ended.code}: {ended.said[-300:]}"
    if ended.code == 2 and sum(line.startswith("error: ") for line in ended.said.splitlines()) != 1:
        yield f"exit: 2 with no error or several: {ended.said[-500:]}"
    if "Traceback" in ended.said or "Exception ignored" in ended.said:
        yield f"traceback: {ended.said[-2000:]}"
    for path in folder.rglob(".castsheet-*"):
        yield f"left: {path.relative_to(folder)}"


@dataclass(frozen=True)
class Pair:
    """Two commands at once in one place, of which both end well, or, where one is refused, one does."""

    name: str
    words: tuple[tuple[str, ...], tuple[str, ...]]
    refused: bool = False


PAIRS = (
    Pair("clip", (_generate("out/clip.mp4", "sheet.png", *WAVES),) * 2),
    Pair("sheet", (_SHEET,) * 2),
    Pair("shots", (_SHOTS,) * 2),
    Pair("element", (_ADD, _ADD_MORE)),
    Pair("set", (_ENCODE,) * 2),
    Pair("run", (("train", "run.yaml"),) * 2, refused=True),
)


def pair_faults(pair: Pair, good: Path, work: Path) -> Iterator[str]:
    """What is wrong after two processes worked in one place at once."""
    folder = copy(good, work)
    children = [begin(words, folder, name=str(number)) for number, words in enumerate(pair.words)]
    ended = [end(*child) for child in children]
    codes = sorted(one.code if one.code is not None else 99 for one in ended)
    said = " | ".join(one.said for one in ended)
    if 99 in codes:
        yield "hang"
    if "Traceback" in said or codes not in ([0, 0], [0, 2] if pair.refused else [0, 0]):
        yield f"rerun: {codes}: {said[-500:]}"
    out = folder / "out"
    for path in out.rglob("*"):
        if ".castsheet-" in path.as_posix() and path.exists():
            yield f"left: {path.relative_to(out)}"
    for video in out.rglob("*.mp4"):
        yield from _clip(video)
    if pair.name == "element":
        text = (out / "library" / "hero" / "default" / "element.yaml").read_text()
        if len(yaml.safe_load(text)["pictures"]) != 3:
            yield "lost: a picture of the element"
    if pair.name == "run":
        steps = [line["step"] for line in read_log(out / "run") if line["kind"] == "train"]
        if steps != [1, 2, 3, 4]:
            yield f"other bytes: steps {steps} in the log"


def _torn(prepared: Prepared, folder: Path) -> Iterator[str]:
    """Sets that do not belong together, earlier results that are gone, and foreign files touched."""
    out = folder / "out"
    if (out / "mine.txt").read_text() != MINE:
        yield "replaced: mine.txt"
    for name in ("scene.yaml", "face.png", "sheet.png", "table.csv", "a.mp4", "run.yaml"):
        if sha256(folder / name) != sha256(prepared.before / name):
            yield f"replaced: {name}"
    for video in out.rglob("*.mp4"):
        if ".castsheet-" not in video.as_posix():
            yield from _clip(video)
    for manifest in out.rglob("*.json"):
        if manifest.with_suffix(".png").is_file() and ".castsheet-" not in manifest.as_posix():
            try:
                Sheet.load(manifest)
            except CastsheetError as error:
                yield f"half-written: {manifest.name}: {error.what}"
    removes = prepared.command.name == "elements remove"
    steps = {path.name for path in (out / "run" / "checkpoints").glob("step_*")}
    for path in (prepared.before / "out").rglob("*"):
        inside = path.relative_to(prepared.before / "out")
        if not removes and not (out / inside).exists() and not (steps and "checkpoints" in inside.parts):
            yield f"lost: {inside}"
    for step in steps:
        parts = ("adapter.safetensors", "training.safetensors", "state.json")
        if not all((out / "run" / "checkpoints" / step / part).is_file() for part in parts):
            yield f"half-written: {step}"


def _clip(video: Path) -> Iterator[str]:
    files = ClipFiles(video, video.with_suffix(".contact.png"), video.with_suffix(".clip.json"))
    if not (files.contact.is_file() and files.sidecar.is_file()):
        yield f"half-written: {video.name} without its parts"
        return
    told = json.loads(files.sidecar.read_bytes())
    if told["video"]["sha256"] != sha256(video) or told["contact"]["sha256"] != sha256(files.contact):
        yield f"half-written: {video.name} and its parts differ"
