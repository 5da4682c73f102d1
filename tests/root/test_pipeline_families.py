"""Clips of LTX-2.5 through the same commands, and what must not cross from one family to the other."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from castsheet.errors import TextEncoderError
from castsheet.loading.source import Source
from castsheet.pipeline import Castsheet
from tests.doubles.gemma4_doubles import write_packed
from tests.doubles.ltx25_doubles import DENOISER, ENCODER, MARKER, as_ltx_25, write_whole
from tests.doubles.text_doubles import write_gemma
from tests.doubles.tiny_25 import build_split, build_whole, tiny_tensors
from tests.doubles.tiny_bundle import build_bundle, model_config, tiny_sheet
from tests.doubles.tiny_runs import ACTION, copied, last_latents


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return tiny_tensors(audio=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Tensor]) -> Path:
    return build_whole(tmp_path_factory.mktemp("whole"), tensors, audio=True)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Tensor]) -> Path:
    return build_split(tmp_path_factory.mktemp("split"), tensors, audio=True)


def clip_of(folder: Path, cache: Path, **options):
    return Castsheet.load(folder, device="cpu", cache_dir=cache)(tiny_sheet(), ACTION, seed=5, **options)


def test_whole_and_split_files_give_the_same_clip_bit_for_bit(
    whole: Path, split: Path, tmp_path: Path
) -> None:
    """Red: a part of a split model is read otherwise than the same part of a whole one, or not at all."""
    one = clip_of(whole, tmp_path / "a", audio=True)
    other = clip_of(split, tmp_path / "b", audio=True)
    assert np.array_equal(one.frames, other.frames)
    assert one.audio is not None
    assert np.array_equal(one.audio, other.audio)
    record = other.provenance["model"]
    assert record["family"] == "ltx-2.5"
    assert len(record["checkpoint"]) == 4
    assert record["text_encoder"]["name"] == Path(ENCODER).name


def test_the_marker_reaches_the_clip(whole: Path, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """Red: from the command line on, a 2.5 clip is computed without its marker."""
    plain = shutil.copytree(whole, tmp_path / "plain")
    zeroed = tensors | {MARKER: torch.zeros_like(tensors[MARKER])}
    write_whole(plain / "ltx.safetensors", zeroed, as_ltx_25(model_config(audio=True)))
    with_marker, without = (
        last_latents(
            Castsheet.load(folder, device="cpu", cache_dir=tmp_path / "cache"), steps=1, guidance=1.0
        )
        for folder in (whole, plain)
    )
    assert float((with_marker - without).norm() / with_marker.norm()) > 0.1


def test_encoded_prompts_of_one_family_are_never_read_for_the_other(tmp_path: Path) -> None:
    """Red: contexts of LTX-2.3, which have the same shapes, condition a clip of LTX-2.5."""
    older = build_bundle(tmp_path / "older")
    newer = shutil.copytree(older, tmp_path / "newer")
    # The worst case: one encoder and the same connectors. Only the family differs.
    stored = load_file(older / "tiny.safetensors")
    config = as_ltx_25(model_config())
    gone = re.compile(r"model\.diffusion_model\.transformer_blocks\.\d+\.ff\.net\..*\.bias")
    kept = {name: one for name, one in stored.items() if not gone.fullmatch(name)}
    marker = torch.zeros(1, stored["model.diffusion_model.patchify_proj.bias"].shape[0])
    write_whole(newer / "tiny.safetensors", kept | {MARKER: marker}, config)
    text = json.loads((newer / "text_encoder" / "config.json").read_text())
    text["gemma_version"] = "gemma4-12b-ltx-v1"
    for folder in (older, newer):
        (folder / "text_encoder" / "config.json").write_text(json.dumps(text))
    cache = tmp_path / "cache"
    for folder, count in ((older, 2), (newer, 4), (older, 4)):
        castsheet = Castsheet.load(folder, device="cpu", cache_dir=cache)
        run = castsheet.prepare(tiny_sheet(), ACTION, settings=castsheet.settings(), check=False)
        castsheet.contexts(run)
        assert len(list((cache / "contexts").iterdir())) == count


@pytest.mark.parametrize("case", ["stock", "another version", "gemma-3", "gemma-4 with 2.3"])
def test_text_encoders_of_another_family_are_refused(whole: Path, tmp_path: Path, case: str) -> None:
    """Red: an encoder whose states have the right shape, and other meanings, is used without a word."""
    model = whole
    if case == "gemma-4 with 2.3":
        model = build_bundle(tmp_path / "older")
        encoder, says = write_packed(tmp_path / "e.safetensors"), "gemma4"
    elif case == "gemma-3":
        encoder, says = tmp_path / "gemma", "states no version"
        encoder.mkdir()
        write_gemma(encoder)
    else:
        version, says = (None, "states no version") if case == "stock" else ("gemma4-v2", "gemma4-v2")
        encoder = write_packed(tmp_path / "e.safetensors", version=version)
    with pytest.raises(TextEncoderError, match=says) as caught:
        Castsheet.load(model, text_encoder=encoder)
    assert "--text-encoder" in caught.value.remedy


def test_a_denoiser_finds_its_text_encoder_beside_it(split: Path) -> None:
    """Red: a user who names the denoiser of a split model must name each of its other files too."""
    source = Source.open(split / DENOISER)
    assert source.text_encoder == split / ENCODER
    assert source.checkpoint.has_audio
    assert Source.open(split).text_encoder == split / ENCODER


def test_a_bundle_of_split_files_is_as_good_as_their_folder(split: Path, tmp_path: Path) -> None:
    """Red: a bundle can name whole files only."""
    bundle = copied(split, tmp_path / "b", files={"checkpoint": DENOISER, "text_encoder": ENCODER})
    assert len(Source.open(bundle).checkpoint.parts) == 5
