"""A run's record: one JSON object a line. When the run resumes, lines after the checkpoint are removed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from castsheet.errors import OutputError
from castsheet.machine.files import require, write_text
from castsheet.machine.json_text import parse_json
from castsheet.machine.regular import MIB, is_file, read_regular

LOG = "log.jsonl"
_LIMIT = 256 * MIB


class Log:
    """Appends to `OUTPUT/log.jsonl`. Each line is written at once: a killed run keeps its record.

    Args:
        folder: the run's folder.
        step: steps done; later lines are removed, because their steps will be made again; at 0 all are.
        tensorboard: write the scalars for TensorBoard too (extra `train`).

    Raises:
        OutputError: the folder cannot be written.
        DependencyError: TensorBoard was asked for and is not installed.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        self.path = folder / LOG
        kept = [json.dumps(line) + "\n" for line in read_log(folder) if line["step"] <= step and step]
        write_text(self.path, "".join(kept))
        self._board: Any = None
        if tensorboard:
            require("tensorboard", "train")
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __call__(self, kind: str, step: int, **values: Any) -> None:
        """Add a line.

        Raises:
            OutputError: the disk refused.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}", remedy="free disk space, then run again"
            ) from error
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self._board is not None:
            self._board.close()


def read_log(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The record's lines. Damaged ones, as a power cut leaves them, are left out; the steps are made again.

    Raises:
        OutputError: the file may not be read.
    """
    path = folder / LOG
    content = read_regular(path, OutputError, limit=_LIMIT) if is_file(path) else b""
    damaged = 0
    for line in content.split(b"\n")[:-1]:  # after the last line feed: nothing, or what was cut off
        try:
            found = parse_json(line.decode())
        except ValueError:
            damaged += 1
            continue
        if isinstance(found, dict) and type(found.get("step")) is int and isinstance(found.get("kind"), str):
            yield found
        else:
            damaged += 1
    if damaged:
        warnings.warn(f"{path}: {damaged} damaged lines are left out", stacklevel=2)
