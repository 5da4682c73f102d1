"""`castsheet elements fill`: render the views that an element lacks. With it come all commands of
elements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from castsheet.cli import pictures  # noqa: F401 - its commands join when it is imported
from castsheet.cli.elements import KINDS, LIBRARY, Folder, Name, one_of, tell
from castsheet.cli.elements import app as elements
from castsheet.cli.settings import size as read_size
from castsheet.errors import SettingsError

if TYPE_CHECKING:
    from castsheet.authoring.renderer import Renderer

WAYS = ("ltx", "diffusers", "endpoint")


@elements.command()
def fill(
    name: Name,
    library: Folder = LIBRARY,
    look: Annotated[str, typer.Option(help="Which version of it.")] = "default",
    views: Annotated[
        str | None,
        typer.Option(help="Views to make, such as side,back.", show_default="those that are missing"),
    ] = None,
    by: Annotated[str, typer.Option(help="ltx, diffusers or endpoint.")] = "ltx",
    model: Annotated[
        str | None,
        typer.Option(help="ltx: as for generate; diffusers: a pipeline's id or folder; endpoint: a name."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="OpenAI-compatible address, such as http://127.0.0.1:8080/v1.")
    ] = None,
    key_variable: Annotated[
        str, typer.Option("--key-variable", help="Environment variable that holds the endpoint's key.")
    ] = "OPENAI_API_KEY",
    text_encoder: Annotated[Path | None, typer.Option(help="Gemma-3 folder, for ltx.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of a new element, made from words alone.")] = None,
    description: Annotated[str | None, typer.Option(help="What it looks like.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT.", show_default="the model's own")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.", show_default="the model's own")] = None,
    seed: Annotated[int, typer.Option(help="Another number gives another picture.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Make the views that an element lacks, from one picture of it or from words; look at them before use."""
    from castsheet.authoring import missing
    from castsheet.authoring.library import Library
    from castsheet.elements import VIEWS
    from castsheet.machine.progress import progress, stderr_console

    one_of("by", by, WAYS)
    wanted = [one.strip() for one in views.split(",")] if views else []
    for one in wanted:
        one_of("views", one, VIEWS)
    pixels, console = read_size(size) if size else None, stderr_console()
    with progress("opening the model", console=console):
        renderer = _renderer(by, model, endpoint, key_variable, text_encoder, steps, device)
    with progress("rendering", console=console) as advance:
        added = missing.fill(
            Library(library, console.print),
            name,
            renderer,
            look=look,
            kind=one_of("kind", kind, KINDS),  # type: ignore[arg-type]
            views=wanted,  # type: ignore[arg-type]
            description=description,
            seed=seed,
            size=pixels,
            on_view=advance,
        )
    for one_view in added:
        tell(one_view.new)
    typer.echo(f"{added[-1].entry.folder / 'element.yaml'}")


def _renderer(
    by: str,
    model: str | None,
    endpoint: str | None,
    key_variable: str,
    text_encoder: Path | None,
    steps: int | None,
    device: str,
) -> Renderer:
    if by == "endpoint":
        from castsheet.authoring.http_renderer import EndpointRenderer
        from castsheet.machine.endpoint import Endpoint

        if endpoint is None or model is None:
            raise SettingsError(
                "the endpoint needs --endpoint and --model", remedy="give its address and a model"
            )
        return EndpointRenderer(Endpoint(endpoint, model, key_variable))
    if by == "diffusers":
        from castsheet.authoring.diffusion import DiffusionRenderer
        from castsheet.machine.device import pick_device, pick_dtype

        if model is None:
            raise SettingsError("diffusers needs --model", remedy="name a pipeline's folder or id")
        place = pick_device(device)
        chosen = {} if steps is None else {"num_inference_steps": steps}
        return DiffusionRenderer.load(model, device=place, dtype=pick_dtype("auto", place), **chosen)
    if model is None:
        raise SettingsError(
            "nothing says which model makes the views",
            remedy="--model models/ltx-2.3, the 22B model, draws what your photos show; mini is a toy that"
            " draws only the puppets of its own world: --model mini",
        )
    from castsheet.authoring.still import StillRenderer
    from castsheet.pipeline import Castsheet

    settings = {} if steps is None else {"steps": steps}
    return StillRenderer(Castsheet.load(model, text_encoder=text_encoder, device=device), **settings)
