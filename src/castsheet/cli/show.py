"""How results look on a terminal. Paths and JSON go to stdout, all else to stderr."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from castsheet.doctor import Diagnosis
    from castsheet.sheet.findings import Finding

COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}
STATES = {"present": "green", "partial": "yellow", "absent": "red"}


def paths(**named: Path) -> None:
    """Print one line a file on stdout: its role, and where it is."""
    width = max(len(name) for name in named)
    for name, path in named.items():
        sys.stdout.write(f"{name:<{width}}  {path}\n")


def findings(found: Sequence[Finding], console: Console, *, brief: bool = False) -> None:
    """Print findings, gravest first; `brief` leaves out remarks that ask for nothing."""
    order = {"error": 0, "warning": 1, "info": 2}
    for finding in sorted(found, key=lambda one: order[one.severity]):
        if brief and finding.severity == "info":
            continue
        colour = COLOURS[finding.severity]
        console.print(f"[{colour}]{finding.rule} {finding.severity}[/]  {escape(finding.message)}")
        console.print(f"    fix: {escape(finding.remedy)}", style="dim")
    counts = Counter(finding.severity for finding in found)
    told = ", ".join(f"{counts[level]} {level}{'s' if counts[level] > 1 else ''}" for level in order if counts[level])
    console.print(f"checks: {told or 'all passed'}", style="dim")


def diagnosis(report: Diagnosis, console: Console) -> None:
    """Print what `castsheet doctor` found."""
    machine = report.machine
    console.print(f"[bold]castsheet {report.version}[/], Python {report.python}, {machine.system}")
    memory = "unknown" if machine.ram_gib is None else f"{machine.ram_gib} GiB, {machine.ram_free_gib} GiB free"
    features = f" ({', '.join(machine.features)})" if machine.features else ""
    console.print(f"cpu   {machine.cores} cores, {machine.cpu}{features}")
    console.print(f"ram   {memory}")
    console.print(f"disk  {machine.disk_free_gib} GiB free where {report.folder} is")
    for gpu in machine.gpus:
        types = [name for name, has in (("bf16", gpu.bf16), ("fp8", gpu.fp8)) if has]
        console.print(f"gpu   {gpu.name}, {gpu.memory_gib} GiB, {gpu.free_gib} GiB free, {' '.join(types) or 'no bf16'}")
    if not machine.gpus:
        console.print("gpu   none")
    missing = [package.name for package in report.packages if package.version is None]
    versions = ", ".join(f"{one.name} {one.version}" for one in report.packages if one.version)
    console.print(f"\n[bold]packages[/]  {versions}", soft_wrap=False)
    if missing:
        console.print(f"          not installed: {', '.join(missing)}", style="yellow")

    console.print("\n[bold]what runs here[/]")
    for ability in report.abilities:
        mark = "[green]yes[/]" if ability.ready else "[yellow]needs its files[/]" if ability.fits else "[red]no[/]"
        console.print(f"  {mark}  {ability.what}  [dim]{ability.why}[/]")

    table = Table("file", "from", "GiB", "state", box=None, pad_edge=False, header_style="dim")
    for model in report.models:
        state = f"[{STATES[model.state]}]{model.state}[/]"
        table.add_row(model.file, model.repo, f"{model.bytes / (1 << 30):.1f}", state)
    console.print(f"\n[bold]the 22B model in {report.folder}[/]")
    console.print(table)
    console.print("\n[bold]next[/]")
    for number, step in enumerate(report.steps, start=1):
        console.print(f"  {number}. {step}", soft_wrap=True)
