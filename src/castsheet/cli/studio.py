"""The `studio` command: the film-maker's page and its HTTP API."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from castsheet.cli.settings import with_options
from castsheet.errors import OutputError
from castsheet.loading.options import Loading


@with_options(loading=Loading)
def studio(
    loading: dict[str, Any],
    folder: Annotated[
        Path, typer.Argument(help="The studio's folder: library, scenes, sheets, takes, shots.")
    ] = Path("studio"),
    model: Annotated[str, typer.Option(help="mini, a folder with bundle.json, or a checkpoint.")] = "mini",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8187,
    listen: Annotated[
        str, typer.Option(help="Address to listen at; others than loopback need a certificate.")
    ] = "127.0.0.1",
    host_name: Annotated[
        list[str] | None, typer.Option(help="A further name that browsers may ask for; repeatable.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="For HTTPS: a PEM file.")] = None,
    key: Annotated[Path | None, typer.Option(help="For HTTPS: its key.")] = None,
    api_only: Annotated[
        bool, typer.Option("--api-only", help="Serve the HTTP API without the page.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Workers.", show_default="one for each GPU")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Start them by Ray on this machine: its address, auto, or local.")
    ] = None,
    add_token: Annotated[
        str | None, typer.Option(help="Make a token for somebody of this name, show it, and end.")
    ] = None,
    role: Annotated[str, typer.Option(help="With --add-token: viewer, maker or owner.")] = "maker",
    remove_token: Annotated[
        str | None, typer.Option(help="Take somebody's token and sessions away, and end.")
    ] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="List who has a token, and end.")] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Serve the film-maker's page: cast, scenes, sheets, takes, a queue that loses nothing."""
    from castsheet.machine.files import require
    from castsheet.machine.progress import stderr_console

    require("fastapi", "studio")
    require("uvicorn", "studio")
    from castsheet.studio.serve import Place, serve

    if add_token is not None or remove_token is not None or tokens:
        _people(folder, add_token, role, remove_token)
        return
    console = stderr_console()
    serve(
        folder,
        place=Place(listen, port, tuple(host_name or ()), certificate, key),
        model=model,
        loading=asdict(Loading(**loading)),
        say=lambda line: console.print(line, markup=False),
        page=not api_only,
        browser=browser and not api_only,
        workers=workers,
        ray_address=ray_address,
    )


def _people(folder: Path, add: str | None, role: str, remove: str | None) -> None:
    """Change or list who has a token of a studio, whether it runs or not."""
    from castsheet.studio.folder import Folder
    from castsheet.studio.people import People
    from castsheet.studio.store import Store

    here = Folder(folder.absolute())
    if not here.queue.is_file():
        raise OutputError(
            f"{folder} is no studio's folder", remedy=f"start it once: castsheet studio {folder}"
        )
    store = Store(here.queue)
    people = People(store)
    if add is not None:
        typer.echo(people.add(add, role))
    if remove is not None:
        people.remove(remove)
    if add is None and remove is None:
        for one in people.listed():
            typer.echo(f"{one['name']}  {one['role']}")
    store.close()
