"""`castsheet elements`: a library of people, props and places that scenes share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from castsheet.cli.settings import Overwrite
from castsheet.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from castsheet.authoring.apart import Put
    from castsheet.authoring.library import Added, Kept
    from castsheet.lint.pixels import Readers

NO_FACES = 'no face detector: views are guessed by shape and name; pip install "castsheet[faces]"'
NO_LABELS = 'labels are not read, the views are guessed: pip install "castsheet[ocr]"'
app = typer.Typer(
    help="Keep a library of characters, props and locations, their pictures sorted into views.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The element's name, as prompts call it: hero.")]
Folder = Annotated[Path, typer.Option("--library", help="The library's folder.")]
LIBRARY = Path("library")
KINDS = ("character", "prop", "location")
HUMAN_HELP = "A person, or a puppet, robot or animal, which has no face that the judge compares."
CUT_HELP = "Cut-outs by auto (all networks that are here), u2netp, u2net, plain, an .onnx file or OWNER/NAME."


@app.command()
def add(
    name: Name,
    pictures: Annotated[
        list[Path], typer.Argument(help="Pictures of it, or folders; *.mask.png beside them are masks.")
    ],
    kind: Annotated[
        str | None, typer.Option(help="character, prop or location.", show_default="character")
    ] = None,
    library: Folder = LIBRARY,
    look: Annotated[str, typer.Option(help="A version of it, for one story beat.")] = "default",
    description: Annotated[str | None, typer.Option(help="What the prompt says of it.")] = None,
    importance: Annotated[float | None, typer.Option(help="2 gets about twice the area.")] = None,
    human: Annotated[bool | None, typer.Option(help=HUMAN_HELP, show_default="human")] = None,
    view: Annotated[str | None, typer.Option(help="What all these pictures show, if you know.")] = None,
    face: Annotated[int | None, typer.Option(help="Which face, counted from the left.", min=1)] = None,
    ready: Annotated[
        bool, typer.Option("--sheet", help="The pictures are ready-made sheets: take them apart.")
    ] = False,
    quality: Annotated[str, typer.Option("--quality", "--cut", help=CUT_HELP)] = "auto",
) -> None:
    """Sort pictures into views and keep them under a name."""
    from castsheet.authoring.library import Library, Sorter
    from castsheet.elements import VIEWS
    from castsheet.jobs.inputs import installed_readers
    from castsheet.machine.files import cache_folder
    from castsheet.machine.progress import stderr_console

    kind = one_of("kind", kind, KINDS)
    view = one_of("view", view, VIEWS)
    _a_way_to_cut(quality)
    console = stderr_console()
    sorter = Sorter.installed(quality=quality, cache=cache_folder() / "cutouts")
    if sorter.detector is None and kind in (None, "character"):
        console.print(NO_FACES, markup=False)

    def put(paths: list[Path], view: str | None, origin: str | None = None) -> Added:
        return Library(library, console.print).add(
            name,
            paths,
            sorter,
            kind=kind,  # type: ignore[arg-type]
            look=look,
            description=description,
            importance=importance,
            human=human,
            view=view,  # type: ignore[arg-type]
            pick=face,
            origin=origin,
        )

    added = _apart(pictures, put, installed_readers(), console) if ready else [put(pictures, view)]
    _put(added, console)
    typer.echo(f"{added[-1].entry.folder / 'element.yaml'}")
    if any(kept.unsure for one in added for kept in one.new):
        console.print(f"unsure of some views: castsheet elements edit {name} --view FILE=side, say")
    _doubts(added, name, quality)


def _put(added: list[Added], console: Console) -> None:
    """Say what became of each picture."""
    for one in added:
        for path in one.known:
            console.print(f"{path} is there already", style="dim", markup=False)
        for path, why in one.skipped:
            console.print(f"left out {path}: {why}", style="yellow", markup=False)
        tell(one.new)


def _apart(pictures: list[Path], put: Put, readers: Readers, console: Console) -> list[Added]:
    """Add the pictures of ready-made sheets."""
    from castsheet.authoring.apart import apart

    if readers.text is None:
        console.print(NO_LABELS, style="yellow", markup=False)
    added: list[Added] = []
    for picture in pictures:
        found = apart(picture, put, readers)
        for doubt in found.doubts:
            console.print(f"{picture}: {doubt.message}", style="yellow", markup=False)
        if found.left:
            console.print(f"{picture}: {found.left} pictures without a view are left out", markup=False)
        added += found.added
    return added


@app.command()
def scene(
    out: Annotated[Path, typer.Argument(help="The scene file to write, .yaml.")],
    names: Annotated[list[str], typer.Argument(help="Elements of the library: hero, or hero@act-2.")],
    action: Annotated[str, typer.Option(help="What happens in the clip.")] = "",
    library: Folder = LIBRARY,
    overwrite: Overwrite = False,
) -> None:
    """Write a scene file that uses elements of the library."""
    import yaml

    from castsheet.elements import Scene
    from castsheet.machine.files import sign
    from castsheet.machine.outputs import Output, try_outputs, write_output

    output = Output(out)
    try_outputs([output], overwrite=overwrite)
    beside = Path(os.path.relpath(library, out.parent)).as_posix()
    used = {"library": beside, "elements": [{"use": name} for name in names], "action": action}
    # An element that is not there is told before the file is; out's folder need not be there yet.
    Scene.parse({**used, "library": str(library.absolute())}, out)
    text = yaml.safe_dump(used, sort_keys=False, allow_unicode=True, width=100)
    typer.echo(write_output(output, lambda file: file.write_bytes(sign(text)), overwrite=overwrite))


@app.command("list")
def list_(library: Folder = LIBRARY) -> None:
    """List the elements and their looks."""
    from castsheet.authoring.library import Library

    shelf = Library(library)
    for name, looks in shelf.names().items():
        for look in looks:
            entry = shelf.load(name, look)
            views = ", ".join(f"{len(paths)} {view}" for view, paths in entry.element.images.items())
            typer.echo(f"{name}@{look}  {entry.element.kind}  {views}")


def _a_way_to_cut(quality: str) -> None:
    from castsheet.sheet.look.matting import QUALITIES

    if "/" not in quality and not quality.endswith(".onnx"):
        one_of("quality", quality, QUALITIES)


def _doubts(added: list[Added], name: str, quality: str) -> None:
    """One line: which of the new pictures' cut-outs are doubtful."""
    from castsheet.authoring.approve import shown, told
    from castsheet.machine.progress import progress, stderr_console
    from castsheet.sheet.look.tools import Tools

    new = [kept.file for one in added for kept in one.new]
    if not new:
        return
    with progress("looking at the cut-outs"):
        line = told(list(shown(added[-1].entry, Tools.installed(cut=quality), only=new)))
    if line:
        stderr_console().print(f"doubtful cut-outs: {line}", style="yellow", markup=False)
        stderr_console().print(f"look at them: castsheet elements show {name} --cutouts", markup=False)


