"""The edge of a cut-out: plain backgrounds, refinement of a coarse mask, the subject's own colours."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

# Filters are solved at this long side and applied at the picture's own size.
_WORK = 768
# Of 255: the largest distance of border pixels from the fitted backdrop, at the 90th percentile.
_PLAIN, _EXACT = 14.0, 4.0
# Share of the border that must belong to the backdrop; the rest may be feet or a cropped body.
_BORDER = 0.6
# Colour distances (of 255) above the backdrop's noise: up to the first background, from the second subject.
_NEAR, _FAR = 6.0, 26.0
# Long side at which loose specks are searched; things of fewer than five of its pixels are removed.
_SPECKS = 384
# Long side at which gaps in a mask are closed.
_CLOSED = 192
# Radius as a share of the long side, and smoothness, of the guided filter.
_RADIUS, _SMOOTH = 1 / 110, 1e-4

# How much of the surroundings must be sure subject, and sure background, and how far apart their colours must
# lie (of 255), before colours decide in the rim.
_NEARBY, _APART = 0.08, 40.0
# Subjects vary in colour: a pixel counts less only as far as it is nearer to the background than this tells.
_GAIN = 2.0
# How wide a rim of hair may be: the long side's share is one by this.
_REACH = 25

Array = NDArray[np.float32]
_IMPORTING = Lock()
First = TypeVar("First")
Second = TypeVar("Second")


@dataclass(frozen=True)
class Backdrop:
    """A plain background: a colour that changes smoothly over the picture.

    Args:
        terms: (6, 3) coefficients of 1, x, y, x^2, xy, y^2 with x, y in -1..1.
        noise: distance of its pixels from that colour, of 255.
        exact: whether it is so flat that every other colour is subject.
    """

    terms: Array
    noise: float
    exact: bool

    def colours(self, width: int, height: int) -> Array:
        """(height, width, 3) of 255."""
        grid_y, grid_x = np.meshgrid(
            np.linspace(-1, 1, height, dtype=np.float32),
            np.linspace(-1, 1, width, dtype=np.float32),
            indexing="ij",
        )
        return _basis(grid_x, grid_y) @ self.terms


def _basis(x: Array, y: Array) -> Array:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def estimate_backdrop(rgb: Image.Image) -> Backdrop | None:
    """The backdrop of a picture whose border is one smooth colour: white, black, green, studio grey.

    A robust fit to the border: twice, pixels far from the last fit (feet, a cropped shoulder) are left out.
    """
    pixels = np.asarray(_small(rgb, 256), dtype=np.float32)
    h, w = pixels.shape[:2]
    y, x = np.meshgrid(
        np.linspace(-1, 1, h, dtype=np.float32), np.linspace(-1, 1, w, dtype=np.float32), indexing="ij"
    )
    rim = np.zeros((h, w), bool)
    depth = max(1, min(h, w) // 40)
    rim[:depth] = rim[-depth:] = rim[:, :depth] = rim[:, -depth:] = True
    basis, colours = _basis(x[rim], y[rim]), pixels[rim]
    kept = np.abs(colours - np.median(colours, axis=0)).max(axis=1) < 48
    for _ in range(3):
        if kept.mean() < _BORDER:
            return None
        terms = np.linalg.lstsq(basis[kept], colours[kept], rcond=None)[0].astype(np.float32)
        far = np.abs(colours - basis @ terms).max(axis=1)
        kept = far < max(3 * float(np.median(far[kept])), 4.0)
    noise = float(np.quantile(far[kept], 0.9))
    # A landscape's sky passes the test on one side; a backdrop must pass it on three.
    sides = (y[rim] < -0.95, y[rim] > 0.95, x[rim] < -0.95, x[rim] > 0.95)
    held = sorted(float(kept[side].mean()) for side in sides)
    if noise > _PLAIN or held[1] < 0.75 or kept.mean() < _BORDER:
        return None
    flat = float(np.abs(terms[1:]).sum(axis=0).max()) < 8
    return Backdrop(terms, noise, noise < _EXACT and flat)


def key(rgb: Image.Image, backdrop: Backdrop) -> Array:
    """Alpha (H, W) 0..1 by distance from the backdrop's colour; holes inside the subject are filled."""
    small = _small(rgb, _WORK)
    pixels = np.asarray(small, dtype=np.float32)
    distance = np.abs(pixels - backdrop.colours(*small.size)).max(axis=2)
    near = _NEAR + 1.5 * backdrop.noise
    alpha = np.clip((distance - near) / (_FAR - _NEAR), 0, 1).astype(np.float32)
    # Only pixels connected to the border are background: a white shirt on white stays, if its outline shows.
    alpha = np.where(_from_border(alpha < 0.5), alpha, 1.0).astype(np.float32)
    wide = Image.fromarray(alpha).resize(rgb.size, Image.Resampling.BILINEAR)
    return np.clip(np.asarray(wide), 0, 1)


