"""Commands about model files and the machine: inspect, doctor, download."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from castsheet.cli.settings import Overwrite
from castsheet.errors import SettingsError
from castsheet.ltx.family import DEFAULT, FAMILIES
from castsheet.machine.regular import is_file

if TYPE_CHECKING:
    from castsheet.loading.download import RemoteFile, Role

FAMILY_HELP = f"{', '.join(name for name, one in FAMILIES.items() if one.runs)}."
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint, adapter, text encoder folder or model folder.")],
    as_json: AsJson = False,
) -> None:
    """Say what a model file is: kind, family, size, precision, and what a run still needs.

    Of a folder with bundle.json, each file that it names is told; in JSON that is a list.
    """
    from castsheet.cli import show
    from castsheet.loading.bundle import BUNDLE_FILE, Bundle
    from castsheet.ltx.files.inspect import inspect_file
    from castsheet.machine.progress import stdout_console
    from castsheet.media.provenance import dump

    files = [file]
    if is_file(file / BUNDLE_FILE):
        bundle = Bundle.load(file)
        files = [bundle.checkpoint, bundle.text_encoder, *bundle.adapters]
    reports = [inspect_file(one) for one in files]
    if as_json:
        sys.stdout.write(dump(reports[0] if files == [file] else reports))
        return
    for report in reports:
        show.report(report, stdout_console())


def doctor(
    models: Annotated[Path | None, typer.Option(help="Folder to look for the 22B model in.")] = None,
    family: Annotated[str | None, typer.Option(help=FAMILY_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Look at this machine: what runs here, and what the 22B model still needs."""
    from castsheet.cli import show
    from castsheet.loading.doctor import diagnose
    from castsheet.machine.progress import progress, stdout_console
    from castsheet.media.provenance import dump

    with progress("looking at this machine"):
        report = diagnose(models, family)
    if as_json:
        sys.stdout.write(dump(report))
    else:
        show.diagnosis(report, stdout_console())


def download(
    to: Annotated[Path | None, typer.Option(help="Target folder.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="checkpoint, adapter, text_encoder, vae, audio or upsampler; repeatable. Default: all but"
            " the upsampler, which two stages need."
        ),
    ] = None,
    family: Annotated[str, typer.Option(help=FAMILY_HELP)] = DEFAULT.name,
    variant: Annotated[str | None, typer.Option(help="dev or distilled, of LTX-2.5.")] = None,
    repo: Annotated[
        list[str] | None, typer.Option(help="ROLE=OWNER/NAME: take it from another repository.")
    ] = None,
    file: Annotated[list[str] | None, typer.Option(help="ROLE=NAME: take another file of it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be downloaded.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Download the 22B model's files. Run again after an interruption: it continues where it stopped."""
    from castsheet.loading import download as hub
    from castsheet.loading.doctor import FOLDER
    from castsheet.machine.outputs import try_outputs
    from castsheet.machine.progress import progress, stderr_console

    folder = to or FOLDER / family
    roles = [_role(name) for name in only or []]
    wanted = hub.sources(roles, _by_role(repo), _by_role(file), family=family, variant=variant)
    with progress("asking the hub"):
        files = hub.look_up(wanted, folder)
    if not dry_run:
        try_outputs([hub.bundle_output(folder)], overwrite=overwrite)
        for one in files:
            with progress(f"checking {one.name}", one.size, unit="bytes") as advance:
                hub.check_present(one, advance, overwrite=overwrite)
    needed = hub.check_space(files, folder)
    _announce(files, needed)
    if dry_run:
        return
    for one in files:
        with progress(one.name, one.size, unit="bytes") as advance:
            hub.fetch(one, advance, stderr_console().print)
    bundle = hub.write_bundle(folder, files, overwrite=overwrite)
    if bundle:
        sys.stdout.write(f"bundle  {bundle}\n")
        sys.stderr.write(f"try: castsheet generate SCENE.yaml --model {folder} -o clip.mp4\n")


def _announce(files: list[RemoteFile], needed: int) -> None:
    for one in files:
        state = "present" if one.present else "continue" if one.missing_bytes < one.size else "fetch"
        sys.stdout.write(f"{state:<9}{one.size / (1 << 30):8.2f} GiB  {one.source.repo}  {one.name}\n")
    sys.stdout.write(f"{needed / (1 << 30):.2f} GiB to fetch\n")
    sys.stdout.flush()
    for one in files:
        if not one.hashed:
            sys.stderr.write(f"the server tells no hash of {one.name}: its bytes are not verified\n")


def _role(name: str) -> Role:
    from castsheet.loading.download import Role

    for role in get_args(Role):
        if name.replace("-", "_") == role:
            return role
    raise SettingsError(f"unknown role {name!r}", remedy=f"choose one of {', '.join(get_args(Role))}")


def _by_role(pairs: list[str] | None) -> dict[Role, str]:
    chosen: dict[Role, str] = {}
    for pair in pairs or []:
        role, equals, value = pair.partition("=")
        if not (equals and value):
            raise SettingsError(f"{pair!r} is not ROLE=VALUE", remedy="write, say, checkpoint=OWNER/NAME")
        chosen[_role(role)] = value
    return chosen
