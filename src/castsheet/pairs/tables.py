"""The tables of a training set of pairs, and whose films they are made from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.machine.files import write_text
from castsheet.pairs.records import RULES, Film, Reject

COLUMNS = ("video", "sheet", "sheets", "caption", "split", "title", "licence", "credit", "people", "source")


def write_tables(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Write pairs.csv, pairs.jsonl and one table a split. `OutputError` if the disk refuses."""
    lines = "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
    write_text(out / "pairs.jsonl", lines)
    table = [row | {"sheets": ";".join(row["sheets"])} for row in rows]
    write_text(out / "pairs.csv", csv_of(COLUMNS, table))
    for part in ("train", "validation", "test"):
        mine = [row for row in table if row["split"] == part]
        write_text(out / f"{part}.csv", csv_of(COLUMNS, mine))


def csv_of(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    """Rows as CSV; other keys than the columns are left out."""
    held = io.StringIO()
    writer = csv.DictWriter(held, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return held.getvalue()


def told(rejects: Sequence[Reject]) -> list[dict[str, Any]]:
    """Rejects as rows, with what their rule means."""
    return [asdict(one) | {"meaning": RULES.get(one.rule, "")} for one in rejects]


def credits_of(films: Sequence[Film]) -> str:
    """Whose films these are, as a text."""
    lines = ["Clips and sheets in this folder are made from:", ""]
    for film in films:
        lines.append(
            f"{film.title}: {film.credit or 'no credit given'}, {film.licence or 'allowed by its owner'}"
        )
        lines += [f"  {film.url}"] if film.url else []
    return "\n".join(lines) + "\n"


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A sheet's picture as the bytes of a PNG."""
    held = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(held, format="PNG")
    return held.getvalue()
