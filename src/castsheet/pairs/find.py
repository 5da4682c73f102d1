"""`castsheet pairs find`: from a table of films to windows, tracks and a cast that a person can correct.

WORK/results/...       the ledger: one file a unit, see `ledger`
WORK/found.json        all that `make` reads: films, windows, tracks, places, and everything that was left out
WORK/cast.yaml         who is who; corrections win
WORK/cast.html         the same with pictures
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from castsheet.machine.files import write_text
from castsheet.machine.locks import Say
from castsheet.machine.marks import Kind, owned
from castsheet.machine.regular import MIB, is_file
from castsheet.machine.text import TextReader
from castsheet.pairs.camera import Plate
from castsheet.pairs.cast import Cast, corrected, drawn_in, is_edited, proposed, with_drawn, write_cast
from castsheet.pairs.castpage import cast_page
from castsheet.pairs.drawn import Drawn
from castsheet.pairs.eyes import Eyes
from castsheet.pairs.films import opened, read_films
from castsheet.pairs.identities import identify, replaced
from castsheet.pairs.ledger import Arrays, Ledger, Outcome, Stored, Task
from castsheet.pairs.places import place_film
from castsheet.pairs.pools import pool_of
from castsheet.pairs.quality import sifted
from castsheet.pairs.records import Clips, Film, PairsError, Reject, Track, Window
from castsheet.pairs.repeats import Footage
from castsheet.pairs.scan import cut_film, watch_shot

WORK = Kind("pairs", lambda folder: is_file(folder / "found.json"))
VERSION = 26
"""Raised when results of a stage change, so that they are made again."""
_FOUND = TextReader(PairsError, "run castsheet pairs find again", limit=1024 * MIB)


@dataclass(frozen=True)
class Finding:
    """How to look: the clips that are wanted, the shot detector's name, and the other back ends' (see
    `tools`)."""

    clips: Clips
    shots: str
    eyes: Eyes
    workers: int = 1
    ray: str | None = None


@dataclass(frozen=True)
class Found:
    """What `find` leaves for `make`.

    Attributes:
        windows: those that may become clips. tracks: all that were seen. places: of each shot that has one,
        the
            place's name. results: of each shot, the stem of its file in the ledger.
        ghosts: of each shot, the frames in which somebody may stand where its place is not known.
        blind: shots whose place is not known at all. strays: shots that show somebody, and no track of them.
        stages: of each film, the stems of its files in the ledger.
        counts: films and windows that were found, accepted, rejected and quarantined.
    """

    clips: Clips
    films: tuple[Film, ...]
    windows: tuple[Window, ...]
    tracks: tuple[Track, ...]
    sizes: dict[str, tuple[int, int]]
    places: dict[str, str]
    results: dict[str, str]
    ghosts: dict[str, list[int]]
    blind: tuple[str, ...]
    strays: tuple[str, ...]
    stages: dict[str, dict[str, str]]
    rejects: tuple[Reject, ...]
    counts: dict[str, dict[str, int]]


_DOCUMENT = TypeAdapter(Found)


def find(
    table: Path,
    work: Path,
    how: Finding,
    *,
    advance: Callable[[int], None] = lambda _: None,
    say: Say = lambda _: None,
) -> tuple[Found, Cast]:
    """Look at all films of a table.

    Args:
        advance: called with the number of units that are done. say: told what is waited for.

    Raises:
        PairsError: the table or the cast file is not usable.
        OutputError: the folder is somebody else's, or the disk refused.
        DependencyError: a back end is not installed.
    """
    sources = read_films(table)
    with owned(work, WORK, say):
        ledger = Ledger(work / "results")
        rejects: list[Reject] = []
        films: list[Film] = []
        for source in sources:
            one = opened(source, how.clips.size)
            (films if isinstance(one, Film) else rejects).append(one)  # type: ignore[arg-type]
        drawn = drawn_in(work / "cast.yaml")
        found = _look(films, ledger, how, rejects, len(sources), advance, drawn)
        titles = {film.id: film.title for film in found.films}
        tracks: dict[str, list[Track]] = {title: [] for title in titles.values()}
        for track in found.tracks:
            tracks[titles[_film_of(track.shot)]].append(track)
        for title, frame in _lost(drawn, tracks):
            say(f"{title}: the box on frame {frame} shows nothing: no shot has this frame")
        cast = proposed(
            {title: identify([one for one in every if not one.owner]) for title, every in tracks.items()}
        )
        edited = is_edited(work / "cast.yaml")
        cast = with_drawn(corrected(cast, work / "cast.yaml"), tracks)
        save(found, work)
        write_cast(work / "cast.yaml", cast, edited=edited)
        write_text(work / "cast.html", cast_page(found, cast, work))
    return found, cast


def _lost(
    drawn: Mapping[str, Sequence[Drawn]], tracks: Mapping[str, Sequence[Track]]
) -> Iterator[tuple[str, int]]:
    """Titles and frames of drawn boxes that no track shows."""
    for title, boxes in drawn.items():
        shown = {
            (track.owner, sight.frame)
            for track in tracks.get(title, ())
            for sight in track.sights
            if sight.view
        }
        yield from ((title, one.frame) for one in boxes if (one.owner, one.frame) not in shown)


def _film_of(shot: str) -> str:
    return shot.rsplit("-", 1)[0]


def save(found: Found, work: Path) -> Path:
    """Write found.json. `OutputError` if the disk refused."""
    return write_text(work / "found.json", json.dumps(asdict(found), sort_keys=True) + "\n")


def load(work: Path) -> Found:
    """Read found.json.

    Raises:
        PairsError: it is not there, or damaged.
    """
    path = work / "found.json"
    if not is_file(path):
        raise PairsError(f"{path} is not there", remedy=f"run castsheet pairs find FILMS.csv -o {work}")
    try:
        return _DOCUMENT.validate_python(_FOUND.json_object(path))
    except ValidationError as error:
        raise PairsError(f"{path} is damaged: {error.errors()[0]['msg']}", remedy=_FOUND.remedy) from error


def _look(
    films: Sequence[Film],
    ledger: Ledger,
    how: Finding,
    rejects: list[Reject],
    listed: int,
    advance: Callable[[int], None],
    drawn: Mapping[str, Sequence[Drawn]],
) -> Found:
    """Run the stages over all films; `rejects` grows. `drawn`: boxes by title."""
    done, pool = 0, pool_of(how.workers, how.ray)

    def run(tasks: list[Task]) -> dict[str, Outcome]:
        nonlocal done
        found = ledger.run(tasks, pool, advance=lambda count: advance(done + count))
        done += len(tasks)
        return found

    cuts = run([_cut(film, how) for film in films])
    readable, quarantined = [], 0
    for film in films:
        outcome = cuts[film.title]
        if outcome is None:
            quarantined += 1
            rejects.append(Reject(film.title, "quarantined", "it ended three processes"))
        elif "error" in outcome.values:
            rejects.append(Reject(film.title, "R01", str(outcome.values["error"])))
        else:
            readable.append(film)
    placed = run([_place(film, cuts[film.title], how.eyes.faces) for film in readable])
    watched = run(
        [
            task
            for film in readable
            for task in _watch(film, cuts[film.title], placed[film.title], how, drawn.get(film.title, ()))
        ]
    )
    counts = {"films": _count(listed, len(readable), quarantined)}
    return _gathered(readable, cuts, placed, watched, how, rejects, counts)


def _cut(film: Film, how: Finding) -> Task:
    return Task("shots", film.title, [VERSION, film.sha256, how.shots], cut_film, (film, how.shots))


def _place(film: Film, cut: Outcome, faces: str) -> Task:
    assert cut is not None
    shots = cut.values["shots"]
    depends = [VERSION, film.sha256, shots, faces]
    return Task("places", film.title, depends, place_film, (film, shots, faces))


def _watch(film: Film, cut: Outcome, placed: Outcome, how: Finding, drawn: Sequence[Drawn]) -> Iterator[Task]:
    assert cut is not None
    times = cut.arrays()["times"]
    places = [None] * len(cut.values["shots"]) if placed is None else placed.values["places"]
    plates = {} if placed is None else plates_of(placed.values["plates"], placed.arrays())
    for number, span in enumerate(cut.values["shots"]):
        shot, place = f"{film.id}-{number:04d}", places[number]
        plate = None if place is None else plates.get(place["place"])
        depends = [VERSION, film.sha256, span, asdict(how.clips), asdict(how.eyes), place]
        depends.append(None if placed is None or plate is None else placed.path.stem)
        mine = tuple(one for one in drawn if span[0] <= one.frame < span[1])
        depends += [asdict(one) for one in mine]
        arguments = (film, shot, span, times, how.clips, place, plate, how.eyes, mine)
        yield Task("watched", shot, depends, watch_shot, arguments)


def plates_of(places: Sequence[int], arrays: Arrays) -> dict[int, Plate]:
    """The pictures of places that `place_film` left, by the place's number."""
    return {
        place: Plate(
            arrays[f"plate{place}"],
            arrays[f"sure{place}"],
            (int(arrays[f"origin{place}"][0]), int(arrays[f"origin{place}"][1])),
        )
        for place in places
    }


