"""`castsheet pairs make`: from what was found and who is who to a training set that `castsheet encode` reads.

DATA/clips/ID.mp4        the clip
DATA/sheets/ID.png .json its sheet; ID.1.png and so on are other versions of it
DATA/pairs.csv           video, sheet, caption and split, title, licence, credit; train.csv and so on by split
DATA/pairs.jsonl         the same with the source of every panel
DATA/rejects.csv         everything that was left out: unit, rule, value, limit, meaning
DATA/credits.txt         whose films these are
DATA/summary.json        counts that add up
DATA/report.html         pairs with sheet and clip side by side, rejects by rule
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from castsheet.machine.files import write_atomic, write_text
from castsheet.machine.locks import Say
from castsheet.machine.marks import Kind, owned
from castsheet.machine.regular import is_file
from castsheet.pairs.camera import corner_at
from castsheet.pairs.cast import NOBODY, Cast, Member, read_cast
from castsheet.pairs.castpage import still
from castsheet.pairs.find import Found, by_rule, load
from castsheet.pairs.judged import judge_here
from castsheet.pairs.ledger import Ledger, Stored, Task
from castsheet.pairs.pair import Job, Shown, make_pair
from castsheet.pairs.plain import Backdrop
from castsheet.pairs.pools import pool_of
from castsheet.pairs.records import Film, PairsError, Reject, Sight, Track, Window
from castsheet.pairs.resultpage import Card, result_page
from castsheet.pairs.split import split
from castsheet.pairs.subjects import EVERY
from castsheet.pairs.tables import credits_of, csv_of, png, told, write_tables

DATA = Kind("training pairs", lambda folder: is_file(folder / "summary.json"))
VERSION = 19
GHOSTS = 0.2  # share of the looks at a window
SPOILT = ("R31", "R32", "R34", "R36")
"""Rules whose shots lend no pictures either: they are blurred, too dark, written on, or shown before, maybe
in the clip's own shot just before it."""


@dataclass(frozen=True)
class Making:
    """How to make pairs.

    Args:
        variants: versions of each sheet. judged: whether the judge looks at them.
        placeless: whether a sheet may lack the place.
        captioner, inpainter: names of back ends (see `tools`).
        workers, ray: where the work is done (see `pools.pool_of`).
    """

    variants: int = 2
    judged: bool = True
    workers: int = 1
    ray: str | None = None
    placeless: bool = False
    captioner: str = "none"
    inpainter: str = "none"


@dataclass(frozen=True)
class Result:
    """What was made: ids of pairs by split, what was left out, and the counts."""

    pairs: dict[str, str]
    rejects: tuple[Reject, ...]
    counts: dict[str, int]


def make(
    work: Path,
    out: Path,
    how: Making,
    *,
    advance: Callable[[int], None] = lambda _: None,
    say: Say = lambda _: None,
) -> Result:
    """Make the pairs of a work folder.

    Raises:
        PairsError: nothing was found there yet, or the cast file is not usable.
        OutputError: a folder is somebody else's, or the disk refused.
    """
    found = load(work)
    cast = read_cast(work / "cast.yaml")
    with owned(out, DATA, say):
        return _make(found, cast, work, out, how, advance)


def _make(
    found: Found, cast: Cast, work: Path, out: Path, how: Making, advance: Callable[[int], None]
) -> Result:
    films = {film.id: film for film in found.films}
    world = _World(found, cast, work)
    rejects: list[Reject] = []
    tasks: list[Task] = []
    for window in found.windows:
        film = films[window.shot.rsplit("-", 1)[0]]
        job = world.job(film, window, how)
        if isinstance(job, Reject):
            rejects.append(job)
        else:
            tasks.append(Task("pairs", window.id, _depends(job), make_pair, (job,)))
    outcomes = Ledger(work / "results").run(tasks, pool_of(how.workers, how.ray), advance=advance)
    made: dict[str, Stored] = {}
    quarantined = 0
    for unit, outcome in outcomes.items():
        refusal = None if outcome is None else _rejected(unit, outcome.values)
        if outcome is None:
            quarantined += 1
            rejects.append(Reject(unit, "quarantined", "it ended three processes"))
        elif refusal is not None:
            rejects.append(refusal)
        else:
            made[unit] = outcome
    counts = {"found": len(found.windows), "accepted": len(made), "quarantined": quarantined}
    counts["rejected"] = counts["found"] - counts["accepted"] - quarantined
    return _written(found, work, world, made, rejects, counts, out)