def _from_border(free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The free pixels, and their neighbours, that can be reached from the border through free pixels."""
    border = np.zeros_like(free)
    border[0], border[-1], border[:, 0], border[:, -1] = free[0], free[-1], free[:, 0], free[:, -1]
    return _grown(_flooded(border, free))


def without_specks(alpha: Array) -> Array:
    """Alpha without loose specks thinner than a hundredth of the picture: they would widen the figure's box.

    Opening by reconstruction (Vincent, 1993): parts that survive an erosion are kept, with all they touch.
    """
    small = Image.fromarray(alpha)
    scale = min(1.0, _SPECKS / max(small.size))
    size = max(1, round(small.width * scale)), max(1, round(small.height * scale))
    seen = np.asarray(small.resize(size, Image.Resampling.BOX)) > 0.1
    core = np.asarray(_binary(seen).filter(ImageFilter.MinFilter(5))) > 0
    if not core.any():
        return alpha
    kept = _binary(_grown(_flooded(core, seen))).resize(small.size, Image.Resampling.NEAREST)
    return np.where(np.asarray(kept) > 0, alpha, np.float32(0))


def closed(alpha: Array) -> Array:
    """Where a subject with gaps in its mask may reach: the faint parts of the mask, gaps closed.

    A morphological closing over a tenth of the subject: it fills gaps between parts (clothes between head,
    arm and legs) and adds nothing around them (a shadow on the floor).
    """
    seen = Image.fromarray(alpha)
    scale = min(1.0, _CLOSED / max(seen.size))
    size = max(1, round(seen.width * scale)), max(1, round(seen.height * scale))
    faint = np.asarray(seen.resize(size, Image.Resampling.BOX)) > 0.05
    rows = np.flatnonzero(faint.any(axis=1))
    if not rows.size:
        return np.zeros_like(alpha)
    steps = max(1, round(0.1 * (int(rows[-1]) - int(rows[0])) / 2))
    # A margin of background keeps the picture's border from counting as subject.
    mask = _binary(np.pad(faint, 2 * steps))
    for kind in (ImageFilter.MaxFilter, ImageFilter.MinFilter):
        for _ in range(steps):
            mask = mask.filter(kind(5))
    inside = mask.crop((2 * steps, 2 * steps, 2 * steps + size[0], 2 * steps + size[1]))
    wide = np.asarray(inside.resize(seen.size, Image.Resampling.BILINEAR), np.float32)
    return wide / np.float32(255)


def _binary(mask: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(_binary(mask).filter(ImageFilter.MaxFilter(5))) > 0


def _flooded(reached: NDArray[np.bool_], free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What can be reached through free pixels."""
    count = -1
    while (now := int(reached.sum())) != count:
        count = now
        for backwards in (False, True):
            for axis in (0, 1):
                reached = _swept(reached, free, axis, backwards=backwards)
    return reached


def _swept(
    reached: NDArray[np.bool_], free: NDArray[np.bool_], axis: int, *, backwards: bool
) -> NDArray[np.bool_]:
    """Flood along one direction: a free pixel is reached when one before it in its free run is."""
    turn = (lambda a: np.flip(a, axis)) if backwards else (lambda a: a)
    seeds, runs = turn(reached), turn(free)
    index = np.arange(free.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
    last_seed = np.maximum.accumulate(np.where(seeds, index, -1), axis=axis)
    last_wall = np.maximum.accumulate(np.where(~runs, index, -1), axis=axis)
    return turn((last_seed > last_wall) & runs)


def refine(rgb: Image.Image, alpha: Array) -> Array:
    """A coarse mask fitted to the picture's own edges.

    The guided filter with a colour guide (He, Sun, Tang, PAMI 2013, eq. 14-16), solved small and applied at
    full size (He, Sun, arXiv:1505.00996). Sure parts of the mask are not changed.
    """
    small = _small(rgb, _WORK)
    guide = np.asarray(small, dtype=np.float32) / np.float32(255)
    coarse = np.asarray(Image.fromarray(alpha).resize(small.size, Image.Resampling.BOX))
    radius = max(2, round(_RADIUS * max(small.size)))
    # Only the rim is solved anew: elsewhere, subject and background of one colour would pull at each other.
    unsure = _box(((coarse > 0.02) & (coarse < 0.98)).astype(np.float32), radius) > 0
    if not unsure.any():
        return alpha
    line = _guided(guide, coarse, radius)
    at_full = np.asarray(Image.fromarray(unsure).convert("L").resize(rgb.size, Image.Resampling.NEAREST)) > 0
    full = np.asarray(rgb)[at_full].astype(np.float32)
    full *= np.float32(1 / 255)
    wide = _resized(line, rgb.size)[at_full]
    fine = wide[:, 3] + np.einsum("ij,ij->i", wide[:, :3], full)
    result = alpha.copy()
    # The filter leaves a faint veil between like colours; a little contrast removes it.
    result[at_full] = np.clip((fine - 0.08) / 0.84, 0, 1)
    return result


def _guided(guide: Array, target: Array, radius: int) -> Array:
    """(H, W, 4): slope and offset of target ~ slope . guide + offset in each window, averaged."""
    red, green, blue = (guide[..., c] for c in range(3))
    means, squares = together(
        lambda: _box(np.dstack([guide, target, guide * target[..., None]]), radius),
        lambda: _box(
            np.dstack([red * red, red * green, red * blue, green * green, green * blue, blue * blue]), radius
        ),
    )
    mean, mean_target = means[..., :3], means[..., 3]
    covariance = means[..., 4:7] - mean * mean_target[..., None]

    def solved(rows: slice) -> Array:
        spread = [
            squares[rows, :, place]
            - mean[rows, :, i] * mean[rows, :, j]
            + np.float32(_SMOOTH if i == j else 0)
            for place, (i, j) in enumerate(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)))
        ]
        return _solved(spread, covariance[rows])

    half = len(guide) // 2
    slope = np.concatenate(together(lambda: solved(slice(half)), lambda: solved(slice(half, None))))
    offset = mean_target - (slope * mean).sum(axis=-1)
    return _box(np.dstack([slope, offset]), radius)


