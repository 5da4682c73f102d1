"""Commands that make things: demo, sheet, generate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from castsheet.cli.settings import adapter as read_adapter
from castsheet.cli.settings import size as read_size
from castsheet.cli.settings import with_settings
from castsheet.embedded import DEMO_SCENE
from castsheet.errors import SettingsError
from castsheet.settings import PRESETS

SceneFile = Annotated[Path, typer.Argument(help="A scene file (YAML).")]
Source = Annotated[Path, typer.Argument(help="A scene file (YAML), a sheet, or any picture used as a sheet.")]
Output = Annotated[str, typer.Option("--output", help="Size of the clip that the sheet is for.")]
FULL_SIZE = "768x448"


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("out/demo"),
    seed: Annotated[int | None, typer.Option(help="Another number gives another take.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.", show_default=False)] = None,
) -> None:
    """Make a sheet and a clip with the embedded model: no network, no GPU, no files of your own."""
    from castsheet.cli import show
    from castsheet.jobs.request import Request, run
    from castsheet.machine.progress import stderr_console

    settings = {} if steps is None else {"steps": steps}
    request = Request(source=DEMO_SCENE, out=out / "demo.mp4", seed=seed, settings=settings)
    show.paths(**run(request, stderr_console()))


def sheet(
    scene: SceneFile,
    out: Annotated[Path, typer.Option("-o", "--out", help="The sheet's PNG; its manifest goes beside it.")],
    output: Output = FULL_SIZE,
    scale: Annotated[int, typer.Option(help="Sheet pixels for each pixel of the clip.")] = 2,
    grid: Annotated[int, typer.Option(help="Pixels a latent token spans; 16 for mini.")] = 32,
    gutter: Annotated[
        int | None, typer.Option(help="Black between panels, in sheet pixels.", show_default="to scale")
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option(help="Cut people and things out: u2netp, u2net, plain, none.", show_default="u2netp"),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(help="Also write the sheet with its elements' names beside it.")
    ] = None,
) -> None:
    """Compose a scene's reference sheet."""
    from castsheet.cli import show
    from castsheet.elements import Scene
    from castsheet.jobs.inputs import tools_for
    from castsheet.lint.panels import lint_sheet
    from castsheet.machine.progress import progress, stderr_console
    from castsheet.sheet.compose import compose
    from castsheet.sheet.preview import save_preview

    loaded, size, console = Scene.load(scene), read_size(output), stderr_console()
    tools = tools_for(loaded, cut)
    with progress("composing", console=console):
        composed = compose(loaded, output=size, scale=scale, grid=grid, gutter=gutter, tools=tools)
    png, manifest = composed.save(out)
    made = {"sheet": png, "manifest": manifest}
    if preview is not None:
        made["preview"] = save_preview(composed, preview)
    show.doubts(composed, console)
    show.findings(lint_sheet(composed), console, brief=True)
    show.paths(**made)


@with_settings
def generate(
    source: Source,
    settings: dict[str, object],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The clip, .mp4; or the shots' folder.", show_default="clip.mp4"),
    ] = None,
    action: Annotated[str | None, typer.Option(help="What happens; default: the scene's own action.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A whole two-part prompt, used as it is.")] = None,
    model: Annotated[str, typer.Option(help="mini, a folder with bundle.json, or a checkpoint.")] = "mini",
    text_encoder: Annotated[Path | None, typer.Option(help="Gemma-3 folder.")] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(help="FILE or FILE:STRENGTH, in addition to the model's; repeatable.")
    ] = None,
    first_frame: Annotated[Path | None, typer.Option(help="A picture that the clip starts from.")] = None,
    preset: Annotated[str | None, typer.Option(help=f"A published recipe: {', '.join(PRESETS)}.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another number gives another take.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bf16, fp32 or fp8.")] = "auto",
    memory: Annotated[str, typer.Option(help="GPU memory to stay under: auto, or GiB such as 12.")] = "auto",
    attention: Annotated[str, typer.Option(help="auto, or fp8: approximate, on newer GPUs.")] = "auto",
    split: Annotated[
        Literal["auto", "passes", "sequence"],
        typer.Option(help="What torchrun's processes share: a step's passes, each pass's sequence, or both."),
    ] = "auto",
    cache_dir: Annotated[Path | None, typer.Option(help="Where encoded prompts are kept.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Go on even if a check finds an error.")] = False,
    takes: Annotated[
        int, typer.Option(min=1, help="Make up to so many takes, judge each, stop when one passes.")
    ] = 1,
    keep: Annotated[
        Literal["best", "all"], typer.Option(help="all: make every take and save each beside the best.")
    ] = "best",
    shots: Annotated[
        Path | None,
        typer.Option(help="A list of shots (YAML), made into a folder; goes on where it stopped."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Make shots on so many Ray workers (castsheet[ray]).")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="A running Ray cluster; by default one is started here.")
    ] = None,
) -> None:
    """Make a clip from a scene or a sheet; or several takes of it; or every shot of a list."""
    from castsheet.cli import show
    from castsheet.jobs.request import Request, run
    from castsheet.machine.progress import stderr_console

    request = Request(
        source=source,
        out=out or Path("clip.mp4" if shots is None else "shots"),
        action=action,
        prompt=prompt,
        model=model,
        text_encoder=text_encoder,
        adapters=tuple(read_adapter(one) for one in adapter or ()),
        first_frame=first_frame,
        preset=preset,
        seed=seed,
        device=device,
        dtype=dtype,
        memory=memory,
        attention=attention,
        split=split,
        cache_dir=cache_dir,
        force=force,
        takes=takes,
        keep=keep,
        settings=settings,
    )
    if shots is None:
        if workers is not None or ray_address is not None:
            raise SettingsError("Ray workers make lists of shots", remedy="give --shots FILE as well")
        show.paths(**run(request, stderr_console()))
        return
    from castsheet.jobs.shots import run_shots
    from castsheet.jobs.workers import cluster

    ray = None if workers is None and ray_address is None else cluster(ray_address, workers or 2, device)
    show.paths(**run_shots(request, shots, stderr_console(), ray))
