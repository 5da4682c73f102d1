"""What a run's page says in words: settings, data, time left, memory, checkpoints, captions."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castsheet.train.checkpoint import FOLDER
from castsheet.train.config import Config, make_config
from castsheet.train.data.dataset import Data, header_of
from castsheet.train.data.packed import PackedData

CAPTIONS = 8  # of the data set on the page

STYLE = """
table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:2px 14px 2px 0}
th{font-weight:normal;color:#555}
pre{background:#fafafa;border:1px solid #ddd;padding:8px;overflow:auto}summary{cursor:pointer}
"""


@dataclass(frozen=True)
class Facts:
    """Facts of a run that do not change while it runs."""

    config: Config
    data: str
    captions: tuple[str, ...]
    memory: str

    @classmethod
    def of(cls, config: Config, data: Data, held_out: Data | None, memory: str) -> Facts:
        """Read the first captions of the data; other facts are at hand."""
        told = f"{len(data):,} samples, {_sizes(data)}"
        told += f"; {len(held_out):,} held out" if held_out is not None else "; none held out"
        return cls(config, told, _captions(data), memory)

    def html(self, step: int, seconds: Sequence[float], elapsed: float, spent: float) -> str:
        """The facts as HTML.

        Args:
            seconds: of the latest steps. spent: seconds of all steps. elapsed: see `write_page`.
        """
        left = self._left(step, seconds, elapsed)
        ahead = "done" if left is None else f"about {_time(left)} left"
        rows = {
            "time": f"{_time(spent)} of training; {ahead}",
            "memory": self.memory,
            "data": self.data,
            "checkpoints": ", ".join(self._checkpoints()) or f"the first after step {self.config.save_every}",
        }
        cells = "".join(
            f"<tr><th>{name}</th><td>{html.escape(told)}</td></tr>" for name, told in rows.items()
        )
        captions = "".join(f"<li>{html.escape(one)}</li>" for one in self.captions)
        listed = f"<h2>Captions, the first {len(self.captions)}</h2><ul>{captions}</ul>" if captions else ""
        settings = html.escape(json.dumps(self._changed(), indent=1))
        return (
            f"<table>{cells}</table>{listed}<details open>"
            f"<summary>Settings that are not the published recipe's</summary><pre>{settings}</pre></details>"
        )

    def _left(self, step: int, seconds: Sequence[float], elapsed: float) -> float | None:
        """Seconds left; None if the run is done."""
        if step >= self.config.steps or (self.config.seconds or elapsed + 1) <= elapsed:
            return None
        by_steps = (self.config.steps - step) * (sum(seconds) / len(seconds) if seconds else 0.0)
        return by_steps if self.config.seconds is None else min(by_steps, self.config.seconds - elapsed)

    def _checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.config.output / FOLDER).glob("step_*"))

    def _changed(self) -> dict[str, Any]:
        """The settings that differ from the defaults, which are the published recipe's."""
        needed = {"model": self.config.model, "data": self.config.data, "output": self.config.output}
        usual = make_config({name: str(value) for name, value in needed.items()}).model_dump(mode="json")
        return _different(self.config.model_dump(mode="json"), usual) | {
            name: str(value) for name, value in needed.items()
        }


def _different(here: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in here.items():
        if isinstance(value, dict) and isinstance(usual.get(name), dict):
            if inner := _different(value, usual[name]):
                found[name] = inner
        elif value != usual.get(name):
            found[name] = value
    return found


def _sizes(data: Data) -> str:
    """Latent sizes and rates of the data, the first three of them."""
    told = {
        f"clips of {'x'.join(map(str, one.geometry.clip))} latent cells at {one.geometry.fps:g} fps"
        for one in data.entries
    }
    return ", ".join(sorted(told)[:3]) + (" and others" if len(told) > 3 else "")


def _captions(data: Data) -> tuple[str, ...]:
    """Captions as `castsheet encode` left them in the samples' headers; packed sets hold none."""
    if isinstance(data, PackedData):
        return ()
    found = (header_of(one.path).get("caption") for one in data.entries[: 4 * CAPTIONS])
    return tuple(dict.fromkeys(one for one in found if one))[:CAPTIONS]


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def try_command(config: Config, adapter: Path) -> str:
    """The command that tries an adapter: on the run's first sample, else on the data's first sheet."""
    sample = config.watch.samples[0] if config.watch.samples else None
    path = min((config.data / "samples").glob("*.safetensors"), default=None)
    first = {} if path is None else header_of(path)
    if sample is not None:
        sheet, prompt, action = str(sample.sheet), sample.prompt, sample.action
    else:
        known = "sheet" in first and "caption" in first
        sheet, prompt = (first["sheet"], first["caption"]) if known else ("SHEET.png", None)
        action = "WHAT HAPPENS"
    words = ["castsheet", "generate", sheet]
    words += ["--action", action] if prompt is None else ["--prompt", prompt]
    words += ["--model", config.model]
    if config.text_encoder is not None:
        words += ["--text-encoder", str(config.text_encoder)]
    for file, strength in config.teacher.adapters.items():
        words += ["--adapter", str(file) if strength is None else f"{file}:{strength:g}"]
    if config.teacher.trained is None:
        words += ["--trained", str(adapter)]
    else:
        words += ["--trained", str(config.teacher.trained), "--adapter", str(adapter), "--preset", "fast"]
    return shlex.join([*words, "-o", "try.mp4"])
