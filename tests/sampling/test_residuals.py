"""What the blocks added is reused while the first block's own addition changes little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.hooks.first_block_cache import FBCHeadBlockHook, FBCSharedBlockState

from castsheet.errors import SettingsError
from castsheet.ltx.model.dit import Pass, Transformer
from castsheet.ltx.model.reuse import ResidualCache
from castsheet.machine.processes import World
from castsheet.pipeline import Castsheet
from castsheet.sampling.parallel import SharedPasses
from tests.doubles.ltx_tiny import TARGET, close, randn, streams, tiny_transformer
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet
from tests.ltx.test_passes import Counting

BOTH = pytest.mark.parametrize("audio", [False, True])


def passes(model: Transformer, scale: float = 1.0) -> tuple[Pass, ...]:
    """A conditional, an unconditional and a perturbed pass at a state that is so many times the first."""
    video, sound = streams(model)
    video = replace(video, tokens_BTC=video.tokens_BTC * scale)
    other = replace(video, context_BLD=randn(*video.context_BLD.shape, seed=77))
    return Pass(video, sound), Pass(other, sound), Pass(video, sound, stg_blocks=(1,))


@BOTH
@torch.no_grad()
def test_the_same_state_again_gives_the_same_outputs_after_one_block(audio: bool) -> None:
    """Red: a pass ends with another pass's sums, or blocks are computed although nothing moved."""
    model, cache = tiny_transformer(audio=audio), ResidualCache(0.1)
    model.transformer_blocks = counting = Counting(model.transformer_blocks)
    exact = model.forward_passes(passes(model), targets=TARGET)
    cache.begin(0)
    first = model.forward_passes(passes(model), targets=TARGET, residuals=cache)
    for got, wanted in zip(first, exact, strict=True):
        assert torch.equal(got.video_BTC, wanted.video_BTC)
    counting.asked.clear()
    cache.begin(1)
    again = model.forward_passes(passes(model), targets=TARGET, residuals=cache)
    assert cache.reused
    assert set(counting.asked) == {0}
    for got, wanted in zip(again, exact, strict=True):
        close(got.video_BTC, wanted.video_BTC)
        if got.audio_BTC is not None and wanted.audio_BTC is not None:
            close(got.audio_BTC, wanted.audio_BTC)


@torch.no_grad()
def test_a_state_that_moved_and_a_new_run_are_computed_exactly() -> None:
    """Red: a changed step ends with an old one's sums, or a second clip with the first clip's."""
    model, cache = tiny_transformer(), ResidualCache(0.05)
    for step, scale in ((0, 1.0), (1, 3.0), (0, 3.0)):
        cache.begin(step)
        got = model.forward_passes(passes(model, scale), targets=TARGET, residuals=cache)
        wanted = model.forward_passes(passes(model, scale), targets=TARGET)
        assert not cache.reused
        assert all(torch.equal(a.video_BTC, b.video_BTC) for a, b in zip(got, wanted, strict=True))


def test_it_decides_as_diffusers_does() -> None:
    """Red: a threshold means something else here than in the library whose rule it is."""
    for moved in (0.01, 0.04, 0.06, 0.5):
        kept, state = ResidualCache(0.05), FBCSharedBlockState()
        hook = FBCHeadBlockHook(_Holding(state), 0.05)
        before, after = randn(1, 4, 8, seed=1), randn(1, 4, 8, seed=1) + moved * randn(1, 4, 8, seed=2)
        assert not kept.decide(before, 1)
        kept.keep([(before,)])
        state.head_block_residual = before
        assert kept.decide(after, 1) == (not hook._should_compute_remaining_blocks(after))


class _Holding:
    """A state manager that holds one state."""

    def __init__(self, state: FBCSharedBlockState) -> None:
        self.state = state

    def get_state(self) -> FBCSharedBlockState:
        return self.state


def test_a_clip_says_how_much_was_reused(tmp_path: Path) -> None:
    """Red: an approximate clip cannot be told from an exact one by its sidecar."""
    castsheet = Castsheet.load(build_bundle(tmp_path / "tiny"), device="cpu", cache_dir=tmp_path)
    exact = castsheet(tiny_sheet(), "hero waves", steps=4)
    loose = castsheet(tiny_sheet(), "hero waves", steps=4, residual_threshold=10.0)
    assert exact.provenance["work"] == {"calls": 4, "passes": 12}
    assert loose.provenance["work"] == {"calls": 4, "passes": 12, "blocks reused": 3}
    brisk = castsheet(tiny_sheet(), "hero waves", steps=4, pace="brisk")
    assert brisk.provenance["work"] == {
        "calls": 4,
        "passes": 8,
        "guidance reused": 2,
        "sheet's rows reused": 2,
    }
    assert "pace brisk" in brisk.provenance["notes"]["run"]


def test_several_processes_do_not_decide_apart() -> None:
    """Red: processes of one clip skip different blocks and wait for each other for ever."""
    model = tiny_transformer()
    shared = SharedPasses(World(0, 2, torch.device("cpu")))
    with pytest.raises(SettingsError, match="reused"):
        shared(model, passes(model), residuals=ResidualCache(0.1))
