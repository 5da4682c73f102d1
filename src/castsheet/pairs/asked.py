"""Models behind an OpenAI-compatible endpoint as back ends.

Detector, segmenter, captioner and what settles doubts about cuts chat with a model that sees pictures; places
and outlines are asked for as JSON, in thousandths of the picture, as vision models are trained to tell them.
The embedder asks `/embeddings` for pictures, the inpainter `/images/edits` with a mask.

Legend: F frames, N pictures or boxes, H height, W width, D dimensions.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from castsheet.errors import EndpointError, ImageError
from castsheet.machine.endpoint import Endpoint
from castsheet.machine.json_text import parse_json
from castsheet.media.pictures import open_picture
from castsheet.pairs.doubts import beside
from castsheet.pairs.hub import clipped
from castsheet.pairs.protocols import Change, Floats, Found, Pixels
from castsheet.sheet.box import Box

SUBJECTS = ("person",)
_THOUSAND = 1000
_TOKENS = 1500
_BOXES = (
    'Find every {words} in the picture. Answer with nothing but a JSON list of {{"label": "...", "box": '
    "[left, top, right, bottom]}}, in thousandths of the picture's width and height; [] if there is none."
)
_OUTLINE = (
    "The picture is cut around one subject. Answer with nothing but a JSON list of [x, y] points, at least "
    "eight: the subject's outline, in thousandths of the picture's width and height."
)
_ONE_SHOT = (
    "These are two moments of a film, one shortly after the other. Are both of one shot, which the camera "
    "filmed without a cut, dissolve or fade between them? Answer with nothing but yes or no."
)


@dataclass(frozen=True)
class Asked:
    """An endpoint, by address and model; errors of all back ends here are its `EndpointError`."""

    endpoint: Endpoint

    @property
    def name(self) -> str:
        """Address and model."""
        return f"endpoint:{self.endpoint.name}"

    def chat(self, pictures: Sequence[Image.Image], question: str, tokens: int = _TOKENS) -> str:
        """The answer to a question about pictures."""
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": _data_url(picture)}} for picture in pictures
        ]
        content.append({"type": "text", "text": question})
        return self.endpoint.chat(content, tokens)

    def listed(self, picture: Image.Image, question: str) -> list[Any]:
        """The JSON list that answers a question; words around it are let pass."""
        text = self.chat([picture], question)
        found = re.search(r"\[.*\]", text, re.DOTALL)
        try:
            told = parse_json(found.group()) if found else None
        except ValueError:
            told = None
        if not isinstance(told, list):
            raise self._useless("without a JSON list")
        return told

    def _useless(self, how: str) -> EndpointError:
        return EndpointError(
            f"{self.endpoint.base} answered {how}", remedy=f"use another model than {self.endpoint.model!r}"
        )


class AskedShots(Asked):
    """A vision model that settles doubts about transitions (see `doubts`)."""

    def real(self, small_FHW3: Pixels, doubt: Change) -> list[Change]:
        """The doubt itself, unless the model says that both its sides are of one shot."""
        answer = re.search(r"\b(yes|no)\b", self.chat(beside(small_FHW3, doubt), _ONE_SHOT).lower())
        if answer is None:
            raise self._useless("neither yes nor no")
        return [] if answer.group() == "yes" else [doubt]


class AskedDetector(Asked):
    """A vision model that tells boxes."""

    def find(self, frame_HW3: Pixels, words: Sequence[str]) -> list[Found]:
        """All that the words name, in the model's order; it tells no scores."""
        picture = Image.fromarray(frame_HW3)
        found = []
        for one in self.listed(picture, _BOXES.format(words=" or ".join(words))):
            box = _box(one.get("box"), frame_HW3) if isinstance(one, dict) else None
            if box is not None:
                found.append(Found(box, str(one.get("label", words[0])), 1.0))
        return found