def _gathered(
    films: Sequence[Film],
    cuts: dict[str, Outcome],
    placed: dict[str, Outcome],
    watched: dict[str, Outcome],
    how: Finding,
    rejects: list[Reject],
    counts: dict[str, dict[str, int]],
) -> Found:
    windows, tracks = list[Window](), list[Track]()
    places, results, sizes = {}, {}, {}
    stages: dict[str, dict[str, str]] = {}
    found = quarantined = 0
    for film in films:
        cut, place = cuts[film.title], placed[film.title]
        assert cut is not None
        stages[film.id] = {"shots": cut.path.stem} | ({} if place is None else {"places": place.path.stem})
        mine, changed = list[Window](), dict[str, Reject]()
        for number in range(len(cut.values["shots"])):
            shot = f"{film.id}-{number:04d}"
            outcome = watched[shot]
            if outcome is None:
                found, quarantined = found + 1, quarantined + 1
                rejects.append(Reject(shot, "quarantined", "it ended three processes"))
                continue
            values = outcome.values
            if "error" in values:
                found += 1
                rejects.append(Reject(shot, "R01", str(values["error"])))
                continue
            results[shot], sizes[shot] = outcome.path.stem, tuple(values["size"])
            known = None if place is None else place.values["places"][number]
            if known is not None and "mirrored" not in known:
                places[shot] = f"{film.id}/{known['place']}"
            seen = [TypeAdapter(Track).validate_python(one) for one in values["tracks"]]
            tracks += seen
            if not values["windows"]:
                found += 1
                rejects.append(_too_short(shot, values["longest"] / film.fps, how.clips))
            here = [TypeAdapter(Window).validate_python(one) for one in values["windows"]]
            mine, changed = [*mine, *here], changed | _changed(here, seen, values["size"][0])
        found += len(mine)
        mark = 0.0 if place is None else float(place.values["mark"])
        kept, left_out = sifted(mine, _footage(film, cut), changed, mark)
        windows += kept
        rejects += left_out
    counts["windows"] = _count(found, len(windows), quarantined)
    return Found(
        how.clips,
        tuple(films),
        tuple(windows),
        tuple(tracks),
        sizes,
        places,
        results,
        *_hidden(watched),
        stages,
        tuple(rejects),
        counts,
    )


