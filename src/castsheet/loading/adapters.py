"""The further files of a model: its adapters, and what a recipe names beside the checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from castsheet.errors import AdapterError, CheckpointError, SettingsError
from castsheet.ltx.adapters.lora_file import TEMPORAL, LoRA
from castsheet.ltx.adapters.mode import ReferenceMode
from castsheet.ltx.family import adapter_note, refuse_adapter, refuse_checkpoint
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.files.upsampler import Upsampler
from castsheet.machine.regular import is_file
from castsheet.media import provenance
from castsheet.settings import Settings

# Folders beside a checkpoint, or beside its own, in which further files of a recipe are looked for.
_BESIDE = ("", "loras", "latent_upscale_models")


@dataclass(frozen=True)
class Adapter:
    """An adapter file. Without a strength of its own it takes the preset's.

    If `reference` is set, the adapter is used only in runs with that reference mode; if `preset` is set, only
    in runs of that preset. A distilled adapter without a strength of its own has that of its training, 1.
    """

    lora: LoRA
    strength: float | None = None
    reference: ReferenceMode | None = None
    preset: str | None = None

    def used_in(self, settings: Settings) -> bool:
        """Whether a run with these settings has the adapter."""
        return self.reference in (None, settings.reference) and self.preset in (None, settings.name)

    def at(self, strength: float | None) -> Adapter:
        """The adapter at `strength`; unchanged if it has a strength of its own."""
        return self if self.strength is not None else replace(self, strength=strength)

    def strength_in(self, settings: Settings) -> float:
        """The strength in a run with these settings."""
        usual = settings.lora_strength if self.lora.distilled is None else 1.0
        return usual if self.strength is None else self.strength


def as_trained(path: str | Path, strength: float | None) -> Adapter:
    """An adapter of the user's own.

    Raises:
        AdapterError: nothing in the file tells how it was trained.
    """
    lora = LoRA.open(path)
    if lora.ground is None:
        raise AdapterError(
            f"{lora.path} does not say whether it was trained alone or on top of others",
            remedy="add it to the model's own adapters: --adapter FILE:STRENGTH; or give a bare checkpoint"
            " with --model and --text-encoder, and --adapter",
        )
    return Adapter(lora, 1.0 if strength is None else strength)


def named_adapters(checkpoint: Checkpoint, files: Mapping[str, float], option: str) -> tuple[Adapter, ...]:
    """Adapters that a setting names, at its strengths.

    Args:
        option: of the command line, which sets what names them.

    Raises:
        AdapterError: a file is missing.
        FamilyError: an adapter is for another model family.
    """
    added = []
    for file, strength in files.items():
        path = _find(checkpoint, file)
        if path is None:
            raise AdapterError(
                f"the settings add the adapter {file}, which is not in {checkpoint.path.parent}",
                remedy="put it there or give its path with --adapter; a distilled checkpoint needs none:"
                f" {option} none",
            )
        added.append(Adapter(LoRA.open(path), strength))
    refuse_other_families(checkpoint, added)
    return tuple(added)


def named_upsampler(checkpoint: Checkpoint, settings: Settings) -> Upsampler | None:
    """The latent upsampler of a run; None where no stage enlarges.

    Raises:
        CheckpointError: it is not there, damaged, or for latents of another model.
        SettingsError: it enlarges by another scale than a stage.
    """
    scales = {stage.scale for stage in settings.stages} - {1.0}
    if not scales:
        return None
    path = _find(checkpoint, settings.upsampler)
    if path is None:
        raise CheckpointError(
            f"the latent upsampler {settings.upsampler} is not beside {checkpoint.path}",
            remedy="fetch it with `castsheet download --only upsampler`, or give --upsampler FILE;"
            " one stage needs none: --stages none",
        )
    found = Upsampler.open(path)
    channels = checkpoint.config.transformer.in_channels
    if found.channels != channels:
        raise CheckpointError(
            f"{path} enlarges latents of {found.channels} channels; the model's have {channels}",
            remedy="use the upsampler that was made for this model",
        )
    if scales != {found.scale}:
        told = ", ".join(f"{one:g}" for one in sorted(scales))
        raise SettingsError(
            f"{path} enlarges by {found.scale:g}, the stages by {told}",
            remedy=f"write {found.scale:g}x before the stage's levels, or name another upsampler",
        )
    return found


def _find(checkpoint: Checkpoint, file: str) -> Path | None:
    """A file that the settings name: a path, or a file in the checkpoint's folder or one beside it."""
    home = checkpoint.path.parent
    places = [base / name / file for base in (home, home.parent) for name in _BESIDE]
    return next((path for path in (Path(file), *places) if is_file(path)), None)


def told_of(adapter: Adapter, settings: Settings) -> dict[str, Any]:
    """An adapter of a run, for a clip's sidecar."""
    return {
        **provenance.file_record(adapter.lora.path),
        "strength": adapter.strength_in(settings),
        "rank": adapter.lora.rank,
        "downscale": adapter.lora.downscale,
        "reference": adapter.lora.mode,
        "family": adapter.lora.family,
        "trained_on": adapter.lora.ground,
    }


def refuse_other_families(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> None:
    """Refuse adapters of another family than the checkpoint's; warn where the vendor itself mixes them.

    Raises:
        FamilyError: a family does not run, or does not go with the checkpoint's.
    """
    refuse_checkpoint(checkpoint.path, checkpoint.family)
    for adapter in adapters:
        model, path, own = checkpoint.config.transformer.family, adapter.lora.path, adapter.lora.family
        refuse_adapter(path, own, model)
        if (note := adapter_note(own, model)) is not None:
            warnings.warn(f"{path.name} is an adapter for {own}, the model is {model}: {note}", stacklevel=3)


def refuse_slow_references(adapters: Sequence[Adapter]) -> None:
    """Refuse references of another frame rate: a sheet's positions in time are those of the clip's rate."""
    for adapter in adapters:
        if adapter.lora.temporal != 1:
            raise AdapterError(
                f"{adapter.lora.path} reads references of 1/{adapter.lora.temporal} of the clip's frame rate"
                f" ({TEMPORAL} {adapter.lora.temporal}), which is not supported",
                remedy="use an adapter trained on references of the clip's own rate",
            )
