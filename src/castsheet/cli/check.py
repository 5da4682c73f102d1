"""Commands that look at ready sheets: lint (with --fix and --report) and split."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from castsheet.cli.settings import Overwrite
from castsheet.cli.settings import size as read_size
from castsheet.errors import SheetError
from castsheet.machine.regular import is_file

if TYPE_CHECKING:
    from castsheet.lint.findings import Finding
    from castsheet.machine.outputs import Output

Checked = Annotated[
    Path, typer.Argument(help="A scene (YAML), a sheet, any picture used as one, or a ComfyUI workflow.")
]
Look = Annotated[
    bool, typer.Option("--look/--no-look", help="Read text and find faces with the models installed.")
]


def lint(
    source: Checked,
    prompt: Annotated[str | None, typer.Option(help="A whole two-part prompt to check as well.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="Size of the clip, WIDTHxHEIGHT.")] = None,
    grid: Annotated[int | None, typer.Option(help="Pixels a latent token spans.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    fixed: Annotated[
        Path | None,
        typer.Option("--fix", help="Write a mended sheet to this new PNG; says what it did."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Write the findings on the sheet, as HTML."),
    ] = None,
    overwrite: Overwrite = False,
    look: Look = True,
) -> None:
    """Check a sheet and a prompt. Exit code: 0 all well, 1 warnings, 2 errors (with --fix: left)."""
    from castsheet.authoring.fix import fix
    from castsheet.cli import show
    from castsheet.jobs.inputs import check, files_of, installed_readers, load_source, sheet_of
    from castsheet.lint.findings import exit_code, worst
    from castsheet.lint.report import save_report
    from castsheet.lint.workflow import lint_workflow
    from castsheet.machine.outputs import try_outputs
    from castsheet.media.provenance import dump

    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    written: dict[str, Path] = {}
    if (workflow := _workflow(source)) is not None:
        found = lint_workflow(workflow)
    else:
        size = None if output is None else read_size(output)
        readers = installed_readers() if look else None
        loaded = load_source(source)
        try_outputs(_outputs(fixed, report), inputs=files_of(source, loaded), overwrite=overwrite)
        sheet = sheet_of(loaded, size, grid)
        found = check(loaded, prompt=prompt, output=size, grid=grid, readers=readers, sheet=sheet)
        if fixed is not None:
            of_sheet = [one for one in found if one.rule.startswith("S")]
            mended = fix(sheet, output=size, grid=grid, readers=readers, found=of_sheet)
            sheet, done, left = mended.sheet, mended.done, mended.left
            found = [*mended.findings, *(one for one in found if not one.rule.startswith("S"))]
            written["sheet"], written["manifest"] = sheet.save(fixed, overwrite=overwrite)
        if report is not None:
            title = (fixed or source).name
            written["report"] = save_report(report, sheet, found, title=title, done=done, overwrite=overwrite)
    if as_json:
        told = {"worst": worst(found), "findings": [one.to_dict() for one in found]}
        sys.stdout.write(dump({"source": source, **told, "fixed": list(done), "left": list(left)}))
    else:
        _tell(found, done, left)
        if written:
            show.paths(**written)
    raise typer.Exit(exit_code(found))


def _tell(found: list[Finding], done: tuple[str, ...], left: tuple[str, ...]) -> None:
    """What was mended, what could not be, and what the checks say."""
    from castsheet.cli import show
    from castsheet.machine.progress import stderr_console, stdout_console

    for word, steps in (("mended", done), ("left", left)):
        for step in steps:
            stderr_console().print(f"{word:<8}{step}", markup=False)
    show.findings(found, stdout_console())


def split(
    picture: Annotated[Path, typer.Argument(help="A ready-made sheet of views, with or without labels.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the views.")],
    look: Look = True,
    overwrite: Overwrite = False,
) -> None:
    """Take a ready-made sheet apart: one picture a view, named by its label, freed of text."""
    from castsheet.authoring.split import split as take_apart
    from castsheet.cli import show
    from castsheet.jobs.inputs import installed_readers
    from castsheet.lint.findings import Finding
    from castsheet.lint.pixels import Readers
    from castsheet.machine.progress import stderr_console
    from castsheet.media.pictures import load_image

    readers = installed_readers() if look else Readers()
    console = stderr_console()
    if readers.text is None:
        console.print('labels are not read: pip install "castsheet[ocr]"', style="yellow", markup=False)
    parts = take_apart(load_image(picture), reader=readers.text, faces=readers.faces)
    views = parts.save(out, overwrite=overwrite)
    doubts = [Finding("label", d.severity or "warning", d.message, d.remedy, d.where) for d in parts.doubts]
    console.print(f"{len(parts.parts)} pictures, {sum(len(paths) for paths in views.values())} of them named")
    show.findings(doubts, console)
    for view, paths in views.items():
        for path in paths:
            show.paths(**{view: path})


def _outputs(fixed: Path | None, report: Path | None) -> list[Output]:
    from castsheet.machine.outputs import Output
    from castsheet.media.page import wrote_page
    from castsheet.sheet.manifest import sheet_outputs

    return (sheet_outputs(fixed) if fixed else []) + ([Output(report, wrote_page)] if report else [])


def _workflow(path: Path) -> dict[str, Any] | None:
    """A ComfyUI workflow, if the file is one: a JSON of nodes, unlike a sheet's manifest."""
    if path.suffix.lower() != ".json" or not is_file(path):
        return None
    from castsheet.machine.text import TextReader

    try:
        raw = TextReader(SheetError, "export the workflow again").json(path)
    except SheetError:
        return None  # the sheet's loader says what is wrong with it
    if not isinstance(raw, dict):
        return None
    nodes = raw.get("nodes")
    is_api = any(isinstance(node, dict) and "class_type" in node for node in raw.values())
    return raw if isinstance(nodes, list) or is_api else None