def _solved(matrix: list[Array], right: Array) -> Array:
    """(H, W, 3): x of M x = right by cofactors, M given by its upper triangle (six planes) in each pixel."""
    a, b, c, d, e, f = (plane.astype(np.float64) for plane in matrix)
    x, y, z = (right[..., k] for k in range(3))
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    whole = a * first + b * second + c * third
    fifth, sixth, last = a * f - c * c, b * c - a * e, a * d - b * b
    rows = (
        first * x + second * y + third * z,
        second * x + fifth * y + sixth * z,
        third * x + sixth * y + last * z,
    )
    return np.dstack([row / whole for row in rows]).astype(np.float32)


def without_veil(rgb: Image.Image, alpha: Array) -> Array:
    """Alpha without the old background that shines between hairs: a pixel of the rim counts for the subject
    as far as its colour lies on the way from the background's to the subject's, both known nearby.

    It only takes away, and only where both sides are near and their colours differ clearly.
    """
    small = _small(rgb, _WORK)
    pixels = np.asarray(small, dtype=np.float32)
    share = np.asarray(Image.fromarray(alpha).resize(small.size, Image.Resampling.BOX))
    radius = max(3, round(max(small.size) / _REACH))
    inside, outside = together(
        lambda: _average(pixels, share, radius), lambda: _average(pixels, 1 - share, radius)
    )
    near = np.minimum(*(_box((side > 0.95).astype(np.float32), radius) for side in (share, 1 - share)))
    way = inside - outside
    length = np.sqrt((way * way).sum(axis=-1))
    trust = np.clip(near / _NEARBY, 0, 1) * np.clip(length / _APART - 1, 0, 1)
    at_full = (alpha > 0) & (alpha < 0.995)
    planes = _resized(np.dstack([outside, way, length, trust]), rgb.size)[at_full]
    from_outside = np.asarray(rgb)[at_full].astype(np.float32) - planes[:, :3]
    along = np.einsum("ij,ij->i", from_outside, planes[:, 3:6]) / np.maximum(planes[:, 6] ** 2, 1)
    result = alpha.copy()
    part, weight = alpha[at_full], planes[:, 7]
    result[at_full] = part + weight * (np.minimum(part, np.clip(_GAIN * along, 0, 1)) - part)
    return result


