"""Joins clips into one film with sound. Memory holds one clip at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from castsheet.errors import SettingsError
from castsheet.media.encoding import encode_stream
from castsheet.media.video import read_sound, read_video

_FADE_S = 0.01  # a sound that starts or stops at once clicks


@dataclass(frozen=True)
class Part:
    """A clip of a film. One that starts with the last frame of the clip before leaves that frame out."""

    clip: Path
    continues: bool = False


def join(parts: Sequence[Part], out: Path) -> None:
    """Write a film of all parts in a row.

    Parts without sound are silent, if any part has sound. The clips are decoded and encoded once more, at the
    quality of a clip.

    Raises:
        SettingsError: the clips differ in size, frames a second, or rate of sound.
        ImageError: a clip cannot be read. OutputError: the disk refused.
    """
    first_FHWC, fps = read_video(parts[0].clip, most=lambda _: 1)
    height, width = first_FHWC.shape[1:3]
    sound = _sound(parts, fps)
    audio, rate = sound if sound is not None else (None, None)
    encode_stream(out, _frames(parts, (width, height), fps), (width, height), fps, audio, rate)


def _frames(parts: Sequence[Part], size: tuple[int, int], fps: float) -> Iterator[np.ndarray]:
    for part in parts:
        frames_FHWC, own = read_video(part.clip)
        here = frames_FHWC.shape[2], frames_FHWC.shape[1]
        if here != size or abs(own - fps) > 1e-3:
            raise SettingsError(
                f"{part.clip} is {here[0]}x{here[1]} at {own:g} fps, the film's first shot"
                f" {size[0]}x{size[1]} at {fps:g}",
                remedy="give all shots of a film one width, height and fps, or leave film out of the list",
            )
        yield from frames_FHWC[part.continues :]


def _sound(parts: Sequence[Part], fps: float) -> tuple[np.ndarray, int] | None:
    """The film's sound (S, 2), as long as its pictures; None if no part has any."""
    found = [read_sound(part.clip) for part in parts]
    rates = {one[1] for one in found if one is not None}
    if not rates:
        return None
    if len(rates) > 1:
        raise SettingsError(
            f"the shots' sound has {' and '.join(map(str, sorted(rates)))} samples a second",
            remedy="make all shots of a film with one model, or leave film out of the list",
        )
    (rate,) = rates
    pieces = [_piece(part, one, rate, fps) for part, one in zip(parts, found, strict=True)]
    return np.concatenate(pieces), rate


def _piece(part: Part, sound: tuple[np.ndarray, int] | None, rate: int, fps: float) -> np.ndarray:
    """One part's sound (S, 2), exactly as long as the part's pictures, faded at both ends."""
    count = len(read_video(part.clip)[0])
    wanted, skipped = round((count - part.continues) * rate / fps), round(part.continues * rate / fps)
    piece_SC = np.zeros((wanted, 2), np.float32)
    if sound is not None:
        own_SC = sound[0][skipped : skipped + wanted]
        piece_SC[: len(own_SC)] = own_SC
    fade = min(round(_FADE_S * rate), wanted // 2)
    ramp_S = np.linspace(0, 1, fade, dtype=np.float32)[:, None]
    piece_SC[:fade] *= ramp_S
    piece_SC[wanted - fade :] *= ramp_S[::-1]
    return piece_SC
