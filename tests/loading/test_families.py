"""What a user of LTX-2.5 is told and asked: downloads, doctor, presets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from castsheet.errors import DownloadError, SettingsError
from castsheet.loading.bundle import Bundle
from castsheet.loading.doctor import diagnose, family_in
from castsheet.loading.download import RemoteFile, released, sources, write_bundle
from castsheet.loading.source import Source
from castsheet.ltx.family import FAMILIES
from castsheet.ltx.releases import PublishedFile
from castsheet.ltx.speed.memory import official
from castsheet.pipeline import Castsheet
from castsheet.settings import CARD, PRESETS, override, preset
from tests.doubles.ltx25_doubles import AUDIO, DENOISER, DISTILLED, ENCODER, VAE
from tests.doubles.tiny_25 import build_whole, tiny_tensors
from tests.doubles.tiny_bundle import write_bundle as write_tiny_bundle

FAMILY = "ltx-2.5"


def fetched(folder: Path, variant: str) -> list[RemoteFile]:
    """The files of a variant as if they were downloaded, each of one byte."""
    files = []
    for source in sources(family=FAMILY, variant=variant):
        path = folder / source.place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        files.append(RemoteFile(source, str(source.file), "", 1, "", path))
    return files


def test_a_variant_is_asked_for_and_never_guessed() -> None:
    """Red: 42 GB of the wrong one of two models are downloaded."""
    with pytest.raises(DownloadError, match="dev, distilled") as caught:
        sources(family=FAMILY)
    assert "--variant" in caught.value.remedy
    for variant, file in (("dev", DENOISER), ("distilled", DISTILLED)):
        found = {source.role: source.file for source in sources(family=FAMILY, variant=variant)}
        assert found["checkpoint"] == file
        assert (found["vae"], found["audio"], found["text_encoder"]) == (VAE, AUDIO, ENCODER)
    assert [one.role for one in sources(["adapter"], family=FAMILY)] == ["adapter"]
    with pytest.raises(DownloadError, match="no variant 'fast'"):
        sources(family=FAMILY, variant="fast")
    with pytest.raises(DownloadError, match=r"ltx-2\.0"):
        sources(family="ltx-2.0")


@pytest.mark.parametrize(("variant", "usual"), [("dev", "card-2.5"), ("distilled", "distilled-2.5")])
def test_a_download_remembers_the_variants_recipe(tmp_path: Path, variant: str, usual: str) -> None:
    """Red: the distilled model, once downloaded, is run with thirty guided steps."""
    path = write_bundle(tmp_path, fetched(tmp_path, variant))
    assert path is not None
    bundle = Bundle.load(tmp_path)
    assert bundle.settings(None) == PRESETS[usual]
    assert bundle.text_encoder == tmp_path / ENCODER
    assert json.loads(path.read_text())["files"]["adapters"]


def test_doctor_knows_the_family_of_a_folder(tmp_path: Path) -> None:
    """Red: a user who has the files of LTX-2.5 is sent to download LTX-2.3."""
    assert family_in(tmp_path) == "ltx-2.3"
    assert diagnose(tmp_path, FAMILY).models[0].state == "absent"
    fetched(tmp_path, "dev")
    (tmp_path / VAE).unlink()
    report = diagnose(tmp_path)
    states = {model.role: model.state for model in report.models}
    assert states == {one: "absent" if one == "vae" else "present" for one in states}
    assert Path(report.models[0].file) == Path(DENOISER)
    assert any("LTX-2.5 22B" in one.what for one in report.abilities)
    assert any("--family ltx-2.5 --variant" in step for step in report.steps)
    assert "10 million" in report.licence
    assert "derivatives" in report.licence
    with pytest.raises(DownloadError, match=r"ltx-2\.0"):
        diagnose(tmp_path, "ltx-2.0")


@pytest.mark.parametrize("audio", [False, True])
def test_the_released_sizes_add_up(audio: bool) -> None:
    """Red: doctor plans for a model of another size than the published one."""
    sizes = {name: released(name).sizes for name in ("ltx-2.3", FAMILY)}
    total = {name: (one.joint if audio else one.video).total for name, one in sizes.items()}
    assert total["ltx-2.3"] - total[FAMILY] == 48 * (16_384 + 4_096) - 4_096
    older, newer = (official(family=FAMILIES[name], audio=audio) for name in sizes)
    assert newer.block < older.block
    assert newer.text > older.text


def test_a_place_is_where_the_repository_has_the_file() -> None:
    """Red: downloaded files lie where no run looks for them."""
    assert PublishedFile("vae", "a/b", VAE, 1).place == Path(VAE)
    assert PublishedFile("text_encoder", "a/b", None, 1, folder="gemma").place == Path("gemma")


def test_a_bare_model_of_2_5_asks_for_its_recipe(tmp_path: Path) -> None:
    """Red: a distilled model runs with the dev model's recipe because a default guessed."""
    folder = build_whole(tmp_path / "m", tiny_tensors())
    files = {"text_encoder": folder / "encoder.safetensors"}
    source = Source.open(folder / "ltx.safetensors", files["text_encoder"])
    with pytest.raises(SettingsError, match="dev or a distilled") as caught:
        source.settings()
    assert "--preset card-2.5" in caught.value.remedy
    assert "--preset distilled-2.5" in caught.value.remedy
    assert source.settings("distilled-2.5") == PRESETS["distilled-2.5"]
    castsheet = Castsheet.load(folder / "ltx.safetensors", device="cpu", **files)
    assert castsheet.settings("card-2.5", steps=4).steps == 4
    write_tiny_bundle(
        folder,
        usual="distilled-2.5",
        preset={},
        bucket=None,
        files=json.loads((folder / "bundle.json").read_text())["files"],
    )
    assert Source.open(folder).settings() == PRESETS["distilled-2.5"]


def test_the_recipes_are_the_published_ones() -> None:
    """Red: a preset's strength, sampler or compression is no longer what its sources say."""
    card, distilled = preset("card-2.5"), preset("distilled-2.5")
    assert (card.lora_strength, card.guidance, card.stg_blocks, card.rescale) == (1.0, 3.0, (28,), 0.7)
    assert (card.width, card.height, card.frames, card.steps) == (CARD.width, CARD.height, 121, 30)
    assert (distilled.sampler, distilled.eta, distilled.steps, distilled.guidance) == (
        "euler_ancestral",
        1.0,
        8,
        1.0,
    )
    assert card.first_frame_crf == distilled.first_frame_crf == 18


def test_generated_keyframes_are_refused_by_name() -> None:
    """Red: a user who asks for LTX-2.5's keyframe slots is told of a misspelling."""
    with pytest.raises(SettingsError, match=r"keyframes that LTX-2\.5 generates are not made"):
        override(CARD, {"keyframe_slots": 4})
