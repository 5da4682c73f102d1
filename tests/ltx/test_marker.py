"""The marker of LTX-2.5: on the clip's first latent frame, in every form of a pass, and on nothing else.

A trained marker is a thousandth of a token, so a tolerance would hide its absence; here it is as large as
one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from castsheet.ltx.family import DEFAULT
from castsheet.ltx.latents import Grid, Reference, patchify, unpatchify
from castsheet.ltx.model.dit import Pass, Stream, Transformer
from castsheet.ltx.model.reuse import RowCache
from castsheet.ltx.model.shards import Shards
from castsheet.ltx.speed.fast import make_fast
from castsheet.ltx.speed.streaming import stream_blocks
from castsheet.sampling.denoiser import Contexts, Denoiser, PassWeights, audio_track, video_track
from castsheet.sampling.guidance import Weights
from tests.doubles.ltx_tiny import (
    AUDIO,
    COLUMNS,
    CONTEXT,
    FPS,
    FRAMES,
    ROWS,
    TARGET,
    laid_out,
    quantise,
    randn,
    tiny_audio,
    tiny_transformer,
    tiny_video,
    with_large_marker,
)

CPU = torch.device("cpu")
FAMILY = "ltx-2.5"
FRAME = ROWS * COLUMNS
GRID = Grid(FRAMES, ROWS, COLUMNS, FPS, (8, 32, 32))


def model_of(*, audio: bool = False, layers: int = 3) -> Transformer:
    return with_large_marker(tiny_transformer(audio=audio, layers=layers, family=FAMILY))


def unmarked(stream: Stream) -> Stream:
    return laid_out(stream, marked=0)


def relative(left: Tensor, right: Tensor) -> float:
    return float((left - right).norm() / right.norm())


def entering(model: Transformer, run: Callable[[], object]) -> list[Tensor]:
    """What enters the first block, once a pass."""
    seen: list[Tensor] = []
    hook = model.transformer_blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        run()
    hook.remove()
    return seen


def assert_marked(model: Transformer, x_BTC: Tensor, tokens_BTC: Tensor) -> None:
    """These tokens are marked in their first frame, and nowhere else."""
    expected = model.patchify_proj(tokens_BTC)
    expected[:, :FRAME] += model.keyframes_abs_pos_embedding
    assert torch.equal(x_BTC, expected)


@pytest.mark.parametrize("reference", [0, 1, FRAMES], ids=["alone", "still", "looped"])
@torch.no_grad()
def test_the_clips_first_frame_is_marked_and_the_sheet_is_not(reference: int) -> None:
    """Red: the sheet's first frame, whose positions are the clip's own, is marked; or the clip's is not."""
    model = model_of()
    video = tiny_video(model.config, reference=reference)
    (x,) = entering(model, lambda: model(video))
    assert_marked(model, x, video.tokens_BTC)
    assert relative(model(unmarked(video)).video_BTC, model(video).video_BTC) > 0.1


@torch.no_grad()
def test_a_zero_marker_is_the_arithmetic_of_ltx_2_3_bit_for_bit() -> None:
    """Red: the families differ by more than the marker and the missing biases."""
    newer, older = tiny_transformer(audio=True, family=FAMILY), tiny_transformer(audio=True)
    state = newer.state_dict()
    state["keyframes_abs_pos_embedding"].zero_()
    for name, tensor in older.state_dict().items():
        tensor.copy_(state.get(name, torch.zeros_like(tensor)))
    video, audio = tiny_video(newer.config, reference=2), tiny_audio(newer.config)
    for options in ({}, {"stg_blocks": (1,), "stg_audio": True}, {"isolate": True}, {"targets": TARGET}):
        new, old = newer(video, audio, **options), older(video, audio, **options)
        assert torch.equal(new.video_BTC, old.video_BTC)
        assert torch.equal(new.audio_BTC, old.audio_BTC)


def test_the_families_differ_by_the_marker_and_the_feed_forwards_biases() -> None:
    """Red: a published LTX-2.5 file has tensors that the model lacks, or lacks some that it wants."""
    layers = 2
    newer, older = (
        set(tiny_transformer(audio=True, layers=layers, family=name).state_dict())
        for name in (FAMILY, DEFAULT.name)
    )
    assert newer - older == {"keyframes_abs_pos_embedding"}
    ends = ("ff.net.0.proj.bias", "ff.net.2.bias")
    assert older - newer == {f"transformer_blocks.{n}.{end}" for n in range(layers) for end in ends}


@torch.no_grad()
def test_the_documented_formulas() -> None:
    """Red: the marker or the feed-forward is another function than the vendor documents."""
    model = model_of()
    video = tiny_video(model.config)
    first = torch.zeros(1, TARGET, 1)
    first[:, :FRAME] = 1
    x = F.linear(video.tokens_BTC, model.patchify_proj.weight, model.patchify_proj.bias)
    x = x + first * model.keyframes_abs_pos_embedding
    (entered,) = entering(model, lambda: model(video))
    torch.testing.assert_close(entered, x, rtol=1e-6, atol=1e-6)
    ff = model.transformer_blocks[0].ff
    inner, outer = ff.net[0].proj.weight, ff.net[2].weight
    torch.testing.assert_close(ff(x), F.gelu(x @ inner.T, approximate="tanh") @ outer.T)


