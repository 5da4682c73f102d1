"""Model files: the complete official layout, strict loading, folders, fp8, families, hostile files."""

from __future__ import annotations

import json
import math
import resource
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE
from safetensors.torch import load_file, save_file

from castsheet.errors import CheckpointError, FamilyError, OutputError
from castsheet.ltx import keys
from castsheet.ltx.family import detect_family
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.parts.audio import audio_vae_settings, vocoder_settings
from castsheet.ltx.parts.vae import diffusers_settings
from mini.official import official_keys, official_tensors, write_checkpoint
from tests.doubles.ltx25_doubles import as_ltx_25
from tests.doubles.ltx_tiny import load_wide
from tests.doubles.model_doubles import MINI_VAE, OFFICIAL, STATES, random_tensors, toy_config, write_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.safetensors")


def test_official_file_has_the_published_counts():
    """Red: a published 22B file has missing or unexpected tensors for our modules."""
    shapes = official_keys(OFFICIAL)
    assert len(shapes) == 5_947
    assert sum(map(math.prod, shapes.values())) == 23_069_505_387
    denoiser = [name for name in shapes if keys.part_of(name) == "transformer"]
    assert len(denoiser) == 4_186
    video = [name for name in denoiser if not keys.is_audio(name)]
    assert len(video) == 1_457
    assert sum(math.prod(shapes[name]) for name in video) == 13_124_316_288
    assert shapes["text_embedding_projection.video_aggregate_embed.weight"] == (4096, 188_160)
    assert shapes["model.diffusion_model.transformer_blocks.47.ff.net.0.proj.weight"] == (16_384, 4096)


def test_full_depth_file_loads_strictly(tmp_path: Path):
    """Red: some tensor of a full-depth file is missing, unexpected, or lands in the wrong place."""
    path = write_toy(tmp_path / "deep.safetensors", layers=48)
    stored = load_file(path)
    assert len(stored) == 5_947
    checkpoint = Checkpoint.open(path)
    assert (checkpoint.family, checkpoint.has_audio, len(checkpoint.parts)) == ("ltx-2.3", True, 5)
    audio_vae, vocoder = checkpoint.load_audio()
    loaded = official_tensors(
        transformer=load_wide(checkpoint, audio=True),
        connectors=checkpoint.load_connectors(audio=True),
        vae=checkpoint.load_video_vae(),
        audio_vae=audio_vae,
        vocoder=vocoder,
    )
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], tensor.to(loaded[name].dtype)) for name, tensor in stored.items())


def test_dtypes_and_freezing(toy: Path):
    """Red: AdaLN tables lose precision at load, or a base model is trained by accident."""
    model = load_wide(Checkpoint.open(toy))
    dtypes = {name: p.dtype for name, p in model.named_parameters()}
    assert {d for name, d in dtypes.items() if "scale_shift_table" in name} == {torch.float32}
    assert {d for name, d in dtypes.items() if "scale_shift_table" not in name} == {torch.bfloat16}
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training


def test_video_only_run_reads_no_audio_of_a_full_file(toy: Path):
    """Red: a video-only run needs memory for six billion audio parameters."""
    model = load_wide(Checkpoint.open(toy))
    assert not any(keys.is_audio(name) for name in model.state_dict())


def test_file_without_audio_is_valid(tmp_path: Path):
    """Red: the mini model, or a pruned video-only file, is refused."""
    config = toy_config(audio=False)
    config["vae"] = MINI_VAE
    write_checkpoint(tmp_path / "mini.safetensors", random_tensors(config), config, "2.3.0")
    checkpoint = Checkpoint.open(tmp_path / "mini.safetensors")
    assert (checkpoint.family, checkpoint.has_audio) == ("ltx-2.3", False)
    assert checkpoint.parts == {"transformer", "connectors", "vae"}
    assert checkpoint.load_video_vae().spatial == 16
    assert checkpoint.load_connectors().states == STATES
    load_wide(checkpoint)
    with pytest.raises(CheckpointError, match="no audio half"):
        load_wide(checkpoint, audio=True)
    with pytest.raises(CheckpointError, match="no audio parts"):
        checkpoint.load_audio()
    pruned = load_file(write_toy(tmp_path / "full.safetensors"))
    pruned = {
        name: t for name, t in pruned.items() if keys.part_of(name) != "audio_vae" and not keys.is_audio(name)
    }
    write_checkpoint(tmp_path / "pruned.safetensors", pruned, toy_config(), "2.3.0")
    assert not Checkpoint.open(tmp_path / "pruned.safetensors").has_audio
    load_wide(Checkpoint.open(tmp_path / "pruned.safetensors"))


