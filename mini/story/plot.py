"""Who does what where in a seed's clip, in words that say nothing of looks; and what may be wrong in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from mini.story.motion import ACTIONS, HANDLING, HEADING, Action

NAMES = [
    "hero",
    "friend",
    "rival",
    "mara",
    "tom",
    "ada",
    "noor",
    "kim",
    "lena",
    "otto",
    "ravi",
    "sana",
    "juno",
    "pavel",
    "mina",
    "theo",
    "zoe",
    "ivo",
    "rosa",
    "emil",
    "hana",
    "bram",
    "cleo",
    "dario",
]
THINGS = ["thing", "prop", "toy", "relic", "gift", "parcel", "trophy", "keepsake", "find", "token"]
PLACE = "place"
NEAR: tuple[Action, ...] = ("stand", "wave", "turn round")  # what a close shot shows whole
STAYING: tuple[Action, ...] = tuple(action for action in ACTIONS if action not in HEADING)
OUT = 1.55  # metres from the middle at which a walk across the frame begins

Variant = Literal["clean", "swapped", "wrong actor", "stranger", "prop missing"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
Poses = Literal["views", "own", "other"]
"""Of people on a sheet: pictures that were taken for it, from the clip itself, from another clip."""
POSES: tuple[Poses, ...] = get_args(Poses)


@dataclass(frozen=True)
class Role:
    """One person: the identity is (`seed`, `index`). `prop`: number of the prop in hand.

    Start and distance in metres.
    """

    name: str
    seed: int
    index: int
    action: Action
    start: tuple[float, float]
    distance: float = 0.0
    facing: float = 0.0
    prop: int | None = None

    @property
    def side(self) -> str:
        return "left" if self.start[0] < 0 else "right"


@dataclass(frozen=True)
class Plot:
    """A clip's story. `stands`: where props stand that nobody holds; `pan`: -1, 0 or 1; `shown`: by prop."""

    seed: int
    roles: tuple[Role, ...]
    things: tuple[str, ...]
    stands: tuple[tuple[float, float], ...]
    shown: tuple[bool, ...]
    pan: int = 0
    near: bool = False
    variant: Variant = "clean"


def plot_of(seed: int, *, people: int | None = None, actions: tuple[Action, ...] | None = None) -> Plot:
    """A seed's story; the number of people and the first ones' actions may be given."""
    random = np.random.default_rng([seed, 18])
    count = people or (2 if actions and len(actions) > 1 else int(random.random() < 0.5) + 1)
    drawn = [ACTIONS[int(k)] for k in random.integers(0, len(ACTIONS), 2)]
    chosen = [*(actions or ()), *drawn[len(actions or ()) :]][:count]
    if count == 2 and chosen[0] in HEADING and chosen[1] in HEADING:
        chosen[1] = STAYING[int(random.integers(len(STAYING)))]  # two who walk would meet
    names = [str(one) for one in random.permutation(NAMES)[:count]]
    wanted = sum(action in HANDLING for action in chosen)
    things = [str(one) for one in random.permutation(THINGS)[: max(wanted, int(random.integers(0, 3)))]]
    near = count == 1 and chosen[0] in NEAR and random.random() < 0.5
    things = [] if near else things
    places = _places(chosen, random)
    roles, free = [], 0
    for index, (name, action, (start, distance)) in enumerate(zip(names, chosen, places, strict=True)):
        prop = None
        if action in HANDLING:
            prop, free = free, free + 1
        facing = 0.0 if count == 1 or action in HEADING else -0.22 * float(np.sign(start[0]))
        roles.append(Role(name, seed, index, action, start, distance, facing, prop))
    crowded = count == 2 and any(action in HEADING for action in chosen)  # somebody stands at the edge
    pan = 0 if near or crowded or random.random() < 0.6 else int(random.choice([-1, 1]))
    return Plot(seed, tuple(roles), tuple(things), _stands(roles), (True,) * len(things), pan, near)


def _places(chosen: list[Action], random: np.random.Generator) -> list[tuple[tuple[float, float], float]]:
    """Start and walking distance of everybody. With two, the one who walks stays clear of the other."""
    if len(chosen) == 1:
        heading = HEADING.get(chosen[0], 0.0)
        return [((-heading * OUT, 0.0), 2 * OUT * abs(heading))]
    walkers = [index for index in range(2) if chosen[index] in HEADING]
    if walkers:
        heading = HEADING[chosen[walkers[0]]]
        places = [((heading * 1.45, 0.1), 0.0), ((heading * 1.45, 0.1), 0.0)]
        places[walkers[0]] = ((-heading * 1.6, -0.1), 2.2)
        return places
    sides = (-0.95, 0.95) if random.random() < 0.5 else (0.95, -0.95)
    return [((side, 0.0), 0.0) for side in sides]


