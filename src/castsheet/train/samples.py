"""Sample pictures while training: the product's own pipeline around the model that is being trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from castsheet.clip import Clip
from castsheet.errors import SettingsError
from castsheet.loading.models import Models
from castsheet.loading.source import Source
from castsheet.ltx.model.dit import Transformer
from castsheet.machine.files import write_atomic
from castsheet.pipeline import Castsheet
from castsheet.run import read_prompt
from castsheet.sheet.manifest import Sheet
from castsheet.train.config import ObjectiveConfig, SampleConfig


class Gallery:
    """Draws the same samples again and again.

    Text contexts are encoded once, here, before training needs the memory.

    Raises:
        SettingsError, PromptError, SheetError, TextEncoderError: a sample cannot be drawn.
    """

    def __init__(
        self,
        wanted: tuple[SampleConfig, ...],
        source: Source,
        device: torch.device,
        dtype: torch.dtype,
        usual: Mapping[str, Any],
    ) -> None:
        """Read the sheets and encode the texts.

        Args:
            usual: settings of all samples, below each one's own.
        """
        self.wanted = tuple(one.model_copy(update={"settings": {**usual, **one.settings}}) for one in wanted)
        self.models = Models(replace(source, adapters=()), device, dtype, None)
        self.castsheet = Castsheet(self.models)
        self.sheets = [Sheet.load(one.sheet) for one in wanted]
        texts = []
        for one, sheet in zip(self.wanted, self.sheets, strict=True):
            settings = self.castsheet.settings(None, **one.settings)
            if settings.enlarges:
                raise SettingsError(
                    "watch.samples: a stage enlarges the clip, and sees no adapter",
                    remedy="set stages to none in the sample's settings",
                )
            words = read_prompt(sheet, one.action, one.prompt, settings)
            texts += [words.text, settings.negative_prompt]
        self.models.contexts(texts, audio=False)

    @staticmethod
    def refuse_others(objective: ObjectiveConfig) -> None:
        """Refuse references that the pipeline would show in another way than training does.

        Raises:
            SettingsError: the reference is not looped at full size.
        """
        if objective.reference != "looped" or objective.reference_downscale_factor != 1:
            raise SettingsError(
                "watch.samples are drawn with a looped, full-size sheet only",
                remedy="leave watch.samples out and watch the held-out loss",
            )

    def draw(self, transformer: Transformer, folder: Path, step: int, *, write: bool = True) -> None:
        """Sample every picture: the sheet beside frames of the clip, as `samples/STEP_NUMBER.png`.

        Args:
            transformer: with its adapter attached.
            write: every process of a sharded model must take part, but only one writes.

        Raises:
            OutputError: the disk refused. NumericsError: the sampling ran away.
        """
        with self.models.lent(transformer):
            for number, (one, sheet) in enumerate(zip(self.wanted, self.sheets, strict=True)):
                clip: Clip = self.castsheet(
                    sheet, one.action, prompt=one.prompt, seed=one.seed, **one.settings
                )
                clip.provenance["notes"] = {"step": f"{step:,}", **clip.provenance["notes"]}
                if write:
                    picture = clip.contact()
                    write_atomic(folder / "samples" / f"{step:06d}_{number}.png", picture.save)