def test_missing_and_unknown_tensors_are_named(tmp_path: Path):
    """Red: an incomplete file loads with random weights."""
    config, tensors = toy_config(), random_tensors(toy_config())
    name = "model.diffusion_model.transformer_blocks.1.attn1.to_q.weight"
    short = {key: t for key, t in tensors.items() if key != name}
    write_checkpoint(tmp_path / "short.safetensors", short, config, "2.3.0")
    with pytest.raises(CheckpointError, match=r"1 missing: transformer_blocks\.1\.attn1\.to_q\.weight"):
        load_wide(Checkpoint.open(tmp_path / "short.safetensors"))
    extra = tensors | {"model.diffusion_model.transformer_blocks.2.attn1.to_q.weight": tensors[name]}
    write_checkpoint(tmp_path / "extra.safetensors", extra, config, "2.3.0")
    with pytest.raises(CheckpointError, match=r"1 unknown: transformer_blocks\.2\.attn1"):
        load_wide(Checkpoint.open(tmp_path / "extra.safetensors"))
    none = {key: t for key, t in tensors.items() if not key.startswith("vae.")}
    write_checkpoint(tmp_path / "none.safetensors", none, config, "2.3.0")
    with pytest.raises(CheckpointError, match="holds no vae"):
        Checkpoint.open(tmp_path / "none.safetensors").load_video_vae()


def test_nan_weights_are_refused(tmp_path: Path):
    """Red: a spoilt file gives black or noisy clips instead of an error."""
    tensors = random_tensors(toy_config())
    name = "model.diffusion_model.proj_out.weight"
    tensors[name] = tensors[name].clone()
    tensors[name][0, 0] = math.nan
    write_checkpoint(tmp_path / "nan.safetensors", tensors, toy_config(), "2.3.0")
    checkpoint = Checkpoint.open(tmp_path / "nan.safetensors")
    with pytest.raises(CheckpointError, match=r"NaN or infinity: model\.diffusion_model\.proj_out\.weight"):
        load_wide(checkpoint)


def test_weights_that_overflow_the_dtype_are_refused(tmp_path: Path):
    """Red: fp16 loading turns large weights into infinity without a word."""
    tensors = random_tensors(toy_config(), dtype=torch.float32)
    tensors["model.diffusion_model.proj_out.bias"] = torch.full((8,), 1e5)
    write_checkpoint(tmp_path / "large.safetensors", tensors, toy_config(), "2.3.0")
    checkpoint = Checkpoint.open(tmp_path / "large.safetensors")
    with pytest.raises(CheckpointError, match="proj_out"):
        load_wide(checkpoint, dtype=torch.float16)
    load_wide(checkpoint, dtype=torch.bfloat16)


@pytest.mark.parametrize("rows", [False, True], ids=["one scale", "a scale a row"])
def test_fp8_weights_are_multiplied_by_their_scales(tmp_path: Path, rows: bool):
    """Red: fp8 files load with weights off by their scale."""
    tensors = random_tensors(toy_config(), dtype=torch.float32)
    name = "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight"
    weight = tensors[name]
    scale = (weight.abs().amax(1) if rows else weight.abs().max()) / 448
    tensors[name] = (weight / (scale[:, None] if rows else scale)).to(torch.float8_e4m3fn)
    tensors[name + "_scale"] = scale
    tensors[name.replace("weight", "input_scale")] = torch.tensor(1.0)
    write_checkpoint(tmp_path / "fp8.safetensors", tensors, toy_config(), "2.3.0")
    loaded = load_wide(Checkpoint.open(tmp_path / "fp8.safetensors"), dtype=torch.float32)
    torch.testing.assert_close(
        loaded.transformer_blocks[0].attn1.to_q.weight, weight, atol=weight.abs().max().item() / 16, rtol=0
    )


def test_fp8_scales_of_another_layout_are_refused(tmp_path: Path):
    """Red: block-wise scales are broadcast over the wrong numbers."""
    tensors = random_tensors(toy_config())
    name = "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight"
    tensors |= {name: tensors[name].to(torch.float8_e4m3fn), f"{name}_scale": torch.ones(4, 4)}
    write_checkpoint(tmp_path / "fp8.safetensors", tensors, toy_config(), "2.3.0")
    with pytest.raises(CheckpointError, match="16 scales for 32 rows"):
        load_wide(Checkpoint.open(tmp_path / "fp8.safetensors"))


