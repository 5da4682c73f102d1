"""Faces from the front that several looks of a detector agree on."""

from __future__ import annotations

import pytest

from castsheet.pairs.faces import agreed, mirrored
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import Face


def _face(x: int, turn: float = 0.0, score: float = 0.5) -> Face:
    """A face of 40 px whose nose lies `turn` px to the right of its middle."""
    points = ((x + 10, 15), (x + 30, 15), (x + 20 + turn, 25), (x + 13, 32), (x + 27, 32))
    return Face(Box(x, 0, 40, 40), points, score)


def test_what_few_looks_find_is_no_face():
    """Red: the pattern of a shirt, or the back of a head, that one look of six takes for a face is one."""
    looks = [[_face(10)], [_face(12)], [], [_face(11), _face(120, score=0.9)], [_face(10)], [_face(12)]]
    (found,) = agreed(looks)
    assert found.box.x == pytest.approx(11, abs=1)
    assert agreed([[_face(10)], [_face(12)], [_face(11)], [], [], []]) == ()


def test_a_face_looks_where_most_looks_say():
    """Red: one look that is wrong by 40 degrees names a panel's view."""
    looks = [[_face(10, turn)] for turn in (-1, 0, 1, 1, 6, 8)]
    (found,) = agreed(looks)
    assert abs(found.yaw) < 12
    assert agreed([[_face(10, turn)] for turn in (2, 5, 6, 6, 7, 7)]) == ()


def test_what_few_of_many_weak_looks_suspect_is_a_face_if_asked():
    """Red: a dark face with light hair, of which no look is sure, is none."""
    looks = [[_face(10, 2)], [_face(12, 2)], [_face(11, 2)], *[[]] * 9]
    assert agreed(looks) == ()
    assert len(agreed(looks, 3, 22.0)) == 1
    assert agreed([[_face(10, 9)]] * 4, 3, 22.0) == ()


def test_a_mirrored_face_looks_the_other_way():
    """Red: what is found in the mirror image lies elsewhere, or is turned to the wrong side."""
    face = _face(10, 3)
    back = mirrored(face, 100)
    assert back.box == Box(50, 0, 40, 40)
    assert back.yaw == pytest.approx(-face.yaw)
    assert mirrored(back, 100) == face
