"""How mini's sound is analysed for training, and how its stories are stored for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.ltx2.vocoder import AntiAliasAct1d
from numpy.typing import NDArray
from torch import nn

from castsheet.ltx.parts.audio import Vocoder
from mini.data import corpus
from mini.data.latents import LONGEST, Latents, real
from mini.story import FRAMES
from mini.story.look import Part
from mini.story.sound import RATE, SAMPLES, ambience, for_encoder
from mini.training.architecture import MEL_BINS, SOUND_TOKENS, config
from mini.training.measure import fidelity, places_heard
from mini.training.mel import LogMel, filters, set_analysis
from mini.training.snake import joined
from mini.training.train_audio import at_16_khz, both, mels_of, spectral_loss


def tone(pitch: float, samples: int = SAMPLES) -> torch.Tensor:
    """A stereo tone (1,2,A) at 48 kHz, int16."""
    wave = 0.4 * np.sin(2 * np.pi * pitch * np.arange(samples) / RATE)
    return torch.from_numpy(np.stack([wave, wave]) * 32767).to(torch.int16)[None]


def test_mel_filters_are_slaneys() -> None:
    """Red: the spectrograms are others than those that official audio VAEs take."""
    table = filters(MEL_BINS, 1024, 16_000)
    assert table.shape == (64, 513)
    torch.testing.assert_close(table.sum(1)[1:] * 16_000 / 1024, torch.ones(63), atol=0.02, rtol=0)
    peaks = table.argmax(1) * 16_000 / 1024
    assert torch.all(peaks.diff() > 0)
    low = peaks[peaks < 900].diff()
    assert low.max() - low.min() <= 16.0  # linear below 1 kHz, to a bin


def test_the_vae_hears_what_the_world_plays() -> None:
    """Red: training and evaluation resample differently, or a clip has another number of tokens."""
    sound = tone(440.0)
    low = at_16_khz(sound)
    told = for_encoder(sound[0].numpy().astype(np.float32) / 32767)
    np.testing.assert_allclose(low[0].numpy(), told[:, : low.shape[-1]], atol=2e-3)
    mel = mels_of(sound, LogMel("cpu"))
    assert mel.shape == (1, 2, 4 * SOUND_TOKENS - 3, MEL_BINS)
    loudest = mel[0, 0, 100].argmax()
    assert abs(filters(MEL_BINS, 1024, 16_000)[loudest].argmax() * 16_000 / 1024 - 440) < 40


def test_the_vocoder_looks_at_its_sound_by_a_fourier_transform() -> None:
    """Red: the second half of the vocoder sees noise in place of the first half's spectrum."""
    vocoder = Vocoder(config()["vocoder"])
    set_analysis(vocoder)
    wave = at_16_khz(tone(1000.0))[0, :1, :4000]
    magnitude, _ = vocoder.model.mel_stft.stft_fn(wave)
    settings = vocoder.model.mel_stft.stft_fn
    window = torch.hann_window(settings.window_length)
    padded = torch.nn.functional.pad(wave, (settings.window_length - settings.hop_length, 0))
    wanted = torch.stft(
        padded,
        settings.window_length,
        settings.hop_length,
        window=window,
        center=False,
        return_complex=True,
    ).abs()
    torch.testing.assert_close(magnitude, wanted, atol=1e-3, rtol=1e-3)
    assert vocoder.model.mel_stft.mel_basis.any()


def test_the_vocoder_is_trained_as_it_will_sound() -> None:
    """Red: the joined activations compute another sound or other gradients, or outlive the training."""
    torch.manual_seed(0)
    vocoder = Vocoder(config()["vocoder"])
    set_analysis(vocoder)
    for name, parameter in vocoder.named_parameters():
        if name.endswith((".alpha", ".beta")):
            torch.nn.init.normal_(parameter, std=0.3)
    mel, names = torch.randn(1, 2, 5, MEL_BINS), list(vocoder.state_dict())
    wanted = vocoder.model.vocoder(mel), vocoder(mel)
    wanted[1].square().sum().backward()
    gradients = [parameter.grad for parameter in vocoder.parameters()]
    vocoder.zero_grad()
    with joined(vocoder, compiled=False):
        assert not any(isinstance(part, AntiAliasAct1d) for part in vocoder.modules())
        found = both(vocoder, mel)
        found[1].square().sum().backward()
    assert list(vocoder.state_dict()) == names
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    for parameter, gradient in zip(vocoder.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-4, rtol=1e-3)