def _footage(film: Film, cut: Stored) -> Footage:
    shots = {f"{film.id}-{number:04d}": span for number, span in enumerate(cut.values["shots"])}
    return Footage(cut.arrays()["strip"], shots)


def _hidden(watched: Mapping[str, Outcome]) -> tuple[dict[str, list[int]], tuple[str, ...], tuple[str, ...]]:
    """`Found.ghosts`, `Found.blind` and `Found.strays` of the shots that could be watched."""
    ghosts, blind, strays = {}, [], []
    for shot, outcome in watched.items():
        if outcome is None or "error" in (values := outcome.values):
            continue
        ghosts[shot] = values["ghosts"]
        if values["by"] != "plate":
            blind.append(shot)
        if values["stray"]:
            strays.append(shot)
    return ghosts, tuple(blind), tuple(strays)


def _too_short(shot: str, seconds: float, clips: Clips) -> Reject:
    return Reject(shot, "R10", f"{seconds:.2f} s", f"{clips.seconds:.2f} s and guards")


def _changed(windows: Sequence[Window], tracks: Sequence[Track], width: int) -> dict[str, Reject]:
    """The windows of a shot in which somebody takes another one's place, by their names.

    Args:
        width: see `replaced`.
    """
    found = {}
    changes = replaced(tracks, width)
    for one in windows:
        inside = [first for first, last in changes if first <= one.frames[-1] and one.frames[0] <= last]
        if inside:
            found[one.id] = Reject(one.id, "R37", f"frame {inside[0]}")
    return found


def _count(found: int, accepted: int, quarantined: int) -> dict[str, int]:
    rejected = found - accepted - quarantined
    return {"found": found, "accepted": accepted, "rejected": rejected, "quarantined": quarantined}


def by_rule(rejects: Sequence[Reject]) -> dict[str, int]:
    """How many units each rule left out."""
    return dict(sorted(Counter(one.rule for one in rejects).items()))
