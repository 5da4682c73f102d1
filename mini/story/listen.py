"""What a clip's sound tells: when something is heard, and which place it is.

Onsets: moments at which the sound's spectrum rises over what it was before (spectral flux: J. P. Bello et
al., "A tutorial on onset detection in music signals", 2005). Place: the ambience whose spectrum at its
quietest lies nearest.

Legend: A samples, T moments 5 ms apart, Q bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mini.story import FPS
from mini.story.place import KINDS
from mini.story.sound import RATE, Heard, Wave, ambience

HOP, WINDOW = RATE // 200, 1024
LATE = 2 / FPS  # seconds that a sound may be early or late
_RISE = 1.0  # of the mean log spectrum, in nepers, that begins a sound
_APART = 0.08  # seconds between two onsets, at least
_EDGES = np.geomspace(60, 8000, 25)
_QUIET = 30.0  # percentile of the moments that tell the ambience
_FLOOR = 3e-3
Floats = NDArray[np.float64]


def spectrum(sound_2A: Wave) -> Floats:
    """Log band magnitudes (T,Q) of both channels together."""
    mono = np.pad(sound_2A.mean(0), (WINDOW // 2, WINDOW // 2))
    frames = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames)) ** 2
    bands = np.searchsorted(_EDGES, np.fft.rfftfreq(WINDOW, 1 / RATE))
    told = np.stack(
        [power[:, bands == band].sum(1) for band in range(1, len(_EDGES)) if (bands == band).any()], 1
    )
    return np.log(np.sqrt(told) + _FLOOR * WINDOW**0.5)


def onsets(sound_2A: Wave) -> Floats:
    """Seconds at which something begins to sound."""
    told = spectrum(sound_2A)
    before = 4  # 20 ms: a step is all there after that
    rise = np.maximum(told[before:] - told[:-before], 0).mean(1)
    peaks = list[float]()
    for moment in np.flatnonzero(rise >= _RISE):
        near = rise[max(0, moment - 8) : moment + 9]
        second = (moment + before / 2) * HOP / RATE
        if rise[moment] == near.max() and (not peaks or second - peaks[-1] >= _APART):
            peaks.append(second)
    return np.array(peaks)


def in_time(sound_2A: Wave, heard: Sequence[Heard]) -> tuple[int, int]:
    """How many of a story's steps and landings sound within two frames of their moment, and of how many."""
    found = onsets(sound_2A)
    last = sound_2A.shape[1] / RATE - LATE
    moments = [one.onset.second for one in heard if one.onset.kind in ("step", "landing")]
    moments = [second for second in moments if second < last]
    hits = sum(bool(len(found)) and float(np.abs(found - second).min()) <= LATE for second in moments)
    return hits, len(moments)


def place_heard(sound_2A: Wave) -> str:
    """The kind of place whose ambience the sound has."""
    told = _background(sound_2A)
    return min(KINDS, key=lambda kind: float(np.abs(told - _typical(kind)).mean()))


def _background(sound_2A: Wave) -> Floats:
    return np.percentile(spectrum(sound_2A), _QUIET, axis=0)


@cache
def _typical(kind: str) -> Floats:
    made = [ambience(kind, np.random.default_rng([9, number])) for number in range(2)]
    return np.mean([_background(np.stack([one, one])) for one in made], axis=0)
