"""Pictures as latents: the sheet as reference tokens, a given first frame as clean target tokens.

The sheet conditions as a still video. Encoding a time-constant video gives the same latent frame over and
over (the encoder pads in time by copies of the first frame and has no temporal attention), so ONE frame is
encoded and repeated, which is exact.

Legend: B batch, C channels, F frames, H height, W width (pixels or latent cells), T tokens, A axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from castsheet.elements import load_image
from castsheet.errors import SettingsError
from castsheet.ltx.adapters.mode import ReferenceMode
from castsheet.ltx.model.rope import video_bounds
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.sampling.recompress import recompress
from castsheet.sheet.manifest import Sheet


@dataclass(frozen=True)
class Grid:
    """A clip's size in latent cells, and what a cell spans.

    Attributes:
        frames, height, width: latent frames, rows, columns.
        fps: frames a second of the clip.
        scale: (frames, pixels, pixels) a cell spans, from the VAE.
    """

    frames: int
    height: int
    width: int
    fps: float
    scale: tuple[int, int, int]

    @classmethod
    def of(cls, vae: VideoVAE, *, width: int, height: int, frames: int, fps: float) -> Grid:
        """The latent grid of a clip of `frames` frames of width x height pixels.

        Raises:
            SettingsError: the VAE cannot make that size or frame count; the nearest ones are named.
        """
        for name, side in (("width", width), ("height", height)):
            if side % vae.spatial:
                below = max(side // vae.spatial, 1) * vae.spatial
                raise SettingsError(
                    f"{name} {side} is not a multiple of {vae.spatial}",
                    remedy=f"use {name} {below} or {side // vae.spatial * vae.spatial + vae.spatial}",
                )
        if (frames - 1) % vae.temporal:
            below = (frames - 1) // vae.temporal * vae.temporal + 1
            raise SettingsError(
                f"{frames} frames: the count must be {vae.temporal}k+1",
                remedy=f"use {below} or {below + vae.temporal} frames",
            )
        scale = (vae.temporal, vae.spatial, vae.spatial)
        return cls((frames - 1) // vae.temporal + 1, height // vae.spatial, width // vae.spatial, fps, scale)

    @property
    def tokens(self) -> int:
        """Latent cells, one token each."""
        return self.frames * self.height * self.width

    @property
    def frame_tokens(self) -> int:
        """Tokens of one latent frame."""
        return self.height * self.width

    def bounds(self) -> Tensor:
        """Extent of every token in (seconds, pixels, pixels): (3, T, 2) fp32."""
        return video_bounds(self.frames, self.height, self.width, self.fps, scale=self.scale)


@dataclass(frozen=True)
class Reference:
    """Tokens appended to the clip's.

    Attributes:
        tokens_BTC: clean latents in (frame, row, column) order.
        bounds_AT2: positions; those of the clip's own tokens where the downscale factor is 1.
        strength: 1 keeps them clean at timestep 0; s < 1 shows them at noise level (1 - s) * sigma.
    """

    tokens_BTC: Tensor
    bounds_AT2: Tensor
    strength: float


def patchify(latents_BCFHW: Tensor) -> Tensor:
    """Latents to tokens (B,T,C), in (frame, row, column) order."""
    return latents_BCFHW.flatten(2).transpose(1, 2)


def unpatchify(tokens_BTC: Tensor, frames: int, height: int, width: int) -> Tensor:
    """Tokens back to latents (B,C,frames,height,width)."""
    return tokens_BTC.transpose(1, 2).unflatten(2, (frames, height, width))


def to_pixels(image: Image.Image) -> Tensor:
    """An RGB image as (1,3,H,W) fp32 in [-1,1]."""
    array_HWC = torch.from_numpy(np.array(image.convert("RGB")))
    return array_HWC.permute(2, 0, 1)[None].float() / 127.5 - 1


def read_picture(given: Image.Image | Path | str, grid: Grid, *, crf: int = 0) -> Image.Image:
    """A picture for a clip to start with, at the clip's size; black where it is transparent.

    Args:
        crf: H.264 rate factor at which it is compressed once, at its own size; 0 leaves it as it is.

    Raises:
        ImageError: it cannot be read, or not be compressed.
        SettingsError: the clip has one latent frame only, so that nothing would be left to make.
    """
    if grid.frames < 2:
        raise SettingsError(
            "a first frame, and a clip that is no longer than it",
            remedy=f"use {grid.scale[0] + 1} frames or more",
        )
    rgba = (given if isinstance(given, Image.Image) else load_image(Path(given))).convert("RGBA")
    picture = Image.new("RGB", rgba.size)
    picture.paste(rgba, mask=rgba.getchannel("A"))
    picture = recompress(picture, crf)
    return Sheet(picture).conditioning_image(grid.width * grid.scale[2], grid.height * grid.scale[1])


def to_frames(pixels_BCFHW: Tensor) -> np.ndarray:
    """The first video of a batch of pixels in [-1,1] as uint8 (F,H,W,3); values outside are clipped."""
    levels_CFHW = ((pixels_BCFHW[0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels_CFHW.permute(1, 2, 3, 0).cpu().numpy())


def encode_still(vae: VideoVAE, image_BCHW: Tensor, latent_frames: int) -> Tensor:
    """Normalised latents (B,C,latent_frames,H/spatial,W/spatial) of a video that only ever shows one image.

    Args:
        image_BCHW: pixels in [-1,1]; sides multiples of the VAE's spatial factor.
        latent_frames: latent frames of the result, all equal.

    Raises:
        SettingsError: a side is not a multiple of the VAE's spatial factor.
    """
    return vae.encode(image_BCHW[:, :, None]).expand(-1, -1, latent_frames, -1, -1)


def reference_size(vae: VideoVAE, width: int, height: int, downscale: int) -> tuple[int, int]:
    """Pixels (width, height) at which an adapter with this downscale factor wants the sheet encoded.

    Raises:
        SettingsError: the clip's sides do not divide by the factor into whole latent cells.
    """
    unit = vae.spatial * downscale
    if width % unit or height % unit:
        raise SettingsError(
            f"the adapter reads its reference at 1/{downscale} size; {width}x{height} does not divide so",
            remedy=f"use a width and a height that are multiples of {unit}",
        )
    return width // downscale, height // downscale


def make_reference(
    vae: VideoVAE,
    image_BCHW: Tensor,
    grid: Grid,
    *,
    mode: ReferenceMode = "looped",
    downscale: int = 1,
    strength: float = 1.0,
) -> Reference:
    """The sheet as a still video.

    Args:
        image_BCHW: the sheet in [-1,1] at `reference_size`.
        grid: the clip's grid.
        mode: "looped" is of the clip's length; "still" one latent frame at the time of the clip's first,
            [0, 1/fps).
        downscale: how many times smaller than the clip the sheet is encoded.
        strength: see `Reference`.
    """
    latents = encode_still(vae, image_BCHW, grid.frames if mode == "looped" else 1)
    frames, height, width = latents.shape[2:]
    bounds = video_bounds(frames, height, width, grid.fps, scale=grid.scale, downscale=downscale)
    return Reference(patchify(latents).float(), bounds, strength)