@app.command()
def show(
    name: Name,
    library: Folder = LIBRARY,
    look: str = "default",
    cutouts: Annotated[
        bool, typer.Option("--cutouts", help="Write a page with every picture and its cut-out.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="That page.", show_default="NAME.cutouts.html")
    ] = None,
    quality: Annotated[str, typer.Option("--quality", "--cut", help=CUT_HELP)] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Show an element's description and pictures; with --cutouts, their cut-outs on a page."""
    from castsheet.authoring.library import Library

    entry = Library(library).load(name, look)
    if cutouts:
        from castsheet.authoring.approve import save_page, shown, told
        from castsheet.machine.progress import progress, stderr_console
        from castsheet.sheet.look.tools import Tools

        _a_way_to_cut(quality)
        if entry.element.kind == "location":
            raise SettingsError(f"{name} is a location", remedy="locations are never cut out")
        with progress("cutting out"):
            pictures = list(shown(entry, Tools.installed(cut=quality)))
        if line := told(pictures):
            stderr_console().print(f"doubtful: {line}", style="yellow", markup=False)
        typer.echo(save_page(out or Path(f"{name}.cutouts.html"), entry, pictures, overwrite=overwrite))
        return
    element = entry.element
    beast = ", not human" if element.kind == "character" and not element.human else ""
    typer.echo(f"{element.kind}{beast} {name}@{entry.look}, importance {element.importance:g}")
    typer.echo(f"description: {element.description or '(none yet)'}")
    tell(entry.pictures)


@app.command()
def remove(
    name: Name,
    library: Folder = LIBRARY,
    look: Annotated[str | None, typer.Option(help="Only this look.", show_default="all looks")] = None,
) -> None:
    """Delete an element, or one of its looks, from the library."""
    from castsheet.authoring.library import Library
    from castsheet.machine.progress import stderr_console

    say = stderr_console().print
    for folder in Library(library, say).remove(name, look):
        typer.echo(f"removed {folder}")
        if folder.exists():
            say(f"{folder} holds other files as well; they were left alone", markup=False)


def tell(pictures: tuple[Kept, ...]) -> None:
    for kept in pictures:
        doubt = "unsure" if kept.unsure else f"{kept.confidence:.0%}"
        typer.echo(f"{kept.view:<13} {doubt:<7} {kept.file}  ({kept.origin}: {kept.reason})")


def one_of(option: str, value: str | None, choices: tuple[str, ...]) -> str | None:
    if value is not None and value not in choices:
        raise SettingsError(f"--{option} {value} is not known", remedy=f"use one of {', '.join(choices)}")
    return value
