"""Between pictures, latents, tokens and sound: the latent grid, the still reference, the decoded clip.

A reference conditions as a still video. All latent frames of a video that never changes are equal, because
the encoder pads in time by copies of the first frame and has no temporal attention. Therefore encoding ONE
frame and repeating it is exact.

Legend: B batch, C channels, F frames, H height, W width (pixels or latent cells), T tokens, A axes, S samples
of sound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from castsheet.errors import NumericsError, SettingsError
from castsheet.ltx.adapters.mode import ReferenceMode
from castsheet.ltx.model.rope import video_bounds
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.vae import VideoVAE, check_size, scale_of

OnFrames = Callable[[np.ndarray], None]  # frames (F,H,W,3) uint8
_RUN = 16  # frames that are made bytes at once


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
    def of(cls, config: Mapping[str, Any], *, width: int, height: int, frames: int, fps: float) -> Grid:
        """The latent grid of a clip of `frames` frames of width x height pixels.

        Args:
            config: the checkpoint's `vae` config; the VAE itself need not be loaded.

        Raises:
            SettingsError: the VAE cannot make that size or frame count; the nearest ones are named.
            CheckpointError: the config describes a VAE that is not supported.
        """
        temporal, spatial, _ = scale = scale_of(config)
        check_size(width, height, frames, spatial=spatial, temporal=temporal)
        return cls((frames - 1) // temporal + 1, height // spatial, width // spatial, fps, scale)

    @property
    def size(self) -> tuple[int, int]:
        """The clip's width and height in pixels."""
        return self.width * self.scale[2], self.height * self.scale[1]

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
    """Tokens that are appended to the clip's tokens.

    Attributes:
        tokens_BTC: clean latents in (frame, row, column) order.
        bounds_AT2: positions; with a downscale factor of 1 they are those of the clip's own tokens.
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


def to_frames(pixels_BCFHW: Tensor) -> np.ndarray:
    """The first video of a batch of pixels in [-1,1] as uint8 (F,H,W,3); values outside are clipped."""
    levels_CFHW = ((pixels_BCFHW[0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels_CFHW.permute(1, 2, 3, 0).cpu().numpy())


def encode_still(vae: VideoVAE, image_BCHW: Tensor, latent_frames: int) -> Tensor:
    """Normalised latents (B,C,latent_frames,H/spatial,W/spatial) of a video that shows one image throughout.

    Args:
        image_BCHW: pixels in [-1,1]; sides multiples of the VAE's spatial factor.
        latent_frames: latent frames of the result, all equal.

    Raises:
        SettingsError: a side is not a multiple of the VAE's spatial factor.
    """
    return vae.encode(image_BCHW[:, :, None]).expand(-1, -1, latent_frames, -1, -1)


def reference_size(grid: Grid, downscale: int) -> tuple[int, int]:
    """Pixels (width, height) at which an adapter with this downscale factor wants the reference encoded.

    Raises:
        SettingsError: the clip's sides do not divide by the factor into whole latent cells.
    """
    width, height = grid.size
    if grid.width % downscale or grid.height % downscale:
        unit = grid.scale[2] * downscale
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
    """A picture as a still video.

    Args:
        image_BCHW: the picture in [-1,1] at `reference_size`.
        grid: the clip's grid.
        mode: "looped" has the clip's length; "still" is one latent frame at the time of the clip's first,
            [0, 1/fps).
        downscale: how many times smaller than the clip the reference is encoded.
        strength: see `Reference`.
    """
    latents = encode_still(vae, image_BCHW, grid.frames if mode == "looped" else 1)
    frames, height, width = latents.shape[2:]
    bounds = video_bounds(frames, height, width, grid.fps, scale=grid.scale, downscale=downscale)
    return Reference(patchify(latents).float(), bounds, strength)


def enlarge(network: nn.Module, vae: VideoVAE, latents_BCFHW: Tensor) -> Tensor:
    """Normalised latents, enlarged by a latent upsampler: fp32, normalised.

    The network works on latents as the VAE's encoder gives them, as in LTX-2's own two-stage pipelines and in
    diffusers' upsampling pipeline for LTX-2.

    Args:
        network: of `Upsampler.load`, on the latents' device.
        vae: the one whose statistics normalise latents.
    """
    dtype = next(network.parameters()).dtype
    raw = network(vae.denormalise(latents_BCFHW.float()).to(dtype))
    return vae.normalise(raw.float())


def decode(
    vae: VideoVAE, latents_BCFHW: Tensor, seed: int = 0, on_frames: OnFrames | None = None
) -> np.ndarray:
    """Frames (F,H,W,3) uint8.

    Args:
        seed: of the noise that some decoders draw.
        on_frames: is given each run of frames when it is finished: a part of the result.

    Raises:
        NumericsError: the decoder gave values that are not finite.
    """
    count, done = (latents_BCFHW.shape[2] - 1) * vae.temporal + 1, 0
    frames_FHWC = np.empty((0, 0, 0, 3), np.uint8)
    for piece in vae.pieces(latents_BCFHW, seed):
        for pixels in finite(piece, "the picture").split(_RUN, dim=2):
            some = to_frames(pixels)
            if not done:
                frames_FHWC = np.empty((count, *some.shape[1:]), np.uint8)
            run = frames_FHWC[done : done + len(some)]
            run[:] = some
            done += len(some)
            if on_frames is not None:
                on_frames(run)
    return frames_FHWC


def decode_frame(vae: VideoVAE, latents_BCFHW: Tensor, at: float) -> np.ndarray:
    """One frame (H,W,3) uint8, from 0 (the first) to 1 (the last); raises as `decode`."""
    end = round(at * (latents_BCFHW.shape[2] - 1)) + 1
    # A latent frame is decoded after the one before it: alone it would be read as the clip's first.
    some = latents_BCFHW[:, :, max(end - 2, 0) : end].to(next(vae.parameters()).device)
    return decode(vae, some)[-1]


def decode_audio(
    parts: tuple[AudioVAE, Vocoder], tokens_BTC: Tensor, seconds: float
) -> tuple[np.ndarray, int]:
    """Sound of a clip's length: (S,2) fp32 in [-1,1], and samples a second.

    Raises:
        NumericsError: as `decode`.
    """
    vae, vocoder = parts
    wave_CS = finite(vocoder(vae.decode(tokens_BTC))[0].float(), "the sound").clamp(-1, 1)
    wave_SC = wave_CS.T[: round(seconds * vocoder.rate)]
    return np.ascontiguousarray(wave_SC.cpu().numpy()), vocoder.rate


def finite(x: Tensor, what: str) -> Tensor:
    """`x`; raises NumericsError if it holds NaN or infinity."""
    if not torch.isfinite(x).all():
        raise NumericsError(
            f"decoding gave {what} values that are not finite", remedy="run with --dtype fp32"
        )
    return x