def test_connectors_fingerprint_follows_the_weights(tmp_path: Path, toy: Path):
    """Red: contexts cached for other connectors are used."""
    before = Checkpoint.open(toy).connectors_fingerprint()
    assert Checkpoint.open(toy).connectors_fingerprint() == before
    tensors = load_file(toy)
    name = "text_embedding_projection.video_aggregate_embed.bias"
    write_checkpoint(tmp_path / "a.safetensors", tensors | {name: tensors[name] + 1}, toy_config(), "2.3.0")
    assert Checkpoint.open(tmp_path / "a.safetensors").connectors_fingerprint() != before


def write_diffusers_folder(folder: Path, **newer: bool) -> None:
    """What diffusers' own classes write for the toy config, the denoiser in several shards."""
    config = toy_config()
    raw = config["transformer"]
    torch.manual_seed(0)
    transformer = LTX2VideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
        audio_in_channels=16, audio_out_channels=16, audio_num_attention_heads=2, audio_attention_head_dim=8,
        audio_cross_attention_dim=16, num_layers=2, caption_channels=32, rope_type="split",
        gated_attn=True, cross_attn_mod=True, audio_gated_attn=True, audio_cross_attn_mod=True,
        use_prompt_embeddings=False, perturbed_attn=True, **newer,
    )  # fmt: skip
    connectors = LTX2TextConnectors(
        caption_channels=32, text_proj_in_factor=STATES, rope_type="split", per_modality_projections=True,
        video_connector_num_attention_heads=2, video_connector_attention_head_dim=16,
        audio_connector_num_attention_heads=2, audio_connector_attention_head_dim=8,
        video_connector_num_learnable_registers=16, audio_connector_num_learnable_registers=16,
        video_gated_attn=True, audio_gated_attn=True, proj_bias=True,
        video_hidden_dim=32, audio_hidden_dim=16,
    )  # fmt: skip
    assert raw["connector_num_layers"] == 2
    vae = AutoencoderKLLTX2Video(**diffusers_settings(config["vae"]))
    audio_vae = AutoencoderKLLTX2Audio(**audio_vae_settings(config["audio_vae"]))
    vocoder = LTX2VocoderWithBWE(**vocoder_settings(config["vocoder"]))
    transformer.save_pretrained(folder / "transformer", max_shard_size="100KB")
    for name, module in (
        ("connectors", connectors),
        ("vae", vae),
        ("audio_vae", audio_vae),
        ("vocoder", vocoder),
    ):
        module.save_pretrained(folder / name)
    (folder / "model_index.json").write_text("{}")


@pytest.fixture(scope="module")
def diffusers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diffusers")
    write_diffusers_folder(folder)
    return folder


def test_diffusers_folder_equals_the_official_layout(diffusers_folder: Path):
    """Red: a diffusers folder loads with renamed, missing or misread parts."""
    checkpoint = Checkpoint.open(diffusers_folder)
    config = toy_config()
    assert checkpoint.family == "ltx-2.3"
    shapes = {name: checkpoint.entries[name].shape for name in checkpoint.keys}
    assert shapes == official_keys(config, states=STATES)
    stored = checkpoint.config
    assert diffusers_settings(stored.vae) == diffusers_settings(config["vae"])
    assert audio_vae_settings(stored.audio_vae or {}) == audio_vae_settings(config["audio_vae"])
    assert vocoder_settings(stored.vocoder or {}) == vocoder_settings(config["vocoder"])
    for audio in (False, True):
        assert load_wide(checkpoint, audio=audio).config.audio is audio
    assert checkpoint.load_connectors(audio=True).settings.widths == (32, 16)
    assert checkpoint.load_video_vae().temporal == 8
    assert checkpoint.load_audio()[1].rate == 48_000


def test_diffusers_folder_of_ltx_25(tmp_path: Path):
    """Red: a folder of diffusers' LTX-2.5 is read as LTX-2.3, or its marker is lost."""
    write_diffusers_folder(tmp_path, ff_bias=False, use_keyframes_abs_pos_embedding=True)
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.family == "ltx-2.5"
    shapes = {name: checkpoint.entries[name].shape for name in checkpoint.keys}
    assert shapes == official_keys(as_ltx_25(toy_config()), states=STATES)
    assert load_wide(checkpoint, audio=True).config.marker


def test_diffusers_folder_and_official_file_have_the_same_config(diffusers_folder: Path, toy: Path):
    """Red: the same model behaves differently by the container that it came in."""
    assert Checkpoint.open(diffusers_folder).config.transformer == Checkpoint.open(toy).config.transformer


