"""Random numbers as a function of what they are for: no state is kept, none is handed on."""

from __future__ import annotations

import hashlib

import torch


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator whose stream belongs to these parts, such as a seed, a purpose and a step."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
