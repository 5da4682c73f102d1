"""JSON, read strictly: see `castsheet.machine.text`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from castsheet.errors import shown

MAX_DEPTH = 60
MAX_DIGITS = 100

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)


class JsonMistake(ValueError):
    """What is wrong in a JSON text, and at what line and column."""


class _Twice(ValueError):
    """An object has a key twice."""


class _BadNumber(ValueError):
    """A number is not finite or has too many digits."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        JsonMistake: not JSON; a key twice; too deep; a number too long or not finite; half a character.
    """
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise JsonMistake(f"not valid JSON at {_place(text, error.pos)}: {error.msg}") from error
    except _Twice as error:
        raise JsonMistake(_twice(text)) from error
    except _BadNumber as error:
        raise JsonMistake(_bad_number(text)) from error
    except RecursionError as error:
        raise JsonMistake(f"more than {MAX_DEPTH} levels deep") from error
    _examine(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _BadNumber
    return int(text)


def _real(text: str) -> float:
    value = float(text) if len(text) <= 10 * MAX_DIGITS else math.inf
    if not math.isfinite(value):
        raise _BadNumber
    return value


def _constant(_text: str) -> NoReturn:
    raise _BadNumber


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_whole, parse_float=_real, parse_constant=_constant
)


def _examine(value: Any) -> None:
    """Refuse a value that is too deep, or a text that UTF-8 cannot hold."""
    waiting = [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise JsonMistake(f"more than {MAX_DEPTH} levels deep")
        if isinstance(one, str):
            _whole_letters(one)
        elif isinstance(one, list):
            waiting += [(item, depth + 1) for item in one]
        elif isinstance(one, dict):
            for key, item in one.items():
                _whole_letters(key)
                waiting.append((item, depth + 1))


def _whole_letters(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise JsonMistake(f"{shown(text)} holds half a character (a lone surrogate)") from error


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    return ((found.group(), found.start()) for found in _TOKEN.finditer(text))


def _twice(text: str) -> str:
    """Which key an object has twice, and where: the text is gone through again, object by object."""
    levels: list[dict[str, int] | None] = []  # of each open object its keys' positions; None for a list
    before = ""
    for token, position in _tokens(text):
        if token in "{[":
            levels.append({} if token == "{" else None)
        elif token in "}]":
            levels.pop()
        elif token.startswith('"') and before in "{," and levels and (keys := levels[-1]) is not None:
            key = json.loads(token, strict=False)
            if key in keys:
                first, second = _place(text, keys[key]), _place(text, position)
                return f"the key {shown(key)} is given twice: at {first} and at {second}"
            keys[key] = position
        before = token
    return "a key is given twice"


def _bad_number(text: str) -> str:
    for token, position in _tokens(text):
        if not token.startswith('"') and token not in "{}[]:,":
            try:
                _DECODER.decode(token)
            except _BadNumber:
                return f"the number {shown(token)} at {_place(text, position)} is too large or no number"
            except ValueError:
                continue
    return "a number is too large"
