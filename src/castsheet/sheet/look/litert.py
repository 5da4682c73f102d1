"""MediaPipe's small networks (Apache-2.0), run by LiteRT: who is a person, and where the body's points lie.

The files come from the package mediapipe 0.10.21; none of its code is used. The pose network is BlazePose
(Bazarevsky et al., arXiv:2006.10204): a detector finds the body's axis, then a second network looks at the
square around it and tells 33 points and a mask of the person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.machine.files import require
from castsheet.machine.notices import without_notices
from castsheet.sheet.look.weights import weights

Array = NDArray[np.float32]

EXTRA = "cutout"
_DETECT, _POINTS = 224, 256
# Cells of the detector: stride and anchors a cell.
_STRIDES = ((8, 2), (16, 2), (32, 6))
_FOUND = 0.5
# The square around a body, as a multiple of the circle that the detector tells.
_ROOM = 1.25
# Points of BlazePose by part of the body.
HEAD = tuple(range(11))
ARMS = tuple(range(13, 23))
HANDS = {"left hand": (15, 17, 19, 21), "right hand": (16, 18, 20, 22)}
FEET = {"left foot": (27, 29, 31), "right foot": (28, 30, 32)}
_SEEN = 0.5


@dataclass(frozen=True)
class Body:
    """A person's points and mask.

    Args:
        points: (33, 2) x and y in px of the picture.
        visible: (33,) how surely each point is in the picture and not hidden, 0..1.
        mask: (H, W) 0..1 at a small size, stretched over the picture; zero outside what was looked at.
        score: of the whole, 0..1.
    """

    points: Array
    visible: Array
    mask: Array
    score: float

    def part(self, indices: tuple[int, ...]) -> Array:
        """The visible points (N, 2) among `indices`."""
        kept = [i for i in indices if self.visible[i] > _SEEN]
        return self.points[kept]


class Network:
    """One network, for one caller at a time: an interpreter keeps its tensors between calls, so that a
    second thread would get the first one's results, or an error.

    Args:
        interpreter: LiteRT's, with tensors allocated.
    """

    def __init__(self, interpreter: Any) -> None:
        self._run = interpreter
        self._input = interpreter.get_input_details()[0]["index"]
        self._outputs = interpreter.get_output_details()
        self._turn = Lock()

    def __call__(self, pixels_HWC: NDArray[np.floating]) -> list[Any]:
        """Its outputs for one picture."""
        given = np.ascontiguousarray(pixels_HWC[None], dtype=np.float32)
        with self._turn:
            self._run.set_tensor(self._input, given)
            self._run.invoke()
            return [np.array(self._run.get_tensor(one["index"])[0]) for one in self._outputs]


def _network(name: str) -> Network:
    runtime = require("ai_edge_litert.interpreter", EXTRA)
    with without_notices("INFO: "):
        interpreter = runtime.Interpreter(model_content=weights(name).read_bytes(), num_threads=1)
        interpreter.allocate_tensors()
    return Network(interpreter)


class People:
    """The networks that know people: where one is, and the points and the mask of its body.

    Raises:
        DependencyError: the runtime or a file of weights is missing.
    """

    name = "mediapipe-0.10.21"

    def __init__(self) -> None:
        self._detect, self._landmarks = (
            _network("pose_detection.tflite"),
            _network("pose_landmark_full.tflite"),
        )

    def body(self, rgb: Image.Image) -> Body | None:
        """The clearest person of an RGB picture; None if none is found."""
        square = self._square(rgb)
        return None if square is None else self._points(rgb, *square)

    def _square(self, rgb: Image.Image) -> tuple[float, float, float, float] | None:
        """Centre, side (px) and turn (radians) of the square around the clearest body."""
        side = max(rgb.size)
        scale = _DETECT / side
        size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
        left, top = (_DETECT - size[0]) // 2, (_DETECT - size[1]) // 2
        canvas = Image.new("RGB", (_DETECT, _DETECT))
        canvas.paste(rgb.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=3), (left, top))
        outputs = self._detect(np.asarray(canvas, np.float32) / 127.5 - 1)
        boxes, scores = (next(one for one in outputs if one.shape[-1] == width) for width in (12, 1))
        best = int(scores[:, 0].argmax())
        if 1 / (1 + math.exp(-float(np.clip(scores[best, 0], -50, 50)))) < _FOUND:
            return None
        hip, rim = (boxes[best, k : k + 2] / _DETECT + _anchors()[best] for k in (4, 6))
        (x0, y0), (x1, y1) = (((p * _DETECT) - (left, top)) / scale for p in (hip, rim))
        turn = math.pi / 2 - math.atan2(-(y1 - y0), x1 - x0)
        return float(x0), float(y0), 2 * _ROOM * math.hypot(x1 - x0, y1 - y0), turn

    def _points(self, rgb: Image.Image, x: float, y: float, side: float, turn: float) -> Body:
        """The second network on a turned square."""
        step, cosine, sine = side / _POINTS, math.cos(turn), math.sin(turn)
        half = _POINTS / 2
        # px of the square to px of the picture: x' = a u + b v + c.
        a, b, d, e = step * cosine, -step * sine, step * sine, step * cosine
        c, f = x - half * (a + b), y - half * (d + e)
        shrink = max(1, int(step))
        source = rgb.convert("RGB").reduce(shrink) if shrink > 1 else rgb.convert("RGB")
        view = source.transform(
            (_POINTS, _POINTS),
            Image.Transform.AFFINE,
            tuple(value / shrink for value in (a, b, c, d, e, f)),
            Image.Resampling.BILINEAR,
        )
        outputs = self._landmarks(np.asarray(view, np.float32) / 255)
        rows = next(one for one in outputs if one.shape == (195,)).reshape(39, 5)[:33]
        flag = next(float(one[0]) for one in outputs if one.shape == (1,))
        mask = next(one[..., 0] for one in outputs if one.shape == (_POINTS, _POINTS, 1))
        points = np.stack(
            [a * rows[:, 0] + b * rows[:, 1] + c, d * rows[:, 0] + e * rows[:, 1] + f], axis=1
        ).astype(np.float32)
        inside = ((points >= 0) & (points < rgb.size)).all(axis=1)
        seen = _logistic(rows[:, 3]) * _logistic(rows[:, 4]) * inside
        return Body(
            points, seen.astype(np.float32), _back(_logistic(mask), rgb.size, (a, b, c, d, e, f)), flag
        )


def _logistic(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -50, 50))), np.float32)


def _back(mask: Array, size: tuple[int, int], forth: tuple[float, ...]) -> Array:
    """A mask of the turned square, laid over a small version of the picture."""
    a, b, c, d, e, f = forth
    scale = min(1.0, 320 / max(size))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    determinant = a * e - b * d
    p, q, r, s = e / determinant, -b / determinant, -d / determinant, a / determinant
    inverse = (p / scale, q / scale, -(p * c + q * f), r / scale, s / scale, -(r * c + s * f))
    image = Image.fromarray(np.ascontiguousarray(mask, np.float32))
    return np.asarray(image.transform(small, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR))


@cache
def _anchors() -> NDArray[np.float32]:
    """The middle of each detector cell, 0..1, in the order of its outputs."""
    found = []
    for stride, each in _STRIDES:
        count = _DETECT // stride
        middle = (np.arange(count) + 0.5) / count
        grid = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)
        found.append(np.repeat(grid, each, axis=0))
    return np.concatenate(found).astype(np.float32)
