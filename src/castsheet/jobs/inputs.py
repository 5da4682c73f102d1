"""What a command works on: a scene file, a sheet, or any picture; and how it is checked. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from castsheet import prompt as prompts
from castsheet.elements import Scene
from castsheet.errors import DependencyError, SettingsError, shown
from castsheet.judge.models import FaceVectors
from castsheet.lint.findings import Finding
from castsheet.lint.panels import lint_sheet
from castsheet.lint.pixels import Readers
from castsheet.lint.prompt import lint_prompt
from castsheet.sheet.compose import compose
from castsheet.sheet.look import ocr
from castsheet.sheet.look.experts import installed_people, installed_things
from castsheet.sheet.look.faces import CenterFace
from castsheet.sheet.look.matting import mask_beside
from castsheet.sheet.look.tools import CUTS, Tools
from castsheet.sheet.manifest import Sheet

FULL_SIZE = (768, 448)
FULL_GRID = 32


def load_source(path: Path) -> Scene | Sheet:
    """Read a scene (.yaml, .yml) or a sheet.

    Raises:
        SceneError, SheetError, ImageError: the file cannot be used.
    """
    return Scene.load(path) if path.suffix.lower() in (".yaml", ".yml") else Sheet.load(path)


def stated(path: Path, scene: Scene) -> tuple[str | None, int, dict[str, Any]]:
    """What a scene says of its clips: the preset's name, the seed, and other settings.

    Raises:
        SettingsError: the scene's seed is no number, or its preset no name.
    """
    told = dict(scene.settings)
    told.pop("layout", None)  # the sheet's own settings; `compose` has read them
    name, seed = told.pop("preset", None), told.pop("seed", 0)
    if not (name is None or isinstance(name, str)) or type(seed) is not int:
        raise SettingsError(
            f"{path}: settings: preset = {shown(name)}, seed = {shown(seed)}",
            remedy="give the preset's name and a whole number",
        )
    return name, seed, told


def files_of(path: Path, source: Scene | Sheet) -> list[Path]:
    """The files that a scene or a sheet is read from, which no output may replace: pictures and masks too."""
    if isinstance(source, Sheet):
        return [path.with_suffix(ending) for ending in (path.suffix, ".png", ".json")]
    pictures = [one for element in source.elements for paths in element.images.values() for one in paths]
    return [path, *pictures, *(mask for one in pictures if (mask := mask_beside(one)) is not None)]


def sheet_of(
    source: Scene | Sheet, output: tuple[int, int] | None, grid: int | None, *, cut: str | None = None
) -> Sheet:
    """The sheet itself, or the sheet of a scene, composed for clips of this size.

    Args:
        cut: how pictures are cut out; by default as `layout: {cut: ...}` of the scene says, else by all
        networks that are here.
    """
    if isinstance(source, Sheet):
        return source
    return compose(
        source,
        output=FULL_SIZE if output is None else output,
        grid=FULL_GRID if grid is None else grid,
        tools=tools_for(source, cut),
    )


def tools_for(scene: Scene, cut: str | None = None) -> Tools:
    """The tools that are installed here; `cut`, else the scene, else the default chooses how to cut out.

    Raises:
        SettingsError: there is no such way to cut.
    """
    layout = scene.settings.get("layout")
    stated = layout.get("cut") if isinstance(layout, dict) else None
    chosen = next(one for one in (cut, stated, CUTS[0]) if one is not None)
    if isinstance(chosen, str) and (chosen in CUTS or "/" in chosen or chosen.endswith(".onnx")):
        return Tools.installed(cut=chosen)
    raise SettingsError(
        f"pictures cannot be cut out by {shown(chosen)}",
        remedy=f"use one of {', '.join(CUTS)}, an .onnx file, or a repository as OWNER/NAME",
    )


def check(
    source: Scene | Sheet,
    *,
    prompt: str | None,
    output: tuple[int, int] | None,
    grid: int | None,
    readers: Readers | None = None,
    sheet: Sheet | None = None,
) -> list[Finding]:
    """Findings on the sheet, and on the given prompt or the prompt that the scene's action makes.

    Args:
        readers: models that look at the sheet's content; with None nothing looks at it.
        sheet: the source's sheet, if it was composed before.
    """
    sheet = sheet or sheet_of(source, output, grid)
    found = lint_sheet(sheet, output=output, grid=grid, readers=readers)
    if prompt is not None:
        found += lint_prompt(prompt, sheet)
    elif isinstance(source, Scene) and source.action:
        found += lint_prompt(prompts.build(sheet, source.action), sheet)
    return found


def installed_readers() -> Readers:
    """The models of the optional extras that read text, find faces, people and what stands out, and tell
    faces apart, as far as they are installed."""
    try:
        faces = CenterFace()
    except DependencyError:
        faces = None
    text = ocr.RapidReader() if ocr.installed() else None
    try:
        who = FaceVectors()
    except DependencyError:
        who = None
    return Readers(text, faces, installed_people(), installed_things(), who)
