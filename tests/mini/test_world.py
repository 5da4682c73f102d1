"""Mini's world without its renderer: bodies, poses, looks, places and region maps.

Drawing needs an EGL driver, which a test machine may lack; `python -m mini.render_check` draws.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini.evaluation.parts import NONE, PERSON, REGIONS, held_by, region_map, worn_by
from mini.world import FRAMES, HEIGHT, TEST, TRAINING, VALIDATION, WIDTH
from mini.world.body import BONES, PROP_BONE, STATURE, Part, Pose, model, pose_matrices, rotation
from mini.world.look import HAIR_STYLES, sample_look
from mini.world.mesh import build_actor
from mini.world.motion import ACTIONS, clip_poses
from mini.world.place import paint
from mini.world.stage import action_of

SEEDS = st.sampled_from([*TRAINING[:500], *VALIDATION[:500]])


def test_seed_ranges_do_not_meet() -> None:
    """Red: identities of the evaluation were trained on."""
    ranges = (TRAINING, VALIDATION, TEST)
    assert [(one.start, one.stop) for one in ranges] == [(0, 50_000), (100_000, 150_000), (200_000, 250_000)]


@settings(max_examples=12, deadline=None)
@given(SEEDS)
def test_a_seed_is_one_identity(seed: int) -> None:
    """Red: the same seed gives other looks in another place, so that shipped sheets and clips part ways."""
    one, two = build_actor(seed), build_actor(seed)
    assert one.look == two.look == sample_look(seed)
    for name in ("vertices", "bones", "weights", "faces", "parts", "heads"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert np.array_equal(paint(seed, 96, 56), paint(seed, 96, 56))
    assert action_of(seed) == action_of(seed)
    other = build_actor(seed + 1)
    assert not np.array_equal(one.heads, other.heads)


@settings(max_examples=12, deadline=None)
@given(SEEDS)
def test_a_mesh_is_whole(seed: int) -> None:
    """Red: triangles name vertices or parts that are not there, or a body does not stand on the ground."""
    actor = build_actor(seed)
    assert actor.faces.min() == 0
    assert actor.faces.max() == len(actor.vertices) - 1
    assert len(actor.parts) == len(actor.faces)
    assert set(np.unique(actor.parts)) <= {int(part) for part in Part}
    assert {Part.SKIN, Part.CHEST, Part.HIPS, Part.SHOE, Part.PROP} <= set(actor.parts.tolist())
    np.testing.assert_allclose(actor.weights.sum(1), 1, atol=1e-5)
    assert np.isfinite(actor.vertices).all()
    body = actor.vertices[: len(model().bone_index)]
    assert body[:, 2].min() == pytest.approx(0, abs=1e-5)
    assert abs(body[:, 2].max() - STATURE) < 0.35
    shins, knee, collar = actor.lines[2], actor.lines[0], actor.lines[1]
    assert 0 < shins < knee < collar < body[:, 2].max()


def test_rest_pose_moves_nothing() -> None:
    """Red: skinning distorts a body that does not move."""
    heads = build_actor(3).heads
    matrices = pose_matrices(heads, [Pose({}, prop=np.zeros(3, np.float32))])
    assert matrices.shape == (1, BONES + 2, 4, 4)
    np.testing.assert_allclose(matrices[0], np.broadcast_to(np.eye(4), matrices[0].shape), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(list(ACTIONS)), st.integers(0, FRAMES - 1))
def test_poses_are_rigid(action: str, frame: int) -> None:
    """Red: an action stretches or mirrors limbs."""
    pose = clip_poses(action)[frame]
    matrices = pose_matrices(build_actor(7).heads, [pose])[0]
    turned = matrices[:, :3, :3]
    np.testing.assert_allclose(
        turned @ turned.swapaxes(1, 2), np.broadcast_to(np.eye(3), turned.shape), atol=1e-4
    )
    np.testing.assert_allclose(np.linalg.det(turned), 1, atol=1e-4)
    np.testing.assert_allclose(matrices[PROP_BONE, :3, 3], pose.prop, atol=1e-6)


def test_actions_do_what_they_are_called() -> None:
    """Red: a caption names one thing and the clip shows another."""
    poses = {action: clip_poses(action) for action in ACTIONS}
    assert all(len(clip) == FRAMES for clip in poses.values())
    across = {action: np.array([pose.root[0] for pose in clip]) for action, clip in poses.items()}
    assert across["walk right"][-1] - across["walk right"][0] > 2
    np.testing.assert_allclose(across["walk left"], -across["walk right"], atol=1e-6)
    assert max(pose.root[2] for pose in poses["jump"]) > 0.2
    assert poses["turn round"][-1].yaw == pytest.approx(2 * np.pi)
    assert max(pose.prop[2] for pose in poses["lift"]) > 1.6
    still = {action for action, clip in poses.items() if all(not pose.root.any() for pose in clip)}
    assert still == {"wave", "turn round", "lift"}


def test_rotations_turn_right_handed() -> None:
    """Red: left and right of every action change places."""
    np.testing.assert_allclose(rotation("z", np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(rotation("x", np.pi / 2) @ [0, 1, 0], [0, 0, 1], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from([(48, 28), (96, 56), (192, 112)]))
def test_places_are_the_same_picture_at_every_size(seed: int, size: tuple[int, int]) -> None:
    """Red: the place on the sheet is not the place behind the figure."""
    width, height = size
    small = paint(seed, width, height)
    assert small.shape == (height, width, 3)
    large = paint(seed, 2 * width, 2 * height).astype(float)
    shrunk = large.reshape(height, 2, width, 2, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 4


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_region_maps_follow_the_look(seed: int) -> None:
    """Red: bare arms count as cloth, eyes as skin, or a shadow as ground."""
    look = sample_look(seed)
    assert look.hair_style in HAIR_STYLES
    parts = np.full((1, HEIGHT, WIDTH), 255, np.uint8)
    for part in Part:
        parts[0, 40:44, 8 * part : 8 * part + 4] = part
    place = paint(seed, WIDTH, HEIGHT)
    frames = place[None].copy()
    frames[0, 90:95, 50:60] //= 2
    figures, worn = (parts != 255).astype(np.uint8), {1: worn_by(look, Part) | held_by(Part)}
    bands = {"sky": (0.0, 0.25), "land": (0.61, 0.69), "ground": (0.72, 1.0)}
    regions = region_map(parts, figures, worn, frames, place[None], bands)[0]

    def at(part: Part) -> str:
        number = regions[41, 8 * part + 1]
        return "none" if number == NONE else REGIONS[number]

    assert at(Part.FOREARM) == ("skin" if look.short_sleeves else "top")
    assert at(Part.SHIN) == ("skin" if look.shorts else "bottom")
    assert [at(part) for part in (Part.EYE, Part.PUPIL, Part.PROP_TRIM)] == ["none", "none", "prop"]
    assert {at(part) for part in Part} >= set(PERSON)
    assert REGIONS[regions[100, 5]] == "ground"
    assert REGIONS[regions[5, 5]] == "sky"
    assert (regions[90:95, 50:60] == NONE).mean() > 0.9
    assert regions[50, 5] == NONE


def test_a_driver_that_does_not_work_is_named() -> None:
    """Red: a machine with half a driver ends in a bare exception and a traceback."""
    pytest.importorskip("moderngl")
    code = (
        "from castsheet.errors import DependencyError\n"
        "from mini.world.opengl import open_context\n"
        "try: open_context()\n"
        "except DependencyError as error: print('told', error.remedy)\n"
    )
    nowhere = {"__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere.json", "LIBGL_ALWAYS_SOFTWARE": "1"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | nowhere, capture_output=True, text=True
    )
    assert told.stdout.startswith("told install a driver"), told.stderr
