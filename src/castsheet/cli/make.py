"""Commands that make things: demo, sheet, generate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from castsheet.cli.settings import Overwrite, with_options
from castsheet.cli.settings import adapter as read_adapter
from castsheet.cli.settings import size as read_size
from castsheet.embedded import DEMO_SCENE
from castsheet.errors import SettingsError
from castsheet.loading.options import Loading
from castsheet.settings import PRESETS, Settings

SceneFile = Annotated[Path, typer.Argument(help="A scene file (YAML).")]
Source = Annotated[Path, typer.Argument(help="A scene file (YAML), a sheet, or any picture used as a sheet.")]
ClipSize = Annotated[
    str | None,
    typer.Option("--output", help="Size of the clip, WIDTHxHEIGHT, as for sheet: 448x768 is upright."),
]
Output = Annotated[str, typer.Option("--output", help="Size of the clip that the sheet is for.")]
Trained = Annotated[
    str | None,
    typer.Option(
        help="FILE of `castsheet train`, used as it was trained: alone, or on top of the model's own."
    ),
]
SheetPreview = Annotated[
    Path | None, typer.Option(help="Also write the sheet with its elements' names beside it.")
]
Keep = Annotated[
    Literal["made", "all", "best"],
    typer.Option(help="Which takes stay: those made until one passes; all, each made; only the best."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Make shots on so many Ray workers (castsheet\\[ray]).")
]
FULL_SIZE = "768x448"


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("out/demo"),
    seed: Annotated[int | None, typer.Option(help="Another number gives another take.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.", show_default=False)] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a sheet and a clip with the embedded model: no network, no GPU, no files of your own."""
    from castsheet.cli import show
    from castsheet.cli.watch import Terminal
    from castsheet.jobs.request import Request, run

    settings = {} if steps is None else {"steps": steps}
    request = Request(
        source=DEMO_SCENE, out=out / "demo.mp4", seed=seed, settings=settings, overwrite=overwrite
    )
    show.paths(**run(request, Terminal()))


def sheet(
    scene: SceneFile,
    out: Annotated[Path, typer.Option("-o", "--out", help="The sheet's PNG; its manifest goes beside it.")],
    output: Output = FULL_SIZE,
    scale: Annotated[int, typer.Option(help="Sheet pixels for each pixel of the clip.")] = 2,
    grid: Annotated[int, typer.Option(help="Pixels a latent token spans.")] = 32,
    gutter: Annotated[
        int | None, typer.Option(help="Black between panels, in sheet pixels.", show_default="to scale")
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option(
            help="Cut people and things out: auto, u2netp, u2net, plain, none, an .onnx file or OWNER/NAME.",
            show_default="auto",
        ),
    ] = None,
    preview: SheetPreview = None,
    overwrite: Overwrite = False,
) -> None:
    """Compose a scene's reference sheet."""
    from castsheet.cli import show
    from castsheet.elements import Scene
    from castsheet.jobs.inputs import files_of, tools_for
    from castsheet.lint.panels import lint_sheet
    from castsheet.machine.outputs import try_outputs
    from castsheet.machine.progress import progress, stderr_console
    from castsheet.sheet.compose import compose
    from castsheet.sheet.manifest import sheet_outputs
    from castsheet.sheet.preview import preview_output, save_preview

    loaded, size, console = Scene.load(scene), read_size(output), stderr_console()
    outputs = sheet_outputs(out) + ([preview_output(preview)] if preview else [])
    try_outputs(outputs, inputs=files_of(scene, loaded), overwrite=overwrite)
    tools = tools_for(loaded, cut)
    with progress("composing", console=console):
        composed = compose(loaded, output=size, scale=scale, grid=grid, gutter=gutter, tools=tools)
    png, manifest = composed.save(out, overwrite=overwrite)
    made = {"sheet": png, "manifest": manifest}
    if preview is not None:
        made["preview"] = save_preview(composed, preview, overwrite=overwrite)
    show.doubts(composed, console)
    show.findings(lint_sheet(composed), console, brief=True)
    show.paths(**made)


@with_options(loading=Loading, settings=Settings)
def generate(
    source: Source,
    loading: dict[str, Any],
    settings: dict[str, Any],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The clip, .mp4; or the shots' folder.", show_default="clip.mp4"),
    ] = None,
    action: Annotated[str | None, typer.Option(help="What happens; default: the scene's own action.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A whole two-part prompt, used as it is.")] = None,
    model: Annotated[str, typer.Option(help="mini, a folder with bundle.json, or a checkpoint.")] = "mini",
    text_encoder: Annotated[Path | None, typer.Option(help="Gemma-3 folder, or packed Gemma-4 file.")] = None,
    vae: Annotated[Path | None, typer.Option(help="Another video VAE than the model's own.")] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(help="FILE or FILE:STRENGTH, in addition to the model's; repeatable.")
    ] = None,
    trained: Trained = None,
    first_frame: Annotated[Path | None, typer.Option(help="A picture that the clip starts from.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"A published recipe: {', '.join(PRESETS)}; or fast, with a distilled adapter."),
    ] = None,
    output: ClipSize = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Cheap settings: half size and length, a third of the steps.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Another number gives another take.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Go on even if a check finds an error.")] = False,
    takes: Annotated[
        int, typer.Option(min=1, help="Make up to so many takes, judge each, stop when one passes.")
    ] = 1,
    overwrite: Overwrite = False,
    keep: Keep = "made",
    shots: Annotated[
        Path | None,
        typer.Option(help="A list of shots (YAML), made into a folder; goes on where it stopped."),
    ] = None,
    workers: Workers = None,
    ray_address: Annotated[
        str | None, typer.Option(help="A running Ray cluster; by default one is started here.")
    ] = None,
) -> None:
    """Make a clip from a scene or a sheet; or several takes of it; or every shot of a list."""
    from castsheet.cli import show
    from castsheet.cli.watch import Terminal
    from castsheet.jobs.request import Request, run
    from castsheet.jobs.shots import run_shots
    from castsheet.jobs.workers import spread_over

    asked = {name: value for name, value in locals().items() if name in Request.model_fields}
    asked |= {"settings": _sized(output) | settings, "trained": trained and read_adapter(trained)}
    asked |= {"out": out or Path("clip.mp4" if shots is None else "shots"), "loading": Loading(**loading)}
    request = Request(**asked, adapters=tuple(read_adapter(one) for one in adapter or ()))
    spread = spread_over(ray_address, workers, request.loading.device)
    if shots is not None:
        show.paths(**run_shots(request, shots, Terminal(), spread))
    elif spread is not None:
        raise SettingsError("Ray workers make lists of shots", remedy="give --shots FILE as well")
    else:
        show.paths(**run(request, Terminal()))


def _sized(output: str | None) -> dict[str, Any]:
    """The settings that a size means; what the user says of width or height wins."""
    if output is None:
        return {}
    width, height = read_size(output)
    return {"width": width, "height": height}


def choose(
    clip: Annotated[Path, typer.Argument(help="A clip that was made with --takes, or a shot's clip.")],
    seed: Annotated[int, typer.Option(help="The seed of the take that becomes the clip.")],
) -> None:
    """Make another take the clip, and remove the takes beside it."""
    from castsheet.cli import show
    from castsheet.jobs.chosen import choose_take
    from castsheet.machine.progress import stderr_console

    show.paths(**choose_take(clip, seed, stderr_console().print))