FORMS: dict[str, Callable[[Transformer], object]] = {
    "fast": lambda model: make_fast(model, compiled=False),
    "streamed": lambda model: stream_blocks(model, CPU, resident=1),
    "fast and streamed": lambda model: make_fast(model, CPU, resident=1, compiled=False),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("fp8", [False, True], ids=["wide", "fp8"])
@torch.no_grad()
def test_every_form_of_the_denoiser_marks(form: Callable[[Transformer], object], fp8: bool) -> None:
    """Red: a form that is fast or small forgets the marker, or trips over a layer without biases."""
    model = model_of(audio=True, layers=4)
    model = quantise(model) if fp8 else model
    video, audio = tiny_video(model.config, reference=2), tiny_audio(model.config)
    passes = (Pass(video, audio), Pass(video, audio, stg_blocks=(2,)))
    expected = model.forward_passes(passes, targets=TARGET)
    form(model)
    for got, wanted in zip(model.forward_passes(passes, targets=TARGET), expected, strict=True):
        assert relative(got.video_BTC, wanted.video_BTC) <= 1e-5
        assert relative(got.audio_BTC, wanted.audio_BTC) <= 1e-5
    without = model.forward_passes((Pass(unmarked(video), audio),), targets=TARGET)
    assert relative(without[0].video_BTC, expected[0].video_BTC) > 0.05


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_sequence_over_processes_marks_the_same_tokens(size: int) -> None:
    """Red: a process marks rows of its own count, or every process but the first forgets the marker."""
    model = model_of()
    video = tiny_video(model.config, reference=1)
    (whole,) = entering(model, lambda: model(video))
    segments = (FRAME // 2, TARGET - FRAME // 2, FRAME)
    timesteps_BS = torch.cat((torch.zeros(2, 1), video.timesteps_BS), dim=1)
    sequence = replace(video.sequence, segments=segments)
    video = replace(video, sequence=sequence, timesteps_BS=timesteps_BS)
    for rank in range(size):
        shards = Shards.of(segments, rank, size)
        part = video.shard(shards)
        assert torch.equal(model._enter(part, None, False, "own").video_BTC, shards.take(whole, 1))


@torch.no_grad()
def test_kept_reference_rows_do_not_move_the_marker() -> None:
    """Red: where the sheet's rows are kept over steps, the clip's first frame loses its marker."""
    model = model_of()
    video = tiny_video(model.config, reference=2, sigmas=(0.7,))
    cache = RowCache(2)
    cache.begin(0)
    (expected,) = model.forward_passes((Pass(video),), targets=TARGET, cache=cache)
    cache.begin(1)
    (kept,) = model.forward_passes((Pass(video),), targets=TARGET, cache=cache)
    assert relative(kept.video_BTC, expected.video_BTC) <= 1e-5


def test_every_pass_of_a_guided_step_is_marked_with_a_first_frame_or_without() -> None:
    """Red: guidance compares a marked pass with an unmarked one, or a first frame loses the marker."""
    model = model_of(audio=True)
    config = model.config
    reference = Reference(randn(1, TARGET, config.in_channels, seed=3), GRID.bounds(), 1.0)
    first = unpatchify(randn(1, FRAME, config.in_channels, seed=4), 1, ROWS, COLUMNS)
    weights = Weights(4.0, 1.0, 3.0)
    for given in (None, first):
        track = video_track(config, GRID, reference, given, device=CPU, dtype=torch.float32)
        sound = audio_track(config, AUDIO, device=CPU, dtype=torch.float32)
        contexts = [
            Contexts(
                randn(1, CONTEXT, config.context_dim, seed=s),
                randn(1, CONTEXT, config.audio_context_dim, seed=s),
            )
            for s in (5, 6)
        ]
        guide = PassWeights(weights, weights, stg_blocks=(0,))
        denoiser = Denoiser(model, track, sound, *contexts, guide)
        noise = randn(1, TARGET, config.in_channels, seed=7)
        x = denoiser.pack(track.start(noise, 1.0), sound.start(randn(1, AUDIO, 6, seed=8), 1.0))
        seen = entering(model, lambda: denoiser(x, torch.tensor(0.9)))  # noqa: B023 - called at once
        assert len(seen) == 4
        tokens = torch.cat((denoiser.unpack(x)[0], reference.tokens_BTC), dim=1)
        for one in seen:
            assert_marked(model, one, tokens)
        if given is not None:
            assert torch.equal(tokens[:, :FRAME], patchify(given))


def test_a_sequence_must_say_what_is_marked() -> None:
    """Red: a caller that forgets the marker gets a clip that is off by a little, and no error."""
    model = model_of()
    silent = laid_out(tiny_video(model.config), marked=None)
    with pytest.raises(ValueError, match="first latent frame"):
        model(silent)
    tiny_transformer()(silent)  # LTX-2.3 has no marker and asks for nothing
    with pytest.raises(ValueError, match="marked tokens"):
        laid_out(silent, marked=TARGET + 1)
