"""The files that full-size measurements run on."""

from __future__ import annotations

import pytest
import torch

from benchmarks.random_files import make, official_sizes
from castsheet.loading.source import Source
from castsheet.ltx.family import FAMILIES
from castsheet.pipeline import Castsheet
from castsheet.settings import PRESETS
from mini.official import official_keys

TWO_STAGES = {"ltx-2.3": PRESETS["space"], "ltx-2.5": PRESETS["two-stage-2.5"]}


@pytest.mark.parametrize("family", [name for name, one in FAMILIES.items() if one.runs])
def test_random_files_are_an_official_model(tmp_path, family):
    """Red: what is measured at full size goes through other code than a published model's files do."""
    make(tmp_path, tiny=True, family=family)
    source = Source.open(tmp_path)
    config, gemma = official_sizes(tiny=True, newer=family == "ltx-2.5")
    assert source.checkpoint.family == family
    stored = {name: tuple(entry.shape) for name, entry in source.checkpoint.entries.items()}
    assert stored == official_keys(config, states=gemma.num_hidden_layers + 1)
    (adapter,) = source.adapters
    assert (adapter.lora.rank, len(adapter.lora.terms)) == (4, 3 * 10)
    assert source.upsampler(TWO_STAGES[family]).scale == 2
    models = Castsheet.load(tmp_path, device="cpu", cache_dir=tmp_path / "cache").models
    model = models.transformer(Castsheet(models).settings())
    deviation = model.transformer_blocks[0].attn1.to_q.weight.float().std()
    assert torch.isclose(deviation, torch.tensor(48**-0.5), rtol=0.1)
