"""Does mini follow the sheet? `python -m mini.evaluation.evaluate` tells, on validation identities.

For every identity the product's pipeline makes a clip from its sheet, with a prompt that says nothing of
looks. Mean colours (CIELAB) of hair, skin, top, bottom, shoes, prop, sky, land and ground are measured
over eight frames, and compared with the true ones of the identity and of its partner, who does the same
action and shares the noise. Only colours that differ by 20 CIE76 or more between the two count; a
comparison is won where the measured colour lies nearer to the identity whose sheet was given.

Where to measure is known from the rendered truth: a motion is the same for everybody, so a generated
figure should stand where the true one stands. The masks are eroded by one pixel. Blind spot: if the
figure stands elsewhere, what is measured is the place behind it, which counts against the model; shape,
pattern and face are not measured.

Modes: `sheet`; controls `swapped` (the partner's sheet: few; not 0, as the
partner's figure has another outline), `blank` (a black sheet) and
`no-adapter` (both near 50 %: exactly so where the sheet changes nothing, since partners share prompt and
noise); ceilings `truth` (rendered frames) and `codec` (those, encoded and decoded), which need the `mini`
extra and an EGL driver, as does a --count above 64. Retrieval names the nearest of 16 identities (chance
6 %). Actions are judged by `deeds`. Nothing is tuned on this but by way of validation seeds; test
identities have seeds from 200,000 on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from castsheet.errors import CheckpointError, SettingsError
from castsheet.machine.files import write_atomic, write_text
from castsheet.machine.progress import progress
from castsheet.pipeline import Castsheet
from mini.evaluation import deeds, score, validation
from mini.evaluation.identities import SIZE
from mini.evaluation.parts import REGIONS, Floats, mean_colours
from mini.evaluation.takes import MODES, Mode, Takes
from mini.evaluation.validation import MASK_FRAMES, SHOWN, ValidationSet, action_of, partner_of
from mini.script import add_settings, finish

_DEFAULT: tuple[Mode, ...] = ("sheet", "swapped", "blank", "no-adapter")
_AT = [deeds.INDICES.index(frame) for frame in MASK_FRAMES]
_SHOWN_AT = [_AT[number] for number in (0, 3, 6)]  # frames 8, 56, 104


def evaluate(takes: Takes, modes: Sequence[Mode], count: int) -> dict[str, Any]:
    """Make or find the takes of the first `count` identities and score every mode.

    Raises:
        DependencyError: a mode renders, and there is no renderer.
        CastsheetError: whatever the pipeline refuses.
    """
    results: dict[str, Any] = {}
    for mode in modes:
        measured, shown = [], []
        with progress(f"{mode}: clips", count) as advance:
            for index in range(count):
                frames = takes.frames(mode, index)
                measured.append(mean_colours(frames[_AT], takes.truths.masks_NFHW[index]))
                shown.append(deeds.classify(frames, takes.truths.centroids_AM))
                advance(index + 1)
        results[mode] = score_mode(np.stack(measured), takes.truths, shown)
    return results


def score_mode(measured_NR3: Floats, truths: ValidationSet, shown: Sequence[str]) -> dict[str, Any]:
    """All figures of one mode, for the first N identities."""
    count = len(measured_NR3)
    own = truths.colours_NR3[:count]
    other = truths.colours_NR3[[partner_of(index) for index in range(count)]]
    return {
        "identity": score.identity_score(measured_NR3, own, other),
        "retrieval": score.retrieval(measured_NR3, own),
        "action": score.action_score([action_of(index) for index in range(count)], shown),
    }


def table(results: dict[str, Any]) -> str:
    """The figures as text."""
    heads = ["person", "prop", "location", "top-1 of 16", "action"]
    rows = [["mode", *heads]]
    for mode, result in results.items():
        groups = [result["identity"][name] for name in heads[:3]]
        rows.append([mode, *(_percent(one) for one in (*groups, result["retrieval"], result["action"]))])
    parts = [["nearer to the identity, by region", *results]]
    for name in REGIONS:
        parts.append([name, *(_percent(one["identity"]["regions"][name]) for one in results.values())])
    deeds_seen = [["action as asked", *results]]
    for action in next(iter(results.values()))["action"]["actions"]:
        shares = (one["action"]["actions"][action] for one in results.values())
        deeds_seen.append([action, *(_percent(share) for share in shares)])
    return "\n\n".join(_columns(block) for block in (rows, parts, deeds_seen))


def _percent(share: dict[str, Any]) -> str:
    if share["share"] is None:
        return "-"
    return f"{100 * share['share']:.1f} % ({share['hits']}/{share['total']})"


def _columns(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def contact_sheet(takes: Takes, mode: Mode, count: int) -> Image.Image:
    """Sheet, a frame of the truth and three of the take, for the first 16 identities."""
    rows = []
    for index in range(min(count, SHOWN)):
        sheet = takes.sheet(mode, index).conditioning_image(*SIZE)
        truth = takes.truths.truth(index) or Image.new("RGB", SIZE)
        rows.append(
            np.concatenate([np.asarray(sheet), np.asarray(truth), *takes.frames(mode, index)[_SHOWN_AT]], 1)
        )
    return Image.fromarray(np.concatenate(rows))


def open_set(count: int, work: Path) -> ValidationSet:
    """The shipped set, or a larger one that is rendered into the work folder.

    Raises:
        SettingsError: the count is odd, or not positive.
        DependencyError: a larger set is wanted, and there is no renderer.
    """
    if count < 2 or count % 2:
        raise SettingsError(f"--count {count}", remedy="give an even number: identities come in pairs")
    if count <= validation.COUNT:
        return ValidationSet.load()
    folder = work / f"validation-{count}"
    try:
        return ValidationSet.load(folder)
    except CheckpointError:
        return validation.make(folder, count=count)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The whole command: scores, table on stdout, JSON and pictures where they are asked for."""
    castsheet = Castsheet.load(
        options.bundle,
        adapters=options.adapter,
        device=options.device,
        dtype=options.dtype,
        attention=options.attention,
    )
    truths = open_set(options.count, options.work)
    takes = Takes(castsheet, truths, options.work, dict(options.set), options.preset)
    results = evaluate(takes, options.modes, options.count)
    report = {
        "version": 1,
        "identities": options.count,
        "telling_difference_cie76": score.TELLING,
        "model": castsheet.models.source.record(takes.settings),
        "device": castsheet.models.device.type,
        "dtype": castsheet.models.numerics.removeprefix("torch."),
        "settings": json.loads(json.dumps(asdict(takes.settings))),
        "modes": results,
    }
    print(table(results))
    if options.json is not None:
        text = json.dumps(report, indent=1) + "\n"
        write_text(options.json, text)
    if options.pictures is not None:
        for mode in options.modes:
            _save(contact_sheet(takes, mode, options.count), options.pictures / f"{mode}.png")
    return report


def _save(picture: Image.Image, path: Path) -> None:
    write_atomic(path, lambda temporary: picture.save(temporary, format="PNG"))


def _modes(text: str) -> tuple[Mode, ...]:
    chosen = tuple(mode for mode in MODES if mode in text.split(","))
    unknown = set(text.split(",")) - set(MODES)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown {', '.join(sorted(unknown))}; choose from {', '.join(MODES)}"
        )
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="mini", help="a folder with bundle.json; by default mini")
    parser.add_argument(
        "--adapter",
        type=Path,
        action="append",
        default=[],
        help="beside the bundle's, such as a distilled one",
    )
    parser.add_argument("--preset", help="of the runs, such as fast; by default the bundle's own")
    parser.add_argument("--count", type=int, default=validation.COUNT, help="identities, an even number")
    parser.add_argument("--modes", type=_modes, default=_DEFAULT, help=f"of {','.join(MODES)}")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--pictures", type=Path, help="write a contact sheet a mode into this folder")
    parser.add_argument(
        "--work", type=Path, default=Path("out/evaluate"), help="where finished clips are kept"
    )
    add_settings(parser)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--attention", default="auto")
    options = parser.parse_args()
    finish(lambda: run(options))


if __name__ == "__main__":
    main()
