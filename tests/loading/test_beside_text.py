"""VAE and denoiser are loaded in another thread while text is encoded: the same numbers, or one error."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from castsheet.errors import CheckpointError, TextEncoderError
from castsheet.loading.models import Models
from castsheet.loading.source import Source
from castsheet.ltx.header import read_header
from castsheet.ltx.speed.memory import AHEAD_BYTES, GIB, official, plan
from castsheet.pipeline import Castsheet
from tests.doubles.placed import Planned, planned
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet
from tests.doubles.tiny_runs import ACTION, copied

CPU = torch.device("cpu")
LOADING = "castsheet-load"
AHEAD = planned(ahead=True)


class Watched(Planned):
    """A given plan, and a record of the thread in which each part took its turn."""

    def __init__(self, plan) -> None:
        super().__init__(plan)
        self.threads: list[tuple[str, bool]] = []

    def turn(self, part, others):
        beside = threading.current_thread().name.startswith(LOADING)
        self.threads.append((type(part).__name__, beside))
        super().turn(part, others)


class Interrupting(Watched):
    """Sends Ctrl-C before the thread reads the denoiser, and gives the main thread time for it."""

    def turn(self, part, others):
        super().turn(part, others)
        if self.threads[-1][1]:
            signal.raise_signal(signal.SIGINT)
            time.sleep(1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("beside"))


def models_in(bundle: Path, cache: Path, card: Planned) -> Models:
    return Models(Source.open(bundle), CPU, torch.float32, cache, card)


def running() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(LOADING)]


def damage(path: Path, tensor: str) -> None:
    """Put a NaN into one of a file's tensors."""
    metadata, state = read_header(path).metadata, load_file(path)
    state[tensor].view(-1)[0] = torch.nan
    save_file(state, path, metadata=dict(metadata))


@pytest.mark.parametrize("made", [AHEAD, replace(AHEAD, text="cpu")], ids=lambda one: one.text)
def test_what_is_loaded_beside_text_is_the_same_to_the_bit(bundle, tmp_path, made) -> None:
    """Red: the first clip of a prompt differs from the second, or nothing is loaded beside the text."""
    clips = []
    for name, one in (("plain", replace(made, ahead=False)), ("ahead", made)):
        card = Watched(one)
        models = models_in(bundle, tmp_path / name, card)
        clips.append(Castsheet(models)(tiny_sheet(), ACTION, seed=4))
        beside = {part for part, apart in card.threads if apart}
        assert beside == ({"VideoVAE"} if one.ahead else set())
        assert ("NoneType" in {part for part, _ in card.threads}) != one.ahead  # the denoiser was there
    assert np.array_equal(clips[0].frames, clips[1].frames)
    assert not running()


def test_nothing_is_loaded_beside_a_prompt_that_is_known(bundle, tmp_path) -> None:
    """Red: a clip whose text is in the cache starts a thread, and waits for it."""
    card = Watched(AHEAD)
    models = models_in(bundle, tmp_path, card)
    settings = Castsheet(models).settings()
    first = models.contexts(["one"], audio=False, following=settings)
    denoiser = models._transformer
    assert denoiser is not None
    assert card.threads == [("VideoVAE", True)]
    again = models.contexts(["one"], audio=False, following=settings)
    assert torch.equal(first[0].video_BLD, again[0].video_BLD)
    assert card.threads == [("VideoVAE", True)]
    assert models.transformer(settings) is denoiser


def test_a_denoiser_that_is_damaged_is_one_error(bundle, tmp_path) -> None:
    """Red: what fails in the thread is a traceback of the thread's, or is never told."""
    broken = copied(bundle, tmp_path / "broken")
    names = [name for name in read_header(broken / "tiny.safetensors").entries if "attn1.to_q.weight" in name]
    damage(broken / "tiny.safetensors", names[-1])
    models = models_in(broken, tmp_path / "cache", Watched(AHEAD))
    castsheet = Castsheet(models)
    with pytest.raises(CheckpointError, match=f"NaN or infinity: {names[-1]}"):
        castsheet(tiny_sheet(), ACTION)
    assert models._transformer is None
    assert not running()


def test_a_text_encoder_that_is_damaged_ends_the_thread(bundle, tmp_path) -> None:
    """Red: a command that failed waits for gigabytes that nobody will use, or tells the wrong error."""
    broken = copied(bundle, tmp_path / "broken")
    weights = max((broken / "text_encoder").glob("*.safetensors"))
    state = load_file(weights)
    state.pop(next(name for name in state if name.endswith("norm.weight")))
    save_file(state, weights)
    models = models_in(broken, tmp_path / "cache", Watched(AHEAD))
    with pytest.raises(TextEncoderError, match="missing"):
        models.contexts(["one"], audio=False, following=Castsheet(models).settings())
    assert not running()
    assert models.transformer(Castsheet(models).settings()) is not None


def test_ctrl_c_ends_the_thread_at_its_next_tensor(bundle, tmp_path) -> None:
    """Red: Ctrl-C waits until the whole denoiser is read."""
    models = models_in(bundle, tmp_path, Interrupting(AHEAD))
    settings = Castsheet(models).settings()
    models.left_out = ("written when the denoiser is read",)
    with pytest.raises(KeyboardInterrupt):
        models.contexts(["one"], audio=False, following=settings)
    assert models._transformer is None
    assert models.left_out == ("written when the denoiser is read",)
    assert not running()
    models.placement.__class__ = Watched
    assert models.transformer(settings) is not None  # nothing half loaded is taken for whole


@pytest.mark.parametrize("audio", [False, True])
def test_the_plan_knows_what_is_loaded_beside_text(audio: bool) -> None:
    """Red: text and denoiser together take more of the card than the plan promises."""
    parts = official(audio=audio)
    seen = set()
    for gib in range(12, 97):
        made = plan(gib * GIB, parts, ("plain", "fp8"))
        seen.add((made.text, made.ahead))
        if made.ahead:
            held = parts.weights(made.precision, made.resident) + parts.vae + parts.sound
            both = held + AHEAD_BYTES + (parts.text if made.text == "beside" else 0)
            assert both <= made.peak <= gib * GIB
            assert made.together
            assert not made.streams
            assert "while they load" in made.describe()
    # Where the room ends just before, the plan is the same without it.
    assert seen >= {("beside", True), ("beside", False), ("cpu", True), ("cpu", False), ("alone", False)}
    assert plan(80 * GIB, parts).ahead
