"""Converts the official trainer's `.precomputed` data once to our layout.

    .precomputed/latents/NAME.pt            latents (C,F,H,W) normalised, num_frames, height, width, fps
    .precomputed/reference_latents/NAME.pt  the same of the reference
    .precomputed/conditions/NAME.pt         video_prompt_embeds (N,D), prompt_attention_mask (N)

The official trainer runs 2 B parameters of frozen connectors in every step. Their output depends only on the
caption, so they run once, here. A looped sheet becomes one latent frame.

Only this module reads .pt files, because the official layout has no other form. They are pickles, and opening
a pickle can run code. Torch's restricted reader is used (`weights_only=True`: tensors, numbers, texts); what
it does not accept is refused.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from castsheet.errors import shown
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.header import save_tensors
from castsheet.ltx.parts.connectors import TextConnectors, connect
from castsheet.machine.files import write_atomic
from castsheet.machine.processes import World
from castsheet.machine.ranges import RangeError, real, whole
from castsheet.machine.regular import is_file, is_folder, require_regular
from castsheet.train.data.dataset import Data, Dataset, DatasetError, header_of, write_sample
from castsheet.train.data.packed import PACKED, PackedData

PARTS = ("latents", "reference_latents", "conditions")
_REMEDY = "process the data set anew with the official scripts, or encode it with `castsheet encode`"
# What the restricted reader raises on damage, beside its refusals.
_DAMAGE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


def open_data(
    folder: Path,
    output: Path,
    model: Checkpoint,
    *,
    channels: int,
    context_dim: int,
    downscale: int,
    where: World,
) -> Data:
    """Open a data set in any layout; an official one is first converted to ours, under OUTPUT/data.

    Raises:
        DatasetError: nothing is there, or a sample is damaged or does not fit; the message names the file.
        OutputError: the disk refused.
    """
    root = official_root(folder)
    if root is not None:
        digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
        folder = output / "data" / f"{root.parent.name}-{digest}"
        if where.main:
            convert(root, folder, model, where.device)
        where.wait()
    opened = PackedData if is_file(folder / PACKED) else Dataset
    return opened.open(folder, channels=channels, context_dim=context_dim, downscale=downscale)


def official_root(folder: Path) -> Path | None:
    """The folder that holds `latents/`, if this is the official layout."""
    return next((root for root in (folder / ".precomputed", folder) if is_folder(root / "latents")), None)


@torch.no_grad()
def convert(root: Path, out: Path, model: Checkpoint, device: torch.device) -> None:
    """Write every official sample in our layout, unless it is there already.

    Raises:
        DatasetError: a file is damaged or holds other things than tensors.
        CheckpointError: the model has no text connectors.
    """
    names = [path.relative_to(root / "latents") for path in sorted((root / "latents").rglob("*.pt"))]
    whole = [name for name in names if all(is_file(root / part / name) for part in PARTS)]
    if len(whole) < len(names):
        missing = min(set(names) - set(whole))
        warnings.warn(
            f"{root}: {len(names) - len(whole)} samples lack their reference or caption and are left out,"
            f" such as {missing}",
            stacklevel=2,
        )
    connectors: TextConnectors | None = None
    for name in whole:
        target = out / "samples" / f"{'__'.join(name.with_suffix('').parts)}.safetensors"
        stamp = " ".join(_stamp(root / part / name) for part in PARTS)
        if header_of(target).get("source") == stamp:
            continue
        if connectors is None:
            dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
            connectors = model.load_connectors(device=device, dtype=dtype)
        clip, fps = _latents(root / PARTS[0] / name)
        sheet, _ = _latents(root / PARTS[1] / name)
        context = _write_context(out, _features(root / PARTS[2] / name), connectors)
        tensors = {"latents": clip, "references": sheet[None]}
        write_sample(target, tensors, fps=fps, context=context, augment={}, source=stamp)


def read_pt(path: Path) -> Mapping[str, Any]:
    """A .pt file of tensors, numbers and texts.

    Raises:
        DatasetError: it is damaged, or a pickle of anything else.
    """
    require_regular(path, DatasetError)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(
            f"{path} is refused: not a plain file of tensors ({reason})", remedy=_REMEDY
        ) from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds no named tensors", remedy=_REMEDY)
    return content


def _latents(path: Path) -> tuple[Tensor, float]:
    content = read_pt(path)
    latents = content.get("latents")
    if not isinstance(latents, Tensor) or latents.ndim != 4 or not latents.isfinite().all():
        raise DatasetError(f"{path}: `latents` is no finite tensor of four axes", remedy=_REMEDY)
    names = ("num_frames", "height", "width")
    stated = [content.get(name, size) for name, size in zip(names, latents.shape[1:], strict=True)]
    try:
        fps = real(content.get("fps"), 0.001, 1000)
        agree = [whole(one, 1, 1 << 20) for one in stated] == list(latents.shape[1:])
    except RangeError as error:
        raise DatasetError(f"{path}: {error}", remedy=_REMEDY) from error
    if not agree:
        raise DatasetError(
            f"{path}: latents of {tuple(latents.shape[1:])}, stated as {shown(stated)} at {fps:g} fps",
            remedy=_REMEDY,
        )
    return latents, fps


def _features(path: Path) -> tuple[Tensor, Tensor]:
    content = read_pt(path)
    features = content.get("video_prompt_embeds", content.get("prompt_embeds"))
    mask = content.get("prompt_attention_mask")
    if (
        not (isinstance(features, Tensor) and isinstance(mask, Tensor))
        or (features.ndim, features.shape[:1]) != (2, mask.shape)
        or not features.isfinite().all()
    ):
        raise DatasetError(f"{path}: no prompt features with their mask", remedy=_REMEDY)
    return features, mask.bool()


def _write_context(out: Path, caption: tuple[Tensor, Tensor], connectors: TextConnectors) -> str:
    features_ND, mask_N = caption
    digest = hashlib.sha256(features_ND.float().numpy().tobytes() + mask_N.numpy().tobytes())
    key = f"{digest.hexdigest()}.safetensors"
    weight, length = connectors.video_text_proj_in.weight, connectors.context_length(len(features_ND))
    features_BND, mask_BN = features_ND[None].to(weight), mask_N[None].to(weight.device)
    context_LD = connect(connectors.video_connector, features_BND, mask_BN, length)[0].to(features_ND.dtype)
    stored = {"video": context_LD.cpu().contiguous()}
    write_atomic(out / "contexts" / key, lambda temporary: save_tensors(stored, temporary))
    return key


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"
