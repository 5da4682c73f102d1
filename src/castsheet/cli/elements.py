"""`castsheet elements`: a library of people, props and places that scenes share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from castsheet.errors import SettingsError

if TYPE_CHECKING:
    from castsheet.sheet.library import Kept

app = typer.Typer(
    help="Keep a library of characters, props and locations, their pictures sorted into views.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The element's name, as prompts call it: hero.")]
Folder = Annotated[Path, typer.Option("--library", help="The library's folder.")]
LIBRARY = Path("library")
KINDS = ("character", "prop", "location")


@app.command()
def add(
    name: Name,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures of it; *.mask.png beside them are masks.")],
    kind: Annotated[
        str | None, typer.Option(help="character, prop or location.", show_default="character")
    ] = None,
    library: Folder = LIBRARY,
    look: Annotated[str, typer.Option(help="A version of it, for one story beat.")] = "default",
    description: Annotated[str | None, typer.Option(help="What the prompt says of it.")] = None,
    importance: Annotated[float | None, typer.Option(help="2 gets about twice the area.")] = None,
    view: Annotated[str | None, typer.Option(help="What all these pictures show, if you know.")] = None,
    face: Annotated[int | None, typer.Option(help="Which face, counted from the left.", min=1)] = None,
    quality: Annotated[str, typer.Option(help="Cut-outs by u2netp, u2net or plain.")] = "u2netp",
) -> None:
    """Sort pictures into views and keep them under a name."""
    from castsheet.elements import VIEWS
    from castsheet.progress import stderr_console
    from castsheet.sheet.library import Library, Sorter
    from castsheet.sheet.tools import default_cache

    kind = _one_of("kind", kind, KINDS)
    view = _one_of("view", view, VIEWS)
    _one_of("quality", quality, ("u2netp", "u2net", "plain"))
    console = stderr_console()
    sorter = Sorter.installed(quality=quality, cache=default_cache() / "cutouts")  # type: ignore[arg-type]
    if sorter.detector is None and kind in (None, "character"):
        console.print('no face detector: views are guessed by shape and name; pip install "castsheet[faces]"')
    added = Library(library).add(
        name,
        pictures,
        sorter,
        kind=kind,  # type: ignore[arg-type]
        look=look,
        description=description,
        importance=importance,
        view=view,  # type: ignore[arg-type]
        pick=face,
    )
    for path in added.known:
        console.print(f"{path} is there already", style="dim", markup=False)
    _tell(added.new)
    typer.echo(f"{added.entry.folder / 'element.yaml'}")
    if any(kept.unsure for kept in added.new):
        console.print("unsure of some: correct `view` and `images` in that file, or add them with --view")


@app.command("list")
def list_(library: Folder = LIBRARY) -> None:
    """List the elements and their looks."""
    from castsheet.sheet.library import Library

    shelf = Library(library)
    for name, looks in shelf.names().items():
        for look in looks:
            entry = shelf.load(name, look)
            views = ", ".join(f"{len(paths)} {view}" for view, paths in entry.element.images.items())
            typer.echo(f"{name}@{look}  {entry.element.kind}  {views}")


@app.command()
def show(name: Name, library: Folder = LIBRARY, look: str = "default") -> None:
    """Show an element's description and pictures."""
    from castsheet.sheet.library import Library

    entry = Library(library).load(name, look)
    element = entry.element
    typer.echo(f"{element.kind} {name}@{entry.look}, importance {element.importance:g}")
    typer.echo(f"description: {element.description or '(none yet)'}")
    _tell(entry.pictures)


@app.command()
def remove(
    name: Name,
    library: Folder = LIBRARY,
    look: Annotated[str | None, typer.Option(help="Only this look.", show_default="all looks")] = None,
) -> None:
    """Delete an element, or one of its looks, from the library."""
    from castsheet.sheet.library import Library

    for folder in Library(library).remove(name, look):
        typer.echo(f"removed {folder}")


def _tell(pictures: tuple[Kept, ...]) -> None:
    for kept in pictures:
        doubt = "unsure" if kept.unsure else f"{kept.confidence:.0%}"
        typer.echo(f"{kept.view:<13} {doubt:<7} {kept.file}  ({kept.origin}: {kept.reason})")


def _one_of(option: str, value: str | None, choices: tuple[str, ...]) -> str | None:
    if value is not None and value not in choices:
        raise SettingsError(f"--{option} {value} is not known", remedy=f"use one of {', '.join(choices)}")
    return value
