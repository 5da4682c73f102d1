"""Films of mini's world with their whole truth: the test bed of `castsheet pairs`.

A film is a list of shots of one cast in a few places, joined by cuts, dissolves and fades, with faults
planted on purpose. Everything follows from a seed: films are split by seed as identities are (`mini.world`).
"""

from __future__ import annotations
