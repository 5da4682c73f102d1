"""The sheet held in one latent frame (`reference="still"`) instead of a still video of the clip's length.

At 768x448x121 that is 336 reference tokens instead of 5376. The frame sits where the clip's first latent
frame sits: [0, 1/fps) in time. An adapter must have been trained so: one that learnt a still video finds its
reference gone after the first frame. Adapters say in their metadata which of the two they learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from torch import Tensor

from castsheet.errors import AdapterError
from castsheet.ltx.lora_file import LoRA
from castsheet.ltx.rope import video_bounds
from castsheet.ltx.vae import VideoVAE
from castsheet.reference import Grid, Reference, encode_still, patchify

ReferenceKind = Literal["video", "still"]
METADATA = "castsheet_reference"  # beside the official reference_downscale_factor


def trained_kind(metadata: Mapping[str, str], name: str = "the adapter") -> ReferenceKind | None:
    """What an adapter says about its reference; None when it says nothing.

    Raises:
        AdapterError: it says something else than "video" or "still".
    """
    value = metadata.get(METADATA)
    if value is None:
        return None
    for kind in get_args(ReferenceKind):
        if value == kind:
            return kind
    raise AdapterError(
        f"{name}: {METADATA} is {value!r}, not one of {', '.join(get_args(ReferenceKind))}",
        remedy="correct the file's metadata, or ask its author how the reference was given in training",
    )


def pick_kind(
    wanted: ReferenceKind | None, adapters: Sequence[LoRA], *, force: bool = False
) -> ReferenceKind:
    """How the sheet is given: as asked, else as the adapters were trained, else as a still video.

    Published adapters say nothing and were trained on still videos, so silence counts as "video".

    Args:
        wanted: the user's choice; None leaves it to the adapters.
        force: take the choice although an adapter was trained otherwise.

    Raises:
        AdapterError: an adapter was trained otherwise than asked, or two adapters differ.
    """
    kinds = {str(lora.path): trained_kind(lora.metadata, str(lora.path)) for lora in adapters}
    stated = {kind for kind in kinds.values() if kind is not None}
    if wanted is None:
        if len(stated) > 1:
            raise AdapterError(
                "the adapters were trained with different references, one with a still and one with a video",
                remedy='use adapters of one kind, or choose with reference="still" or "video" and force it',
            )
        return next(iter(stated), "video")
    # An adapter for something else (a style, say) may say nothing beside one that says it was trained so.
    agrees = wanted in stated or (wanted == "video" and not stated) or not kinds
    against = [name for name, kind in kinds.items() if kind is not None and kind != wanted]
    if (against or not agrees) and not force:
        named = ", ".join(against or kinds)
        raise AdapterError(
            f'reference="{wanted}", but {named} was trained with the sheet as a'
            f" {'still video' if wanted == 'still' else 'single frame'}",
            remedy="leave the setting out, use an adapter trained so, or force it (identity may be lost)",
        )
    return wanted


def make_still(
    vae: VideoVAE, image_BCHW: Tensor, grid: Grid, *, downscale: int = 1, strength: float = 1.0
) -> Reference:
    """The sheet as one latent frame at the place of the clip's first.

    Args: as `castsheet.reference.make_reference`.
    """
    latents = encode_still(vae, image_BCHW, 1)
    height, width = latents.shape[3:]
    bounds = video_bounds(1, height, width, grid.fps, scale=grid.scale, downscale=downscale)
    return Reference(patchify(latents).float(), bounds, strength)
