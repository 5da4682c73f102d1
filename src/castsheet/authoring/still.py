"""The LTX model itself as a renderer: it makes a clip of one frame, with the known picture as the sheet."""

from __future__ import annotations

from typing import Any

from PIL import Image

from castsheet.authoring.renderer import RenderRequest
from castsheet.pipeline import Castsheet
from castsheet.prompt import Prompt
from castsheet.sheet.manifest import Sheet


class StillRenderer:
    """Renders one frame of a clip, at the model's training size unless the request names another.

    Without a picture the sheet is black, and only the words count.

    Args:
        settings: overrides of the model's preset, such as `steps`.
    """

    def __init__(self, castsheet: Castsheet, **settings: Any) -> None:
        self._castsheet = castsheet
        self._settings = settings

    @property
    def name(self) -> str:
        """The model's name."""
        return f"{self._castsheet.models.source.name}, one frame"

    def render(self, request: RenderRequest) -> Image.Image:
        """The frame, RGB.

        Raises:
            CastsheetError: see `Castsheet.__call__`.
        """
        settings = dict(self._settings)
        if request.size is not None:
            settings |= {"width": request.size[0], "height": request.size[1]}
        chosen = self._castsheet.settings(**settings)
        sheet = on_black(request.picture, (2 * chosen.width, 2 * chosen.height))
        words = Prompt(request.looks or "the subject of the picture", request.shows, chosen.prompt_format)
        settings |= {"frames": 1, "audio": False}
        clip = self._castsheet(sheet, prompt=words, seed=request.seed, **settings)
        return Image.fromarray(clip.frames[0])


def on_black(picture: Image.Image | None, size: tuple[int, int]) -> Sheet:
    """A sheet of one picture, whole and centred."""
    image = Image.new("RGB", size)
    if picture is not None:
        scale = min(size[0] / picture.width, size[1] / picture.height)
        fitted = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
        image.paste(fitted, ((size[0] - fitted.width) // 2, (size[1] - fitted.height) // 2))
    return Sheet(image, output=(size[0] // 2, size[1] // 2))
