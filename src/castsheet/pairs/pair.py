"""One window of a film becomes a pair: its clip, a sheet of its people and its place from other times, a
caption.

A pure function of what `find` left; it runs in processes of their own. The result is the pair, or the first
rule that the window breaks.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.clip import Clip
from castsheet.elements import Character, Element, Location, Prop, Scene, View
from castsheet.errors import CastsheetError
from castsheet.lint.panels import lint_sheet
from castsheet.lint.prompt import lint_prompt
from castsheet.pairs.captions import Part, action_words, asked, looks_in
from castsheet.pairs.cast import Kind
from castsheet.pairs.frames import filled, mp4, read_frames
from castsheet.pairs.gates import COPY, from_clip, mask_of, nearest, refused
from castsheet.pairs.judged import judged
from castsheet.pairs.ledger import Made, Stored
from castsheet.pairs.plain import Backdrop, Plain, Refused, plain_of
from castsheet.pairs.protocols import Pixels
from castsheet.pairs.records import Clips, Film, Sight, Track, Window
from castsheet.pairs.references import Candidate, best_of, candidates, cut, missing, of_one_kind
from castsheet.pairs.tools import captioner_of
from castsheet.prompt import build
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import Sheet

VIEWS: tuple[View, ...] = ("face", "front", "three-quarter", "side", "back")
MOST = 4  # people of one sheet
LEAST = 0.15  # of the frame's height: smaller subjects need no panel, and make the clip unusable
MISSED = 0.4  # share of the looks in which somebody is not seen: over it they are lost
CUT_OFF = 0.5  # share of sights on the frame's edge; over it somebody whom it cuts off below is seen near
FEW = 4  # pictures of somebody: fewer leave a sheet of drawn subjects empty
PROBES = (0.3, 0.5, 0.7)  # of a track: one of its sights there is in the clip if its shot repeats the clip's
KEPT = 512  # small frames of a film in memory, 0.3 MB each
HEAD = 3.4  # times the height of a face: hair, face and shoulders
PERSON, THING, PLACE = "a person", "a thing", "the place"


@dataclass(frozen=True)
class Shown:
    """Somebody in the window, or a thing: their name on the sheet, their sights there, their tracks in other
    shots, and what a person says of them (see `cast.Member`)."""

    name: str
    sights: tuple[Sight, ...]
    others: tuple[Track, ...]
    what: str = ""
    kind: Kind = "character"

    @property
    def drawn(self) -> bool:
        """Whether all that is known of them was drawn by hand: the views are those that a person named."""
        return all(track.owner for track in self.others)


@dataclass(frozen=True)
class Job:
    """All that a pair is made of.

    Args:
        results: of each shot of the people's tracks, the path of its file in the ledger.
        moved: px that the camera goes to the right in the window. variants: versions of the sheet.
        placeless: whether a sheet may lack the place, if there is no clean picture of it.
        judge: what the judge looks with (see `judged.judge_here`); empty without a judge.
        captioner, inpainter: names of back ends (see `tools`).
    """

    film: Film
    window: Window
    clips: Clips
    times: NDArray[np.float64]
    size: tuple[int, int]
    sizes: Mapping[str, tuple[int, int]]
    people: tuple[Shown, ...]
    backdrops: tuple[Backdrop, ...]
    results: Mapping[str, str]
    moved: int
    variants: int
    judge: str
    placeless: bool
    captioner: str
    inpainter: str


def make_pair(job: Job) -> Made:
    """The pair of a window, or why there is none.

    Returns:
        values: `reject` (rule, value, limit), or `caption`, `panels`, `sheets` and `people`; arrays:
        `clip`, the bytes of an MP4, and `sheet0` and so on, the pixels of each version of the sheet.
    """
    try:
        return _made(job)
    except Refused as refusal:
        return Made({"reject": list(refusal.reject)}, {})
    except CastsheetError as error:
        return Made({"reject": ["R01", error.what, ""]}, {})


def _made(job: Job) -> Made:
    _check_people(job)
    clip_FHW3 = _clip(job)
    chosen = {one.name: _pictures(one, job, clip_FHW3) for one in job.people}
    place = _place(job)
    sheets: list[tuple[Sheet, list[dict[str, Any]]]] = []
    for number in range(job.variants):
        made = _sheet(job, chosen, place, number)
        if all(made[0].sha256 != other.sha256 for other, _ in sheets):
            sheets.append(made)
    caption = build(sheets[0][0], _words(job, clip_FHW3))
    faults = [one for one in lint_prompt(caption, sheets[0][0]) if one.severity == "error"]
    if faults:
        raise Refused("R90", faults[0].message)
    for sheet, panels in sheets:
        _check_sources(panels, job)
        if job.judge:
            found = judged(sheet, Clip(clip_FHW3, job.clips.fps))
            if found is not None:
                raise Refused(*found)
    arrays: dict[str, NDArray[Any]] = {"clip": mp4(clip_FHW3, job.clips.fps)}
    arrays |= {f"sheet{k}": np.asarray(sheet.image) for k, (sheet, _) in enumerate(sheets)}
    values = {
        "caption": caption.text,
        "people": [one.name for one in job.people],
        "sheets": [sheet.to_json() for sheet, _ in sheets],
        "panels": [panels for _, panels in sheets],
    }
    return Made(values, arrays)


def _words(job: Job, clip_FHW3: Pixels) -> str:
    """The caption's second half.

    Raises:
        Refused: a captioner leaves somebody out, or says how somebody looks.
    """
    parts = [Part(one.name, one.sights, one.kind == "prop") for one in job.people]
    captioner = captioner_of(job.captioner)
    if captioner is None:
        return action_words(parts, job.size[0], job.moved)
    words = asked(captioner, clip_FHW3, parts, job.size[0])
    unnamed = [part.name for part in parts if not re.search(rf"\b{re.escape(part.name)}\b", words)]
    if unnamed:
        raise Refused("R91", unnamed[0])
    if looks := looks_in(words):
        raise Refused("R92", " ".join(looks))
    return words


def _check_people(job: Job) -> None:
    if not job.people:
        raise Refused("R40", "nobody")
    if len(job.people) > MOST:
        raise Refused("R41", str(len(job.people)), str(MOST))
    every = max(2, len({sight.frame for one in job.people for sight in one.sights}))
    for one in job.people:
        tall = max(sight.box.h for sight in one.sights) / job.size[1]
        if tall < LEAST and one.kind == "character":
            raise Refused("R42", f"{one.name} {tall:.0%}", f"{LEAST:.0%}")
        cut_off = float(np.mean([_beside(sight, job.size) for sight in one.sights]))
        if cut_off > CUT_OFF:
            raise Refused("R43", f"{one.name} {cut_off:.0%}", f"{CUT_OFF:.0%}")
        if 1 - len(one.sights) / every > MISSED:
            raise Refused("R44", f"{one.name} {1 - len(one.sights) / every:.0%}", f"{MISSED:.0%}")
        if not one.others:
            raise Refused("R50", one.name)


def _beside(sight: Sight, size: tuple[int, int]) -> bool:
    """Whether a sight is cut off at a side; a bust is cut off below and is a fine subject."""
    return sight.box.x <= 1 or sight.box.right >= size[0] - 1 or sight.box.y <= 0


def _clip(job: Job) -> Pixels:
    """The window's frames at the clips' size: scaled to fill it, the middle of it."""
    first = job.window.frames[0]
    wanted = [at - first for at in job.window.frames]
    frames: list[Pixels] = []
    for _, frame in read_frames(job.film, start=float(job.times[first])):
        frames.append(filled(frame, job.clips.size))
        if len(frames) > wanted[-1]:
            break
    if len(frames) <= wanted[-1]:
        raise Refused("R01", "the film ends inside the clip")
    return np.stack([frames[at] for at in wanted])


def _pictures(one: Shown, job: Job, clip_FHW3: Pixels) -> list[tuple[Candidate, float]]:
    """The sights of somebody that may become panels, with how far each is from the clip.

    Raises:
        Refused: less than the clip shows of them, or nothing that is unlike the clip.
    """
    near = float(np.mean([sight.box.bottom >= job.size[1] - 1 for sight in one.sights])) > CUT_OFF
    found = candidates(one.others, job.sizes)
    rule = None if one.drawn else missing({candidate.view for candidate in found}, near=near)
    if rule is not None:
        raise Refused(rule, one.name)
    found = [
        c
        for c in found
        if not from_clip(c.track.shot.rsplit("-", 1)[0], c.sight.frame, job.window, job.film.id)
    ]
    kept: list[tuple[Candidate, float]] = []
    tried: set[tuple[str, View]] = set()
    sizes = {job.sizes[candidate.track.shot] for candidate in found}
    small = {size: np.stack([filled(frame, size) for frame in clip_FHW3]) for size in sizes}
    repeats = {shot for shot in {c.track.shot for c in found} if _repeats(shot, one, job, small)}
    found = [candidate for candidate in found if candidate.track.shot not in repeats]
    for candidate in sorted(found, key=lambda c: (-c.worth, c.track.id, c.index)):
        if (candidate.track.shot, candidate.view) in tried:
            continue
        tried.add((candidate.track.shot, candidate.view))
        far = _distance(candidate, job, small)
        if far >= COPY:
            kept.append((candidate, far))
    views = {candidate.view for candidate, _ in kept}
    if not views or not (one.drawn or missing(views, near=near) is None):
        raise Refused("R63", one.name, f"{COPY} levels")
    return kept


def _repeats(shot: str, one: Shown, job: Job, small: Mapping[tuple[int, int], Pixels]) -> bool:
    """Whether a shot is the clip's once more: then it shows nothing of other times, even beyond the clip."""
    for track in one.others:
        if track.shot == shot and not track.owner:
            last = len(track.sights) - 1
            probes = [Candidate(track, round(share * last), "front", 0.0) for share in PROBES]
            if any(_distance(probe, job, small) < COPY for probe in probes):
                return True
    return False


