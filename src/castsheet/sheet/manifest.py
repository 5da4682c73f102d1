"""The manifest: one image and everything that is known about it. Later steps read nothing else.

On disk a sheet is a PNG beside a JSON of the same stem; in memory it is a `Sheet`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from castsheet.errors import CastsheetError, ImageError, SheetError, shown
from castsheet.machine.outputs import Output, try_outputs
from castsheet.machine.regular import is_file
from castsheet.machine.replace import replacing, settle
from castsheet.machine.text import TextReader, json_if_any
from castsheet.machine.wording import first_mistake
from castsheet.media.pictures import load_image
from castsheet.sheet.box import Box, Crop, Kind, PanelView, Side

VERSION = 1
MOST = 500  # panels, and elements, of one sheet; Castsheet makes 12
MAX_SIDE = 16_384

_RECOMPOSE = "compose the sheet again, or delete the JSON to use the bare picture"
_MANIFESTS = TextReader(SheetError, _RECOMPOSE)


@dataclass(frozen=True)
class PictureSource:
    """Where a panel's pixels came from.

    Args:
        path: the picture's path as the scene gave it, with forward slashes.
        sha256: hash of the picture's file.
        scale: sheet pixels per source pixel; above 1 the picture was enlarged.
        crop: share of the visible picture (the figure's bounding box, for cut-outs) that was cropped away.
        clipped: sides on which the figure touches the edge of its source picture, which usually means that
            the photo cuts it off. Known for cut-outs only.
    """

    path: str
    sha256: str
    scale: float
    crop: float = 0.0
    clipped: tuple[Side, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One picture on the sheet. `box` is what the picture covers, without the black around it."""

    element: str
    kind: Kind
    view: PanelView
    box: Box
    sources: tuple[PictureSource, ...] = ()


@dataclass(frozen=True)
class ElementNote:
    """What the sheet remembers of an element of the scene. `human` is of characters: see `Character`."""

    id: str
    kind: Kind
    description: str
    importance: float = 1.0
    human: bool = True


@dataclass(frozen=True)
class Sheet:
    """A reference sheet.

    Args:
        image: RGB, at the composed size.
        panels: empty for a bare picture, made elsewhere without a manifest.
        elements: the scene's elements, in its order.
        output: width and height of the conditioning size, the size at which the model sees the sheet.
            For a bare picture, the picture's own size.
        layout: the planner's settings and score, JSON values only.
        path: the PNG that it was loaded from.
    """

    image: Image.Image
    panels: tuple[Panel, ...] = ()
    elements: tuple[ElementNote, ...] = ()
    output: tuple[int, int] = (768, 448)
    layout: dict[str, Any] = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of size and RGB pixels; independent of how the file was compressed."""
        digest = hashlib.sha256(f"RGB {self.image.width}x{self.image.height}\n".encode())
        digest.update(self.image.convert("RGB").tobytes())
        return digest.hexdigest()

    def panels_of(self, element: str) -> tuple[Panel, ...]:
        """The element's panels, in the sheet's order."""
        return tuple(panel for panel in self.panels if panel.element == element)

    def save(self, path: Path | str, *, overwrite: bool = False) -> tuple[Path, Path]:
        """Write `path` (a .png) and its JSON as a set: after a kill the set is the old or the new one.

        Args:
            overwrite: replace files that Castsheet did not write.

        Raises:
            SheetError: `path` does not end in .png, or the sheet contradicts itself or is no JSON.
            OutputError: a file that Castsheet did not write is there, or the disk refused.
        """
        png, manifest = sheet_files(path)
        _check(self, str(png))
        try:
            text = _to_json(self).encode()
        except (ValueError, RecursionError) as error:
            raise SheetError(
                f"{png}: the manifest cannot be stored as JSON: {error}",
                remedy="give texts in UTF-8 and finite numbers",
            ) from error
        try_outputs(sheet_outputs(png), overwrite=overwrite)
        with replacing(png.parent, png) as change:
            # Without a manifest a picture passes for a bare sheet, so the manifest goes first.
            change.new(manifest.name).write_bytes(text)
            self.image.convert("RGB").save(change.new(png.name), format="PNG")
        return png, manifest

    def to_json(self) -> str:
        """The manifest, as `save` writes it beside the picture."""
        return _to_json(self)

    @classmethod
    def load(cls, path: Path | str) -> Sheet:
        """Read a sheet from its PNG or its JSON; a picture without a JSON is accepted as it is.

        Raises:
            SheetError: the JSON is damaged, does not belong to the picture, or contradicts itself.
            ImageError: the picture cannot be read.
        """
        path = Path(path)
        if not path.name:
            raise SheetError(f"{path} is a folder", remedy="give the path of a sheet")
        try:
            return cls._read(path)
        except (SheetError, ImageError):
            if not settle(path.parent):  # a save that was killed halfway is finished, and read again
                raise
            return cls._read(path)

    @classmethod
    def _read(cls, path: Path) -> Sheet:
        manifest = path if path.suffix.lower() == ".json" else path.with_suffix(".json")
        png = path.with_suffix(".png") if manifest == path else path
        if manifest == path and not is_file(manifest):
            raise SheetError(f"{manifest}: no such file", remedy="check the path of the sheet")
        if manifest == path and not is_file(png):
            raise SheetError(f"{manifest}: its picture {png.name} is missing", remedy="put the PNG beside it")
        # Transparent pixels of a picture made elsewhere become black, as in the model's training.
        rgba = load_image(png)
        image = Image.new("RGB", rgba.size)
        image.paste(rgba, mask=rgba.getchannel("A"))
        if png.suffix.lower() != ".png" or not is_file(manifest):
            return cls(image=image, output=image.size, path=png)
        sheet = _from_json(manifest, image, png)
        _check(sheet, str(manifest))
        return sheet

    def conditioning_image(self, width: int, height: int) -> Image.Image:
        """The sheet as the model sees it: scaled to fill `width` x `height`, then centre-cropped (RGB).

        Bilinear without antialiasing, pixel centres aligned (`align_corners=False`), as the official
        pipeline does it; at a sheet of twice the size this averages 2x2 pixels.

        Raises:
            SheetError: a side that is no size.
        """
        if not 1 <= min(width, height) <= max(width, height) <= MAX_SIDE:
            told = f"a sheet cannot be shown at {shown(width)}x{shown(height)}"
            raise SheetError(told, remedy=f"use sides from 1 to {MAX_SIDE} px")
        source = np.asarray(self.image.convert("RGB"), dtype=np.float32)
        crop = Crop.fill(self.image.size, (width, height))
        (w, h), (full_w, full_h), (left, top) = crop.size, crop.scaled, crop.offset
        rows = _bilinear(source, h, full_h, top, height, axis=0)
        both = _bilinear(rows, w, full_w, left, width, axis=1)
        return Image.fromarray(np.clip(np.rint(both), 0, 255).astype(np.uint8))

    def seen(self, box: Box, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The left, top, right and bottom of `box` on the conditioning image of this size, in pixels.

        They are not rounded, and may lie outside the image, which is cropped.
        """
        return Crop.fill(self.image.size, size).seen(box)


def sheet_files(path: Path | str) -> tuple[Path, Path]:
    """The PNG and the JSON of a sheet saved at `path`.

    Raises:
        SheetError: `path` does not end in .png.
    """
    png = Path(path)
    if png.suffix.lower() != ".png":
        raise SheetError(f"{png}: a sheet is saved as .png", remedy="name the file with the ending .png")
    return png, png.with_suffix(".json")


def sheet_outputs(path: Path | str) -> list[Output]:
    """A sheet's files, each with the question whether Castsheet wrote what is there now.

    Raises:
        SheetError: `path` does not end in .png.
    """
    png, manifest = sheet_files(path)

    def ours_json(path: Path) -> bool:
        found = json_if_any(path)
        return isinstance(found, dict) and found.keys() == {one.name for one in dataclasses.fields(_Document)}

    def ours_png(path: Path) -> bool:
        try:
            Sheet.load(path)  # refuses a picture that is not the manifest's
        except CastsheetError:
            return False
        return manifest.is_file()

    return [Output(png, ours_png), Output(manifest, ours_json)]


def _bilinear(pixels: np.ndarray, size: int, scaled: int, first: int, count: int, *, axis: int) -> np.ndarray:
    """Samples `first .. first + count` of `pixels` scaled from `size` to `scaled` along `axis`."""
    centre = np.clip((np.arange(first, first + count) + 0.5) * (size / scaled) - 0.5, 0, size - 1)
    low = np.floor(centre).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    weight = (centre - low).astype(np.float32).reshape(shape)
    return pixels.take(low, axis=axis) * (1 - weight) + pixels.take(high, axis=axis) * weight


@dataclass(frozen=True)
class _Picture:
    """How the JSON names the image that it belongs to."""

    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class _Document:
    """The JSON file, in the order of its keys."""

    version: int
    image: _Picture
    output: tuple[int, int]
    elements: tuple[ElementNote, ...]
    panels: tuple[Panel, ...]
    layout: dict[str, Any]


_DOCUMENT = TypeAdapter(_Document)


def _to_json(sheet: Sheet) -> str:
    picture = _Picture(sheet.image.width, sheet.image.height, sheet.sha256)
    document = _Document(VERSION, picture, sheet.output, sheet.elements, sheet.panels, sheet.layout)
    try:
        text = json.dumps(dataclasses.asdict(document), indent=1, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        told = f"the sheet holds what JSON cannot: {error}"
        raise SheetError(told, remedy="use texts of whole characters and finite numbers") from error
    return text + "\n"


def _from_json(manifest: Path, image: Image.Image, png: Path) -> Sheet:
    raw = _MANIFESTS.json(manifest)
    if not isinstance(raw, dict) or "version" not in raw:
        raise SheetError(f"{manifest}: not a sheet's manifest (no `version`)", remedy=_RECOMPOSE)
    if raw["version"] != VERSION:
        raise SheetError(
            f"{manifest}: field version: {shown(raw['version'])}; this program reads the number {VERSION}",
            remedy="update castsheet, or compose the sheet again",
        )
    try:
        document = _DOCUMENT.validate_python(raw)
    except ValidationError as error:
        where, what, _ = first_mistake(error)
        raise SheetError(f"{manifest}: field {where}: {what}", remedy=_RECOMPOSE) from error
    sheet = Sheet(image, document.panels, document.elements, document.output, dict(document.layout), path=png)
    if (document.image.width, document.image.height) != image.size or document.image.sha256 != sheet.sha256:
        raise SheetError(f"{png}: the image no longer matches {manifest.name}", remedy=_RECOMPOSE)
    return sheet


def _check(sheet: Sheet, where: str) -> None:
    """Refuse panels and elements that contradict each other. Without panels nothing can."""
    for problem in _contradictions(sheet):
        raise SheetError(f"{where}: {problem}", remedy=_RECOMPOSE)


def _contradictions(sheet: Sheet) -> Iterator[str]:
    if min(sheet.image.size) < 1:
        yield "its picture has no pixels"
    if len(sheet.panels) > MOST or len(sheet.elements) > MOST:
        yield f"{len(sheet.panels)} panels of {len(sheet.elements)} elements; {MOST} at most are read"
        return
    for name, times in sorted(Counter(note.id for note in sheet.elements).items()):
        if times > 1:
            yield f"element {name!r} is listed twice"
    if not 1 <= min(sheet.output) <= max(sheet.output) <= MAX_SIDE:
        yield f"output {shown(sheet.output)} is not a size from 1 to {MAX_SIDE}"
    kinds = {note.id: note.kind for note in sheet.elements}
    for number, panel in enumerate(sheet.panels):
        box, name = panel.box, f"panels.{number} ({panel.element} {panel.view})"
        if panel.element not in kinds:
            yield f"{name}: element {panel.element!r} is not among the sheet's elements"
        elif kinds[panel.element] != panel.kind:
            yield f"{name}: kind {panel.kind!r}, but its element is a {kinds[panel.element]}"
        if not box.inside(*sheet.image.size):
            size = f"{sheet.image.width}x{sheet.image.height}"
            yield f"{name}: box {dataclasses.astuple(box)} is empty or lies outside the {size} image"
        for other in sheet.panels[:number]:
            if box.overlaps(other.box):
                yield f"{name}: box overlaps the {other.view} panel of {other.element!r}"
