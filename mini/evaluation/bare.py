"""A bundle's model without its adapters: what the sheet alone does not do."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from castsheet.loading.models import Models
from castsheet.pipeline import Castsheet


def bare(castsheet: Castsheet) -> Castsheet:
    """Another model of the same files, with no adapter. It is loaded when it is asked for a clip."""
    models = castsheet.models
    source = replace(models.source, adapters=())
    placement = copy(models.placement)  # one plan a denoiser
    return Castsheet(Models(source, models.device, models.dtype, models.cache_dir, placement))