def _stands(roles: list[Role]) -> tuple[tuple[float, float], ...]:
    """Where the first and the second prop would stand: behind the lane in which people are."""
    if len(roles) == 1:
        return ((-1.05, 0.75), (1.05, 0.75))
    return ((-0.24, 0.75), (0.26, 0.75))


def varied(plot: Plot, variant: Variant) -> Plot | None:
    """The story with something wrong in it; None where a story has nothing that could be wrong so.

    "swapped": the two stand and act in each other's place. "wrong actor": each does what the other was asked
    to. "stranger": the first person is somebody else. "prop missing": the first prop is not there.
    """
    if variant == "clean":
        return plot
    if variant == "stranger":
        first = replace(plot.roles[0], seed=plot.seed + 25_000, index=0)
        return replace(plot, roles=(first, *plot.roles[1:]), variant=variant)
    if variant == "prop missing":
        if not plot.things:
            return None
        return replace(plot, shown=(False, *plot.shown[1:]), variant=variant)
    if len(plot.roles) < 2 or (variant == "wrong actor" and plot.roles[0].action == plot.roles[1].action):
        return None
    one, two = plot.roles
    if variant == "swapped":
        roles = (_in_place(one, two), _in_place(two, one))
    else:
        if {one.action, two.action} & set(HEADING):
            return None  # where a walk begins tells who walks: exchanged, it would be a swap
        roles = (
            replace(one, action=two.action, prop=two.prop),
            replace(two, action=one.action, prop=one.prop),
        )
    return replace(plot, roles=roles, variant=variant)


def _in_place(who: Role, other: Role) -> Role:
    return replace(other, name=who.name, seed=who.seed, index=who.index)


PHRASES: dict[Action, tuple[str, ...]] = {
    "stand": ("stands", "stands still", "stands there", "waits"),
    "wave": ("waves", "waves at us", "waves a hand", "raises one hand and waves"),
    "jump": ("jumps", "jumps up and down", "jumps on the spot", "jumps for joy"),
    "turn round": ("turns round", "turns around once", "makes a full turn", "turns round on the spot"),
    "walk left": ("walks to the left", "walks left", "walks from right to left", "strolls to the left"),
    "walk right": ("walks to the right", "walks right", "walks from left to right", "strolls to the right"),
    "lift": (
        "lifts {prop}",
        "lifts {prop} overhead",
        "raises {prop} with both hands",
        "lifts {prop} up high",
    ),
    "carry left": ("carries {prop} to the left", "walks left with {prop}", "carries {prop} left"),
    "carry right": ("carries {prop} to the right", "walks right with {prop}", "carries {prop} right"),
}
PEOPLE = ("a person", "the person", "somebody", "a character", "one of the cast")
OBJECTS = ("an object", "a thing", "the object", "something to hold")
PLACES = ("a place", "the place", "the location", "where it happens")


def action_words(plot: Plot, random: np.random.Generator | None = None) -> str:
    """The prompt's second half; the plainest words without `random`. It names, and tells nothing of looks."""

    def pick(options: tuple[str, ...]) -> str:
        return options[0] if random is None else options[int(random.integers(len(options)))]

    def chance(share: float) -> bool:
        return random is None or random.random() < share

    sentences = []
    for role in plot.roles:
        deed = pick(PHRASES[role.action])
        if role.prop is not None:
            deed = deed.format(prop=plot.things[role.prop])
        where = len(plot.roles) > 1 and role.action not in HEADING and chance(0.8)
        sentences.append(f"{role.name}{f' on the {role.side}' if where else ''} {deed}")
    if random is not None and len(sentences) > 1 and random.random() < 0.5:
        sentences.reverse()
    joined = f" {pick(('and', 'while'))} ".join(sentences)
    if plot.near:
        joined = f"{pick(('close shot', 'close-up', 'seen from near'))}: {joined}"
    if plot.pan:
        joined += f", the camera pans slowly to the {'right' if plot.pan > 0 else 'left'}"
    elif not chance(0.8):
        joined += ", the camera stands still"
    return joined + "."
