"""Train, validation and test by connected components: who shares a person, a place or a title stays together.

Components go to validation, to test and to train in the order of a hash of what they are about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

Part = Literal["train", "validation", "test"]

SHARES: dict[Part, float] = {"validation": 0.1, "test": 0.1}


def components(shared: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Groups of items that are connected by what they share, each group and the list in order.

    Args:
        shared: by item, the names of its people, places and titles.
    """
    parent = {item: item for item in shared}

    def root(item: str) -> str:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[str, str] = {}
    for item, names in shared.items():
        for name in names:
            other = first.setdefault(name, item)
            parent[root(item)] = root(other)
    groups: dict[str, list[str]] = {}
    for item in shared:
        groups.setdefault(root(item), []).append(item)
    return sorted(sorted(group) for group in groups.values())


def split(shared: Mapping[str, Sequence[str]], shares: Mapping[Part, float] = SHARES) -> dict[str, Part]:
    """The part of each item. Fewer than three components all go to train: nothing would be held out."""
    groups = components(shared)
    if len(groups) < 3:
        return {item: "train" for group in groups for item in group}
    found: dict[str, Part] = {}
    waiting = sorted(groups, key=lambda group: _digest(group, shared))
    for part, share in shares.items():
        wanted, have = share * len(shared), 0
        while len(waiting) > 1 and have < max(1, round(wanted)):
            group = waiting.pop(0)
            found |= dict.fromkeys(group, part)
            have += len(group)
    return found | {item: "train" for group in waiting for item in group}


def _digest(group: Sequence[str], shared: Mapping[str, Sequence[str]]) -> str:
    """A hash of what a component is about, for an order that nobody chose."""
    names = sorted({name for item in group for name in shared[item]})
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