def own_colours(rgb: Image.Image, alpha: Array) -> Image.Image:
    """The subject's colours without the background that shines through, for use with `alpha` on any ground.

    Blurred estimates of both sides, corrected by what they fail to explain (Forte, "Approximate fast
    foreground colour estimation", ICIP 2021, one pass). Solid pixels keep their colour; free ones turn black.
    """
    small = _small(rgb, _WORK)
    pixels = np.asarray(small, dtype=np.float32)
    share = np.asarray(Image.fromarray(alpha).resize(small.size, Image.Resampling.BOX))
    radius = max(3, round(max(small.size) / 60))
    rim = (alpha > 0) & (alpha < 0.995)

    def nearby(weight: Array) -> Array:
        return _spread(_average(pixels, weight, radius), rgb.size)[rim]

    own, behind = together(lambda: nearby(share), lambda: nearby(1 - share))
    result = np.asarray(rgb) * (alpha > 0).astype(np.uint8)[..., None]
    part = alpha[rim][:, None]
    seen = np.asarray(rgb)[rim].astype(np.float32)
    result[rim] = np.clip(np.rint(own + part * (seen - part * own - (1 - part) * behind)), 0, 255).astype(
        np.uint8
    )
    return Image.fromarray(result)


def together(one: Callable[[], First], other: Callable[[], Second]) -> tuple[First, Second]:
    """What two calls give, made at the same time: filters leave Python's lock, and most machines have two
    cores."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other)
        return one(), waiting.result()


def _average(pixels: Array, weight: Array, radius: int) -> Array:
    # Only near-certain pixels count for their side, unless there are none.
    weight = np.float32(1e-6) + weight * weight * weight * weight
    sums = _box(np.dstack([pixels * weight[..., None], weight]), radius)
    return sums[..., :3] / sums[..., 3:]


def _spread(colour: Array, size: tuple[int, int]) -> Array:
    image = Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def _small(rgb: Image.Image, long_side: int) -> Image.Image:
    scale = min(1.0, long_side / max(rgb.size))
    size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
    return rgb.resize(size, Image.Resampling.BOX, reducing_gap=2) if scale < 1 else rgb


def _resized(values: Array, size: tuple[int, int]) -> Array:
    """Values (H, W) or (H, W, C) stretched to a size (width, height)."""
    if (cv2 := opencv()) is not None:
        return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR))
    planes = np.atleast_3d(values)
    wide = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BILINEAR))
        for plane in np.moveaxis(planes, -1, 0)
    ]
    return np.dstack(wide) if values.ndim == 3 else wide[0].copy()


def _box(values: Array, radius: int) -> Array:
    """Mean over (2 radius + 1)^2 windows, fewer at the border, of (H, W) or (H, W, C); sums are in double
    precision."""
    if (cv2 := opencv()) is not None:
        side, border = (2 * radius + 1, 2 * radius + 1), cv2.BORDER_CONSTANT
        sums, ones = np.empty_like(values), np.ones(values.shape[:2], np.float32)
        cv2.boxFilter(values, -1, side, sums, normalize=False, borderType=border)
        count = cv2.boxFilter(ones, -1, side, normalize=False, borderType=border)
        return np.asarray(sums / (count if values.ndim == 2 else count[..., None]))
    for axis in (0, 1):
        length = values.shape[axis]
        before = np.zeros_like(np.take(values, [0], axis), dtype=np.float64)
        sums = np.concatenate([before, np.cumsum(values, axis, np.float64)], axis)
        high = np.minimum(np.arange(length) + radius + 1, length)
        low = np.maximum(np.arange(length) - radius, 0)
        shape = [1] * values.ndim
        shape[axis] = length
        count = (high - low).reshape(shape)
        values = ((sums.take(high, axis) - sums.take(low, axis)) / count).astype(np.float32)
    return values


def opencv() -> Any:
    """OpenCV, which filters five times as fast; None where it is not installed. Both ways agree to 1e-5.

    One thread at a time: while OpenCV is being imported by one, others find a module without a spec.
    """
    with _IMPORTING:
        return _opencv()


@cache
def _opencv() -> Any:
    return None if importlib.util.find_spec("cv2") is None else importlib.import_module("cv2")
