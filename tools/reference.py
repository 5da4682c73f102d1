"""The reference of all modules, made of their docstrings by pdoc: `python -m tools.reference FOLDER`.

pdoc takes `__all__` of the front door for the whole package; therefore the rooms are named one by one.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pdoc

from tools.comfy.pages import STUB
from tools.house.code import PACKAGE, Tree
from tools.house.order import FRONT_DOOR

KERNELS = f"{PACKAGE}.ltx.speed.row_kernels"
"""Functions of Triton, which is not installed everywhere."""


def main() -> None:
    """Write the pages. A module that cannot be imported is an error, not a gap."""
    warnings.filterwarnings("ignore", message="Error parsing type annotation")  # types of checkers only
    warnings.filterwarnings("error", message="Error (loading|importing)")
    rooms = [f"{PACKAGE}.{room}" for room in Tree(Path(__file__).parents[1]).rooms() if room != FRONT_DOOR]
    sys.path.append(str(STUB))  # in place of ComfyUI's interface
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*rooms, f"!{KERNELS}", output_directory=Path(sys.argv[1]))


if __name__ == "__main__":
    main()
