"""Training runs as the page sees them: the command line's own run file, its record and its pictures.

The web process reads them without torch: `castsheet train` alone knows whether a run can be trained, and a
job says what it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from castsheet.errors import CastsheetError, SettingsError
from castsheet.machine.files import write_text
from castsheet.machine.regular import is_file
from castsheet.machine.text import TextReader
from castsheet.studio.asked import RunChange
from castsheet.studio.folder import ADAPTER, NAME, SHEET_ID
from castsheet.studio.problems import Missing
from castsheet.studio.state import Studio
from castsheet.train.curves import series, smooth, thin
from castsheet.train.log import LOG, read_log

POINTS = 1_000
_RUNS = TextReader(SettingsError, "correct the line, or write the run anew")
_PICTURE = re.compile(r"(\d{6,})_(\d+)\.png")
_CHECKPOINT = re.compile(r"step_(\d{6,})")


def written(studio: Studio, path: Path, asked: RunChange) -> None:
    """Write a run's file, as `castsheet train` reads it. Fields that the page does not know stay.

    Raises:
        Missing: a set or a sheet is not there.
        OutputError: the disk refused.
    """
    raw = _content(path)
    for key in ("held_out", "steps", "batch", "seed", "save_every"):
        raw.pop(key, None)
    told = asked.model_dump(exclude={"set", "held_out", "samples", "sample_every"}, exclude_none=True)
    studio.folder.training_set(asked.set)
    raw = {**raw, **told, "model": model_of(studio), "data": f"../sets/{asked.set}", "output": path.stem}
    if asked.held_out is not None:
        studio.folder.training_set(asked.held_out)
        raw["held_out"] = f"../sets/{asked.held_out}"
    kept = raw.get("watch")
    watch = {**(kept if isinstance(kept, dict) else {}), "sample_every": asked.sample_every}
    watch["samples"] = [
        {"sheet": f"../sheets/{studio.folder.sheet(one.sheet).name}", "action": one.action, "seed": one.seed}
        for one in asked.samples
    ]
    text = yaml.safe_dump({**raw, "watch": watch}, sort_keys=False, allow_unicode=True, width=100)
    write_text(path, text)


def model_of(studio: Studio) -> str:
    """The studio's model as a run's file names it: files of the disk by their whole paths."""
    return studio.model if studio.model == "mini" else str(Path(studio.model).absolute())


def told(studio: Studio, name: str) -> dict[str, Any]:
    """A run as the API tells it.

    Raises:
        SettingsError: its file is no run's.
    """
    path = studio.folder.run(name)
    raw, place = _content(path), path.with_suffix("")
    watch = raw["watch"] if isinstance(raw.get("watch"), dict) else {}
    samples = [one for one in watch.get("samples") or [] if isinstance(one, dict)]
    lines = _record(place)
    train = [line for line in lines if line["kind"] == "train"]
    held_out = [line for line in lines if line["kind"] == "held_out"]
    return {
        "id": name,
        **{key: raw.get(key) for key in ("preset", "steps", "batch", "seed", "save_every")},
        "set": _named(raw.get("data"), NAME),
        "held_out": _named(raw.get("held_out"), NAME),
        "sample_every": watch.get("sample_every"),
        "samples": [
            {
                "sheet": _named(one.get("sheet"), SHEET_ID),
                "action": one.get("action"),
                "seed": one.get("seed"),
            }
            for one in samples
        ],
        "step": train[-1]["step"] if train else 0,
        "loss": smooth(series(train, "loss"))[-1][1] if train else None,
        "held_out_loss": held_out[-1].get("loss") if held_out else None,
        "seconds": round(sum(float(line.get("seconds", 0.0)) for line in train), 1),
        "finished": is_file(place / ADAPTER),
        "checkpoints": sorted(_numbers(place / "checkpoints", _CHECKPOINT)),
        "pictures": [
            {"step": step, "number": number} for step, number in sorted(_numbers(place / "samples", _PICTURE))
        ],
    }


def curves(studio: Studio, name: str) -> dict[str, dict[str, list[float]]]:
    """The curves of a run: of each the steps and the values, at most `POINTS` of them."""
    lines = _record(studio.folder.run(name).with_suffix(""))
    train = [line for line in lines if line["kind"] == "train"]
    loss = series(train, "loss")
    found = {
        "loss": loss,
        "smooth": smooth(loss),
        "held_out": series([line for line in lines if line["kind"] == "held_out"], "loss"),
        "rate": series(train, "rate"),
        "gradient": series(train, "gradient_norm"),
    }
    thinned = {key: thin(points, POINTS) for key, points in found.items()}
    return {
        key: {"step": [at for at, _ in points], "value": [value for _, value in points]}
        for key, points in thinned.items()
    }


def picture(studio: Studio, name: str, step: int, number: int) -> Path:
    """A sample picture that is there.

    Raises:
        Missing: it is not.
    """
    place = studio.folder.run(name).with_suffix("") / "samples"
    if (step, number) not in _numbers(place, _PICTURE):
        raise Missing("there is no picture of this step", remedy="read the run again")
    return place / f"{step:06d}_{number}.png"


def _numbers(place: Path, pattern: re.Pattern[str]) -> list[Any]:
    """The numbers in the names of files that fit a pattern."""
    found = []
    for path in place.iterdir() if place.is_dir() else ():
        if fits := pattern.fullmatch(path.name):
            numbers = tuple(int(one) for one in fits.groups())
            found.append(numbers if len(numbers) > 1 else numbers[0])
    return found


def _record(place: Path) -> Sequence[Mapping[str, Any]]:
    try:
        now = (place / LOG).stat()
    except OSError:
        return ()
    return _lines(place, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=32)
def _lines(place: Path, _size: int, _time: int) -> tuple[Mapping[str, Any], ...]:
    """A record's lines, without what each sample of a step lost: a long run's would fill the memory."""
    return tuple({key: one[key] for key in one if key != "samples"} for one in read_log(place))


def _content(path: Path) -> dict[str, Any]:
    raw = _RUNS.yaml(path) if path.exists() else {}
    if not isinstance(raw, dict):
        raise SettingsError(f"{path} is no run's file", remedy=_RUNS.remedy)
    return raw


def _named(path: Any, pattern: str) -> str | None:
    """The name of a set or a sheet that a run's file names; None for one of another folder."""
    stem = Path(path).name.removesuffix(".png") if isinstance(path, str) else ""
    return stem if re.fullmatch(pattern, stem) else None


def trouble_of(studio: Studio, error: CastsheetError) -> dict[str, str]:
    """What is wrong with a file, without the folder's path."""
    return {"what": studio.folder.told(error.what), "remedy": studio.folder.told(error.remedy)}
