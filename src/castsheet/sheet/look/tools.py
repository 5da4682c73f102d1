"""The tools of composing: a cutter, a face detector, and a folder of earlier results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from castsheet.errors import DependencyError, ImageError
from castsheet.machine.files import cache_folder, write_text
from castsheet.machine.text import TextReader
from castsheet.sheet.box import Box
from castsheet.sheet.look.experts import named
from castsheet.sheet.look.faces import CenterFace, Face, FaceDetector, installed
from castsheet.sheet.look.matting import CutOut, Quality, cut_out, mask_beside
from castsheet.sheet.look.salience import Matter

# "auto" joins all networks that are here; a name with a slash or of a file is a network of the user's.
Cut = str
CUTS: tuple[Cut, ...] = ("auto", "u2netp", "u2net", "plain", "none")
_KEPT = TextReader(ImageError, "the picture is looked at again")


@dataclass(frozen=True)
class Tools:
    """How a scene's pictures are prepared. The default takes them as they are and needs no model.

    Args:
        cut: what cuts out people and things that do not stand free yet: "auto" all networks that are here
            together, "u2netp" or "u2net" one of them, a file or repository of the user's, "plain" the colour
            of a plain background; "none" leaves pictures alone. Locations are never cut.
        matter: replaces the network that `cut` names.
        faces: finds the face that a close-up is cropped to; None crops by the figure's height alone.
        cache: folder of cut-outs, faces and reduced pictures; None keeps nothing.
    """

    cut: Cut = "none"
    matter: Matter | None = None
    faces: FaceDetector | None = None
    cache: Path | None = None

    @classmethod
    def installed(cls, *, cut: Cut = "auto", cache: Path | None = None) -> Tools:
        """The tools that are installed here; `cache` keeps results, by default the user's cache folder."""
        cache = cache or cache_folder()
        faces = RememberedFaces(CenterFace.name, CenterFace, cache / "faces") if installed() else None
        return cls(cut, None, faces, cache)

    @property
    def name(self) -> str:
        """Names how pictures are cut, for cache keys."""
        return self.matter.name if self.matter and self.cut != "none" else named(self.cut)

    def cut_out(self, path: Path, picture: Image.Image, *, keep: bool = False) -> tuple[CutOut | None, str]:
        """The subject of a picture, or None if it stays as it is; and a remark for the user, or "".

        A picture that cannot be cut here keeps its background, and the remark says so: a sheet with
        background is better than no sheet. A hand-made mask that does not fit is an error of the user's.

        Args:
            picture: RGBA, as read from `path`.
            keep: whether to keep the cut-out at full size; sheets keep smaller versions of their own.

        Raises:
            ImageError: the mask beside the picture cannot be used.
        """
        mask = mask_beside(path)
        if self.cut == "none":
            return None, ""
        quality: Quality = self.cut
        kept = self._folder("cutouts")  # from `elements add` and `elements show --cutouts`
        try:
            cut = cut_out(
                path, quality=quality, matter=self.matter, mask=mask, cache=kept, picture=picture, keep=keep
            )
        except (DependencyError, ImageError) as error:
            if mask is not None:
                raise
            why = error.what.removeprefix(f"{path}: ")
            return None, f"{path} keeps its background: {why}; {error.remedy}"
        return cut, f"{path}: {cut.note}" if cut.note else ""

    def _folder(self, name: str) -> Path | None:
        return None if self.cache is None else self.cache / name

    @property
    def pictures(self) -> Path | None:
        """Where reduced pictures are kept."""
        return self._folder("pictures")


class RememberedFaces:
    """A detector that keeps its results in a folder, by the picture's pixels, and is loaded on demand.

    Args:
        name: names model and version; results of other names are not used.
        load: makes the detector.
    """

    def __init__(self, name: str, load: Callable[[], FaceDetector], folder: Path) -> None:
        self.name = name
        self._load = load
        self._folder = folder
        self._detector: FaceDetector | None = None

    def find(self, rgb: Image.Image) -> tuple[Face, ...]:
        """The faces of an RGB picture, the largest first."""
        digest = hashlib.sha256(f"{self.name} {rgb.mode} {rgb.size}\n".encode())
        digest.update(rgb.tobytes())
        entry = self._folder / f"{digest.hexdigest()[:40]}.json"
        found = _read_faces(entry)
        if found is None:
            self._detector = self._detector or self._load()
            found = self._detector.find(rgb)
            text = json.dumps([[[f.box.x, f.box.y, f.box.w, f.box.h], f.points, f.score] for f in found])
            write_text(entry, text)
        return found


def _read_faces(entry: Path) -> tuple[Face, ...] | None:
    """An earlier result; a damaged one counts as none."""
    try:
        rows = _KEPT.json(entry)
        return tuple(_face(*row) for row in rows)
    except (ImageError, ValueError, TypeError):
        return None


def _face(box: list[int], points: list[list[float]], score: float) -> Face:
    left, right, nose, *mouth = ((float(x), float(y)) for x, y in points)
    return Face(Box(*box), (left, right, nose, mouth[0], mouth[1]), float(score))
