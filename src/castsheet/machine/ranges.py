"""Numbers out of files and options, within their range or refused."""

from __future__ import annotations

from typing import Any

from castsheet.errors import shown


class RangeError(ValueError):
    """A value is no number, or a number outside its range; the message says which range."""


def whole(value: Any, low: int, high: int) -> int:
    """A whole number from `low` to `high`; 2.0 is one, true and "2" are none.

    Raises:
        RangeError: anything else.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise RangeError(f"{shown(value)} is not a whole number from {low} to {high}")
    return value


def real(value: Any, low: float, high: float) -> float:
    """A number from `low` to `high`; never NaN.

    Raises:
        RangeError: anything else.
    """
    if type(value) not in (int, float) or not low <= value <= high:
        raise RangeError(f"{shown(value)} is not a number from {low:g} to {high:g}")
    return float(value)
