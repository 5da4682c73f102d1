"""Vision models of transformers as the judge's embedder, at tiny random sizes, and NexusScore by them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

from castsheet.cli import main
from castsheet.errors import CheckpointError
from castsheet.judge.features import HubFeatures
from castsheet.judge.judge import Judge, Options
from tests.doubles.judge_doubles import FOLDER, MeanColour, fixture_clip, fixture_sheet

torch.set_num_threads(1)
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def dino(folder: Path) -> Path:
    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**TINY)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"crop_size": {"height": 28, "width": 28}}))
    return folder


def clip(folder: Path) -> Path:
    torch.manual_seed(0)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vision = {**TINY, "intermediate_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"crop_size": 28, "image_mean": [0.5] * 3}))
    return folder


@pytest.mark.parametrize(("build", "width"), [(dino, 16), (clip, 8)])
def test_crops_of_any_size_become_vectors(build: object, width: int, tmp_path: Path) -> None:
    """Red: CLIP or DINO models cannot be used, or equal crops get unequal vectors."""
    model = HubFeatures(str(build(tmp_path / "model")))
    random = np.random.default_rng(0)
    tall, wide = (random.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((90, 20), (5, 60)))
    vectors = model.embed([tall, wide, tall])
    assert vectors.shape == (3, width)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    """Red: a missing model ends in a traceback, or is fetched without being asked."""
    with pytest.raises(CheckpointError, match="local cache"):
        HubFeatures("nobody/no-such-model")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        HubFeatures(str(tmp_path))


def test_nexus_score_is_reported_for_every_element(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: NexusScore exists as a formula only, or takes a stranger for the hero."""
    judge = Judge(fixture_sheet(), Options(features=MeanColour()))
    clean, stranger = judge(fixture_clip("clean")), judge(fixture_clip("stranger"))
    assert clean.models == ["mean-colour"]
    assert set(clean.features) == {"hero", "rival", "thing", "place"}
    assert clean.features["hero"].seen == 1
    assert clean.features["hero"].corrected > stranger.features["hero"].corrected
    assert clean.features["hero"].published == pytest.approx(clean.features["hero"].corrected / 32)
    files = [str(FOLDER / "clean.mp4"), "--sheet", str(FOLDER / "sheet.png")]
    with pytest.raises(SystemExit):
        main(["judge", *files, "--json", "--features", str(dino(tmp_path / "dino"))])
    held = json.loads(capsys.readouterr().out)["clips"][0]
    assert held["features"]["hero"]["seen"] == 1
