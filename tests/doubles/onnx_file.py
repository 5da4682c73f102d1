"""A network in ONNX's wire format, small enough to be written by hand: one 1x1 convolution of a picture."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def convolution(weights: Sequence[float], bias: float, size: tuple[int, int] | None = None) -> bytes:
    """A file with the signature of BiRefNet and its like: (1, 3, H, W) in, (1, 1, H, W) of logits out.

    Args:
        weights: of red, green and blue.
        size: height and width; None leaves them free.
    """
    sides: tuple[int | str, ...] = size or ("height", "width")
    node = _text(1, "picture") + _text(1, "weights") + _text(1, "bias") + _text(2, "map") + _text(4, "Conv")
    graph = (
        _bytes(1, node)
        + _text(2, "cut")
        + _bytes(5, _tensor("weights", (1, 3, 1, 1), weights))
        + _bytes(5, _tensor("bias", (1,), (bias,)))
        + _bytes(11, _value("picture", (1, 3, *sides)))
        + _bytes(12, _value("map", (1, 1, *sides)))
    )
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, 13))


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes((*found, value))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _tensor(name: str, shape: Sequence[int], values: Sequence[float]) -> bytes:
    dims = b"".join(_number(1, side) for side in shape)
    return dims + _number(2, 1) + _text(8, name) + _bytes(9, struct.pack(f"<{len(values)}f", *values))


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(
        _bytes(1, _number(1, side) if isinstance(side, int) else _text(2, side)) for side in shape
    )
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, 1) + _bytes(2, dims)))