def test_damaged_diffusers_folders_are_refused(tmp_path: Path, diffusers_folder: Path):
    """Red: a half-downloaded folder loads, or ends in a traceback."""
    for part in ("transformer", "vae"):
        (tmp_path / part).mkdir()
        for file in (diffusers_folder / part).iterdir():
            (tmp_path / part / file.name).write_bytes(file.read_bytes())
    shard = sorted((tmp_path / "transformer").glob("*.safetensors"))[0]
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"lacks 1 of \d+ shards"):
        Checkpoint.open(tmp_path)
    shard.write_bytes(content)
    config = tmp_path / "vae" / "config.json"
    config.write_text(json.dumps({"latent_channels": 8}))
    with pytest.raises(CheckpointError, match="lacks or garbles"):
        Checkpoint.open(tmp_path)
    config.write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        Checkpoint.open(tmp_path)
    config.unlink()
    assert Checkpoint.open(tmp_path).parts == {"transformer"}
    index = next((tmp_path / "transformer").glob("*.index.json"))
    index.unlink()
    with pytest.raises(CheckpointError, match="or an index"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize(
    ("version", "names", "family"),
    [
        ("2.3.0", (), "ltx-2.3"),
        ("2.3", (), "ltx-2.3"),
        ("2.5.0", (), "ltx-2.5"),
        ("2.0", (), "ltx-2.0"),
        ("2.30", (), "unknown"),
        (None, (), "unknown"),
        (None, ("keyframes_abs_pos_embedding", "proj_out.weight"), "ltx-2.5"),
        (None, ("transformer_blocks.0.ff.net.2.weight",), "ltx-2.5"),
        (None, ("caption_projection.linear_1.weight", "proj_out.weight"), "ltx-2.0"),
        (
            None,
            ("transformer_blocks.0.attn1.to_gate_logits.weight", "prompt_adaln_single.linear.bias"),
            "ltx-2.3",
        ),
        (None, ("proj_out.weight",), "unknown"),
    ],
)
def test_family_detection(version: str | None, names: tuple[str, ...], family: str):
    """Red: files of another generation are taken for LTX-2.3, or the reverse."""
    stated = [] if version is None else [version]
    assert detect_family(stated, [keys.DIT + name for name in names]) == family


@pytest.mark.parametrize("version", ["2.5.0", "2.0.1"])
def test_other_generations_are_refused_when_loading(tmp_path: Path, version: str):
    """Red: a 2.0 file, or one whose header is another family's, runs as 2.3 and gives noise."""
    path = write_toy(tmp_path / "other.safetensors", version=version)
    checkpoint = Checkpoint.open(path)
    for load in (lambda: load_wide(checkpoint), checkpoint.load_video_vae, checkpoint.load_connectors):
        with pytest.raises(FamilyError, match=f"LTX-{version[:3]}") as error:
            load()
        assert error.value.remedy


@pytest.mark.parametrize("metadata", [None, {"config": "{"}, {"config": "[]"}, {"config": "{}"}])
def test_config_metadata_must_be_there_and_sound(tmp_path: Path, metadata: dict[str, str] | None):
    """Red: sizes are guessed when the header does not state them."""
    path = tmp_path / "plain.safetensors"
    save_file(random_tensors(toy_config()), path, metadata=metadata)
    with pytest.raises(CheckpointError, match="config"):
        load_wide(Checkpoint.open(path))


def test_write_is_whole_or_absent(tmp_path: Path):
    """Red: a failed write leaves half a file, or destroys the old one; or others may not read the new one."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    usual = path.stat().st_mode
    tensors = {"vae.a": torch.ones(2), "vae.b": torch.arange(6.0).view(2, 3).T}
    write_checkpoint(path, tensors, {"vae": {}}, "2.3.0")
    assert path.stat().st_mode == usual
    assert torch.equal(load_file(path)["vae.b"], tensors["vae.b"])
    assert Checkpoint.open(path).version == "2.3.0"
    tied = torch.ones(3)
    write_checkpoint(path, {"vae.a": tied, "vae.b": tied}, {"vae": {}}, "2.3.0")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_checkpoint(tmp_path / "file" / "model.safetensors", tensors, {}, "2.3.0")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OutputError):
            write_checkpoint(path, {"vae.a": torch.ones(100_000)}, {"vae": {}}, "2.3.0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_file(path).keys() == {"vae.a", "vae.b"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "model.safetensors"]
