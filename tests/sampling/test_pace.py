"""Guidance that is not computed in every step: what is reused, when it is off, and that rows stay right."""

from __future__ import annotations

import pytest
import torch

from castsheet.errors import SettingsError
from castsheet.ltx.model.reuse import RowCache
from castsheet.sampling.denoiser import PassWeights
from castsheet.sampling.guidance import Pace, Weights
from castsheet.sampling.state import draw
from castsheet.settings import PRESETS, override, preset
from castsheet.settings.kinds import Interval
from tests.sampling.test_denoiser import GRID, denoiser

GUIDED = PassWeights(Weights(4.0, 1.0, rescale=0.7), None, (1,))
SIGMA = torch.tensor(0.8)


def test_between_its_steps_what_guidance_added_is_added_again() -> None:
    """Red: reused guidance is another step's, is lost, or costs its passes all the same."""
    subject, plain = denoiser(GUIDED, pace=Pace(every=2)), denoiser(PassWeights(Weights()))
    bare = denoiser(PassWeights(Weights(4.0, 1.0), None, (1,)))
    x = draw(subject, GRID, 0, None, 1.0)
    first = subject(x, SIGMA, 0)
    assert torch.equal(first, denoiser(GUIDED)(x, SIGMA, 0))
    added = bare(x, SIGMA, 0) - plain(x, SIGMA, 0)
    later = x * 0.9
    subject.transformer.calls.clear()
    second = subject(later, SIGMA, 1)
    assert subject.transformer.calls == ["cond"]
    c = plain(later, SIGMA, 1)
    fixed = subject.fixed_BTC
    assert fixed is not None

    def spread(x0: torch.Tensor) -> torch.Tensor:
        return torch.cat([x0.flatten(), fixed.flatten()]).std()

    guided = c + added
    torch.testing.assert_close(
        second, guided * (0.7 * spread(c) / spread(guided) + 0.3), rtol=1e-4, atol=1e-5
    )
    subject(x, SIGMA, 2)
    assert subject.transformer.calls == ["cond", "uncond", "stg"]


def test_a_new_run_does_not_reuse_the_last_ones_guidance() -> None:
    """Red: a second clip begins with the first clip's guidance."""
    subject = denoiser(GUIDED, pace=Pace(every=3))
    x = draw(subject, GRID, 0, None, 1.0)
    first = subject(x, SIGMA, 0)
    subject(x * 0.5, SIGMA, 1)
    assert torch.equal(subject(x, SIGMA, 0), first)


def test_outside_its_interval_guidance_is_off() -> None:
    """Red: guidance runs at noise levels where it was switched off, or stays off inside."""
    subject, plain = denoiser(GUIDED, pace=Pace(interval=(0.3, 0.9))), denoiser(PassWeights(Weights()))
    x = draw(subject, GRID, 0, None, 1.0)
    for step, (level, passes) in enumerate([(0.95, 1), (0.9, 3), (0.3, 3), (0.2, 1)]):
        subject.transformer.calls.clear()
        found = subject(x, torch.tensor(level), step)
        assert len(subject.transformer.calls) == passes
        if passes == 1:
            assert torch.equal(found, plain(x, torch.tensor(level), step))


def test_guidance_that_comes_back_finds_rows_of_its_own_passes() -> None:
    """Red: kept rows of an earlier step are read by a pass that did not run when they were computed."""
    cache, seen = RowCache(3), []
    for step, passes in enumerate([3, 1, 3, 1, 3, 1, 1]):
        cache.begin(step, passes)
        cache.rows_BRC[(0, 0)] = torch.zeros(1)
        seen.append(cache.fresh)
    assert seen == [True, False, False, True, True, False, False]


def test_the_settings_take_only_what_makes_sense() -> None:
    """Red: an interval is read the wrong way round, or is not what the command line says."""
    assert preset("card", guidance_interval=[0.2, 0.9]).guidance_interval == (0.2, 0.9)
    assert Interval().from_option("0.2, 0.9") == (0.2, 0.9)
    for wrong in ([0.9, 0.2], [0.1], [0.0, 1.5], "all", [True, 1]):
        with pytest.raises(SettingsError, match="guidance_interval"):
            preset("card", guidance_interval=wrong)


def test_every_preset_is_exact_and_a_pace_sets_what_belongs_to_it() -> None:
    """Red: a run is approximate though nobody asked, or a pace does nothing, or overrules the user."""
    for one in PRESETS.values():
        assert one == override(one, {"pace": "exact"})
    brisk = preset("card", pace="brisk")
    assert (brisk.pace, brisk.guidance_every, brisk.reference_every) == ("brisk", 2, 2)
    assert preset("card", pace="brisk", guidance_every=1).guidance_every == 1
    assert override(brisk, {"pace": "exact"}) == PRESETS["card"]
    with pytest.raises(SettingsError, match="pace"):
        preset("card", pace="slow")


def test_settings_that_leave_nothing_out_change_no_bit() -> None:
    """Red: what is called exact differs from a run without these settings."""
    plain = denoiser(GUIDED)
    whole = denoiser(
        GUIDED, pace=Pace(every=1, interval=(0.0, 1.0)), reference_every=1, residual_threshold=0.0
    )
    x = draw(plain, GRID, 0, None, 1.0)
    for step, level in enumerate((1.0, 0.5, 0.1)):
        assert torch.equal(whole(x, torch.tensor(level), step), plain(x, torch.tensor(level), step))
    assert whole.work == {"calls": 3, "passes": 9, "sheet's rows reused": 0, "blocks reused": 0}


def test_the_work_that_was_left_out_is_counted() -> None:
    """Red: the sidecar says that a step was computed which was not."""
    subject = denoiser(GUIDED, pace=Pace(every=2), reference_every=2)
    x = draw(subject, GRID, 0, None, 1.0)
    for step in range(4):
        subject(x, torch.tensor(0.9 - 0.1 * step), step)
    assert subject.work["passes"] == 3 + 1 + 3 + 1
    assert subject.work["guidance reused"] == 2
    assert subject.work["sheet's rows reused"] == 2
