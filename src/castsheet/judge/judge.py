"""The judge: a clip and its sheet in, everything measured and one verdict out. Reads top to bottom.

Legend: F frames, H height, W width, C colour channel, S sampled frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from castsheet.clip import Clip
from castsheet.errors import SettingsError
from castsheet.judge import leak, motion, search, states, typography
from castsheet.judge.assign import order, swaps
from castsheet.judge.cast import Cast, Member, Pixels, read_cast, working_frames, working_size
from castsheet.judge.colour import ColourDetector, Finder, Sighting
from castsheet.judge.crew import crew
from castsheet.judge.evidence import Glimpse, Witness, by_element, looked_at
from castsheet.judge.faces import FaceReport, FaceWitness
from castsheet.judge.fields import Find
from castsheet.judge.judgement import ElementReport, Judgement, LeakReport, MotionReport, TextReport
from castsheet.judge.models import faces_here, lookers_here, matter_here
from castsheet.judge.protocols import Detector, Embedder, FrameReader, Looker, crop
from castsheet.judge.published import FaceSim, Nexus, face_sim, nexus_score
from castsheet.judge.verdict import conclude, copied, leaked, present
from castsheet.sheet.box import Box
from castsheet.sheet.look.salience import Matter
from castsheet.sheet.manifest import Sheet

SEARCHED = 4  # frames in which panels are searched at every scale and place
STRIDE = 4  # elements are looked for in every fourth frame, 31 of a 121-frame clip
SAMPLES = 61  # longer clips are looked at in this many frames at most
PARTS = 8  # in which a clip is made small, side by side
REACH = 0.2  # of the frame's width: the farthest that a figure moves between two samples


@dataclass(frozen=True)
class Options:
    """What to use beyond the model-free measures, and what the user expects.

    Attributes:
        order: ids of characters from left to right, when the prompt fixes who stands where. Without it,
            people who are exchanged from the first frame to the last are not noticed.
        faces: a face detector and an embedder, which decide people, and for FaceSim.
        matter: tells figures from their ground; without it only colours are compared.
        lookers: networks that tell figures without a face, and places; they need `matter`.
        reader: reads stray text.
        features: embeds elements, for NexusScore; its detections are the colour finder's.
    """

    order: tuple[str, ...] = ()
    faces: tuple[Detector, Embedder] | None = None
    matter: Matter | None = None
    lookers: tuple[Looker, ...] = ()
    reader: FrameReader | None = None
    features: Embedder | None = None

    @classmethod
    def installed(cls, *, order: tuple[str, ...] = ()) -> Options:
        """With the networks that are installed here (`castsheet[sheet,identity,looks]`)."""
        return cls(order=order, faces=faces_here(), matter=matter_here(), lookers=lookers_here())


@dataclass(frozen=True)
class _Closely:
    """What was looked at closely: figures, grounds and faces by element, FaceSim, and whose faces the sheet
    shows; None where faces were not compared."""

    seen: dict[str, list[Glimpse]]
    met: dict[str, FaceReport]
    sims: FaceSim | None
    known: tuple[str, ...] | None

    def of(self, member: Member) -> tuple[list[Glimpse] | None, FaceReport | None, bool]:
        """An element's figure or ground, its face, and whether it is known to have no face."""
        faceless = not member.human or (self.known is not None and member.id not in self.known)
        return self.seen.get(member.id), self.met.get(member.id), faceless


