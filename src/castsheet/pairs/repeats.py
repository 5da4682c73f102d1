"""What a film has shown before: a window that shows it again is no clip, even if the first showing is none.

Two clips of one footage teach it twice. An earlier shot may be cut shorter than the window, or elsewhere, and
may be mirrored.

Legend: F frames of a film, M moments of a window, C candidates, H height, W width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.frames import grey_of
from castsheet.pairs.protocols import Pixels
from castsheet.pairs.records import Reject, Window

BLOCK = 3  # px a side of a picture at `SMALL` that become one cell
SOME = 1000  # frames that are made smaller at once: a film has hundreds of thousands
MOMENTS = 21
SHOWN = 0.75  # of a window's moments: a shorter excerpt does not spoil it, as in a teaser before the film
LEVELS = 7  # a cell that differs by less is the same: compression, and a part of a frame's time
MOST = 0.98  # of the cells of all moments that are the same: in one place, people are all that differs
LIKELY = 0.5
"""Of the cells of the middle moment: were fewer the same, too few of all would be."""


@dataclass(frozen=True)
class Footage:
    """All that a film shows.

    Args:
        strip_FHW: see `strip_of`. shots: first and end frames by the shots' names, in the film's order.
    """

    strip_FHW: Pixels
    shots: Mapping[str, Sequence[int]]

    def without(self, spoilt: Collection[str]) -> Footage:
        """The same without some shots, of which a copy may be the better one."""
        return replace(self, shots={name: span for name, span in self.shots.items() if name not in spoilt})


def strip_of(small_FHW3: Pixels) -> Pixels:
    """Tiny grey pictures of all frames, from those at `SMALL`."""
    _, height, width, _ = small_FHW3.shape
    cells = []
    for first in range(0, len(small_FHW3), SOME):
        grey = grey_of(small_FHW3[first : first + SOME])
        blocks = grey.reshape(len(grey), height // BLOCK, BLOCK, width // BLOCK, BLOCK)
        cells.append(blocks.mean(axis=(2, 4)).round().astype(np.uint8))
    return np.concatenate(cells)


def repeat_of(window: Window, footage: Footage) -> Reject | None:
    """Why a window is left out that was shown before: names the first shot of the film that shows it."""
    places = np.linspace(0, len(window.frames) - 1, MOMENTS).round().astype(np.int64)
    at_M = np.array(window.frames)[places]
    before = footage.strip_FHW[: window.frames[0]]
    looks_MHW = footage.strip_FHW[at_M].astype(np.int16)
    both = looks_MHW, looks_MHW[:, :, ::-1]
    middles = [np.flatnonzero(_same(before, one[MOMENTS // 2]).mean(axis=(1, 2)) >= LIKELY) for one in both]
    for shot, (first, end) in footage.shots.items():
        if end > window.frames[0]:  # its own shot
            break
        share = max(
            _shown(before, one, at_M, middle[(middle >= first) & (middle < end)], (first, end))
            for one, middle in zip(both, middles, strict=True)
        )
        if share >= MOST:
            return Reject(window.id, "R36", f"{share:.1%} as in {shot}", f"{MOST:.0%}")
    return None


def _same(strip: Pixels, look: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Cells that are the same."""
    return np.asarray(np.abs(strip - look) < LEVELS)


def _shown(
    strip: Pixels,
    looks_MHW: NDArray[np.int16],
    at_M: NDArray[np.int64],
    middles_C: NDArray[np.int64],
    span: tuple[int, int],
) -> float:
    """The share of cells that are the same where a shot shows a window best; 0 if it shows too little of it.

    Args:
        at_M: the window's moments. middles_C: frames of the shot that its middle may be. span: the shot's.
    """
    there_CM = middles_C[:, None] + (at_M - at_M[MOMENTS // 2])
    inside_CM = (there_CM >= span[0]) & (there_CM < span[1])
    enough = inside_CM.mean(axis=1) >= SHOWN
    best = 0.0
    for there, inside in zip(there_CM[enough], inside_CM[enough], strict=True):
        best = max(best, float(_same(strip[there[inside]], looks_MHW[inside]).mean()))
    return best
