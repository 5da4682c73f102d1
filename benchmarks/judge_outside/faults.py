"""Faults put into honest clips: leaks as they happen, and pictures that do not move as they ought to.

Each takes frames (F, H, W, 3), the sheet and a generator, and returns new frames.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from castsheet.judge.cast import Pixels, read_cast
from castsheet.sheet.manifest import Sheet

Fault = Callable[[Pixels, Sheet, np.random.Generator], Pixels]
SPAN = (12, 36)  # frames in which a whole sheet shows through


def _size(frames: Pixels) -> tuple[int, int]:
    return frames.shape[2], frames.shape[1]


def _seen(frames: Pixels, sheet: Sheet, scale: float = 1.0) -> Image.Image:
    width, height = _size(frames)
    return sheet.conditioning_image(round(width * scale), round(height * scale))


def _mixed(frames: Pixels, picture: Pixels, weight: float) -> Pixels:
    out = frames.copy()
    part = out[SPAN[0] : SPAN[1]].astype(np.float32)
    out[SPAN[0] : SPAN[1]] = np.rint(part * (1 - weight) + picture * np.float32(weight)).astype(np.uint8)
    return out


def weak_leak(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """The sheet at 0.2 for a second."""
    del random
    return _mixed(frames, np.asarray(_seen(frames, sheet)), 0.2)


def zoomed_leak(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """The sheet at 0.6, closer by 1.15, for a second."""
    del random
    width, height = _size(frames)
    large = np.asarray(_seen(frames, sheet, 1.15))
    y, x = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return _mixed(frames, large[y : y + height, x : x + width], 0.6)


def framed(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """Up to three panels hang in the scene as pictures in white or wooden frames."""
    width, height = _size(frames)
    out, whole = frames.copy(), sheet.image.convert("RGB")
    chosen = random.permutation(len(sheet.panels))[:3]
    for slot, number in enumerate(chosen):
        box = sheet.panels[int(number)].box
        panel = whole.crop((box.x, box.y, box.right, box.bottom))
        tall = height * random.uniform(0.28, 0.4)
        scale = min(tall / panel.height, 0.26 * width / panel.width)
        panel = panel.resize((max(8, round(panel.width * scale)), max(8, round(panel.height * scale))))
        rim = 6
        colour = ((235, 235, 230), (120, 82, 50))[int(random.integers(2))]
        picture = Image.new("RGB", (panel.width + 2 * rim, panel.height + 2 * rim), colour)
        picture.paste(panel, (rim, rim))
        y = round(height * random.uniform(0.05, 0.3))
        x = round(width * (0.04 + 0.32 * slot))
        room = np.asarray(picture)[: height - y, : width - x]
        out[:, y : y + room.shape[0], x : x + room.shape[1]] = room
    return out


def corner(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """The whole sheet, small, in a corner."""
    width, height = _size(frames)
    share = random.uniform(0.3, 0.4)
    small = np.asarray(_seen(frames, sheet).resize((round(width * share), round(height * share))))
    out = frames.copy()
    y = 0 if random.random() < 0.5 else height - small.shape[0]
    x = 0 if random.random() < 0.5 else width - small.shape[1]
    out[:, y : y + small.shape[0], x : x + small.shape[1]] = small
    return out


def split(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """The left third of the screen holds panels under each other, on black."""
    width, height = _size(frames)
    third = Image.new("RGB", (width // 3, height))
    whole = sheet.image.convert("RGB")
    order = random.permutation(len(sheet.panels))[:3]
    for slot, number in enumerate(order):
        box = sheet.panels[int(number)].box
        panel = whole.crop((box.x, box.y, box.right, box.bottom))
        panel.thumbnail((width // 3 - 12, height // len(order) - 12))
        third.paste(panel, (6, 6 + slot * height // len(order)))
    out = frames.copy()
    out[:, :, : width // 3] = np.asarray(third)
    return out


def _pasted(frames: Pixels, sheet: Sheet, random: np.random.Generator, *, black: bool) -> Pixels:
    width, height = _size(frames)
    cast = read_cast(sheet, width, height)
    look = next(one for one in cast.members if one.kind == "character").body[0]
    scale = min(1.0, 0.8 * height / look.picture_HWC.shape[0])
    size = round(look.picture_HWC.shape[1] * scale), round(look.picture_HWC.shape[0] * scale)
    picture = np.asarray(Image.fromarray(look.picture_HWC).resize(size))
    mask = (
        np.asarray(Image.fromarray(look.mask_HW.astype(np.uint8) * 255).resize(size), np.float32)[..., None]
        / 255
    )
    mask = np.ones_like(mask) if black else mask
    y = int(random.integers(0, height - size[1] + 1))
    x = int(random.integers(0, max(1, width - size[0])))
    out = frames.copy()
    room = out[:, y : y + size[1], x : x + size[0]].astype(np.float32)
    out[:, y : y + size[1], x : x + size[0]] = np.rint(room * (1 - mask) + picture * mask).astype(np.uint8)
    return out


def pasted(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """A figure of the sheet stands in the picture with its black."""
    return _pasted(frames, sheet, random, black=True)


def pasted_bare(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """A figure of the sheet stands in the picture without its black."""
    return _pasted(frames, sheet, random, black=False)


def still(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """One frame for the whole clip."""
    del sheet, random
    return np.repeat(frames[:1], len(frames), axis=0)


def still_zoom(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """One frame, on which the camera slowly closes in."""
    del sheet
    width, height = _size(frames)
    photo, reach = Image.fromarray(frames[len(frames) // 2]), random.uniform(0.06, 0.15)
    out = []
    for at in range(len(frames)):
        share = reach * at / (len(frames) - 1) / 2
        box = (width * share, height * share, width * (1 - share), height * (1 - share))
        out.append(np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC, box)))
    return np.stack(out)


def frozen(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """Moves for six frames, then stands still."""
    del sheet, random
    out = frames.copy()
    out[6:] = out[6]
    return out


def shaken(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """Every frame is off by up to 5 of 768 px in both directions."""
    del sheet
    moves = random.integers(-5, 6, (len(frames), 2))
    return np.stack(
        [np.roll(one, (int(y), int(x)), (0, 1)) for one, (y, x) in zip(frames, moves, strict=True)]
    )


def hand_held(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """A hand's slow sway of up to 6 px and a tremble of 1 px: honest, no fault."""
    del sheet
    steps = random.normal(0, 1, (len(frames), 2))
    smooth = np.stack([np.convolve(column, np.hanning(17) / 3, "same") for column in steps.T], axis=1)
    moves = np.rint(3 * smooth + random.uniform(-0.7, 0.7, smooth.shape)).astype(int)
    return np.stack(
        [np.roll(one, (int(y), int(x)), (0, 1)) for one, (y, x) in zip(frames, moves, strict=True)]
    )


def flicker(frames: Pixels, sheet: Sheet, random: np.random.Generator) -> Pixels:
    """Brightness jumps by a tenth from frame to frame."""
    del sheet
    gains = 1 + 0.1 * random.choice([-1.0, 0.0, 1.0], len(frames))
    return np.clip(np.rint(frames * gains[:, None, None, None].astype(np.float32)), 0, 255).astype(np.uint8)


FAULTS: dict[str, Fault] = {
    "leak at 0.2": weak_leak,
    "leak at 0.6, zoomed": zoomed_leak,
    "framed panels": framed,
    "corner sheet": corner,
    "split screen": split,
    "pasted with its black": pasted,
    "pasted without black": pasted_bare,
    "still": still,
    "still with a slow zoom": still_zoom,
    "frozen after a start": frozen,
    "shaken": shaken,
    "flicker": flicker,
}
HONEST: dict[str, Fault] = {"hand-held": hand_held}
