"""Results on a terminal. Paths and JSON go to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from castsheet.lint.findings import counted, gravest_first
from castsheet.ltx.formats import automatic

if TYPE_CHECKING:
    from castsheet.lint.findings import Finding
    from castsheet.loading.doctor import Diagnosis
    from castsheet.ltx.files.inspect import Report
    from castsheet.sheet.manifest import Sheet

GIB = 1 << 30
COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}
STATES = {"present": "green", "partial": "yellow", "absent": "red"}


def _marked(console: Console, text: str, style: str | None = None) -> None:
    """Print a line with rich's markup, in which foreign text is escaped."""
    console.print(text, style=style, markup=True)


def paths(**named: Path) -> None:
    """Print one line a file on stdout: its role, and where it is."""
    width = max((len(name) for name in named), default=0)
    for name, path in named.items():
        sys.stdout.write(f"{name:<{width}}  {path}\n")


def findings(found: Sequence[Finding], console: Console, *, brief: bool = False) -> None:
    """Print findings, gravest first; `brief` leaves out remarks that ask for nothing."""
    for finding in gravest_first(found):
        if brief and finding.severity == "info":
            continue
        colour = COLOURS[finding.severity]
        _marked(console, f"[{colour}]{finding.rule} {finding.severity}[/]  {escape(finding.message)}")
        _marked(console, f"    fix: {escape(finding.remedy)}", style="dim")
    hidden = brief and any(finding.severity == "info" for finding in found)
    more = " (castsheet lint shows the remarks)" if hidden else ""
    _marked(console, f"checks: {counted(found) or 'all passed'}{more}", style="dim")


def doubts(sheet: Sheet, console: Console) -> None:
    """Print remarks on the pictures that a sheet was composed of."""
    for doubt in sheet.layout.get("doubts", ()):
        console.print(f"look at {doubt}", style="yellow", markup=False)


def report(found: Report, console: Console) -> None:
    """Print what `castsheet inspect` found."""
    version = f", version {escape(found.version)}" if found.version else ""
    by = f" (by the {found.told_by})" if found.told_by in ("tensors", "file name") else ""
    _marked(console, f"[bold]{escape(str(found.path))}[/]: {found.kind}, family {found.family}{by}{version}")
    size = f"{found.bytes / GIB:.2f} GiB, {found.tensors} tensors, {found.parameters:,} parameters"
    _marked(console, f"size       {size}")
    scaled = f"; {found.scaled} weights with a scale" if found.scaled else ""
    precision = ", ".join(f"{count:,} {escape(dtype)}" for dtype, count in found.precision.items())
    _marked(console, f"precision  {precision}{scaled}")
    if found.quantisation:
        _marked(console, f"fp8        {escape(str(found.quantisation))}")
    for part, count in found.parts.items():
        _marked(console, f"part       {escape(part)}: {count:,} parameters")
    if found.config:
        _marked(
            console,
            f"config     {escape(', '.join(f'{key} {value}' for key, value in found.config.items()))}",
        )
    if found.adapter:
        ranks = ", ".join(f"{rank} ({count} modules)" for rank, count in found.adapter.ranks.items())
        _marked(console, f"rank       {ranks}, in {found.adapter.blocks} blocks")
        targets = ", ".join(f"{escape(name)} x{count}" for name, count in found.adapter.targets.items())
        _marked(console, f"targets    {targets}")
        _marked(console, f"downscale  {escape(str(found.adapter.downscale or 'not stated'))}")
        _marked(console, f"reference  {escape(str(found.adapter.reference or 'not stated: looped'))}")
    for other in found.beside:
        _marked(console, f"beside     {escape(other)}")
    for problem in found.problems:
        _marked(console, f"[yellow]problem[/]    {escape(problem)}")
    for missing in found.missing:
        _marked(console, f"needs      {escape(missing)}")


def diagnosis(found: Diagnosis, console: Console) -> None:
    """Print what `castsheet doctor` found."""
    _machine(found, console)
    missing = [package.name for package in found.packages if package.version is None]
    versions = ", ".join(f"{one.name} {one.version}" for one in found.packages if one.version)
    _marked(console, f"\n[bold]packages[/]  {versions}")
    if missing:
        _marked(console, f"          not installed: {', '.join(missing)}", style="red")
    _marked(console, "\n[bold]optional packages[/]")
    for option in found.options:
        state = "[yellow]missing[/]" if option.missing else "[green]present[/]"
        _marked(console, f"  {state}  {option.name}: {option.purpose}")
        if option.missing:
            _marked(console, f"           {escape(option.install)}", style="dim")
    _cutting(console)

    _marked(console, "\n[bold]what runs here[/]")
    for ability in found.abilities:
        mark = "[yellow]files missing[/]" if ability.fits else "[red]no[/]"
        _marked(console, f"  {'[green]yes[/]' if ability.ready else mark}  {ability.what}")
        _marked(console, f"      {ability.why}", style="dim")

    _marked(console, f"\n[bold]the 22B model in {escape(found.folder)}[/]")
    for model in found.models:
        state = f"[{STATES[model.state]}]{model.state:<7}[/]"
        _marked(console, f"  {state}  {model.bytes / GIB:5.1f} GiB  {model.repo}  {model.file}")
    _marked(console, f"  {found.licence}", style="dim")
    _marked(console, "\n[bold]next[/]")
    for number, step in enumerate(found.steps, start=1):
        _marked(console, f"  {number}. {escape(step)}")


def _cutting(console: Console) -> None:
    """Whether the networks that cut out are here; they come by a command of their own, not by an extra."""
    from castsheet.sheet.look.weights import CARRIERS, GET, there  # other commands need not wait for it

    files = [Path(file).name for carrier in CARRIERS.values() for file in carrier.files]
    away = not all(there(name) for name in files)
    state = "[yellow]missing[/]" if away else "[green]present[/]"
    _marked(console, f"  {state}  the networks for cut-outs")
    if away:
        _marked(console, f"           {GET}", style="dim")


def _machine(found: Diagnosis, console: Console) -> None:
    machine = found.machine
    _marked(console, f"[bold]castsheet {found.version}[/], Python {found.python}, {machine.system}")
    features = f" ({', '.join(machine.features)})" if machine.features else ""
    _marked(console, f"cpu   {machine.cores} cores, {machine.cpu}{features}")
    if machine.ram_gib is not None:
        _marked(console, f"ram   {machine.ram_gib} GiB, {machine.ram_free_gib} GiB free")
    _marked(console, f"disk  {machine.disk_free_gib} GiB free where {escape(found.folder)} is")
    for gpu in machine.gpus:
        types = " ".join(("bf16", *automatic(gpu.capability)[1:])) if gpu.bf16 else "no bf16"
        memory = f"{gpu.memory_gib} GiB, {gpu.free_gib} GiB free"
        _marked(console, f"gpu   {gpu.name}, {memory}, {types}")
    if not machine.gpus:
        _marked(console, "gpu   none")
