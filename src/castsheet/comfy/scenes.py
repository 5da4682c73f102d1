"""Scenes on disk, and ready-made sheets taken apart."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from castsheet.comfy.node import CATEGORY, ElementType, Node, SheetType, kept_folder, scene_file, schema
from castsheet.comfy.sheets import KINDS
from castsheet.comfy.wire import Board, Cast

if TYPE_CHECKING:
    from castsheet.authoring.split import Split
    from castsheet.elements import Element


class CastsheetLoadScene(Node):
    """A scene file's elements."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetLoadScene",
            display_name="Castsheet Load Scene",
            category=CATEGORY,
            description="Reads a scene file (YAML) from ComfyUI's input or output folder.",
            inputs=[
                io.String.Input(
                    "file",
                    default="scene.yaml",
                    tooltip="In ComfyUI's input or output folder: barn/scene.yaml. demo: Castsheet's own.",
                )
            ],
            outputs=[
                ElementType.Output(display_name="elements", tooltip="All of the scene's elements."),
                io.String.Output(display_name="action", tooltip="What happens, for the Sheet node."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        """Contents, not names: a changed picture under the old name is another scene."""
        from castsheet.elements import Scene
        from castsheet.errors import CastsheetError

        try:
            path = scene_file(file)
            scene = Scene.load(path)
        except CastsheetError as error:
            return str(error)
        digest = hashlib.sha256(path.read_bytes())
        for element in scene.elements:
            for paths in element.images.values():
                for one in paths:
                    digest.update(one.read_bytes())
        return digest.hexdigest()

    @classmethod
    def run(cls, file: str) -> io.NodeOutput:
        """Read it; strengths are those of the scene's settings."""
        from castsheet.elements import Scene
        from castsheet.settings import Settings
        from castsheet.settings.kinds import described

        scene = Scene.load(scene_file(file))
        strengths = scene.settings.get("strength", {})
        described(Settings)["strength"].kind.check("strength", strengths)
        return io.NodeOutput(Cast(scene.elements, strengths), scene.action)


class CastsheetSaveScene(Node):
    """Elements as a scene file that the command line reads too."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetSaveScene",
            display_name="Castsheet Save Scene",
            category=CATEGORY,
            description="Writes a scene file and its pictures to the output folder; the sheet too, if wired.",
            is_output_node=True,
            inputs=[
                ElementType.Input("elements", tooltip="What to save."),
                io.String.Input(
                    "name", default="scene", tooltip="The folder's name inside output/castsheet."
                ),
                io.String.Input("action", default="", multiline=True, tooltip="What happens in the clip."),
                SheetType.Input("sheet", optional=True, tooltip="Also saved: the PNG and its JSON."),
            ],
            outputs=[
                io.String.Output(
                    display_name="file", tooltip="The scene file, relative to the output folder."
                )
            ],
        )

    @classmethod
    def run(cls, elements: Cast, name: str, action: str, sheet: Board | None = None) -> io.NodeOutput:
        """Copy the pictures and write the scene beside them."""
        import folder_paths

        from castsheet.elements import Scene
        from castsheet.errors import SettingsError
        from castsheet.machine.files import signed
        from castsheet.machine.marks import Kind, owned

        if not re.fullmatch(r"[\w-]+", name):
            raise SettingsError(f"{name!r} cannot name a folder", remedy="use letters, digits, - and _")
        root = Path(folder_paths.get_output_directory())
        folder = root / "castsheet" / name
        settings = {"strength": dict(elements.strengths)} if elements.strengths else {}
        kind = Kind("a scene", lambda folder: signed(folder / "scene.yaml"))
        with owned(folder, kind, logging.info):
            placed = tuple(_copied(element, folder) for element in elements.elements)
            path = Scene(elements=placed, action=action, settings=settings).save(folder / "scene.yaml")
            if sheet is not None:
                sheet.sheet.save(folder / "sheet.png")
        return io.NodeOutput(path.relative_to(root).as_posix(), ui=ui.PreviewText(str(path)))


def _copied(element: Element, folder: Path) -> Element:
    """The element with its pictures in the folder, named by view."""
    from castsheet.machine.files import write_atomic

    images = {
        view: tuple(
            write_atomic(
                folder / f"{element.id}-{view}-{number}{path.suffix}", partial(shutil.copyfile, path)
            )
            for number, path in enumerate(paths, 1)
        )
        for view, paths in element.images.items()
    }
    return element.model_copy(update={"images": images})


class CastsheetSplit(Node):
    """A ready-made sheet of one subject, as an element."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetSplit",
            display_name="Castsheet Split",
            category=CATEGORY,
            description="Takes a ready-made sheet of one subject apart: finds its pictures, reads labels"
            " where a text reader is installed, and takes text off.",
            inputs=[
                io.Image.Input("picture", tooltip="A sheet of views of one subject, with or without labels."),
                io.String.Input("id", default="hero", tooltip="Its name in prompts."),
                io.Combo.Input("kind", options=KINDS, default="character", tooltip="What it is."),
                io.String.Input("description", default="", multiline=True, tooltip="What the pictures show."),
                ElementType.Input("previous", optional=True, tooltip="Elements that come before this one."),
            ],
            outputs=[
                ElementType.Output(display_name="elements", tooltip="The element after the ones before it."),
                io.Image.Output(
                    display_name="pictures", is_output_list=True, tooltip="Every picture that was found."
                ),
                io.String.Output(
                    display_name="report", tooltip="Which picture became which view, and what looks wrong."
                ),
            ],
        )

    @classmethod
    def run(
        cls, picture: Any, id: str, kind: str, description: str, previous: Cast | None = None
    ) -> io.NodeOutput:
        """Split, file the pictures by view, and report."""
        from castsheet.comfy.pictures import keep, to_pictures, to_tensor
        from castsheet.comfy.watch import watched
        from castsheet.elements import Scene

        parts = watched(lambda _tell: _split(to_pictures(picture[:1])[0]))
        named = [part for part in parts.parts if part.view]
        images: dict[str, list[Path]] = {}
        for part in named or parts.parts:
            images.setdefault(part.view or "front", []).append(keep(part.image, kept_folder()))
        told = {"id": id, "kind": kind, "description": description, "images": images}
        mine = Scene(elements=(told,)).elements  # type: ignore[arg-type]
        lines = [
            f"{part.box.w} x {part.box.h} at {part.box.x}, {part.box.y}: {part.view or 'unnamed'}"
            for part in parts.parts
        ]
        if not named:
            lines.append('no label was read: all count as front. pip install "castsheet[ocr]" reads labels')
        report = "\n".join([*lines, *(f"{doubt.message}. Fix: {doubt.remedy}" for doubt in parts.doubts)])
        pictures = [to_tensor(part.image) for part in parts.parts]
        cast = (previous or Cast(())) + Cast(mine)
        return io.NodeOutput(cast, pictures, report, ui=ui.PreviewText(report))


def _split(picture: Any) -> Split:
    from castsheet.authoring.split import split
    from castsheet.jobs.inputs import installed_readers

    readers = installed_readers()
    return split(picture, reader=readers.text, faces=readers.faces)