class Judge:
    """Judges clips against one sheet.

    Args:
        sheet: a manifest tells the panels; in a bare picture they are found.

    Raises:
        SettingsError: `order` in the options names somebody who is not a character of the sheet.
    """

    def __init__(self, sheet: Sheet, options: Options | None = None) -> None:
        self.sheet, self.options = sheet, options or Options()
        self._ready: dict[tuple[int, int], tuple[Cast, Finder]] = {}
        self._near: dict[tuple[int, int], tuple[search.Wanted, Witness | None, FaceWitness | None]] = {}
        people = {note.id for note in sheet.elements if note.kind == "character"}
        unknown = [name for name in self.options.order if name not in people]
        if unknown and sheet.panels:
            known = ", ".join(sorted(people)) or "none"
            raise SettingsError(
                f"order names {unknown[0]!r}, no character of the sheet", remedy=f"characters: {known}"
            )

    def cast(self, width: int, height: int) -> tuple[Cast, Finder]:
        """The sheet, prepared once for clips of this size."""
        size = working_size(width, height)
        if size not in self._ready:
            cast = read_cast(self.sheet, *size)
            self._ready[size] = cast, Finder(cast)
        return self._ready[size]

    def __call__(self, clip: Clip, name: str = "clip") -> Judgement:
        """Measure everything and conclude."""
        with crew() as hands:
            return self._judged(clip, name, hands)

    def _judged(self, clip: Clip, name: str, hands: Executor) -> Judgement:
        count, (height, width) = len(clip.frames), clip.frames.shape[1:3]
        small = _small(clip.frames, hands)
        cast, finder = self.cast(width, height)
        sampled = list(range(0, count, max(STRIDE, -(-count // SAMPLES))))
        leaks, moved, closely, sights = self._measured(
            clip, small, hands, lambda: [finder.find(small[at]) for at in sampled]
        )
        whole = [not leaks.leaked[at] for at in sampled]
        scale = width / small.shape[2]
        reports = [
            _element(member, sampled, sights, whole, scale, leaks.finds, *closely.of(member))
            for member in cast.members
        ]
        elements = [one for one, _ in reports]
        people = [member.id for member in cast.members if member.kind == "character"]
        places = _places(elements, sights, people, whole)
        text = _text(small, clip.frames, self.options.reader)
        exchanged = swaps(places, reach=REACH * small.shape[2])
        problems, score, state, verdict = conclude(
            leaks,
            elements,
            exchanged,
            moved,
            text,
            _disorder(self.options.order, order(places)),
            cast.known,
            [worth for _, worth in reports],
        )
        return Judgement(
            name=name,
            width=width,
            height=height,
            frames=count,
            fps=clip.fps,
            manifest=cast.known,
            sampled=sampled,
            leak=leaks,
            elements=elements,
            swaps=exchanged,
            motion=_motion(moved),
            text=text,
            faces=closely.sims,
            features=self._features(clip.frames, finder),
            models=self._models(),
            problems=problems,
            state=state,
            passed=state == "carried",
            score=score,
            verdict=verdict,
        )

    def _large(self, width: int, height: int) -> tuple[search.Wanted, Witness | None, FaceWitness | None]:
        """What looks for the sheet, its figures and faces at the clip's own size; prepared once."""
        if (width, height) not in self._near:
            cast, options = read_cast(self.sheet, width, height), self.options
            figures = Witness(cast, options.matter, options.lookers) if options.matter else None
            faces = FaceWitness(self.sheet, *options.faces) if options.faces and self.sheet.panels else None
            self._near[width, height] = search.Wanted(self.sheet, cast), figures, faces
        return self._near[width, height]

    def _measured(
        self, clip: Clip, small: Pixels, hands: Executor, find: Callable[[], list[dict[str, Sighting]]]
    ) -> tuple[LeakReport, motion.Motion, _Closely, list[dict[str, Sighting]]]:
        """What needs no other measure's result, side by side."""
        height, width = clip.frames.shape[1:3]
        cast, _ = self.cast(width, height)
        preparing = hands.submit(self._large, width, height)
        leaks = hands.submit(of_leak, small, cast, clip.fps).result()
        wanted, figures, faces = preparing.result()
        looked = looked_at(len(clip.frames), leaks.leaked)
        meeting = hands.submit(self._met, clip.frames, looked, faces)
        searching = hands.submit(search.search, clip.frames, searched(looked), wanted)
        looking = hands.map(lambda at: figures.glance(clip.frames[at], at) if figures else {}, looked)
        moving = hands.submit(motion.measure, leak.luma_of(small))
        sights = find()  # in the caller's thread, which may want to hear of it, and to stop there
        seen, (met, sims) = by_element(list(looking)), meeting.result()
        leaks = replace(leaks, finds=searching.result())
        return leaks, moving.result(), _Closely(seen, met, sims, faces.known if faces else None), sights

    def _met(
        self, frames_FHWC: Pixels, numbers: Sequence[int], faces: FaceWitness | None
    ) -> tuple[dict[str, FaceReport], FaceSim | None]:
        """All that is asked of faces, in one thread: the network that knows them keeps its last picture."""
        return faces.look(frames_FHWC, numbers) if faces else {}, self._faces(frames_FHWC)

    def _faces(self, frames_FHWC: Pixels) -> FaceSim | None:
        """FaceSim at the clip's own size, for characters whose face panel has a face."""
        if self.options.faces is None or not self.sheet.panels:
            return None
        detector, embedder = self.options.faces
        whole = np.asarray(self.sheet.image.convert("RGB"))
        found = {}
        for panel in self.sheet.panels:
            if panel.view == "face":
                picture = crop(whole, panel.box)
                faces = detector.detect(picture)
                if faces:
                    found[panel.element] = crop(picture, faces[0].box)
        return face_sim(frames_FHWC, found, detector, embedder) if found else None

    def _features(self, frames_FHWC: Pixels, finder: Finder) -> dict[str, Nexus] | None:
        """NexusScore of every element against its first whole figure, at the clip's own size."""
        if self.options.features is None:
            return None
        height, width = frames_FHWC.shape[1:3]
        found = {}
        for member in read_cast(self.sheet, width, height).members:
            detector = ColourDetector(finder, member.id)
            panel = member.body[0].picture_HWC
            found[member.id] = nexus_score(frames_FHWC, panel, detector, self.options.features)
        return found

    def _models(self) -> list[str]:
        options = self.options
        used = [*(options.faces or ()), options.matter, *options.lookers, options.reader, options.features]
        return [model.name for model in used if model is not None]


def _small(frames_FHWC: Pixels, hands: Executor) -> Pixels:
    """Frames at the working size."""
    parts = np.array_split(frames_FHWC, min(PARTS, len(frames_FHWC)))
    return np.concatenate(list(hands.map(working_frames, parts)))


def _motion(moved: motion.Motion) -> MotionReport:
    return MotionReport(
        amount=_rounded(moved.amount),
        mean=moved.mean,
        still=moved.still,
        smoothness=moved.smoothness,
        shaking=moved.shaking,
        frozen=moved.frozen,
        jolts=moved.jolts,
        flicker=moved.flicker,
        scene=moved.scene,
    )


def searched(looked: Sequence[int]) -> list[int]:
    """Of the frames that are looked at, those in which panels are searched."""
    return list(looked[:: max(1, len(looked) // SEARCHED)][:SEARCHED])


def of_leak(frames_FHWC: Pixels, cast: Cast, fps: float) -> LeakReport:
    """Leak over time, of frames at the working size."""
    found = leak.measure(frames_FHWC, cast)
    flags = leaked(found)
    return LeakReport(
        likeness=_rounded(found.likeness),
        grid=_rounded(found.grid),
        lines=found.lines.tolist(),
        leaked=flags.tolist(),
        seconds=float(flags.sum() / fps),
        bars=float(np.median(found.bars)),
    )


def _element(
    member: Member,
    sampled: Sequence[int],
    sights: Sequence[dict[str, Sighting]],
    whole: Sequence[bool],
    scale: float,
    finds: Sequence[Find],
    glimpses: list[Glimpse] | None,
    face: FaceReport | None,
    faceless: bool,
) -> tuple[ElementReport, float]:
    """One element's report, and what it adds to the score. Leaked frames hold the panels themselves, so
    they say nothing of identity."""
    mine = [sight[member.id] for sight in sights]
    values = np.array([one.similarity for one in mine])
    # A clip that leaked from end to end has no frame left to look at; then nobody is present.
    counted = values[np.array(whole, np.bool_)] if any(whole) else np.zeros(1)
    tints = [one.tint for one, good in zip(mine, whole, strict=True) if good] or [0.0]
    margins = [
        one.similarity - max(one.others.values())
        for one, good in zip(mine, whole, strict=True)
        if one.others and good
    ]
    third = max(1, len(counted) // 3)
    if not any(whole):
        glimpses, face = None, None
    tint = round(float(np.median(tints)), 4)
    coverage = float(np.mean([present(member.kind, float(value)) for value in counted]))
    held = states.Held(member.kind, float(np.mean(counted)), coverage, glimpses, face, faceless)
    told = _told(member.id, held, finds)
    report = ElementReport(
        id=member.id,
        kind=member.kind,
        description=member.description,
        similarity=_rounded(values),
        present=[
            present(member.kind, float(value)) and good for value, good in zip(values, whole, strict=True)
        ],
        boxes=[_scaled(one.box, scale) for one in mine],
        coverage=coverage,
        identity=float(np.median(counted)),
        likeness=float(np.mean(counted)),
        tint=tint,
        margin=float(np.median(margins)) if margins else None,
        drift=float(np.median(counted[-third:]) - np.median(counted[:third])),
        pasted=max(
            (one.likeness for one in finds if (one.of, one.element) == ("panel", member.id)), default=None
        ),
        worst=sampled[int(np.argmin(np.where(whole, values, np.inf) if any(whole) else values))],
        glimpses=glimpses,
        face=face,
        state=told.state,
        why=told.why,
        compared=told.compared,
        missing=told.missing,
    )
    return report, states.worth(held, tint)


def _told(name: str, held: states.Held, finds: Sequence[Find]) -> states.Finding:
    """An element's state. A portrait of somebody on the wall has that face too: green beside it would be
    false."""
    told = states.find(name, held)
    if told.state != "carried" or not copied(finds, name):
        return told
    why = f"a picture of {name} from the sheet is in the clip, and may be what was compared"
    return replace(told, state="cannot tell", why=why)


def _places(
    elements: Sequence[ElementReport],
    sights: Sequence[dict[str, Sighting]],
    people: Sequence[str],
    whole: Sequence[bool],
) -> list[dict[str, Box]]:
    """The places of all present characters in every sampled frame."""
    there = {one.id: one.present for one in elements}
    return [
        {who: sight[who].box for who in people if there[who][s]} if whole[s] else {}
        for s, sight in enumerate(sights)
    ]


def _text(small_FHWC: Pixels, frames_FHWC: Pixels, reader: FrameReader | None) -> TextReport:
    lines = None
    if reader is not None:
        ends = sorted({0, len(frames_FHWC) // 2, len(frames_FHWC) - 1})
        lines = sorted({line for at in ends for line in reader.read(frames_FHWC[at])})
    return TextReport(typography.strokes(leak.luma_of(small_FHWC)), lines)


def _disorder(wanted: Sequence[str], seen: Sequence[str]) -> tuple[str, ...]:
    """The order seen if it contradicts the wanted order; else nothing."""
    both = [name for name in seen if name in wanted]
    return () if both == [name for name in wanted if name in both] else tuple(both)


def _scaled(box: Box, scale: float) -> tuple[int, int, int, int]:
    return round(box.x * scale), round(box.y * scale), round(box.w * scale), round(box.h * scale)


def _rounded(values: NDArray[np.floating]) -> list[float]:
    # Four decimals: the others are noise and would make a page of many clips large.
    return [round(float(value), 4) for value in values]