def _distance(candidate: Candidate, job: Job, small: Mapping[tuple[int, int], Pixels]) -> float:
    """Levels between a candidate and the clip, at the size at which shots are looked at.

    Args:
        small: the clip (F,H,W,3) by such sizes.
    """
    size = job.sizes[candidate.track.shot]
    frame = _frame(job.film, float(job.times[candidate.sight.frame]), size)
    box = candidate.sight.box
    figure = frame[box.y : box.bottom, box.x : box.right]
    return nearest(figure, _mask(candidate, job), box, small[size])


@lru_cache(maxsize=KEPT)
def _frame(film: Film, time: float, size: tuple[int, int]) -> Pixels:
    """A film's frame; the clips of a film ask for the same ones, and each costs a walk from a key frame."""
    return next(read_frames(film, start=time, size=size))[1]


def _mask(candidate: Candidate, job: Job) -> NDArray[np.bool_]:
    track = candidate.track
    arrays = Stored(Path(job.results[track.shot])).arrays()
    return mask_of(arrays[f"mask{track.number}.{candidate.index}"], candidate.sight)


def _place(job: Job) -> Plain | None:
    """The clip's place, or None where the sheet may lack it and no clean picture is known."""
    try:
        return plain_of(job.film, job.times, job.backdrops, job.window, job.clips.size, job.inpainter)
    except Refused:
        if job.placeless:
            return None
        raise


