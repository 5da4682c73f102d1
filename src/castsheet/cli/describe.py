"""The `describe` command: words for what a sheet shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from castsheet.cli.settings import Overwrite
from castsheet.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from castsheet.authoring.describe import Describer
    from castsheet.elements import Scene
    from castsheet.machine.outputs import Output
    from castsheet.sheet.manifest import Sheet


def describe(
    source: Annotated[Path, typer.Argument(help="A scene (YAML) or a sheet that was composed from one.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Write the scene (.yaml) or sheet (.png) with the words."),
    ] = None,
    gemma: Annotated[
        Path | None, typer.Option("--gemma", help="Gemma-3 folder with image input: the text encoder's.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="OpenAI-compatible, such as http://127.0.0.1:8080/v1.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="The model's name at the endpoint.")] = "",
    key_variable: Annotated[
        str, typer.Option("--key-variable", help="Environment variable that holds the endpoint's key.")
    ] = "OPENAI_API_KEY",
    again: Annotated[bool, typer.Option("--again", help="Replace descriptions that are there.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1; for --gemma.")] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Describe what a sheet shows: the prompt's first half. Without a model, from what the scene says."""
    from castsheet.authoring.describe import describe_sheet
    from castsheet.cli import show
    from castsheet.elements import Scene
    from castsheet.jobs.inputs import files_of, load_source, sheet_of
    from castsheet.lint.prompt import lint_prompt
    from castsheet.machine.files import cache_folder
    from castsheet.machine.outputs import try_outputs
    from castsheet.machine.progress import progress, stderr_console
    from castsheet.prompt import build

    loaded, console = load_source(source), stderr_console()
    if out is not None:
        try_outputs(_outputs(loaded, out), inputs=files_of(source, loaded), overwrite=overwrite)
    describer = _describer(gemma, endpoint, model, key_variable, device)
    sheet = sheet_of(loaded, None, None)
    with progress("describing", len(sheet.elements), console=console) as advance:
        said, found = describe_sheet(
            sheet, describer, again=again, cache=cache_folder() / "words", on_element=advance
        )
    action = (
        loaded.action if isinstance(loaded, Scene) and loaded.action else f"{said.elements[0].id} is there"
    )
    words = build(said, action)
    show.findings([*found, *lint_prompt(words, said)], console, brief=True)
    typer.echo(words.text.partition("\n\n")[0])
    if out is not None:
        show.paths(**_written(loaded, said, out, overwrite))


def _describer(
    gemma: Path | None, endpoint: str | None, model: str, key_variable: str, device: str
) -> Describer | None:
    if gemma is not None and endpoint is not None:
        raise SettingsError("--gemma and --endpoint are both given", remedy="choose one of them")
    if endpoint is not None:
        from castsheet.authoring.describe import EndpointDescriber
        from castsheet.machine.endpoint import Endpoint

        if not model:
            raise SettingsError("the endpoint needs --model", remedy="name one of the models that it serves")
        return EndpointDescriber(Endpoint(endpoint, model, key_variable))
    if gemma is None:
        return None
    from castsheet.ltx.parts.vision import GemmaVision
    from castsheet.machine.device import pick_device, pick_dtype

    place = pick_device(device)
    return GemmaVision.load(gemma, device=place, dtype=pick_dtype("auto", place))


def _outputs(loaded: Scene | Sheet, out: Path) -> list[Output]:
    from castsheet.elements import Scene
    from castsheet.machine.files import signed
    from castsheet.machine.outputs import Output
    from castsheet.sheet.manifest import sheet_outputs

    endings = (".yaml", ".yml") if isinstance(loaded, Scene) else (".png",)
    if out.suffix.lower() not in endings:
        raise OutputError(f"{out} does not end in {endings[0]}", remedy="name a file of the source's kind")
    return [Output(out, signed)] if isinstance(loaded, Scene) else sheet_outputs(out)


def _written(loaded: Scene | Sheet, said: Sheet, out: Path, overwrite: bool) -> dict[str, Path]:
    from castsheet.elements import Scene

    if not isinstance(loaded, Scene):
        png, manifest = said.save(out, overwrite=overwrite)
        return {"sheet": png, "manifest": manifest}
    told = {note.id: note.description for note in said.elements}
    elements = tuple(one.model_copy(update={"description": told[one.id]}) for one in loaded.elements)
    return {"scene": loaded.model_copy(update={"elements": elements}).save(out, overwrite=overwrite)}
