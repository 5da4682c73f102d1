"""The sound of a clip, synthesised: ambience of the place, steps by its ground, landings, swishes, chimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mini.story import FPS, FRAMES
from mini.story.motion import Onset

RATE = 48_000  # samples a second: what the vocoder makes; the audio VAE reads a third of it
SAMPLES = round(FRAMES / FPS * RATE)
REACH = 2.2  # metres from the middle at which a sound comes from one side alone

Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Heard:
    """An onset, where it is (x, metres), and what sounds: the ground's kind, or the prop's shape."""

    onset: Onset
    x: float
    source: str


def sound(place: str, heard: Sequence[Heard], seed: int) -> Wave:
    """Stereo (2, 242000), peak below 1. `place` is a kind of place; same arguments, same sound."""
    out = np.stack([ambience(place, np.random.default_rng([seed, 16, side])) for side in range(2)])
    for number, one in enumerate(heard):
        wave = event(one, np.random.default_rng([seed, 17, number]))
        start = round(one.onset.second * RATE)
        if one.onset.kind == "swish":
            start -= len(wave) // 2  # it is loudest as the hand passes
        skipped = max(0, -start)
        start += skipped
        part = wave[skipped : skipped + max(0, SAMPLES - start)]
        angle = (np.clip(one.x / REACH, -1, 1) + 1) * np.pi / 4
        for side, gain in enumerate((np.cos(angle), np.sin(angle))):
            out[side, start : start + len(part)] += gain * part
    return (np.tanh(out) * 0.98).astype(np.float32)


def event(one: Heard, random: np.random.Generator) -> Wave:
    """One sound, from its onset on (a swish: around it)."""
    if one.onset.kind == "step":
        return 0.5 * _step(one.source, random)
    if one.onset.kind == "landing":
        step = _step(one.source, random)
        thud = _tone((70.0, 105.0), 0.25, 0.06)
        thud[: len(step)] += 0.8 * step[: len(thud)]
        return thud
    if one.onset.kind == "swish":
        length = round(0.26 * RATE)
        return (0.16 * _noise(length, 900, 3500, random) * np.hanning(length)).astype(np.float32)
    return 0.5 * _chime(one.source)


def ambience(place: str, random: np.random.Generator) -> Wave:
    """A place's own sound (242000,), quiet."""
    t = np.arange(SAMPLES) / RATE
    if place == "meadow":
        out = 0.006 * _noise(SAMPLES, 200, 1500, random)
        for begin in np.cumsum(random.uniform(0.25, 0.9, 9)):
            if begin < t[-1] - 0.2:
                chirp = np.arange(round(0.12 * RATE)) / RATE
                pitch = random.uniform(2600, 4200) * (1 + 0.25 * np.sin(2 * np.pi * 16 * chirp))
                start = round(begin * RATE)
                voice = 0.05 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.hanning(len(chirp))
                out[start : start + len(chirp)] += voice.astype(np.float32)
    elif place == "beach":
        swell = 0.35 + 0.65 * np.sin(np.pi * (t / 3.3 + random.uniform(0, 0.1))) ** 2
        out = 0.05 * swell * _noise(SAMPLES, 150, 2600, random)
    elif place == "town":
        out = 0.012 * _noise(SAMPLES, 40, 400, random)
        hum = sum(np.sin(2 * np.pi * f * t) / k for k, f in enumerate((82.0, 123.0, 164.0, 246.0), 1))
        out = out + 0.02 * hum * (1 + 0.3 * np.sin(2 * np.pi * 0.4 * t))
    elif place == "forest":
        gusts = 0.6 + 0.4 * np.sin(2 * np.pi * (0.35 * t + random.uniform(0, 0.1)))
        pulses = (np.sin(2 * np.pi * 18 * t) > 0) * (np.sin(2 * np.pi * 1.3 * t) > 0)
        out = 0.014 * gusts * _noise(SAMPLES, 2000, 6000, random) + 0.018 * pulses * np.sin(
            2 * np.pi * 4700 * t
        )
    elif place == "mountains":
        out = 0.045 * _noise(SAMPLES, 300, 800, random) * (0.6 + 0.4 * np.sin(2 * np.pi * 0.5 * t))
    else:
        out = 0.010 * np.sin(2 * np.pi * 120 * t) + 0.003 * _noise(SAMPLES, 100, 600, random)
        for tick in np.arange(0.15, t[-1], 0.5):
            click = 0.05 * _tone((2100.0, 3300.0), 0.03, 0.006)
            start = round(tick * RATE)
            out[start : start + len(click)] += click[: SAMPLES - start]
    return np.asarray(out, np.float32)


