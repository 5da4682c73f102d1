"""Training sets in the official trainer's layout, file by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from castsheet.cli import main
from castsheet.loading.source import Source
from castsheet.ltx.parts.text import GemmaEncoder, TextEncoder
from castsheet.machine.processes import World
from castsheet.train.data.augment import Augment
from castsheet.train.data.dataset import Dataset, DatasetError
from castsheet.train.data.encode import Encoding, SizeBucket, encode, read_table
from castsheet.train.data.official import open_data
from castsheet.train.data.precomputed import precompute
from tests.doubles import train_tiny as tiny
from tests.doubles.tiny_bundle import CHANNELS, FRAMES, HEIGHT, WIDTH, build_bundle

CPU = torch.device("cpu")
PARTS = ("latents", "reference_latents", "conditions")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny random model with an audio half, as the official one has."""
    return Source.open(build_bundle(tmp_path_factory.mktemp("model") / "tiny", audio=True))


def _job(source: Source, out: Path, **changes) -> Encoding:
    bucket = SizeBucket(WIDTH, HEIGHT, FRAMES, 24.0)
    return Encoding(
        **{"source": source, "out": out, "bucket": bucket, "augment": Augment(), "dtype": "fp32"} | changes
    )


def _read(out: Path, part: str, name: str) -> dict:
    return torch.load(out / ".precomputed" / part / f"{name}.pt", weights_only=True)


def _files(out: Path) -> dict[str, list[str]]:
    root = out / ".precomputed"
    return {
        part: sorted(str(path.relative_to(root / part)) for path in (root / part).rglob("*"))
        for part in PARTS
    }


def test_the_layout_is_the_official_one(source, table, tmp_path):
    """Red: the official trainer finds no sample, or other names, types, sizes or numbers than its scripts
    write."""
    rows, out = read_table(table), tmp_path / "official"
    assert precompute(rows, _job(source, out), folder=table.parent) == 3
    assert _files(out) == {part: ["raw", "raw/0.pt", "raw/1.pt", "raw/2.pt"] for part in PARTS}
    encode(rows, _job(source, tmp_path / "ours"))
    ours = Dataset.open(tmp_path / "ours", channels=CHANNELS, context_dim=tiny.WIDTH).load(0)
    clip, sheet = (_read(out, part, "raw/0") for part in PARTS[:2])
    sizes = {"num_frames": 3, "height": 2, "width": 4, "fps": 24.0}
    for content in (clip, sheet):
        assert list(content) == ["latents", "num_frames", "height", "width", "fps"]
        assert {name: content[name] for name in sizes} == sizes
        assert type(content["fps"]) is float
        assert content["latents"].dtype == torch.bfloat16
        assert content["latents"].shape == (CHANNELS, 3, 2, 4)
    assert torch.equal(clip["latents"], ours.latents_CFHW)
    assert torch.equal(sheet["latents"], ours.references_KCfhw[0].expand(-1, 3, -1, -1))


def test_captions_are_what_the_official_scripts_write(source, table, tmp_path):
    """Red: features have other names, types or padding than the official trainer's connectors read."""
    out = tmp_path / "set"
    precompute(read_table(table)[:1], _job(source, out), folder=table.parent)
    told = _read(out, "conditions", "raw/0")
    connectors = source.checkpoint.load_connectors(dtype=torch.float32, audio=True)
    gemma = GemmaEncoder.load(source.text_encoder, dtype=torch.float32)
    length = TextEncoder(gemma, connectors).length
    # As the official feature extractor does it: the whole padded text, real tokens on the right.
    ids = gemma.tokens("hero walks left")
    hidden = torch.zeros(1, length, gemma.width, gemma.states)
    hidden[:, -len(ids) :] = gemma.hidden_states(torch.tensor([ids]))
    normed = (hidden * torch.rsqrt(hidden.square().mean(2, keepdim=True) + 1e-6)).flatten(2)
    assert set(told) == {"video_prompt_embeds", "audio_prompt_embeds", "prompt_attention_mask"}
    for name, project in (
        ("video_prompt_embeds", connectors.video_text_proj_in),
        ("audio_prompt_embeds", connectors.audio_text_proj_in),
    ):
        wanted = project(normed * (project.out_features / gemma.width) ** 0.5)[0]
        assert told[name].dtype == torch.bfloat16
        torch.testing.assert_close(told[name].float(), wanted, atol=0.02, rtol=0.01)
    mask = told["prompt_attention_mask"]
    assert mask.dtype == torch.int64
    assert mask.tolist() == [0] * (length - len(ids)) + [1] * len(ids)