def _sheet(
    job: Job,
    chosen: Mapping[str, Sequence[tuple[Candidate, float]]],
    place: Plain | None,
    number: int,
) -> tuple[Sheet, list[dict[str, Any]]]:
    """A version of the sheet, and where the pixels of each panel's pictures come from."""
    panels: list[dict[str, Any]] = []
    names: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        elements: list[Element] = []
        for one in job.people:
            images: dict[View, tuple[Path, ...]] = {}
            far = {id(candidate): far for candidate, far in chosen[one.name]}
            for candidate in _best(one, chosen[one.name], job, number):
                path = folder / f"{one.name}-{candidate.view}-{len(panels)}.png"
                _portrait(candidate, job).save(path, compress_level=1)
                images[candidate.view] = (*images.get(candidate.view, ()), path)
                names[path.name] = _source(one.name, candidate, far[id(candidate)])
                panels.append(names[path.name])
            elements.append(_element(one, images))
        if place is not None:
            path = folder / "place.png"
            place[0].save(path, compress_level=1)
            elements.append(Location(id="place", description=PLACE, images={"front": (path,)}))
            names[path.name] = {
                "element": "place",
                "view": "place",
                "frames": [list(one) for one in place[1]],
            }
            panels.append(names[path.name])
        sheet = compose(Scene(elements=tuple(elements)), output=job.clips.size)
    sheet = _named(sheet, names)
    faults = [one for one in lint_sheet(sheet) if one.severity == "error"]
    if faults:
        raise Refused("R80", f"{faults[0].rule} {faults[0].message}")
    return sheet, panels


