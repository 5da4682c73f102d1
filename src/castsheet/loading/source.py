"""Which files make the model; what does not go together with them is refused: families, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from castsheet.errors import AdapterError, SettingsError, TextEncoderError
from castsheet.loading.adapters import (
    Adapter,
    as_trained,
    named_adapters,
    named_upsampler,
    refuse_other_families,
    refuse_slow_references,
    told_of,
)
from castsheet.loading.bundle import BUNDLE_FILE, MINI, Bundle
from castsheet.ltx.adapters.lora_file import MODE, LoRA
from castsheet.ltx.family import family_of
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.files.upsampler import Upsampler
from castsheet.ltx.latents import Grid
from castsheet.ltx.parts.gemma import EncoderFiles, gemma_fingerprint
from castsheet.ltx.parts.vae import scale_of
from castsheet.machine.regular import file_mode, is_file
from castsheet.media import provenance
from castsheet.settings import FAST, Settings, override, preset
from castsheet.settings.kinds import STRENGTH


@dataclass(frozen=True)
class Source:
    """Which files make the model.

    Attributes:
        text_encoder: the Gemma folder or packed file; None where the user named none and none was found.
        bundle: what came with the files; None for a bare checkpoint.
        trained: the adapter that is used as it was trained. left_out: adapters of the bundle that are not
            used because of it.
    """

    checkpoint: Checkpoint
    text_encoder: Path | None
    adapters: tuple[Adapter, ...]
    bundle: Bundle | None = None
    trained: Adapter | None = None
    left_out: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
        model: str | Path,
        text_encoder: str | Path | None = None,
        adapters: Sequence[str | Path | tuple[str | Path, float | None]] = (),
        vae: str | Path | None = None,
        trained: tuple[str | Path, float | None] | None = None,
    ) -> Source:
        """Open the files that a user names, without loading tensors.

        Args:
            model: "mini", a bundle's folder, a checkpoint file or a folder with a model.
            text_encoder: a Gemma folder or a packed file; overrides the bundle's, and what lies beside the
                model.
            adapters: LoRA files, with or without a strength; added to the bundle's.
            vae: a file with another video VAE than the model's own.
            trained: an adapter that `castsheet train` made, used as it was trained: in place of the bundle's
                or on top of them, with its own reference mode, and at strength 1 unless another is given.

        Raises:
            CheckpointError, AdapterError, TextEncoderError: a file is missing, damaged or not supported.
            FamilyError: the files belong to different model families.
            SettingsError: the bundle's settings are not sound.
        """
        path = MINI if model == "mini" else Path(model)
        path = path.parent if path.name == BUNDLE_FILE else path
        bundle = Bundle.load(path) if model == "mini" or is_file(path / BUNDLE_FILE) else None
        own_encoder = None if bundle is None else bundle.text_encoder
        encoder = own_encoder if text_encoder is None else Path(text_encoder)
        if encoder is not None and not file_mode(encoder):
            raise TextEncoderError(
                f"{encoder} is not there", remedy="name a Gemma folder or a packed text encoder"
            )
        checkpoint = Checkpoint.open(
            path if bundle is None else bundle.checkpoint,
            vae=None if vae is None else Path(vae),
            text_encoder=encoder,
        )
        own = {} if bundle is None else bundle.adapters
        mine = None if trained is None else as_trained(*trained)
        left_out: tuple[str, ...] = ()
        if mine is not None and mine.lora.ground == "base":
            own, left_out = {}, tuple(file.name for file in own)
        named = [(one, None) if isinstance(one, str | Path) else one for one in adapters]
        opened = (
            *(Adapter(LoRA.open(file), one.strength, one.reference, one.preset) for file, one in own.items()),
            *(Adapter(LoRA.open(file), strength) for file, strength in named),
            *([] if mine is None else [mine]),
        )
        for adapter in opened:
            if adapter.strength is not None:
                STRENGTH.check(f"strength of {adapter.lora.path.name}", adapter.strength)
        refuse_other_families(checkpoint, opened)
        refuse_slow_references(opened)
        encoder = encoder or checkpoint.text_encoder
        if encoder is not None:
            _check_encoder(checkpoint, EncoderFiles.open(encoder))
        return cls(checkpoint, encoder, opened, bundle, mine, left_out)

    def settings(self, name: str | None = None) -> Settings:
        """The preset `name` at the model's bucket, in the reference mode of an adapter used as trained, or in
        the only one that the model's own adapters are for.

        None means the model's own preset, or "fast" if the adapter used as trained was distilled.

        Raises:
            SettingsError: an unknown preset; or none is named, and the model is one of several that nothing
                but the user can tell apart; or "fast" is, and not one adapter says how it was distilled.
        """
        if name is None and self.trained is not None and self.trained.lora.distilled is not None:
            name = FAST
        found = self._settings(name)
        if self.trained is not None:
            mode = self.trained.lora.mode
        else:
            own = {} if self.bundle is None else self.bundle.adapters
            readers = [one for one in self.adapters if one.lora.path in own and one.lora.distilled is None]
            modes = {one.reference for one in readers}
            mode = modes.pop() if len(modes) == 1 else None
        return found if mode is None else replace(found, reference=mode)

    def _settings(self, name: str | None) -> Settings:
        if name == FAST:
            return self._fast()
        if self.bundle is not None and (name is not None or self.bundle.usual or self.bundle.preset):
            return self.bundle.settings(name)
        release = family_of(self.checkpoint.family).release
        if name is None and release is not None and release.variants:
            recipes = {kind: one.preset for kind, one in release.variants.items()}
            raise SettingsError(
                f"{self.name} may be a {' or a '.join(recipes)} model: nothing in the file tells which",
                remedy="say so by the preset: "
                + ", ".join(f"--preset {one} ({kind})" for kind, one in recipes.items()),
            )
        return preset("card" if name is None else name) if self.bundle is None else self.bundle.settings(name)

    def _fast(self) -> Settings:
        """The model's own settings, with what its distilled adapter says."""
        found = [one.lora for one in self.adapters if one.lora.distilled is not None]
        named = [one.lora for one in self.adapters if one.lora.distilled is not None and one.preset is None]
        chosen = named or found
        if len(chosen) != 1 or (distilled := chosen[0].distilled) is None:
            told = ", ".join(lora.path.name for lora in chosen) or "no adapter here"
            raise SettingsError(
                f"preset {FAST} takes its steps from one distilled adapter: {told}",
                remedy="give one with --adapter; `castsheet train` makes it: objective few-step or guidance",
            )
        return replace(override(self._settings(distilled.preset), distilled.settings), name=FAST)

    @property
    def trained_note(self) -> str:
        """How the adapter of `trained` is used, for people; empty without one."""
        if self.trained is None:
            return ""
        lora = self.trained.lora
        strength = f"{lora.path.name} at strength {self.trained.strength:g}, as it was trained"
        if lora.ground == "model":
            return f"{strength}: on top of the model's own"
        without = f", without {', '.join(self.left_out)}" if self.left_out else ""
        return f"{strength}: alone{without}"

    @property
    def name(self) -> str:
        """A short name for people."""
        return self.checkpoint.path.stem if self.bundle is None else self.bundle.name

    def adapters_in(self, settings: Settings) -> tuple[Adapter, ...]:
        """The adapters of a run: the model's own for this reference mode, then those that the settings add.

        If both name the same file, it counts once, and the model's own strength wins.

        Raises:
            AdapterError: the file of an added adapter is missing.
            FamilyError: an added adapter is for another model family.
        """
        own = [one for one in self.adapters if one.used_in(settings)]
        here = {one.lora.path.name for one in own}
        wanted = {Path(file).name: strength for file, strength in settings.further_adapters.items()}
        further = {file: at for file, at in settings.further_adapters.items() if Path(file).name not in here}
        added = named_adapters(self.checkpoint, further, "--further-adapters")
        return (*(one.at(wanted.get(one.lora.path.name)) for one in own), *added)

    def refiners(self, settings: Settings) -> tuple[Adapter, ...]:
        """The adapters of a run's stages from an enlarging one on. The model's own are not among them.

        Raises:
            AdapterError, FamilyError: see `adapters_in`.
        """
        return named_adapters(self.checkpoint, settings.refining_adapters, "--refining-adapters")

    def upsampler(self, settings: Settings) -> Upsampler | None:
        """The latent upsampler of a run; None where no stage enlarges.

        Raises:
            CheckpointError, SettingsError: see `named_upsampler`.
        """
        return named_upsampler(self.checkpoint, settings)

    def check_reference(self, settings: Settings) -> None:
        """Refuse adapters that were trained on another reference mode than the run's.

        An adapter that states no mode was trained on "looped". "still" needs an adapter that states it.

        Raises:
            AdapterError: an adapter was trained on the other mode, or the run is "still" and none states it.
        """
        wanted = settings.reference
        chosen = [adapter.lora for adapter in self.adapters_in(settings)]
        for lora in chosen:
            if lora.mode not in (None, wanted):
                raise AdapterError(
                    f"{lora.path} was trained on {lora.mode} references ({MODE}), the run's is {wanted}",
                    remedy=f"choose reference {lora.mode}, use another adapter, or force it",
                )
        if wanted == "still" and not any(lora.mode == "still" for lora in chosen):
            names = ", ".join(lora.path.name for lora in chosen) or "no adapter"
            raise AdapterError(
                f"reference still: {names} is not known to be trained on it; identity would be lost",
                remedy=f"use an adapter whose metadata says {MODE} still, reference looped, or force it",
            )

    @property
    def cell(self) -> int:
        """Pixels of the clip that a latent cell's side spans."""
        return scale_of(self.checkpoint.config.vae)[2]

    def grid(self, settings: Settings) -> Grid:
        """The latent grid of a run.

        Raises:
            SettingsError: the model's VAE cannot make that size or frame count.
        """
        size = {"width": settings.width, "height": settings.height}
        return Grid.of(self.checkpoint.config.vae, **size, frames=settings.frames, fps=settings.fps)

    def grids(self, settings: Settings) -> list[Grid]:
        """The latent grids of a run's stages, one for each size: the first, and one after each enlargement.

        Raises:
            SettingsError: the model's VAE cannot make one of the sizes, or the frame count.
        """
        grids = [self.grid(settings)]
        for stage in settings.stages:
            if stage.scale == 1:
                continue
            width, height = (round(side * stage.scale, 6) for side in grids[-1].size)
            size = {"width": int(width), "height": int(height)}
            grids.append(
                Grid.of(self.checkpoint.config.vae, **size, frames=settings.frames, fps=settings.fps)
            )
        return grids

    def downscale(self, settings: Settings) -> int:
        """How many times smaller than the clip the run's adapters read the sheet.

        Raises:
            AdapterError: the adapters disagree.
        """
        factors = {adapter.lora.downscale for adapter in self.adapters_in(settings)} - {1}
        if len(factors) > 1:
            sizes = ", ".join(f"1/{factor}" for factor in sorted(factors))
            raise AdapterError(
                f"the adapters read their reference at different sizes ({sizes})",
                remedy="use adapters of one reference_downscale_factor",
            )
        return factors.pop() if factors else 1

    def record(self, settings: Settings) -> dict[str, Any]:
        """Names, sizes and hashes of all files, for a clip's sidecar."""
        encoder, upsampler = self.text_encoder, self.upsampler(settings)
        return {
            "name": self.name,
            "family": self.checkpoint.family,
            "version": self.checkpoint.version,
            "checkpoint": [provenance.file_record(file) for file in self._checkpoint_files()],
            "text_encoder": None
            if encoder is None
            else {"name": encoder.name, "hash": gemma_fingerprint(encoder)},
            "adapters": [told_of(one, settings) for one in self.adapters_in(settings)],
            "upsampler": None if upsampler is None else provenance.file_record(upsampler.path),
            "refining_adapters": [told_of(one, settings) for one in self.refiners(settings)],
            "used_as_trained": None if self.trained is None else self.trained.lora.path.name,
            "adapters_not_used": list(self.left_out),
        }

    def _checkpoint_files(self) -> list[Path]:
        return sorted({entry.file for entry in self.checkpoint.entries.values()})