def _depends(job: Job) -> list[Any]:
    """All that a pair depends on: results of the ledger are named by what they depend on in turn."""
    people = []
    for one in job.people:
        frames, others = [sight.frame for sight in one.sights], [track.id for track in one.others]
        people.append([one.name, frames, others, one.what, one.kind])
    backdrops = [replace(one, people=(), stored=Path(one.stored).stem) for one in job.backdrops]
    results = sorted(Path(path).stem for path in job.results.values())
    return [
        VERSION,
        job.film.sha256,
        asdict(job.window),
        asdict(job.clips),
        people,
        [asdict(one) for one in backdrops],
        results,
        job.moved,
        job.variants,
        job.judge,
        job.placeless,
        job.captioner,
        job.inpainter,
    ]


class _World:
    """What is known of all films, arranged by what a window asks."""

    def __init__(self, found: Found, cast: Cast, work: Path) -> None:
        self.found = found
        self._stored = {
            shot: work / "results" / "watched" / f"{stem}.json" for shot, stem in found.results.items()
        }
        self._tracks = {track.id: track for track in found.tracks}
        self._by_shot: dict[str, list[Track]] = {}
        for track in found.tracks:
            self._by_shot.setdefault(track.shot, []).append(track)
        self._owner: dict[str, tuple[str, Member]] = {
            track: (title, member)
            for title, members in cast.items()
            for member in members.values()
            for track in member.tracks
        }
        # A sheet would show what spoils a clip.
        self._spoilt = {one.unit.rpartition("w")[0] for one in found.rejects if one.rule in SPOILT}
        self._spans, self._corners, self._times, self._plated = _placed(found, work)
        self.shared: dict[str, list[str]] = {}

    def job(self, film: Film, window: Window, how: Making) -> Job | Reject:
        """The work of a window, or why it cannot become a pair."""
        first, last = window.frames[0], window.frames[-1]
        people: list[Shown] = []
        for track in self._by_shot.get(window.shot, []):
            sights = tuple(one for one in track.sights if first <= one.frame <= last)
            if not sights:
                continue
            known = self._owner.get(track.id)
            if known is None or _doubtful(known[1]):
                return Reject(window.id, "R51", track.id)
            title, member = known
            if member.key == NOBODY:
                continue
            people = _joined(people, member, sights, self._elsewhere(member, window.shot))
            self.shared.setdefault(window.id, []).extend(self._maybe(title, member))
        ghosts = sum(first <= frame <= last for frame in self.found.ghosts[window.shot])
        looks = max(1, (last - first) // max(1, round(EVERY * film.fps / 24)))
        if ghosts > GHOSTS * looks:
            return Reject(window.id, "R45", f"{ghosts / looks:.0%} of the time", f"{GHOSTS:.0%}")
        self.shared.setdefault(window.id, []).append(f"title {film.title}")
        place = self.found.places.get(window.shot)
        if place is not None:
            self.shared[window.id].append(f"place {place}")
        shots = {track.shot for one in people for track in one.others}
        return Job(
            film=film,
            window=window,
            clips=self.found.clips,
            times=self._times[film.id],
            size=self.found.sizes[window.shot],
            sizes={shot: self.found.sizes[shot] for shot in shots},
            people=tuple(people),
            backdrops=self._backdrops(window.shot),
            results={shot: str(self._stored[shot]) for shot in shots},
            moved=self._moved(window),
            variants=how.variants,
            judge=judge_here() if how.judged else "",
            placeless=how.placeless,
            captioner=how.captioner,
            inpainter=how.inpainter,
        )

    def _maybe(self, title: str, member: Member) -> list[str]:
        """Somebody, and all who may be the same: a doubt must not part them between training and test."""
        others = (self._owner[track][1].key for track in member.unsure if track in self._owner)
        return [f"person {title}: {key}" for key in dict.fromkeys((member.key, *others))]

    def _elsewhere(self, member: Member, shot: str) -> tuple[Track, ...]:
        """Somebody's tracks in other shots of the film. What a person drew is not spoilt: they saw it."""
        found = (self._tracks[track] for track in member.tracks if track in self._tracks)
        return tuple(
            track
            for track in found
            if track.shot != shot
            and track.shot in self._stored
            and (track.owner or track.shot not in self._spoilt)
        )

    def _backdrops(self, shot: str) -> tuple[Backdrop, ...]:
        """Shots that show a shot's place: without people, or enough of them to know it without people."""
        place = self.found.places.get(shot)
        if place is None:
            return ()
        found = (
            Backdrop(
                other,
                self._spans[other],
                self._corners[other],
                self._empty(other),
                tuple(self._by_shot.get(other, ())),
                str(self._stored[other]),
            )
            for other, known in self.found.places.items()
            if known == place and other != shot and other in self._stored and other in self._corners
        )
        return tuple(one for one in found if one.empty or place in self._plated)

    def _empty(self, shot: str) -> bool:
        """Whether surely nobody is in a shot."""
        known = shot not in self.found.blind and not self.found.ghosts[shot]
        return known and not self._by_shot.get(shot)

    def _moved(self, window: Window) -> int:
        """px that the camera goes to the right from the window's first frame to its last."""
        corners = self._corners.get(window.shot)
        if corners is None:
            return 0
        first, end = self._spans[window.shot]
        low, high = (
            corner_at((at - first) / max(1, end - 1 - first), corners)[0]
            for at in (window.frames[0], window.frames[-1])
        )
        return round(high - low)


def _doubtful(member: Member) -> bool:
    """Whether nobody is sure of all of somebody's tracks: a single one that may be others', or new ones."""
    return bool(member.unsure) and (len(member.tracks) == 1 or bool(set(member.unsure) & set(member.tracks)))


def _joined(
    people: list[Shown], member: Member, sights: tuple[Sight, ...], others: tuple[Track, ...]
) -> list[Shown]:
    """The people with one more track: two tracks of one person in a shot are one person."""
    name = member.name or member.key
    for at, one in enumerate(people):
        if one.name == name:
            both = tuple(sorted((*one.sights, *sights), key=lambda sight: sight.frame))
            return [*people[:at], replace(one, sights=both), *people[at + 1 :]]
    return [*people, Shown(name, sights, others, member.what, member.kind)]


def _placed(
    found: Found, work: Path
) -> tuple[
    dict[str, tuple[int, int]],
    dict[str, tuple[tuple[int, int], ...]],
    dict[str, NDArray[np.float64]],
    set[str],
]:
    """Spans and corners of shots, times of films, and places that are known without people, from the
    ledger."""
    spans: dict[str, tuple[int, int]] = {}
    corners: dict[str, tuple[tuple[int, int], ...]] = {}
    times: dict[str, NDArray[np.float64]] = {}
    plated: set[str] = set()
    for film in found.films:
        stage = found.stages.get(film.id, {})
        cut = Stored(work / "results" / "shots" / f"{stage['shots']}.json")
        times[film.id] = cut.arrays()["times"]
        places = None
        if "places" in stage:
            values = Stored(work / "results" / "places" / f"{stage['places']}.json").values
            places = values["places"]
            plated |= {f"{film.id}/{one}" for one in values["plates"]}
        for number, (first, last) in enumerate(cut.values["shots"]):
            shot = f"{film.id}-{number:04d}"
            spans[shot] = first, last
            # Who is in no track would stay in the place's picture. A near shot lies on it in another scale, a
            # mirrored one the other way round.
            known = None if places is None or shot in found.strays else places[number]
            if known is not None and not {"zoom", "mirrored"} & set(known):
                corners[shot] = tuple((int(x), int(y)) for x, y in known["corners"])
    return spans, corners, times, plated


def _written(
    found: Found,
    work: Path,
    world: _World,
    made: dict[str, Stored],
    rejects: list[Reject],
    counts: dict[str, int],
    out: Path,
) -> Result:
    parts = split({unit: world.shared[unit] for unit in made})
    films = {film.id: film for film in found.films}
    for name in ("clips", "sheets"):
        (out / name).mkdir(exist_ok=True)
        _clear(out / name, made)
    rows: list[dict[str, Any]] = []
    cards: list[Card] = []
    for unit, stored in made.items():
        values, arrays = stored.values, stored.arrays()
        _put(out / "clips" / f"{unit}.mp4", arrays["clip"].tobytes())
        for k, manifest in enumerate(values["sheets"]):
            stem = unit if k == 0 else f"{unit}.{k}"
            _put(out / "sheets" / f"{stem}.json", manifest.encode())
            _put(out / "sheets" / f"{stem}.png", png(arrays[f"sheet{k}"]))
        film = films[unit.rsplit("-", 1)[0]]
        row = {"video": f"clips/{unit}.mp4", "sheet": f"sheets/{unit}.png", "caption": values["caption"]}
        others = [f"sheets/{unit}.{k}.png" for k in range(1, len(values["sheets"]))]
        row |= {"split": parts[unit], "title": film.title, "licence": film.licence, "credit": film.credit}
        rows.append(
            row
            | {"people": film.people, "source": film.sha256, "panels": values["panels"][0], "sheets": others}
        )
        cards.append(
            Card(unit, out / "clips" / f"{unit}.mp4", arrays["sheet0"], values["caption"], parts[unit])
        )
    write_tables(rows, out)
    every = [*found.rejects, *rejects]
    write_text(out / "rejects.csv", csv_of(("unit", "rule", "value", "limit", "meaning"), told(every)))
    write_text(out / "credits.txt", credits_of(found.films))
    summary = {**found.counts, "pairs": counts, "rules": by_rule(every)}
    summary["split"] = {
        part: sum(one == part for one in parts.values()) for part in ("train", "validation", "test")
    }
    write_text(out / "summary.json", json.dumps(summary, indent=1, sort_keys=True) + "\n")
    page = result_page(cards, every, summary, lambda unit: still(unit, found, work))
    write_text(out / "report.html", page)
    return Result(dict(parts), tuple(every), counts)


def _clear(folder: Path, made: dict[str, Stored]) -> None:
    """Remove files of pairs that are no more: the folder is ours."""
    for path in folder.iterdir():
        if path.name.split(".")[0] not in made:
            path.unlink()


def _put(path: Path, content: bytes) -> None:
    """Write a file, unless it is there with this content."""
    if not is_file(path) or path.read_bytes() != content:
        write_atomic(path, lambda part: part.write_bytes(content))


def _rejected(unit: str, values: Mapping[str, Any]) -> Reject | None:
    """The reason for which a result is no pair, or None."""
    found = values.get("reject")
    return None if found is None else Reject(unit, *map(str, found))


def refuse_empty(result: Result) -> None:
    """Raise PairsError if no pair was made."""
    if not result.pairs:
        rules = ", ".join(f"{rule} {count}" for rule, count in by_rule(result.rejects).items())
        raise PairsError(
            f"no pair was made: {rules or 'nothing was found'}", remedy="read rejects.csv and docs/pairs.md"
        )