# Ground: lowest and highest frequency of the noise, its decay, its share, the tone below, the tone's share.
_GROUNDS = {
    "meadow": (700, 3200, 0.035, 0.45, 110.0, 0.15),
    "beach": (300, 1800, 0.055, 0.55, 80.0, 0.15),
    "town": (1200, 6500, 0.010, 0.85, 420.0, 0.35),
    "forest": (2200, 7500, 0.045, 0.60, 130.0, 0.10),
    "mountains": (450, 2400, 0.070, 0.60, 95.0, 0.10),
    "room": (250, 1500, 0.012, 0.45, 190.0, 0.75),
}


def _step(ground: str, random: np.random.Generator) -> Wave:
    low, high, decay, rough, pitch, knock = _GROUNDS[ground]
    length = round(0.22 * RATE)
    t = np.arange(length) / RATE
    noise = _noise(length, low, high, random) * np.exp(-t / decay)
    if ground in ("forest", "mountains"):
        noise *= 0.55 + 0.45 * np.sign(np.sin(2 * np.pi * 55 * t + random.uniform(0, 1)))  # it crunches
    tone = np.sin(2 * np.pi * pitch * t) * np.exp(-t / 0.028)
    return ((rough * noise + knock * tone) * _attack(t)).astype(np.float32)


@cache
def _chime(shape: str) -> Wave:
    """A prop's timbre: knock, boing, toot, drum, glass, bell."""
    t = np.arange(round(0.7 * RATE)) / RATE
    if shape == "box":
        wave = np.sin(2 * np.pi * 330 * t) * np.exp(-t / 0.03) + 0.5 * np.sin(2 * np.pi * 890 * t) * np.exp(
            -t / 0.015
        )
    elif shape == "ball":
        pitch = 190 + 160 * np.exp(-t / 0.10) * np.cos(2 * np.pi * 9 * t)
        wave = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.exp(-t / 0.16)
    elif shape == "cone":
        wave = (
            np.sum([np.sin(2 * np.pi * 440 * k * t) / k for k in (1, 3, 5)], axis=0)
            * 0.7
            * (t < 0.30)
            * np.minimum(1, (0.30 - t).clip(0) / 0.05)
        )
    elif shape == "drum":
        wave = np.sin(2 * np.pi * (95 * t + 3 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.15)
        wave = wave + 0.4 * _noise(len(t), 300, 2500, np.random.default_rng(5)) * np.exp(-t / 0.02)
    elif shape == "star":
        chord = [np.sin(2 * np.pi * f * t) * np.exp(-t / 0.22) for f in (1568.0, 2093.0, 3136.0)]
        wave = np.sum(chord, axis=0) / 2
    else:
        partials = ((523.0, 1.0), (1046.0, 0.5), (1257.0, 0.6), (1570.0, 0.3))
        wave = np.sum([a * np.sin(2 * np.pi * f * t) for f, a in partials], axis=0) * np.exp(-t / 0.35) / 1.5
    return np.asarray(wave * _attack(t), np.float32)


def _attack(t: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.minimum(1, t / 0.002)


def _tone(pitches: Sequence[float], seconds: float, decay: float) -> Wave:
    t = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * pitch * t) for pitch in pitches)
    return np.asarray(wave * np.exp(-t / decay) * _attack(t), np.float32)


def _noise(length: int, low: float, high: float, random: np.random.Generator) -> Wave:
    """Noise between two frequencies (soft flanks), root mean square 1/3."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    pitch = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 1.0)
    spectrum *= 1 / (1 + (low / pitch) ** 4) / (1 + (pitch / high) ** 4)
    wave = np.fft.irfft(spectrum, length)
    return (wave / (3 * wave.std() + 1e-9)).astype(np.float32)


def for_encoder(stereo: Wave) -> Wave:
    """48 kHz (2,S) to 16 kHz (2, S/3), low-passed at 7.5 kHz by its spectrum."""
    samples = stereo.shape[1] // 3 * 3
    spectrum = np.fft.rfft(stereo[:, :samples])
    spectrum[:, np.fft.rfftfreq(samples, 1 / RATE) > 7500] = 0
    kept = spectrum[:, : samples // 6 + 1] / 3
    return np.fft.irfft(kept, samples // 3).astype(np.float32)