def check_fits(settings: Settings, checkpoint: Checkpoint) -> None:
    """Refuse settings that the model cannot carry out.

    Raises:
        SettingsError: audio is asked of a model without an audio half, or STG in blocks that do not exist.
    """
    if settings.audio and not (checkpoint.config.transformer.audio and checkpoint.has_audio):
        raise SettingsError(f"audio: {checkpoint.path} has no audio half", remedy="run without audio")
    layers = checkpoint.config.transformer.layers
    outside = [block for block in settings.stg_blocks if block >= layers]
    if settings.stg_scale != 0 and outside:
        raise SettingsError(
            f"stg_blocks {outside}: the model has {layers} blocks",
            remedy=f"choose blocks from 0 to {layers - 1}",
        )


def _check_encoder(checkpoint: Checkpoint, encoder: EncoderFiles) -> None:
    """Refuse a text encoder that the checkpoint was not trained with; contexts of another fit by shape.

    Raises:
        TextEncoderError: the versions that both state differ, or the encoder is of another family.
        CheckpointError: the checkpoint's statement is damaged.
    """
    family = family_of(checkpoint.family)
    wanted = checkpoint.encoder_version
    if wanted is not None and wanted != encoder.version:
        raise TextEncoderError(
            f"{checkpoint.path} was trained with the text encoder {wanted};"
            f" {encoder.path} is {encoder.version or 'one that states no version'}",
            remedy=family.encoder_remedy,
        )
    if wanted is None and encoder.kind != family.encoder:
        raise TextEncoderError(
            f"{encoder.path} is a {encoder.kind} text encoder; {family.title} reads {family.encoder}",
            remedy=family.encoder_remedy,
        )