def test_files_hold_their_own_numbers_and_no_more(source, table, tmp_path):
    """Red: a tensor that is a view is stored with all that it looks into: sets grow many times too large."""
    out = tmp_path / "set"
    precompute(read_table(table)[:1], _job(source, out), folder=table.parent)
    for part in PARTS:
        content = _read(out, part, "raw/0")
        tensors = [one for one in content.values() if isinstance(one, torch.Tensor)]
        assert all(one.is_contiguous() for one in tensors)
        assert all(one.untyped_storage().nbytes() == one.nbytes for one in tensors)


def test_the_way_there_and_back(source, table, tmp_path):
    """Red: what is written in the official layout is read back as another clip, sheet or caption."""
    rows = read_table(table)
    precompute(rows, _job(source, tmp_path / "official"), folder=table.parent)
    encode(rows, _job(source, tmp_path / "ours"))
    sizes = {"channels": CHANNELS, "context_dim": tiny.WIDTH, "downscale": 1, "where": World(0, 1, CPU)}
    back = open_data(tmp_path / "official", tmp_path / "run", source.checkpoint, **sizes)
    ours = Dataset.open(tmp_path / "ours", channels=CHANNELS, context_dim=tiny.WIDTH)
    assert [one.name for one in back.entries] == [one.name for one in ours.entries]
    for number in range(len(ours)):
        one, other = back.load(number), ours.load(number)
        assert torch.equal(one.latents_CFHW, other.latents_CFHW)
        assert torch.equal(one.references_KCfhw, other.references_KCfhw)
        torch.testing.assert_close(one.context_LD.float(), other.context_LD, atol=0.05, rtol=0.05)


def test_further_sheets_are_samples_and_go_when_they_are_no_more(source, table, tmp_path):
    """Red: versions of a sheet are lost, finished work is done again, or what is stale is trained on."""
    rows, out = read_table(table)[:1], tmp_path / "set"
    both = _job(source, out, augment=Augment(2, 0.0, 0.0, 4))
    assert precompute(rows, both, folder=table.parent) == 1
    assert precompute(rows, both, folder=table.parent) == 0
    assert _files(out) == {part: ["raw", "raw/0.pt", "raw/0.sheet1.pt"] for part in PARTS}
    plain, other = (_read(out, "reference_latents", f"raw/0{more}")["latents"] for more in ("", ".sheet1"))
    assert not torch.equal(plain, other)
    assert precompute(rows, _job(source, out), folder=table.parent) == 1
    assert _files(out) == {part: ["raw", "raw/0.pt"] for part in PARTS}


def test_two_clips_of_one_name_are_refused(source, table, tmp_path):
    """Red: one clip's sample silently takes another one's place."""
    line = json.loads(table.read_text().splitlines()[0])
    (tmp_path / "raw" / "0.sheet1.mp4").write_bytes((tmp_path / "raw" / "0.mp4").read_bytes())
    twice = [line | {"sheets": ["raw/bare.png"]}, line | {"video": "raw/0.sheet1.mp4"}]
    (tmp_path / "twice.jsonl").write_text("\n".join(map(json.dumps, twice)))
    with pytest.raises(DatasetError, match=r"two samples are called raw/0\.sheet1"):
        precompute(read_table(tmp_path / "twice.jsonl"), _job(source, tmp_path / "set"), folder=tmp_path)


def test_the_command_writes_set_and_configuration(source, table, tmp_path):
    """Red: the option does nothing, or its configuration names another folder than the data's."""
    out, model = tmp_path / "set", source.checkpoint.path.parent
    with pytest.raises(SystemExit) as ended:
        main(["encode", str(table), "-o", str(out), "--model", str(model), "--official", "--device", "cpu"])
    assert not ended.value.code
    config = yaml.safe_load((out / "official.yaml").read_text())
    assert config["data"]["preprocessed_data_root"] == str(out / ".precomputed")
    assert config["model"]["model_path"] == str(source.checkpoint.path)
    (reference,) = config["training_strategy"]["video"]["conditions"]
    assert (out / ".precomputed" / reference["latents_dir"] / "raw" / "0.pt").is_file()
