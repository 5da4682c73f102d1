"""Pairs: from raw films to clips with the reference sheets of their casts.

    films.csv -> find: shots, windows, quality, subjects, who is who -> cast.yaml, corrected by a person
              -> make: references from other times, plates, sheets, captions, gates -> pairs.csv for `encode`

One rule is above all others: no panel comes from the clip that it is paired with, nor from a near-duplicate
of it. Stages are pure functions of a unit (a film, a shot, a window); results are files named by a hash of
all that they depend on (`ledger`). Nothing runs twice, and everything that is left out is listed with a
rule, a value and a limit.
"""

from __future__ import annotations
