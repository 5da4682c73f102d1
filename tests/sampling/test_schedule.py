"""Noise levels: golden lists of the official schedule, parity with diffusers, refusal of nonsense."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from castsheet.errors import SettingsError
from castsheet.sampling.levels import DISTILLED, check_levels
from castsheet.sampling.schedule import listed, schedule_tokens, shift, sigmas

OFFICIAL_30 = """1.0 .99496 .9896 .98391 .97784 .97136 .96442 .95698 .94897 .94034 .93099 .92085 .90981
.89774 .88448 .86986 .85365 .83558 .81532 .79243 .76636 .73642 .70166 .66081 .61214 .55315 .48016 .38754
.26612 .1 0"""
TARGET_TAIL = ".76564 .72962 .68528 .62937 .55665 .45823 .31757 .1 0"
DIFFUSERS_TAIL = ".86806 .84068 .80308 .74824 .66076 .49916 .1 0"


def golden(text: str) -> np.ndarray:
    return np.array([float(value) for value in text.split()])


def diffusers_scheduler(**changes) -> FlowMatchEulerDiscreteScheduler:
    dev = {
        "use_dynamic_shifting": True,
        "base_shift": 0.95,
        "max_shift": 2.05,
        "base_image_seq_len": 1024,
        "max_image_seq_len": 4096,
        "shift_terminal": 0.1,
    }
    return FlowMatchEulerDiscreteScheduler(**{**dev, **changes})


def test_official_list():
    """Red: the default run no longer steps through the levels that the adapter was validated with."""
    assert np.abs(sigmas(30).numpy() - golden(OFFICIAL_30)).max() < 5.1e-6


@pytest.mark.parametrize(("kind", "tail"), [("target", TARGET_TAIL), ("diffusers", DIFFUSERS_TAIL)])
def test_other_token_counts(kind, tail):
    """Red: the opt-in schedules of 5376 target and 5376 reference tokens differ from their published ends."""
    expected = golden(tail)
    found = sigmas(30, tokens=schedule_tokens(kind, 5376, 5376)).numpy()
    assert np.abs(found[-len(expected) :] - expected).max() < 5.1e-6


@pytest.mark.parametrize("tokens", [84, 1024, 1344, 2688, 4096, 5376, 10752])
@pytest.mark.parametrize("steps", [2, 4, 8, 12, 20, 30, 50])
def test_parity_with_diffusers(steps, tokens):
    """Red: at the same token count our levels are not those of diffusers' scheduler with the dev config."""
    scheduler = diffusers_scheduler()
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift(tokens))
    # diffusers takes 1 - s in fp32; with few steps and many tokens the stretch magnifies its rounding.
    tolerance = 1e-6 if steps >= 8 or tokens <= 5376 else 2e-6
    assert (scheduler.sigmas - sigmas(steps, tokens=tokens)).abs().max() <= tolerance


def test_distilled_lists_are_not_shifted():
    """Red: the distilled levels are moved, which is what feeding them to the dev scheduler does wrongly."""
    assert listed(DISTILLED).tolist() == torch.tensor(DISTILLED).tolist()
    assert DISTILLED[-4:] == (0.909375, 0.725, 0.421875, 0.0)
    plain = diffusers_scheduler(use_dynamic_shifting=False, shift_terminal=None)
    plain.set_timesteps(sigmas=list(DISTILLED[:-1]))
    assert torch.equal(plain.sigmas, listed(DISTILLED))


def test_one_step_is_a_single_jump():
    """Red: one step divides by zero in the stretch (diffusers gives NaN there)."""
    assert sigmas(1).tolist() == [1.0, 0.0]


@settings(max_examples=50, deadline=None)
@given(steps=st.integers(1, 200), tokens=st.integers(1, 100_000))
def test_levels_always_fall(steps, tokens):
    """Red: some step count or clip size gives levels that do not fall from 1 to 0."""
    levels = sigmas(steps, tokens=tokens)
    assert len(levels) == steps + 1
    assert levels[0] == 1
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()
    assert steps == 1 or abs(float(levels[-2]) - 0.1) < 1e-6


def test_schedule_kinds():
    """Red: a schedule kind counts the wrong tokens."""
    assert [schedule_tokens(kind, 5376, 5376) for kind in ("official", "target", "diffusers")] == [
        4096,
        5376,
        10752,
    ]
    with pytest.raises(SettingsError, match="official, target, diffusers"):
        schedule_tokens("comfy", 1, 1)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"steps": 0}, "1000"),
        ({"steps": 1001}, "1000"),
        ({"steps": 4, "tokens": 0}, "token"),
        ({"steps": 4, "terminal": 1}, "between"),
    ],
)
def test_out_of_range(arguments, word):
    """Red: a nonsensical schedule is computed instead of refused with the allowed range."""
    with pytest.raises(SettingsError, match=word):
        sigmas(**arguments)


@pytest.mark.parametrize(
    "levels",
    [
        (),
        (1.0,),
        (1.0, 0.5),
        (1.5, 0.0),
        (1.0, 0.5, 0.5, 0.0),
        (0.5, 0.7, 0.0),
        (1.0, float("nan"), 0.0),
        (1.0,) * 2000,
    ],
)
def test_bad_lists_are_refused(levels):
    """Red: a list that Euler cannot walk is accepted."""
    with pytest.raises(SettingsError) as raised:
        check_levels(levels)
    assert raised.value.remedy.startswith("list falling noise levels")