def test_a_sound_is_nearest_to_itself() -> None:
    """Red: the vocoder's loss does not tell one pitch from another, or is not zero at the truth."""
    one, other = (at_16_khz(tone(pitch))[..., :8000] for pitch in (440.0, 880.0))
    assert spectral_loss(one, one) == 0
    assert spectral_loss(other, one) > 1


def test_a_story_survives_its_file(tmp_path: Path) -> None:
    """Red: clip, masks, sheet or sound of a worker arrive in another order than they were written."""
    random = np.random.default_rng(0)
    for frames in (FRAMES, 33):  # a whole story; a window, which is silent
        shapes = corpus.shapes(frames)
        arrays = {name: random.integers(0, 255, shape, dtype=np.uint8) for name, shape in shapes.items()}
        if frames == FRAMES:
            arrays["sound"] = random.integers(-9, 9, (2, SAMPLES), dtype=np.int16)
        path = tmp_path / "7"
        corpus.write(path, arrays, ("one", "zwei ü"))
        told = corpus.read(path, frames)
        assert not path.exists()
        for name, array in arrays.items():
            assert np.array_equal(getattr(told, name).numpy(), array), name
        assert (told.sound is None) == (frames != FRAMES)
        assert told.prompts == ("one", "zwei ü")


def test_latents_survive_their_file(tmp_path: Path) -> None:
    """Red: the adapters are trained on other latents or words than were encoded."""
    latents = Latents.empty(3, "cpu")
    latents.clips.normal_()
    latents.prompts[1, 2, -4:] = torch.tensor([2, 30, 31, 32])
    latents.lengths[1, 2] = 4
    latents.advance(2)
    latents.save(tmp_path / "latents.safetensors")
    again = Latents.load([tmp_path / "latents.safetensors"], "cpu")
    assert again.ready == 2
    assert torch.equal(again.clips, latents.clips[:2])
    mask = real(again.lengths[1, 2][None])[0]
    assert again.prompts[1, 2][mask].tolist() == [2, 30, 31, 32]
    assert int(mask.sum()) == 4
    assert mask.shape == (LONGEST,)
    both = Latents.load([tmp_path / "latents.safetensors"] * 2, "cpu")  # as two processes write them
    assert both.ready == 4
    assert torch.equal(both.clips[2:], latents.clips[:2])


class Grey:
    """A codec that loses everything but what stays where it is."""

    def encode(self, pixels_BCFHW: torch.Tensor) -> torch.Tensor:
        return pixels_BCFHW

    def decode(self, latents_BCFHW: torch.Tensor) -> torch.Tensor:
        return latents_BCFHW[:, :, :1].expand_as(latents_BCFHW)


def test_fidelity_looks_at_what_moves() -> None:
    """Red: the codec's figure hides that moving limbs are lost."""
    one = corpus.Corpus(
        clips=torch.full((1, 4, 16, 16, 3), 100, dtype=torch.uint8),
        regions=torch.zeros(1, 4, 16, 16, dtype=torch.uint8),
        sheets=torch.full((1, 16, 16, 3), 50, dtype=torch.uint8),
        panels=torch.zeros(1, 1, 1, dtype=torch.uint8),
        styles=torch.zeros(1, 1, 1, dtype=torch.uint8),
        sounds=torch.zeros(1, 2, 8),
        shares=torch.ones(1, 256),
        ready=1,
    )
    for frame in range(4):
        one.regions[0, frame, 4:8, 4 + frame : 6 + frame] = 1 + Part.SHOE
        one.clips[0, frame, 4:8, 4 + frame : 6 + frame] = 200
    found = fidelity(Grey(), one, "cpu")  # type: ignore[arg-type]
    assert found["limbs"] == found["moving"] < found["figures"] < found["whole"]
    assert found["sheets"] > 80


class Played(nn.Module):
    """A vocoder that plays the same whatever it is given."""

    def __init__(self, sound_2A: NDArray[np.float32]) -> None:
        super().__init__()
        self.sound = torch.from_numpy(sound_2A)

    def forward(self, mel_BWMK: torch.Tensor) -> torch.Tensor:
        return self.sound.expand(len(mel_BWMK), -1, -1)


def test_a_vocoder_is_asked_which_place_it_plays() -> None:
    """Red: a vocoder that makes every place sound like a beach is thought to tell them apart."""
    beach = np.tile(ambience("beach", np.random.default_rng(1)), (2, 1))
    sounds = torch.zeros(3, 2, beach.shape[1], dtype=torch.int16)
    assert places_heard(Played(beach), sounds, ["beach", "town", "beach"], "cpu") == pytest.approx(2 / 3)
