"""The list of nodes. Imported by ComfyUI only: it needs `comfy_api`."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from castsheet.comfy.checking import CastsheetLint
from castsheet.comfy.guides import CastsheetCrop, CastsheetGuide
from castsheet.comfy.judging import CastsheetJudge, CastsheetPick
from castsheet.comfy.making import CastsheetEncodePrompt, CastsheetGenerate, CastsheetSidecar
from castsheet.comfy.scenes import CastsheetLoadScene, CastsheetSaveScene, CastsheetSplit
from castsheet.comfy.sheets import CastsheetElement, CastsheetSheet

NODES: list[type[io.ComfyNode]] = [
    CastsheetElement,
    CastsheetSheet,
    CastsheetLint,
    CastsheetGuide,
    CastsheetCrop,
    CastsheetJudge,
    CastsheetPick,
    CastsheetSplit,
    CastsheetLoadScene,
    CastsheetSaveScene,
    CastsheetEncodePrompt,
    CastsheetGenerate,
    CastsheetSidecar,
]


class CastsheetExtension(ComfyExtension):
    """What `comfy_entrypoint` hands over."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Every node of the pack."""
        return NODES
