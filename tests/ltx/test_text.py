"""Text path: the official formulas, the unpadded shortcut, Gemma folders, the context cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from transformers import AutoTokenizer

from castsheet.errors import CheckpointError, SettingsError, TextEncoderError
from castsheet.ltx.parts.connectors import TextConnectors, connectors_from_official, place_registers
from castsheet.ltx.parts.gemma import gemma_fingerprint
from castsheet.ltx.parts.text import Context, ContextCache, GemmaEncoder, TextEncoder
from mini.official import connectors_to_official
from tests.doubles.text_doubles import LAYERS, WIDTH, transformer_config, write_gemma, write_tokenizer

STATES = LAYERS + 1


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.1)
    return module


def diffusers_connectors() -> LTX2TextConnectors:
    return LTX2TextConnectors(
        caption_channels=WIDTH,
        text_proj_in_factor=STATES,
        video_connector_num_attention_heads=3,
        video_connector_attention_head_dim=16,
        video_connector_num_layers=2,
        video_connector_num_learnable_registers=16,
        video_gated_attn=True,
        audio_connector_num_attention_heads=3,
        audio_connector_attention_head_dim=8,
        audio_connector_num_layers=2,
        audio_connector_num_learnable_registers=16,
        audio_gated_attn=True,
        connector_rope_base_seq_len=4096,
        rope_type="split",
        per_modality_projections=True,
        video_hidden_dim=48,
        audio_hidden_dim=24,
        proj_bias=True,
    )


@pytest.fixture(scope="module")
def gemma_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gemma")
    write_gemma(folder)
    return folder


def test_unpadded_connectors_equal_diffusers_padded():
    """Red: contexts differ from what LTX-2.3 was trained with, for the video or the audio stream."""
    peer = randomised(diffusers_connectors())
    ours = TextConnectors(transformer_config(), states=STATES, audio=True)
    ours.load_state_dict(peer.state_dict())
    hidden = torch.randn(1, 11, WIDTH, STATES)
    padded = torch.cat([torch.randn(1, 32 - 11, WIDTH, STATES), hidden], dim=1)
    mask = torch.tensor([[0] * (32 - 11) + [1] * 11])
    expected_video, expected_audio, _ = peer(padded, mask)
    video, audio = ours(hidden, length=32)
    assert audio is not None
    torch.testing.assert_close(video, expected_video, atol=1e-5, rtol=0)
    torch.testing.assert_close(audio, expected_audio, atol=1e-5, rtol=0)


def test_batched_rows_equal_single_rows():
    """Red: a prompt's context depends on which other prompts share its training batch."""
    ours = randomised(TextConnectors(transformer_config(), states=STATES))
    long, short = torch.randn(1, 20, WIDTH, STATES), torch.randn(1, 5, WIDTH, STATES)
    for left in (True, False):
        padding = torch.randn(1, 15, WIDTH, STATES)
        row = torch.cat([padding, short] if left else [short, padding], dim=1)
        mask = torch.ones(2, 20, dtype=torch.bool)
        mask[1, slice(0, 15) if left else slice(5, 20)] = False
        batched, _ = ours(torch.cat([long, row]), mask, 32)
        for index, single in enumerate((long, short)):
            torch.testing.assert_close(
                batched[index : index + 1], ours(single, length=32)[0], atol=1e-5, rtol=0
            )


def test_registers_are_indexed_by_absolute_slot():
    """Red: empty slots hold the wrong registers, which shifts every short prompt."""
    registers = torch.arange(4.0)[:, None]
    placed = place_registers(torch.full((1, 3, 1), 9.0), None, registers, 8)
    assert placed.flatten().tolist() == [9, 9, 9, 3, 0, 1, 2, 3]


def test_official_names_round_trip_video_only():
    """Red: connectors cannot be read back from the file that they were written to."""
    ours = randomised(TextConnectors(transformer_config(), states=STATES))
    official = connectors_to_official(ours)
    assert "text_embedding_projection.video_aggregate_embed.weight" in official
    prefix = "model.diffusion_model.video_embeddings_connector."
    assert f"{prefix}learnable_registers" in official
    assert f"{prefix}transformer_1d_blocks.1.attn1.q_norm.weight" in official
    back = connectors_from_official(transformer_config(), official)
    assert back.states == STATES
    hidden = torch.randn(1, 4, WIDTH, STATES)
    assert torch.equal(ours(hidden)[0], back(hidden)[0])


