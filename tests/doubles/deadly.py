"""Work for the ledger that other processes can import: it counts its runs, and may end its own process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from castsheet.pairs.ledger import Made


def square(number: int, folder: str, deadly: bool) -> Made:
    """The square of a number; a deadly one ends its process each time."""
    with (Path(folder) / str(number)).open("a") as file:
        file.write("x")
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return Made({"square": number * number}, {"row": np.arange(number)})
