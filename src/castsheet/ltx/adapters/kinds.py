"""Kinds of adapters: only the table `KINDS` tells them apart.

To add a kind, add an entry: how its keys end, and the `Term` that its parts make. Reading, checking and
merging work with any term; only training (`attach`) is LoRA's alone.

Legend: R rank, I inputs, O outputs of the adapted layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor


class Stored(NamedTuple):
    """A part of an adapter's layer in its file; a single number, such as an alpha, has a `value`."""

    key: str
    shape: tuple[int, ...]
    value: float | None


class Term(Protocol):
    """What an adapter adds to one layer's weight."""

    @property
    def shape(self) -> tuple[int, int]:
        """(O, I)."""

    @property
    def rank(self) -> int:
        """For reports: the rank of the added term, or the number that the kind calls its rank."""

    def factors(self, tensor: Callable[[str], Tensor]) -> tuple[Tensor, ...]:
        """The numbers, with the file's own scale in them; `tensor` reads a key in fp32."""

    def delta(self, *factors: Tensor) -> Tensor:
        """The term at strength 1, (O, I) in fp32; the factors are on the weight's device."""


@dataclass(frozen=True)
class Pair:
    """LoRA, B @ A: where a file keeps the factors, their shapes (R, I) and (O, R), and alpha / rank."""

    down_key: str
    up_key: str
    down_RI: tuple[int, int]
    up_OR: tuple[int, int]
    scale: float

    @classmethod
    def of(cls, parts: Mapping[str, Stored]) -> Pair | None:
        """The pair of a layer's parts; None if they do not fit together."""
        down, up, alpha = parts.get("down"), parts.get("up"), parts.get("alpha")
        if down is None or up is None or not len(down.shape) == len(up.shape) == 2:
            return None
        (rank, inputs), (outputs, same) = down.shape, up.shape
        if rank != same or not rank or (alpha is not None and alpha.value is None):
            return None
        scale = 1.0 if alpha is None or alpha.value is None else alpha.value / rank
        return cls(down.key, up.key, (rank, inputs), (outputs, rank), scale)

    @property
    def shape(self) -> tuple[int, int]:
        return self.up_OR[0], self.down_RI[1]

    @property
    def rank(self) -> int:
        return self.down_RI[0]

    def factors(self, tensor: Callable[[str], Tensor]) -> tuple[Tensor, ...]:
        """(A, B) with alpha / rank multiplied into B."""
        return tensor(self.down_key), tensor(self.up_key) * self.scale

    def delta(self, *factors: Tensor) -> Tensor:
        down_RI, up_OR = factors
        return up_OR @ down_RI


@dataclass(frozen=True)
class Kind:
    """One kind of adapter.

    Attributes:
        ends: how the keys of its factors end after the layer's name, and which part each is.
        numbers: the same for single numbers beside the factors.
        term: makes a layer's term of its parts; None if they are incomplete or do not fit together.
    """

    ends: Mapping[str, str]
    numbers: Mapping[str, str]
    term: Callable[[Mapping[str, Stored]], Term | None]


_LORA = {"lora_A": "down", "lora_down": "down", "lora_B": "up", "lora_up": "up"}

KINDS: dict[str, Kind] = {
    "LoRA": Kind(
        {f".{name}{default}.weight": part for name, part in _LORA.items() for default in ("", ".default")},
        {".alpha": "alpha"},
        Pair.of,
    ),
}


def is_factor(key: str) -> bool:
    """Whether a tensor of this name can only be an adapter's."""
    return any(key.endswith(tuple(kind.ends)) for kind in KINDS.values())


def sort_keys(
    stored: Mapping[str, Stored], bare: Callable[[str], str]
) -> tuple[dict[str, Term | None], list[str]]:
    """The term of each layer (None if its parts make none), and the keys that belong to no kind.

    Args:
        bare: a layer's name without the file's prefix.
    """
    layers: dict[str, dict[str, dict[str, Stored]]] = {}
    unknown: list[str] = []
    for key, one in stored.items():
        places = [
            (name, bare(key.removesuffix(end)), part)
            for name, kind in KINDS.items()
            for end, part in {**kind.ends, **kind.numbers}.items()
            if key.endswith(end)
        ]
        for name, layer, part in places:
            if layers.setdefault(layer, {}).setdefault(name, {}).setdefault(part, one) is not one:
                places = []  # a factor that the file holds twice, under two prefixes
        if not places:
            unknown.append(key)
    return {layer: _term(kinds) for layer, kinds in layers.items()}, unknown


def _term(kinds: Mapping[str, Mapping[str, Stored]]) -> Term | None:
    """The term of the kind that takes all of a layer's keys."""
    keys = {one.key for parts in kinds.values() for one in parts.values()}
    whole = [name for name, parts in kinds.items() if len(parts) == len(keys)]
    return next((term for name in whole if (term := KINDS[name].term(kinds[name])) is not None), None)
