"""The one reader of text: YAML, JSON, JSON lines and CSV, whatever is in the file.

A reader says which error its files raise; every mistake in a file becomes that error, with line and column:

    SCENES = TextReader(SceneError, "correct the line")
    raw = SCENES.yaml(path)

What it refuses, beside what the formats forbid: files that are not regular, not UTF-8 or too large; a key
given twice; more than 60 levels; aliases that stand for more than two million values; numbers of more than
100 digits; halves of characters (lone surrogates), which no UTF-8 text can hold.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castsheet.errors import CastsheetError, FileError, shown
from castsheet.machine.json_text import JsonMistake, parse_json
from castsheet.machine.regular import MIB, Refusal, read_regular

# A caption of a training table has a few hundred letters; a field of this many is a quote left open.
MAX_FIELD = 100_000


def json_if_any(path: Path, limit: int = 16 * MIB) -> Any:
    """The value of a JSON file that may be anybody's, to see whose it is; None where it is none."""
    try:
        return parse_json(read_regular(path, FileError, limit=limit).decode())
    except (FileError, ValueError):
        return None


@dataclass(frozen=True)
class TextReader:
    """Reads text files of one kind.

    Attributes:
        refuse: the error that they raise.
        remedy: what to do about a file whose content is wrong.
        limit: the most bytes that a file may have.
    """

    refuse: Refusal
    remedy: str
    limit: int = 16 * MIB

    def text(self, path: Path) -> str:
        """A UTF-8 file, with or without a byte order mark; line ends as they are.

        Raises:
            CastsheetError, as `refuse`: not a regular file, too large, not UTF-8.
        """
        content = read_regular(path, self.refuse, limit=self.limit)
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise self.refuse(
                f"{path}: not UTF-8 text at line {line}", remedy="save the file as UTF-8"
            ) from error

    def yaml(self, path: Path) -> Any:
        """The value of a YAML file; None for an empty one.

        Raises:
            CastsheetError, as `refuse`: see `text`; or not plain YAML.
        """
        return self.parse_yaml(self.text(path), str(path))

    def parse_yaml(self, text: str, where: str) -> Any:
        """The value of a YAML text; `where` is what messages call it.

        Raises:
            CastsheetError, as `refuse`: not plain YAML.
        """
        # The library takes a tenth of a second, and readers of JSON alone do not need it.
        from castsheet.machine.yaml_text import YamlMistake, parse_yaml

        try:
            return parse_yaml(text)
        except YamlMistake as error:
            raise self.refuse(f"{where}: {error}", remedy=error.remedy or self.remedy) from error

    def json(self, path: Path) -> Any:
        """The value of a JSON file.

        Raises:
            CastsheetError, as `refuse`: see `text`; or not JSON.
        """
        return self.parse_json(self.text(path), str(path))

    def parse_json(self, text: str, where: str) -> Any:
        """The value of a JSON text; `where` is what messages call it.

        Raises:
            CastsheetError, as `refuse`: not JSON.
        """
        try:
            return parse_json(text)
        except JsonMistake as error:
            raise self.refuse(f"{where}: {error}", remedy=self.remedy) from error

    def json_object(self, path: Path) -> dict[str, Any]:
        """The object that a JSON file holds.

        Raises:
            CastsheetError, as `refuse`: see `json`; or it holds another value.
        """
        content = self.json(path)
        if not isinstance(content, dict):
            raise self.refuse(f"{path} is not a JSON object", remedy=self.remedy)
        return content

    def json_lines(self, path: Path) -> Iterator[tuple[int, Any]]:
        """(line number, value) of every line of a JSON lines file that is not empty.

        Raises:
            CastsheetError, as `refuse`: see `text`; or a line is not JSON.
        """
        # Only a line feed ends a line: U+2028 may stand within a caption.
        for number, line in enumerate(self.text(path).split("\n"), start=1):
            if line.strip():
                yield number, self.parse_json(line, f"{path} line {number}")

    def table(self, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
        """(number of its last line, fields by column) of every row of a CSV file with a header.

        Raises:
            CastsheetError, as `refuse`: see `text`; a column twice, a row of another length, an open quote.
        """
        text = self.text(path)
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise self.refuse(f"{path} line {line}: a NUL character", remedy=self.remedy)
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            header = next(rows, [])
            twice = next((name for name in header if header.count(name) > 1), None)
            if twice is not None:
                raise self.refuse(f"{path}: two columns are called {shown(twice)}", remedy="keep one of them")
            for row in rows:
                if row:
                    self._check_row(path, rows.line_num, header, row)
                    yield rows.line_num, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise self._csv_mistake(path, rows.line_num, error) from error

    def _check_row(self, path: Path, line: int, header: list[str], row: list[str]) -> None:
        where = f"{path}, the row that ends at line {line}"
        if len(row) != len(header):
            raise self.refuse(
                f"{where}: {len(row)} fields, the header has {len(header)}",
                remedy='put quotes around a field that holds a comma: "hero walks, then waves"',
            )
        if max(map(len, row)) > MAX_FIELD:
            raise self.refuse(
                f"{where}: a field of more than {MAX_FIELD:,} letters", remedy="look for a quote left open"
            )

    def _csv_mistake(self, path: Path, line: int, error: csv.Error) -> CastsheetError:
        told = str(error)
        if "unexpected end" in told or "field larger" in told:
            return self.refuse(
                f"{path}: a quote is opened and never closed before line {line}",
                remedy='close it; a quote within quotes is written twice: ""',
            )
        return self.refuse(f"{path} line {line}: not CSV: {told}", remedy=self.remedy)
