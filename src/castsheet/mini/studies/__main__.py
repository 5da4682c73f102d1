"""`python -m castsheet.mini.studies NAME ...`: run studies, write their pages. `all` runs every one."""

from __future__ import annotations

import argparse
import platform
import subprocess
from pathlib import Path

import torch
from PIL import Image

from castsheet import __version__
from castsheet.mini.evaluate import open_set
from castsheet.mini.script import finish
from castsheet.mini.studies import report
from castsheet.mini.studies.designs import designs, pick
from castsheet.mini.studies.run import Runner
from castsheet.mini.studies.scenes import Scenes
from castsheet.pipeline import Castsheet

BATCH = {"cuda": 64, "cpu": 1}
PROCESSES = {"cuda": 8, "cpu": 0}


def run(options: argparse.Namespace) -> list[Path]:
    """Run the studies asked for; returns their pages."""
    castsheet = Castsheet.load(options.bundle, device=options.device, dtype=options.dtype)
    truths = open_set(options.count, options.work)
    kind = castsheet.models.device.type
    runner = Runner(
        castsheet,
        truths,
        options.work,
        size=options.batch or BATCH.get(kind, 1),
        processes=PROCESSES.get(kind, 0) if options.processes is None else options.processes,
    )
    blocks = castsheet.models.source.checkpoint.config.transformer.layers
    still = any(adapter.lora.mode == "still" for adapter in castsheet.models.source.adapters)
    studies = designs(truths, Scenes(options.work), blocks, still=still)
    names = list(studies) if options.names == ["all"] else options.names
    chosen = {name: pick(name, studies) for name in names}  # a wrong name is told before any work
    pages = []
    for name, study in chosen.items():
        rows = runner.rows(study, options.count)
        result = report.Result(name, study, rows, truths, _machine(castsheet, name, options))
        strips: dict[str, Image.Image | None] = {
            one.name: runner.store.strips(runner.strips(one, options.count)) for one in study.conditions
        }
        pages.append(report.write(result, options.out, strips))
        print(pages[-1], flush=True)
    return pages


def _machine(castsheet: Castsheet, name: str, options: argparse.Namespace) -> str:
    """What made the figures, in two sentences."""
    models, settings = castsheet.models, castsheet.settings()
    kind = models.device.type
    where = torch.cuda.get_device_name(models.device) if kind == "cuda" else f"{platform.machine()} CPU"
    record = models.source.record(settings)["checkpoint"][0]
    weights = record.get("sha256", record.get("header_sha256", ""))[:12]
    guided = f"{settings.steps} steps, guidance {settings.guidance:g}, STG {settings.stg_scale:g}"
    return (
        f"`python -m castsheet.mini.studies {name} --count {options.count}`, castsheet {__version__}, commit"
        f" {_commit()}, {where}, {str(models.dtype).removeprefix('torch.')}."
        f" Model {models.source.name} ({weights}); {guided}, adapter {settings.lora_strength:g},"
        " where the study does not say otherwise."
    )


def _commit() -> str:
    """The source's commit; "unknown" in an installation."""
    folder = Path(__file__).parent
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="a study, or all")
    parser.add_argument("--bundle", default="mini", help="a folder with bundle.json; by default mini")
    parser.add_argument("--count", type=int, default=64, help="identities, an even number")
    parser.add_argument("--out", type=Path, default=Path("docs/studies"))
    parser.add_argument(
        "--work", type=Path, default=Path("out/studies"), help="where clips' figures are kept"
    )
    parser.add_argument("--batch", type=int, help="clips at once; by default 64 on a GPU, 1 on a CPU")
    parser.add_argument(
        "--processes", type=int, help="that measure beside the model; by default 8 with a GPU"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    finish(lambda: run(options))


if __name__ == "__main__":
    main()