class AskedSegmenter(Asked):
    """A vision model that tells outlines."""

    def cover(self, frames_FHW3: Pixels) -> Floats:
        """Everybody whom the same model finds."""
        detector = AskedDetector(self.endpoint)
        found = []
        for frame in frames_FHW3:
            masks = self.within(frame, [one.box for one in detector.find(frame, SUBJECTS)])
            found.append(masks.max(axis=0) if len(masks) else np.zeros(frame.shape[:2], np.float32))
        return np.stack(found)

    def within(self, frame_HW3: Pixels, boxes: Sequence[Box]) -> Floats:
        """The inside of the outline in each box (N, H, W), 0 or 1; empty where the model tells none."""
        height, width = frame_HW3.shape[:2]
        found = np.zeros((len(boxes), height, width), np.float32)
        for number, box in enumerate(boxes):
            part = Image.fromarray(frame_HW3).crop(box.corners)
            points = [
                (float(one[0]) / _THOUSAND * box.w, float(one[1]) / _THOUSAND * box.h)
                for one in self.listed(part, _OUTLINE)
                if _numbers(one, 2)
            ]
            if len(points) >= 3:
                mask = Image.new("L", part.size)
                ImageDraw.Draw(mask).polygon(points, fill=1)
                found[number, box.y : box.bottom, box.x : box.right] = np.asarray(mask)
        return found


class AskedCaptioner(Asked):
    """A vision model that says what happens."""

    def say(self, frames_FHW3: Pixels, question: str) -> str:
        """The model's answer."""
        return self.chat([Image.fromarray(frame) for frame in frames_FHW3], question, tokens=200).strip()


class AskedEmbedder(Asked):
    """A model that turns pictures into vectors."""

    def embed(self, crops: list[Pixels]) -> NDArray[np.float32]:
        """Vectors (N, D) of RGB crops."""
        urls = [_data_url(Image.fromarray(one)) for one in crops]
        told = self.endpoint.post_json("/embeddings", {"input": urls, "modality": "image"})
        try:
            vectors = np.array([one["embedding"] for one in told["data"]], np.float32)
        except (KeyError, TypeError, ValueError):
            raise self._useless("without embeddings") from None
        if vectors.ndim != 2 or len(vectors) != len(crops) or not np.isfinite(vectors).all():
            raise self._useless(f"{vectors.shape} numbers to {len(crops)} pictures")
        return vectors


class AskedInpainter(Asked):
    """An image model that fills what a mask leaves open."""

    def fill(self, picture: Image.Image, hole_HW: NDArray[np.bool_]) -> Image.Image:
        """The picture with the model's pixels in the hole, and its own everywhere else."""
        opened = picture.convert("RGBA")
        opened.putalpha(Image.fromarray(np.where(hole_HW, 0, 255).astype(np.uint8)))
        fields = {"prompt": "the empty place, with nobody in it", "n": "1"}
        files = {"image": _png(picture.convert("RGB")), "mask": _png(opened)}
        told = self.endpoint.post_form("/images/edits", fields, files)
        try:
            content = base64.b64decode(told["data"][0]["b64_json"], validate=True)
            with open_picture(io.BytesIO(content), "the answer") as answer:
                made = answer.convert("RGB").resize(picture.size, Image.Resampling.LANCZOS)
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error, ImageError):
            raise self._useless("without a picture in b64_json") from None
        return Image.composite(made, picture.convert("RGB"), Image.fromarray(hole_HW))


def _png(picture: Image.Image) -> bytes:
    held = io.BytesIO()
    picture.save(held, "PNG")
    return held.getvalue()


def _data_url(picture: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(_png(picture)).decode()}"


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)
    )


def _box(told: Any, frame_HW3: Pixels) -> Box | None:
    """A box in thousandths as pixels of a frame."""
    if not _numbers(told, 4):
        return None
    height, width = frame_HW3.shape[:2]
    scaled = [value / _THOUSAND * side for value, side in zip(told, (width, height) * 2, strict=True)]
    return clipped(scaled, frame_HW3)
