"""What happens in a film: its cast, places and shots, how they are joined, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from mini.story.motion import ACTIONS, HANDLING, HEADING, Action

Join = Literal["cut", "dissolve", "fade"]
Fault = Literal["", "caption", "still", "blur", "repeat", "mirror"]
FAULTS: tuple[Fault, ...] = get_args(Fault)[1:]

LONG, MIDDLE, SHORT = (6.0, 6.5), (2.2, 3.0), (1.0, 2.0)
"""Seconds of a shot that holds a 121-frame window between its guards, and of two that do not."""
RATES = (24.0, 25.0, 30.0)
BARS = 0.1
"""Share of the height under each black bar, of one film in eight. Another one in eight has a logo."""


@dataclass(frozen=True)
class Person:
    """One of the cast. `costume` counts changes of clothes; `twin` lends its top to a look-alike."""

    seed: int
    costume: int = 0
    twin: int | None = None

    @property
    def id(self) -> str:
        """The identity, whatever it wears."""
        return f"s{self.seed}"


@dataclass(frozen=True)
class Act:
    """What somebody does in a shot. `start`: x and y in metres; `facing`: yaw in radians, 0 looks at us."""

    person: Person
    action: Action
    start: tuple[float, float] = (0.0, 0.0)
    distance: float = 0.0
    facing: float = 0.0


@dataclass(frozen=True)
class ShotPlan:
    """One shot. `shift`: how far the camera stands to the right, in metres; `prop`: seed of a prop in hand.

    `join` is how it follows the shot before it. `of`: which earlier shot a repeat repeats.
    """

    acts: tuple[Act, ...]
    place: int
    seconds: float
    near: bool = False
    pan: int = 0
    shift: float = 0.0
    prop: int | None = None
    join: Join = "cut"
    fault: Fault = ""
    of: int | None = None


@dataclass(frozen=True)
class FilmPlan:
    """A whole film. `letterbox`: share of the height under each black bar; `logo`: a mark in a corner."""

    name: str
    seed: int
    fps: float
    shots: tuple[ShotPlan, ...]
    letterbox: float = 0.0
    logo: bool = False


def film_plan(
    seed: int, *, shots: int = 30, people: int = 4, places: int = 3, faults: int = len(FAULTS)
) -> FilmPlan:
    """The film of a seed. Its identities are `seed`, `seed` + 1 and so on; its places are seeds too.

    Everybody is seen near and turning twice, whole and turning, and in shots with other people. Of 137 shots
    of Big Buck Bunny 29 hold a window; here more than a third do, so that a film gives many. The last person
    is a look-alike of the first one, and the second one changes clothes half-way.

    Args:
        seed: films need seeds that lie `people` + 4 apart.
        shots: at least four for each person, and two that are repeats. faults: so many of `FAULTS`.
    """
    random = np.random.default_rng([seed, 31])
    cast = [Person(seed + number) for number in range(people)]
    cast[-1] = replace(cast[-1], twin=seed) if people > 2 else cast[-1]
    grounds = [seed + people + number for number in range(places)]
    plans = [_solo(person, grounds, random, near=near) for person in cast for near in (True, True, False)]
    plans += [_scene([person], grounds, random, LONG) for person in cast]
    while len(plans) < shots - 2:
        some = [cast[int(k)] for k in random.permutation(people)[: int(random.choice([0, 1, 1, 2, 2]))]]
        plans.append(_scene(some, grounds, random, LONG if random.random() < 0.6 else SHORT))
    plans = [plans[int(k)] for k in random.permutation(len(plans))]
    plans = _faulty(_joined(_dressed(plans, cast), random), random, FAULTS[:faults])
    number = seed // 8
    bars = BARS if number % 8 == 2 else 0.0
    rate = RATES[number % len(RATES)]
    return FilmPlan(f"film-{seed}", seed, rate, tuple(plans), letterbox=bars, logo=number % 8 == 5)


def _solo(person: Person, places: list[int], random: np.random.Generator, *, near: bool) -> ShotPlan:
    act = Act(person, "turn round", (float(random.uniform(-0.95, 0.95)) * (0.35 if near else 1.0), 0.0))
    shift = act.start[0] if near else 0.0
    seconds = float(random.uniform(*MIDDLE))
    return ShotPlan((act,), int(random.choice(places)), seconds, near=near, shift=shift)


def _scene(
    people: list[Person], places: list[int], random: np.random.Generator, length: tuple[float, float]
) -> ShotPlan:
    """Up to two people, one of whom may walk; nobody stands in another one's way."""
    acts: list[Act] = []
    walks = False
    for number, person in enumerate(people):
        action: Action = ACTIONS[int(random.integers(len(ACTIONS)))]
        if action in HEADING and (walks or len(people) > 1):
            action = "wave"
        if action in HANDLING and number:
            action = "stand"
        walks = walks or action in HEADING
        heading = HEADING.get(action, 0.0)
        side = float(random.uniform(-0.8, 0.8)) if len(people) == 1 else (-0.85, 0.85)[number]
        turned = float(random.choice([0.0, 0.0, 0.75, -0.75, np.pi / 2, np.pi]))
        facing = turned if action in ("stand", "wave") else 0.0
        start = (-heading * 1.35 if heading else side + float(random.uniform(-0.15, 0.15)), 0.0)
        acts.append(Act(person, action, start, 2.7 * abs(heading), facing))
    pan = int(random.choice([-1, 1])) if not walks and random.random() < 0.2 else 0
    shift = 0.0 if walks or pan else float(random.uniform(-0.3, 0.3))
    held = any(act.action in HANDLING for act in acts)
    prop = int(random.choice(places)) if held else None
    place, seconds = int(random.choice(places)), float(random.uniform(*length))
    return ShotPlan(tuple(acts), place, seconds, pan=pan, shift=shift, prop=prop)


def _dressed(plans: list[ShotPlan], cast: list[Person]) -> list[ShotPlan]:
    """The second person in other clothes in the film's second half."""
    if len(cast) < 2:
        return plans
    changed, half = cast[1], len(plans) // 2
    return plans[:half] + [
        replace(
            plan,
            acts=tuple(
                replace(act, person=replace(act.person, costume=1)) if act.person == changed else act
                for act in plan.acts
            ),
        )
        for plan in plans[half:]
    ]


def _joined(plans: list[ShotPlan], random: np.random.Generator) -> list[ShotPlan]:
    joins: list[Join] = ["cut", "dissolve", "fade"]
    drawn = random.choice(3, len(plans), p=(0.86, 0.09, 0.05))
    drawn[0] = 0
    return [replace(plan, join=joins[int(kind)]) for plan, kind in zip(plans, drawn, strict=True)]


def _faulty(plans: list[ShotPlan], random: np.random.Generator, faults: tuple[Fault, ...]) -> list[ShotPlan]:
    """Faults of every kind, one shot each, in shots that would else be usable; repeats come at the end, and
    never right after what they repeat."""
    usable = [k for k, plan in enumerate(plans[:-1]) if plan.acts and plan.seconds >= LONG[0]]
    chosen = [int(k) for k in random.permutation(usable)[: len(FAULTS)]]
    found = list(plans)
    for at, fault in zip(chosen, faults, strict=False):
        if fault in ("repeat", "mirror"):
            found.append(replace(plans[at], fault=fault, of=at, join="cut"))
        else:
            found[at] = replace(plans[at], fault=fault)
    return found
