"""What an adapter file says about itself: how to show it the sheet, and how it was trained."""

from __future__ import annotations

import json

from castsheet import __version__
from castsheet.ltx.adapters.distilled import DISTILLED
from castsheet.ltx.adapters.lora_file import DOWNSCALE, GROUND, MARKER, MODE, RECIPE
from castsheet.ltx.model.config import TransformerConfig
from castsheet.train.config import Config
from castsheet.train.data.dataset import Data
from castsheet.train.teaching import Teaching


def describe(
    config: Config,
    base: TransformerConfig,
    data: Data,
    step: int,
    samples_a_step: int,
    teaching: Teaching | None = None,
) -> dict[str, str]:
    """The header's strings of an adapter after some steps.

    Args:
        base: of the model that it was trained on. teaching: the teacher, if it was distilled.
    """
    objective = config.objective
    recipe = {
        "preset": config.preset,
        "steps": step,
        "samples_a_step": samples_a_step,
        "rank": config.adapter.rank,
        "alpha": config.adapter.alpha,
        "seed": config.seed,
        "rate": [ramp.model_dump() for ramp in config.optimiser.rate],
        "objective": objective.model_dump(exclude_defaults=True),
        "first_frame_probability": objective.first_frame_probability,
    }
    augment = data.augment | (
        {"reference_dropout": objective.reference_dropout} if objective.reference_dropout else {}
    )
    marked = {MARKER: "on" if objective.marker else "off"} if base.marker else {}
    taught = {} if teaching is None else {DISTILLED: teaching.metadata}
    above = teaching is not None or config.adapter.on_top
    return {
        "base_model": base.family,
        **marked,
        **taught,
        GROUND: "model" if above else "base",
        DOWNSCALE: str(objective.reference_downscale_factor),
        "castsheet_version": __version__,
        MODE: objective.reference,
        "castsheet_augment": json.dumps(augment, sort_keys=True),
        RECIPE: json.dumps(recipe, sort_keys=True),
    }
