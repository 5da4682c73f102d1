"""Renderers of views: the request, and the one method that every backend has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import Image

PictureShape = Literal["square", "tall", "wide"]


@dataclass(frozen=True)
class RenderRequest:
    """One picture to make.

    Args:
        looks: what the subject looks like; may be empty if a picture shows it.
        shows: what the new picture must show: view, pose, ground.
        shape: for backends that choose the size themselves.
        picture: a known picture of the subject, RGB; None if there are only words.
        size: width and height in px; with None the backend chooses.
    """

    looks: str
    shows: str
    shape: PictureShape
    seed: int = 0
    picture: Image.Image | None = None
    size: tuple[int, int] | None = None

    @property
    def prompt(self) -> str:
        """Looks and view in one line, without the looks of a subject that the picture shows."""
        subject = self.looks or ("the same subject" if self.picture else "a subject")
        return f"{subject}, {self.shows}"


class Renderer(Protocol):
    """A model that makes pictures. Tests use a double."""

    @property
    def name(self) -> str:
        """Names the model, for provenance; never holds a key."""

    def render(self, request: RenderRequest) -> Image.Image:
        """An RGB picture. The same request gives the same picture if the backend can promise it."""
