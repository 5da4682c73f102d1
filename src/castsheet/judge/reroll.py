"""Re-roll: make takes, judge each, keep the best, stop when one passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from castsheet.clip import Clip
from castsheet.errors import SettingsError
from castsheet.judge.judge import Judgement

STATES = ("not carried", "cannot tell", "carried")  # worst first
Make = Callable[[int], Clip]  # a seed in, a take out
Judge = Callable[[Clip], Judgement]


@dataclass(frozen=True)
class Take:
    """One take: its seed, its clip, and its judgement."""

    seed: int
    clip: Clip
    judgement: Judgement


@dataclass(frozen=True)
class Choice:
    """The result of a re-roll.

    Attributes:
        best: the take that is kept.
        takes: every take that was made, in order, without the clips of the other takes.
        reason: one sentence on why `best` was kept.
    """

    best: Take
    takes: tuple[tuple[int, Judgement], ...]
    reason: str


def reroll(make: Make, judge: Judge, *, seed: int, takes: int, stop_early: bool = True) -> Choice:
    """Make up to `takes` takes with seeds `seed`, `seed + 1`, ...; keep the best.

    A take that carries its cast beats one about which the judge cannot tell, and both beat one that does not;
    between equals the higher `score` wins, then the earlier take. Only a take that carries stops the
    search. At most two clips are in memory at a time. An error in `make` or `judge` comes through as it is.

    Raises:
        SettingsError: `takes` is not 1 or more.
    """
    if takes < 1:
        raise SettingsError(f"takes is {takes}", remedy="ask for 1 take or more")
    best: Take | None = None
    seen: list[tuple[int, Judgement]] = []
    for take in _made(make, judge, seed, takes):
        seen.append((take.seed, take.judgement))
        if best is None or _rank(take.judgement) > _rank(best.judgement):
            best = take
        if stop_early and take.judgement.passed:
            break
    assert best is not None
    return Choice(best, tuple(seen), _reason(best, seen, takes))


def _made(make: Make, judge: Judge, seed: int, takes: int) -> Iterator[Take]:
    for number in range(takes):
        clip = make(seed + number)
        yield Take(seed + number, clip, judge(clip))


def picked(ranks: Sequence[tuple[float, float]]) -> int:
    """Which of some takes, given as (passed or not, score), is kept: the first of the highest."""
    return max(range(len(ranks)), key=lambda n: (ranks[n], -n))


def _rank(judgement: Judgement) -> tuple[int, float]:
    return STATES.index(judgement.state), judgement.score


def _reason(best: Take, seen: list[tuple[int, Judgement]], takes: int) -> str:
    told = f"seed {best.seed}, score {best.judgement.score:.3f}: {best.judgement.verdict}"
    if len(seen) == 1:
        return told
    others = ", ".join(f"{seed}: {one.score:.3f}" for seed, one in seen if seed != best.seed)
    made = f"{len(seen)} of {takes} takes" if len(seen) < takes else f"{takes} takes"
    return f"{told} (best of {made}; others {others})"
