"""Random numbers that depend on their purpose alone: no generator is kept from one use to the next."""

from __future__ import annotations

import hashlib

import torch


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator that is a function of `parts`, such as a seed, a purpose and a step."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
