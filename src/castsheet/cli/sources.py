"""What a command works on: a scene file, a sheet, or any picture; and the checks of it. No torch."""

from __future__ import annotations

from pathlib import Path

from castsheet import prompt as prompts
from castsheet.elements import Scene
from castsheet.prompt_lint import lint_prompt
from castsheet.sheet.compose import compose
from castsheet.sheet.findings import Finding
from castsheet.sheet.lint import Readers, lint_sheet
from castsheet.sheet.manifest import Sheet

FULL_SIZE = (768, 448)
FULL_GRID = 32


def load_source(path: Path) -> Scene | Sheet:
    """Read a scene (.yaml, .yml) or a sheet.

    Raises:
        SceneError, SheetError, ImageError: it cannot be used.
    """
    return Scene.load(path) if path.suffix.lower() in (".yaml", ".yml") else Sheet.load(path)


def sheet_of(source: Scene | Sheet, output: tuple[int, int] | None, grid: int | None) -> Sheet:
    """The sheet itself, or the scene's, composed for clips of this size."""
    if isinstance(source, Sheet):
        return source
    return compose(
        source,
        output=FULL_SIZE if output is None else output,
        grid=FULL_GRID if grid is None else grid,
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
    """Findings on the sheet, and on the prompt given or the one that the scene's action makes.

    Args:
        readers: models that look at the sheet's content; None leaves that out.
        sheet: the source's sheet, where it was composed before.
    """
    sheet = sheet or sheet_of(source, output, grid)
    found = lint_sheet(sheet, output=output, grid=grid, readers=readers)
    if prompt is not None:
        found += lint_prompt(prompt, sheet)
    elif isinstance(source, Scene) and source.action:
        found += lint_prompt(prompts.build(sheet, source.action), sheet)
    return found
