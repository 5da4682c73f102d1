"""The file of a latent upsampler, which enlarges a clip's latents between two stages; diffusers' network.

The files of LTX-2.3 and of LTX-2.5 have the same keys. What a file is, is read from its keys and shapes:

    initial_conv.weight        (mid, in, 3, 3, 3)
    res_blocks.N.*             before the enlargement;  post_upsample_res_blocks.N.*  after it
    upsampler.0.weight         (4 mid, mid, 3, 3): a pixel shuffle by 2
    upsampler.conv.weight      (n n mid, mid, 3, 3): by n, then a blur with a stride; n 3 is 3/2

Legend: B batch, C channels, F frames, H height, W width.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from castsheet.errors import CheckpointError, shown
from castsheet.ltx.files.reading import read
from castsheet.ltx.header import FLOATS, Entry, read_header
from castsheet.ltx.parts.vae import fill
from castsheet.machine.json_text import JsonMistake, parse_json

_REMEDY = "use the model's spatial upsampler by 2 or 1.5: `castsheet download --only upsampler` fetches one"
_GROUPS = 32  # of the network's group normalisation
_BLUR = "upsampler.blur_down.kernel"
_SHUFFLED = {2: 2.0, 3: 1.5}  # by how much a shuffle by 2, or by 3 with a stride of 2, enlarges


@dataclass(frozen=True)
class Upsampler:
    """The file of a latent upsampler. Its header has been read; its tensors are read by `load`.

    Attributes:
        settings: the arguments of diffusers' class.
    """

    path: Path
    entries: Mapping[str, Entry]
    settings: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> Upsampler:
        """Read a file's header.

        Raises:
            CheckpointError: not a whole safetensors file, or not a spatial latent upsampler.
        """
        header = read_header(path)
        shapes = {name: entry.shape for name, entry in header.entries.items()}
        first, plain, rational = (
            shapes.get(f"{name}.weight", ()) for name in ("initial_conv", "upsampler.0", "upsampler.conv")
        )
        if len(first) not in (4, 5) or not first[0] or first[0] % _GROUPS or not (plain or rational):
            raise _foreign(header.path, "no latent upsampler")
        if len(plain) == 5:
            raise _foreign(header.path, "a temporal latent upsampler, which adds frames")
        if any(entry.dtype not in FLOATS for entry in header.entries.values()):
            raise _foreign(header.path, "numbers of a type that is not read")
        middle, shuffle = first[0], math.isqrt((plain or rational)[0] // first[0])
        stated = _stated(header.path, header.metadata)
        scale = _SHUFFLED.get(shuffle)
        if scale is None or stated not in (None, scale):
            raise _foreign(header.path, f"an upsampler by {shuffle if stated is None else stated:g}")
        numbers = {name.split(".")[1] for name in shapes if name.startswith("res_blocks.")}
        settings = {
            "in_channels": first[1],
            "mid_channels": middle,
            "num_blocks_per_stage": len(numbers),
            "dims": len(first) - 2,
            "rational_spatial_scale": scale,
            "use_rational_resampler": bool(rational),
        }
        return cls(header.path, header.entries, settings)

    @property
    def scale(self) -> float:
        """By how much it enlarges the clip's sides."""
        return float(self.settings["rational_spatial_scale"])

    @property
    def channels(self) -> int:
        """Channels of the latents that it enlarges."""
        return int(self.settings["in_channels"])

    @cached_property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(entry.count for entry in self.entries.values())

    def load(self, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16) -> nn.Module:
        """The network, (B,C,F,H,W) to (B,C,F,scale H,scale W), frozen and in eval mode.

        Raises:
            CheckpointError: damaged, missing or unknown tensors; up to five are named.
        """
        from diffusers.pipelines.ltx2.latent_upsampler import BlurDownsample, LTX2LatentUpsamplerModel

        with torch.device("meta"):
            network: nn.Module = LTX2LatentUpsamplerModel(**self.settings)
        state = {name: stored.to(dtype) for name, stored, _ in read(self.entries, self.entries, device)}
        if self.settings["use_rational_resampler"] and _BLUR not in state:
            state[_BLUR] = BlurDownsample(dims=2, stride=2).kernel.to(device, dtype)
        fill(network, state)
        return network.eval().requires_grad_(False)


def _stated(path: Path, metadata: Mapping[str, str]) -> float | None:
    """The scale in the header's config; None where it states none."""
    if "config" not in metadata:
        return None
    try:
        config = parse_json(metadata["config"])
    except JsonMistake as error:
        raise _foreign(path, f"a config that is no JSON ({error})") from error
    scale = config.get("spatial_scale") if isinstance(config, dict) else None
    if scale is None or (isinstance(scale, int | float) and math.isfinite(scale)):
        return None if scale is None else float(scale)
    raise _foreign(path, f"a spatial_scale of {shown(json.dumps(scale))}")


def _foreign(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path} holds {what}", remedy=_REMEDY)