def _best(one: Shown, chosen: Sequence[tuple[Candidate, float]], job: Job, number: int) -> list[Candidate]:
    """The pictures of somebody on a version of the sheet: one of each view.

    Of whom a person drew, whose views are few, the next best of each view fill the sheet.
    """
    options = of_one_kind([candidate for candidate, _ in chosen])
    found = best_of(options, VIEWS, avoid=frozenset({job.window.shot}), skip=number)
    rest = [one for one in options if one not in found]
    while one.drawn and rest and len(found) < FEW:
        more = best_of(rest, VIEWS, avoid=frozenset({job.window.shot}), skip=number)
        found += more[: FEW - len(found)]
        rest = [one for one in rest if one not in found]
    return found


def _element(one: Shown, images: Mapping[View, tuple[Path, ...]]) -> Element:
    if one.kind == "prop":  # all its pictures stand side by side
        every = tuple(path for paths in images.values() for path in paths)
        return Prop(id=one.name, description=one.what or THING, images={"front": every})
    return Character(id=one.name, description=one.what or PERSON, images=dict(images))


def _portrait(candidate: Candidate, job: Job) -> Image.Image:
    """A candidate's figure, cut out at the film's own resolution; of a close-up, head and shoulders."""
    start = float(job.times[candidate.sight.frame])
    frame = next(read_frames(job.film, start=start))[1]
    figure = cut(frame, _mask(candidate, job), candidate.sight.box, job.sizes[candidate.track.shot])
    if candidate.view != "face" or candidate.sight.view is not None:
        return figure
    tall = figure.height * min(1.0, HEAD * candidate.sight.face / candidate.sight.box.h)
    return figure.crop((0, 0, figure.width, max(1, round(tall))))


def _source(name: str, candidate: Candidate, far: float) -> dict[str, Any]:
    film = candidate.track.shot.rsplit("-", 1)[0]
    return {
        "element": name,
        "view": candidate.view,
        "track": candidate.track.id,
        "frames": [[film, candidate.sight.frame]],
        "box": asdict(candidate.sight.box),
        "yaw": candidate.sight.yaw,
        "unlike": round(far, 2),
    }


def _named(sheet: Sheet, names: Mapping[str, Mapping[str, Any]]) -> Sheet:
    """The sheet with sources that name film and frame in place of files that are no more.

    Args:
        names: where each file's pixels come from, by the file's name.
    """

    def told(path: str) -> str:
        one = names[Path(path).name]
        film, frame = one["frames"][0]
        return f"{film}/{frame}/{Path(path).name}"

    renamed = tuple(
        replace(panel, sources=tuple(replace(one, path=told(one.path)) for one in panel.sources))
        for panel in sheet.panels
    )
    layout = {key: value for key, value in sheet.layout.items() if key not in ("unused", "cut")}
    return replace(sheet, panels=renamed, layout=layout, path=None)


def _check_sources(panels: Sequence[Mapping[str, Any]], job: Job) -> None:
    """Gate (a) once more, from what the sheet says of itself."""
    sources = [(str(film), int(frame)) for one in panels for film, frame in one["frames"]]
    found = refused(sources, job.window, job.film.id)
    if found:
        raise Refused("R95", f"frame {found[0][1]}")
