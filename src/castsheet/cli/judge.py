"""The `judge` command: did the cast of a sheet carry over into clips?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from castsheet.cli.settings import Overwrite

Clips = Annotated[list[Path], typer.Argument(help="Video files made from the sheet.")]

Faces = Annotated[
    bool | None,
    typer.Option(
        "--faces/--no-faces",
        help="Compare faces (castsheet\\[identity]); by default where it is installed.",
    ),
]

Looks = Annotated[
    str | None,
    typer.Option(
        help="A CLIP or DINO model, folder or cached id, that looks at figures and places; by default "
        "castsheet\\[looks] where it is installed."
    ),
]


def judge(
    clips: Clips,
    sheet: Annotated[
        Path, typer.Option("--sheet", help="The sheet (PNG or its JSON), or any picture used as one.")
    ],
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with timelines and worst frames.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything measured as JSON.")] = False,
    order: Annotated[
        str | None,
        typer.Option(help="Characters from left to right, e.g. mara,tom; a clip that differs fails."),
    ] = None,
    faces: Faces = None,
    looks: Looks = None,
    features: Annotated[
        str | None, typer.Option(help="NexusScore with a CLIP or DINO model: its folder, or a cached id.")
    ] = None,
    read_text: Annotated[
        bool, typer.Option("--read-text", help="Read stray text (castsheet\\[ocr]).")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Judge clips against their sheet. Exit code: 0 all carry it, 1 some do not or cannot tell, 2 error."""
    from castsheet.clip import Clip, read_video
    from castsheet.jobs.inputs import files_of
    from castsheet.judge import models, report
    from castsheet.judge.judge import Judge, Options
    from castsheet.machine.outputs import Output, try_outputs
    from castsheet.media.page import wrote_page
    from castsheet.media.provenance import dump
    from castsheet.sheet.manifest import Sheet

    options = Options(
        order=tuple(name.strip() for name in order.split(",")) if order else (),
        faces=models.installed_faces() if faces else models.faces_here() if faces is None else None,
        matter=models.matter_here(),
        lookers=models.lookers_here() if looks is None else (models.hub_looker(looks),),
        reader=models.installed_reader() if read_text else None,
        features=None if features is None else models.hub_features(features),
    )
    loaded = Sheet.load(sheet)
    if html is not None:
        inputs = [*clips, *files_of(sheet, loaded)]
        try_outputs([Output(html, wrote_page)], inputs=inputs, overwrite=overwrite)
    ask = Judge(loaded, options)
    read = ((path, Clip(*read_video(path))) for path in clips)
    judged = [(clip, ask(clip, path.name)) for path, clip in read]
    if html is not None:
        report.write(html, loaded, judged, overwrite=overwrite)
    told = [one for _, one in judged]
    if as_json:
        sys.stdout.write(dump({"version": 1, "sheet": sheet, "sha256": loaded.sha256, "clips": told}))
    else:
        for path, one in zip(clips, told, strict=True):
            sys.stdout.write(f"{path}: {one.verdict}\n")
    raise typer.Exit(0 if all(one.passed for one in told) else 1)
