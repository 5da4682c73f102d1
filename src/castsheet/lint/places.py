"""The sheet rule about places: who or what is on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from castsheet.lint.content import not_checked
from castsheet.lint.findings import Fault, rule
from castsheet.lint.pixels import Subject
from castsheet.sheet.box import Box
from castsheet.sheet.look.components import boxes_of
from castsheet.sheet.look.litert import Body
from castsheet.sheet.manifest import Panel

_POINTS = 20  # of 33: so many are seen of a person who is really there
_ON_MASK = 0.85  # of 1: the person's mask at its points, on average
_THING, _SCENERY = 0.01, 0.5  # shares of a place: less than a thing that stands out, and more


@rule("S15", "locations are empty of people", "warning")
def locations_are_empty(subject: Subject) -> Iterator[Fault]:
    """No face and no human body on a location's panel, which are warnings, and nothing that stands out, which
    is a remark: it may be an animal, or somebody whom the networks of persons do not know, or a bench. The
    rule does not see who is small or hidden."""
    places = [panel for panel in subject.sheet.panels if panel.kind == "location"]
    for panel in places:
        faces, body = subject.faces.get(panel, ()), subject.bodies.get(panel)
        somebody = body is not None and _is_person(body, panel)
        if somebody and not faces:
            yield Fault(
                f"somebody is on {panel.element}, without a face that is seen: bystanders mix with the "
                f"characters",
                "use a picture of the place without people and animals",
                where=panel.box,
                element=panel.element,
            )
        for face in faces:
            box = Box(panel.box.x + face.box.x, panel.box.y + face.box.y, face.box.w, face.box.h)
            yield Fault(
                f"a person is on {panel.element} (a face {face.box.h} px high): "
                f"bystanders mix with the characters",
                "use a picture of the place without people",
                where=box,
                element=panel.element,
            )
        if not somebody and not faces:
            yield from _standing_out(subject, panel)
    if places and subject.readers and subject.readers.faces is None:
        yield not_checked("people in locations", "faces")


def _standing_out(subject: Subject, panel: Panel) -> Iterator[Fault]:
    """The largest thing that stands out of a place, if it is neither small nor most of the picture."""
    mask = subject.standing_out.get(panel)
    if mask is None:
        return
    pieces = boxes_of(np.asarray(mask) > 0.5)
    box, count = max(pieces, key=lambda one: one[1], default=(Box(0, 0, 1, 1), 0))
    share = count / mask.size
    if not _THING < share < _SCENERY:
        return
    across, down = panel.box.w / mask.shape[1], panel.box.h / mask.shape[0]
    yield Fault(
        f"something stands out of {panel.element} and covers {share:.0%} of it: if it is an animal or a "
        f"person, it mixes with the characters",
        "look at it, and use a picture of the place alone",
        where=Box(
            panel.box.x + round(box.x * across),
            panel.box.y + round(box.y * down),
            max(1, round(box.w * across)),
            max(1, round(box.h * down)),
        ),
        element=panel.element,
        severity="info",
    )


def _is_person(body: Body, panel: Panel) -> bool:
    """Whether it is a person for sure: most points are seen, and lie on the mask (a trunk's do not)."""
    seen = body.visible > 0.6
    if body.score <= 0.9 or int(seen.sum()) < _POINTS or float((body.mask > 0.8).mean()) <= 0.004:
        return False
    height, width = body.mask.shape
    columns = (body.points[seen, 0] * width / panel.box.w).astype(int).clip(0, width - 1)
    rows = (body.points[seen, 1] * height / panel.box.h).astype(int).clip(0, height - 1)
    return float(body.mask[rows, columns].mean()) > _ON_MASK
