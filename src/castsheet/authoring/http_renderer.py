"""A picture model behind an OpenAI-compatible endpoint as a renderer."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass

from PIL import Image

from castsheet.authoring.renderer import RenderRequest
from castsheet.errors import EndpointError, ImageError
from castsheet.machine.endpoint import Endpoint
from castsheet.media.formats import open_picture

# The service's three sizes; another is sent if the user asks for it.
_SIZES = {"square": (1024, 1024), "tall": (1024, 1536), "wide": (1536, 1024)}


@dataclass(frozen=True)
class EndpointRenderer:
    """Asks `/images/generations` with words, `/images/edits` with a picture; these services take no seed."""

    endpoint: Endpoint

    @property
    def name(self) -> str:
        """Address and model."""
        return self.endpoint.name

    def render(self, request: RenderRequest) -> Image.Image:
        """The picture.

        Raises:
            EndpointError: the endpoint fails, or answers without a picture.
        """
        width, height = request.size or _SIZES[request.shape]
        fields = {"prompt": request.prompt, "size": f"{width}x{height}"}
        if request.picture is None:
            told = self.endpoint.post_json("/images/generations", {**fields, "n": 1})
        else:
            data = io.BytesIO()
            request.picture.convert("RGB").save(data, "PNG")
            told = self.endpoint.post_form("/images/edits", {**fields, "n": "1"}, {"image": data.getvalue()})
        try:
            content = base64.b64decode(told["data"][0]["b64_json"], validate=True)
            with open_picture(io.BytesIO(content), "the answer") as opened:
                return opened.convert("RGB")
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error, ImageError) as error:
            raise EndpointError(
                f"{self.endpoint.base} answered without a picture in b64_json",
                remedy="use a model that returns pictures in the answer, not as links",
            ) from error
