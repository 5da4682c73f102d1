"""ComfyUI nodes: photos to a sheet, a sheet to a guide, a clip to a verdict. Thin shells over other rooms.

`pack/` is the folder that ComfyUI's `custom_nodes` wants; `python -m castsheet.comfy FOLDER` puts it there.
Importing this package imports neither ComfyUI nor torch; ComfyUI calls `comfy_entrypoint`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from castsheet.comfy.extension import CastsheetExtension

PACK = Path(__file__).parent / "pack"
"""The folder for `custom_nodes`: a shim, templates in two formats, help pages."""


async def comfy_entrypoint() -> CastsheetExtension:
    """The nodes, as ComfyUI asks for them when it starts."""
    from castsheet.comfy.extension import CastsheetExtension

    return CastsheetExtension()