def test_audio_half_is_left_out_of_a_full_file():
    """Red: a video-only run of an audio-video file fails, or loads 0.8 billion parameters for nothing."""
    full = randomised(TextConnectors(transformer_config(), states=STATES, audio=True))
    official = connectors_to_official(full)
    assert connectors_from_official(transformer_config(), official).audio_connector is None
    both = connectors_from_official(transformer_config(), official, audio=True)
    assert both(torch.randn(1, 4, WIDTH, STATES))[1] is not None


def test_missing_connector_tensor_is_named():
    """Red: an incomplete file gives random text conditioning instead of an error."""
    official = connectors_to_official(TextConnectors(transformer_config(), states=STATES))
    del official["model.diffusion_model.video_embeddings_connector.learnable_registers"]
    with pytest.raises(CheckpointError, match="learnable_registers"):
        connectors_from_official(transformer_config(), official)


def test_context_length_is_a_multiple_of_the_registers():
    """Red: the connector is fed a length that it was never trained with, or that it cannot tile."""
    connectors = TextConnectors(transformer_config(), states=STATES)
    assert connectors.context_length(10**9) == 1024
    assert connectors.context_length(70) == 64
    with pytest.raises(SettingsError, match="registers"):
        connectors.context_length(9)
    with pytest.raises(SettingsError, match="tokens"):
        connectors(torch.randn(1, 40, WIDTH, STATES), length=32)


def test_connectors_of_another_family_are_refused():
    """Red: a config with other text features loads and conditions on nonsense."""
    with pytest.raises(CheckpointError, match="text_encoder_norm_type"):
        TextConnectors({**transformer_config(), "text_encoder_norm_type": "batch_norm"})
    with pytest.raises(CheckpointError, match="connector_num_layers"):
        TextConnectors({k: v for k, v in transformer_config().items() if k != "connector_num_layers"})


@pytest.mark.parametrize("layout", ["text", "causal", "multimodal"])
def test_gemma_layouts_give_the_models_own_states(tmp_path: Path, layout: str):
    """Red: a published Gemma-3 folder of that layout does not load, or loads wrongly."""
    peer = write_gemma(tmp_path, layout)
    encoder = GemmaEncoder.load(tmp_path, dtype=torch.float32)
    ids = torch.tensor([encoder.tokens("A hero walks left")])
    expected = peer(input_ids=ids, output_hidden_states=True).hidden_states
    states = encoder.hidden_states(ids)
    assert states.shape == (1, 5, WIDTH, STATES)
    torch.testing.assert_close(states, torch.stack(expected, dim=-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        states[..., 0], peer.embed_tokens.weight[ids] * WIDTH**0.5, atol=1e-4, rtol=1e-4
    )


def test_left_padded_batch_equals_single_prompts(gemma_folder: Path):
    """Red: training on padded batches and running on unpadded prompts are two different encoders."""
    encoder = GemmaEncoder.load(gemma_folder, dtype=torch.float32)
    prompts = ["a hero waves", "the hero jumps past the red barn and lifts a prop"]
    ids, mask = encoder.batch(prompts)
    states = encoder.hidden_states(ids, mask)
    for row, prompt in enumerate(prompts):
        alone = encoder.hidden_states(torch.tensor([encoder.tokens(prompt)]))
        torch.testing.assert_close(states[row, mask[row]], alone[0], atol=1e-4, rtol=1e-4)


def test_tokens_equal_transformers_tokenizer(gemma_folder: Path):
    """Red: prompts are cut into other tokens, or lack BOS, than in the official pipeline."""
    encoder = GemmaEncoder.load(gemma_folder)
    peer = AutoTokenizer.from_pretrained(gemma_folder)
    prompt = "  The hero walks RIGHT past the barn \n"
    assert encoder.tokens(prompt) == peer(prompt.strip()).input_ids
    assert encoder.tokens("") == [encoder.bos]
    assert len(encoder.tokens("hero " * 500)) == encoder.max_tokens == 64


def test_tokenizer_beside_the_model_is_found(tmp_path: Path):
    """Red: the text encoder of a diffusers folder cannot be used."""
    write_gemma(tmp_path / "text_encoder")
    (tmp_path / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "text_encoder" / name).rename(tmp_path / "tokenizer" / name)
    assert GemmaEncoder.load(tmp_path / "text_encoder").max_tokens == 64


def test_gradients_reach_encoder_and_connectors(gemma_folder: Path):
    """Red: the mini model's text path cannot be trained."""
    encoder = GemmaEncoder.load(gemma_folder, dtype=torch.float32).requires_grad_(True).train()
    connectors = randomised(TextConnectors(transformer_config(), states=STATES)).train()
    ids, mask = encoder.batch(["a hero waves", "a barn"])
    video, _ = connectors(encoder.hidden_states(ids, mask), mask, 32)
    video.square().mul(torch.randn_like(video)).sum().backward()
    for module in (encoder.model.layers[0].mlp.up_proj.weight, encoder.model.embed_tokens.weight):
        assert module.grad is not None
        assert module.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in connectors.parameters())


