"""How a model is opened: where it runs, in which precision, in how much memory. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castsheet.ltx.formats import FORMATS
from castsheet.sampling.split import SPLITS, Split
from castsheet.settings.kinds import Choice, Kind, Text, setting


class Folder(Kind):
    """A folder's path."""

    allowed, option = "a folder", Path

    def check(self, name: str, value: Any) -> None:
        """Accept any path: the folder is made when it is needed."""


@dataclass(frozen=True)
class Loading:
    """How a model is opened. The readers of the values check them: what is allowed depends on the machine."""

    device: str = setting("auto", "Where the model runs.", Text("auto, cpu, cuda or cuda:1"))
    dtype: str = setting("auto", "Its precision.", Choice(("auto", "bf16", "fp32", *FORMATS)))
    memory: str = setting("auto", "GPU memory to stay under.", Text("auto, or GiB such as 12"))
    attention: str = setting("auto", "fp8 is approximate and for newer GPUs.", Choice(("auto", "fp8")))
    split: Split = setting(
        "auto",
        "What torchrun's processes share: a step's passes, each pass's sequence, or both.",
        Choice(SPLITS),
    )
    cache_dir: Path | str | None = setting(None, "Where encoded prompts are kept.", Folder())
