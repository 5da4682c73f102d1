"""What all nodes share: custom types, the category, and errors in one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from comfy_api.latest import io

from castsheet.comfy.wire import NodeError
from castsheet.errors import CastsheetError, SettingsError

CATEGORY = "Castsheet"
TEMP = "castsheet"  # folder of kept pictures, inside ComfyUI's own temporary folder

ElementType = io.Custom("CASTSHEET_ELEMENT")
SheetType = io.Custom("CASTSHEET_SHEET")
GuideType = io.Custom("CASTSHEET_GUIDE")
IcLoraType = io.Custom("IC_LORA_PARAMETERS")  # ComfyUI's own


def schema(**told: Any) -> io.Schema:
    """What a node says of itself; words for the search box only where ComfyUI knows them (not in 0.3.75)."""
    known = {one.name for one in dataclasses.fields(io.Schema)}
    return io.Schema(**{name: value for name, value in told.items() if name in known})


class Node(io.ComfyNode):
    """A node whose `run` (a class method; inputs by their ids) may raise `CastsheetError`."""

    run: ClassVar[Callable[..., io.NodeOutput]]

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        """What ComfyUI calls."""
        try:
            return cls.run(**inputs)
        except CastsheetError as error:
            raise NodeError(error) from error


def kept_folder() -> Path:
    """Where pictures that came along a wire are kept as files, until ComfyUI starts again."""
    import folder_paths

    return Path(folder_paths.get_temp_directory()) / TEMP


def scene_file(name: str) -> Path:
    """A file in ComfyUI's input or output folder; "demo" is the embedded scene.

    Workflows come from strangers, so their names reach no further.

    Raises:
        SettingsError: there is no such file there.
    """
    import folder_paths

    from castsheet.embedded import DEMO_SCENE

    if name == "demo":
        return DEMO_SCENE
    folders = [Path(folder_paths.get_input_directory()), Path(folder_paths.get_output_directory())]
    for folder in folders:
        path = (folder / name).resolve()
        if path.is_file() and path.is_relative_to(folder.resolve()):
            return path
    raise SettingsError(
        f"{name!r} is no file in ComfyUI's input or output folder",
        remedy=f"put it into {folders[0]}, and give its name relative to that folder",
    )


def bundles() -> list[str]:
    """Models that Castsheet itself can run: the embedded one, and folders in ComfyUI's models/castsheet."""
    return ["mini", *sorted(_bundle_folders())]


def bundle_path(name: str) -> str:
    """What `Castsheet.load` takes for an entry of `bundles`.

    Raises:
        SettingsError: there is no such bundle.
    """
    found = _bundle_folders()
    if name != "mini" and name not in found:
        raise SettingsError(f"no bundle {name!r}", remedy="put its folder into ComfyUI's models/castsheet")
    return name if name == "mini" else str(found[name])


def _bundle_folders() -> dict[str, Path]:
    import folder_paths

    root = Path(folder_paths.models_dir) / "castsheet"
    return {path.parent.name: path.parent for path in root.glob("*/bundle.json")}
