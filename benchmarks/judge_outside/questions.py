"""The questions about people: who is asked for, and who is in the clip."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.judge_outside.case import Case, Half
from benchmarks.judge_outside.people import PEOPLE, PLACES, Actor, Folder, clip, name_of
from castsheet.judge.cast import Pixels

NEAR = 1.5  # heights of the frame: from the head to the hips
LEFT, RIGHT = 0.3, 0.7


def sheets() -> Iterator[tuple[Half, tuple[str, ...], str]]:
    """Half, people and place of every sheet."""
    halves: tuple[Half, ...] = ("tuning", "held out")
    for half in halves:
        people, places = PEOPLE[half], list(PLACES[half])
        for n, place in enumerate(places):
            yield half, (people[n],), place
            yield half, (people[n], people[(n + 1) % len(people)]), place


def cases(folder: Folder) -> Iterator[Case]:
    """Every clip of people, both halves."""
    for half, who, place in sheets():
        yield from (
            _alone(folder, half, who[0], place) if len(who) == 1 else _together(folder, half, who, place)
        )


def _alone(folder: Folder, half: Half, who: str, place: str) -> Iterator[Case]:
    people, places = PEOPLE[half], list(PLACES[half])
    number = people.index(who)
    others = [one for one in people if one != who]
    elsewhere = [one for one in places if one != place]
    sheet = name_of((who,), place)
    both, nobody, wrong = (
        {"hero": True, "place": True},
        {"hero": False, "place": True},
        {"hero": True, "place": False},
    )

    def case(
        group: str,
        n: int,
        actors: tuple[Actor, ...],
        truth: dict[str, bool],
        at: str = place,
        *,
        dream: bool = False,
    ) -> Case:
        seed = 1000 * number + 37 * n + len(group)
        made = partial(clip, folder, half, at, actors, seed, dream=dream)
        return Case(f"people/{sheet[7:]}/{group}-{n}", half, group, sheet, made, truth)

    for n in range(4):
        height = 0.86 if n % 2 == 0 else NEAR
        yield case("right", n, (Actor(who, height=height),), both)
        yield case("nobody", n, (), nobody)
        yield case("wrong place", n, (Actor(who, height=height),), wrong, elsewhere[n])
        same = Actor(others[n], height=0.86 if (n + number) % 2 == 0 else NEAR)
        yield case("stranger, same clothes", n, (same,), nobody)
        yield case("stranger, other clothes", n, (Actor(others[n], "snapshot", same.height),), nobody)
    for n, height in enumerate((0.86, NEAR)):
        yield case("right, dreamt", n, (Actor(who, height=height),), both, dream=True)
        yield case("other clothes", n, (Actor(who, "snapshot", height),), {"place": True})
    for n, view in enumerate(("side", "back")):
        yield case("right, turned", n, (Actor(who, view),), both)


def _together(folder: Folder, half: Half, who: tuple[str, ...], place: str) -> Iterator[Case]:
    sheet = name_of(who, place)
    number = PEOPLE[half].index(who[0])
    truth = {"hero": True, "rival": True, "place": True}
    for n, height in enumerate((0.86, 0.8, NEAR)):
        seed = 7000 + 100 * number + n
        a, b = Actor(who[0], height=height, stand=LEFT), Actor(who[1], height=height, stand=RIGHT)
        twin, exchanged = (
            Actor(who[0], height=height, stand=RIGHT),
            (Actor(who[1], height=height, stand=LEFT),),
        )
        right = partial(clip, folder, half, place, (a, b), seed)
        yield Case(f"people/{sheet[7:]}/pair-{n}", half, "pair", sheet, right, truth)
        double = partial(clip, folder, half, place, (a, twin), seed)
        yield Case(f"people/{sheet[7:]}/twin-{n}", half, "twin", sheet, double, truth | {"rival": False})
        alone = partial(clip, folder, half, place, (a,), seed)
        yield Case(
            f"people/{sheet[7:]}/second missing-{n}",
            half,
            "second missing",
            sheet,
            alone,
            truth | {"rival": False},
        )
        swapped = partial(_swapped, folder, half, place, (a, b), (*exchanged, twin), seed)
        yield Case(f"people/{sheet[7:]}/swap-{n}", half, "swap", sheet, swapped, {"place": True}, "swap")


def _swapped(
    folder: Folder,
    half: Half,
    place: str,
    before: tuple[Actor, ...],
    after: tuple[Actor, ...],
    seed: int,
    every: int = 1,
) -> Pixels:
    """Both act on in the other's looks from the middle of the clip."""
    first, second = (clip(folder, half, place, cast, seed, every=every) for cast in (before, after))
    return np.concatenate([first[: len(first) // 2], second[len(second) // 2 :]])
