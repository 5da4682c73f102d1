"""What renders a view: the request, and the one method that every backend has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import Image

PictureShape = Literal["square", "tall", "wide"]


@dataclass(frozen=True)
class RenderRequest:
    """One picture to make.

    Args:
        looks: what the subject looks like; may be empty when a picture shows it.
        shows: what the picture is to show of it: view, pose, ground.
        shape: for backends that choose the size themselves.
        picture: RGB, the subject as it is known; None when there are only words.
        size: width and height in px; None leaves it to the backend.
    """

    looks: str
    shows: str
    shape: PictureShape
    seed: int = 0
    picture: Image.Image | None = None
    size: tuple[int, int] | None = None

    @property
    def prompt(self) -> str:
        """Looks and view in one line; of a pictured subject the picture tells the looks."""
        subject = self.looks or ("the same subject" if self.picture else "a subject")
        return f"{subject}, {self.shows}"


class Renderer(Protocol):
    """Whatever makes pictures. Tests bring a double of their own."""

    @property
    def name(self) -> str:
        """Names the model, for provenance; never holds a key."""

    def render(self, request: RenderRequest) -> Image.Image:
        """An RGB picture. The same request gives the same picture where the backend can promise that."""