def test_encode_gives_unit_rms_contexts_of_fixed_length(gemma_folder: Path):
    """Red: contexts have another length or scale than the denoiser expects."""
    connectors = randomised(TextConnectors(transformer_config(), states=STATES))
    encoder = TextEncoder(GemmaEncoder.load(gemma_folder, dtype=torch.float32), connectors)
    context = encoder.encode("a hero walks left")
    assert context.video_LD.shape == (64, 48)
    assert context.audio_LD is None
    torch.testing.assert_close(context.video_LD.square().mean(1), torch.ones(64), atol=1e-3, rtol=0)
    long = encoder.encode("hero " * 500)
    assert long.video_LD.shape == (64, 48)


def test_encoder_of_another_size_is_refused(gemma_folder: Path):
    """Red: a wrong text encoder fails with a matrix shape error in the middle of a run."""
    with pytest.raises(TextEncoderError, match="wants 49 of width 32"):
        TextEncoder(GemmaEncoder.load(gemma_folder), TextConnectors(transformer_config()))


def spoil(folder: Path, how: str) -> None:
    config = folder / "config.json"
    shard = sorted(folder.glob("*.safetensors"))[0]
    if how == "no config":
        config.unlink()
    elif how == "config no JSON":
        config.write_text("{")
    elif how == "config a list":
        config.write_text("[]")
    elif how == "gemma 4":
        config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "gemma4"}))
    elif how == "bad sizes":
        config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": "wide"}))
    elif how == "no weights":
        for path in folder.glob("*.safetensors"):
            path.unlink()
    elif how == "a shard missing":
        shard.unlink()
    elif how == "truncated":
        shard.write_bytes(shard.read_bytes()[:-64])
    elif how == "empty shard":
        shard.write_bytes(b"")
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif how == "bad tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif how == "no bos":
        write = {"bos_token": "<start>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(write))
    elif how == "small vocabulary":
        config.write_text(json.dumps({**json.loads(config.read_text()), "vocab_size": 4}))


@pytest.mark.parametrize(
    "how",
    [
        "no config", "config no JSON", "config a list", "gemma 4", "bad sizes",
        "no weights", "a shard missing", "truncated", "empty shard",
        "no tokenizer", "bad tokenizer", "no bos", "small vocabulary",
    ],
)  # fmt: skip
def test_damaged_folders_say_what_is_wrong(tmp_path: Path, how: str):
    """Red: a damaged text encoder folder ends in a traceback instead of a message with a remedy."""
    write_gemma(tmp_path)
    spoil(tmp_path, how)
    with pytest.raises(TextEncoderError) as error:
        GemmaEncoder.load(tmp_path)
    assert error.value.remedy


def test_fingerprint_follows_the_weights(tmp_path: Path):
    """Red: contexts of another text encoder are taken from the cache."""
    first, second = tmp_path / "first", tmp_path / "second"
    write_gemma(first, seed=1)
    write_gemma(second, seed=2)
    assert gemma_fingerprint(first) == gemma_fingerprint(first)
    assert gemma_fingerprint(first) != gemma_fingerprint(second)
    before = gemma_fingerprint(first)
    write_tokenizer(first, model_max_length=32)
    assert gemma_fingerprint(first) != before


def test_cache_keeps_contexts_and_survives_damage(tmp_path: Path):
    """Red: the text encoder runs for every clip, or one damaged file stops every later run."""
    cache = ContextCache(tmp_path / "contexts", "gemma-1")
    first = Context(torch.ones(8, 4, dtype=torch.bfloat16), torch.zeros(8, 2))
    assert cache.get("a") is None
    cache.put("a", first)
    again = cache.get(" a ")
    assert again is not None
    assert torch.equal(first.video_LD, again.video_LD)
    assert again.video_LD.dtype == torch.bfloat16
    assert again.audio_LD is not None
    assert ContextCache(cache.folder, "gemma-2").get("a") is None
    cache.path("a").write_bytes(b"junk")
    with pytest.warns(UserWarning, match="damaged"):
        assert cache.get("a") is None
    cache.put("a", Context(torch.full((8, 4), torch.nan)))
    with pytest.warns(UserWarning, match="NaN"):
        assert cache.get("a") is None
