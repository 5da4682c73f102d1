"""What a run reads before it begins: its data, the base, and the sample pictures' sheets."""

from __future__ import annotations

from pathlib import Path

import torch

from castsheet.loading.source import Source
from castsheet.ltx.files.transformer import load_transformer
from castsheet.ltx.formats import FORMATS
from castsheet.ltx.model.dit import Transformer
from castsheet.machine.processes import World
from castsheet.train.config import Config
from castsheet.train.data.dataset import Data, require_family, require_one_geometry, require_stills
from castsheet.train.data.official import open_data
from castsheet.train.data.packed import PackedData
from castsheet.train.ground import ground
from castsheet.train.samples import Gallery
from castsheet.train.teaching import Teaching


def opened_data(folder: Path, config: Config, source: Source, where: World) -> Data:
    """A folder of samples that fit the model and the settings.

    Raises:
        DatasetError, SettingsError: they do not.
    """
    model = source.checkpoint.config.transformer
    data = open_data(
        folder,
        config.output,
        source.checkpoint,
        channels=model.in_channels,
        context_dim=model.context_dim,
        downscale=config.objective.reference_downscale_factor,
        where=where,
    )
    require_family(data, model.family)
    if config.batch > 1:
        require_one_geometry(data)
    if config.objective.reference == "still":
        require_stills(data)
    if isinstance(data, PackedData) and where.device.type == "cuda":
        data = data.to(where.device)
    return data


def opened_gallery(
    config: Config, source: Source, where: World, dtype: torch.dtype, teaching: Teaching | None
) -> Gallery | None:
    """The sample pictures, if some are wanted and this process takes part in them."""
    watch = config.watch
    if not watch.samples or not watch.sample_every:
        return None
    Gallery.refuse_others(config.objective)
    if not (where.main or config.base.shard):
        return None
    usual = {} if teaching is None else teaching.learned
    return Gallery(watch.samples, source, where.device, dtype, usual)


def opened_base(
    config: Config, source: Source, where: World, dtype: torch.dtype, teaching: Teaching | None
) -> Transformer:
    """The base; in host memory if it will be divided over cards, or stays there."""
    base = config.base
    away = base.stream or (base.shard and where.size > 1)
    device = torch.device("cpu") if away else where.device
    precision = base.weights if base.weights in FORMATS else "wide"
    adapters = ground(source, config) if teaching is None else teaching.adapters
    return load_transformer(source.checkpoint, precision, device=device, dtype=dtype, adapters=adapters)[0]
