"""What a model of pydantic's found wrong, in this program's words."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from castsheet.errors import shown

_WANTED = {
    "string_type": "give a text",
    "string_unicode": "give a text without halves of characters",
    "string_too_long": "give a shorter text",
    "string_too_short": "give a longer text",
    "string_pattern_mismatch": "use a letter, then letters, digits, - or _",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_parsing_size": "give a smaller number",
    "int_from_float": "give a whole number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "finite_number": "give a number that is finite",
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
    "dict_type": "give values by name",
    "model_type": "give values by name",
    "model_attributes_type": "give values by name",
    "dataclass_type": "give values by name",
    "dataclass_exact_type": "give values by name",
    "tuple_type": "give a list",
    "list_type": "give a list",
    "path_type": "give a path",
    "missing": "add it",
    "none_required": "leave it out",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "of at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "of at most"),
}


class Mistake(NamedTuple):
    """The first thing that is wrong: where, what, and what to do about it."""

    where: str
    what: str
    remedy: str


def first_mistake(error: ValidationError) -> Mistake:
    """The first finding of a validation, in plain words."""
    first = error.errors(include_url=False)[0]
    kind, context = first["type"], first.get("ctx", {})
    where = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if "[key]" in first["loc"]:
        return Mistake(where, "its name is no text", "put quotes around the name")
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return Mistake(where, f"is {shown(first['input'])}", f"give a number {words} {context[key]}")
    if kind == "missing":
        return Mistake(where, "is missing", "add it")
    if kind == "extra_forbidden":
        return Mistake(where, "is not known", "remove or rename it")
    if kind in ("literal_error", "enum"):
        return Mistake(where, f"is {shown(first['input'])}", f"use {context['expected']}")
    if kind in _WANTED:
        return Mistake(where, f"is {shown(first['input'])}", _WANTED[kind])
    return Mistake(where, first["msg"].removeprefix("Value error, "), "correct it")
