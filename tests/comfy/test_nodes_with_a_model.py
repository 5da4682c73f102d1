"""The nodes that run Castsheet's own pipeline, on a tiny bundle of random weights."""

from __future__ import annotations

import pytest
import torch

from castsheet.comfy.wire import NodeError
from tests.comfy.test_nodes import cast, sheet_of
from tests.doubles.tiny_bundle import FRAMES, HEIGHT, WIDTH, build_bundle


@pytest.fixture
def bundle(nodes, tmp_path, monkeypatch):
    """The nodes, and the bundle among their choices."""
    build_bundle(tmp_path / "models" / "castsheet" / "tiny", audio=True)
    monkeypatch.setenv("CASTSHEET_CACHE", str(tmp_path / "cache"))
    (choice,) = (one for one in nodes["CastsheetGenerate"].define_schema().inputs if one.id == "bundle")
    assert choice.told["options"] == ["mini", "tiny"]
    return nodes


def test_a_bundle_makes_a_clip(bundle):
    """Red: a bundle's clip is not ComfyUI's IMAGE and VIDEO, or strength or seed are lost."""
    told = {"bundle": "tiny", "steps": 1}
    node = bundle["CastsheetGenerate"]
    made = node.execute(sheet=sheet_of(bundle)["sheet"], seed=1, **told).args
    assert made[0].shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert (made[0].min() >= 0, made[0].max() <= 1, made[2]) == (True, True, 24.0)
    assert torch.equal(made[1].get_components().images, made[0])
    again = node.execute(sheet=sheet_of(bundle)["sheet"], seed=1, **told).args
    assert torch.equal(made[0], again[0])
    weak = sheet_of(bundle, elements=cast(bundle, strength=0.25))["sheet"]
    assert not torch.equal(made[0], node.execute(sheet=weak, seed=1, **told).args[0])
    assert not torch.equal(made[0], node.execute(sheet=sheet_of(bundle)["sheet"], seed=2, **told).args[0])
    with pytest.raises(NodeError, match="has no action"):
        node.execute(sheet=sheet_of(bundle, action="")["sheet"], seed=1, **told)
    with pytest.raises(NodeError, match="no bundle 'gone'"):
        node.execute(sheet=weak, seed=1, bundle="gone", steps=1)


def test_a_bundle_encodes_a_prompt(bundle):
    """Red: contexts of picture and sound do not lie side by side, where ComfyUI's model looks for them."""
    out = bundle["CastsheetEncodePrompt"].execute(bundle="tiny", prompt="hero waves")
    ((context, extras),) = out.args[0]
    assert (context.shape[0], context.shape[2]) == (1, 48 + 24)  # the connectors' widths, 3 x 16 and 3 x 8
    assert (context.dtype, extras) == (torch.float32, {})
