"""Which views an element lacks, what a picture of each shows, and how they are made and added."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from castsheet.authoring.library import Added, Library, Sorter
from castsheet.authoring.renderer import PictureShape, Renderer, RenderRequest
from castsheet.elements import DEFAULT_LOOK, Element, View, look_folder
from castsheet.errors import SettingsError
from castsheet.machine.replace import scratch
from castsheet.media.pictures import load_image
from castsheet.sheet.box import Kind

# The adapter's card asks for a close-up and a turnaround of a character; for other kinds, one clean picture.
NEEDED: dict[Kind, tuple[View, ...]] = {
    "character": ("face", "front", "side", "back"),
    "prop": ("front",),
    "location": ("front",),
}
_GROUND = "even soft light, plain light grey background, nothing else in the picture"
_FIGURE = "whole figure from head to feet, standing upright, arms relaxed, empty hands"
_SHOWS: dict[View, str] = {
    "face": f"close-up of head and shoulders, all hair visible, looking straight at the camera, {_GROUND}",
    "front": f"{_FIGURE}, seen from the front, {_GROUND}",
    "three-quarter": f"{_FIGURE}, seen in three-quarter view, {_GROUND}",
    "side": f"{_FIGURE}, seen in profile from the side, {_GROUND}",
    "back": f"{_FIGURE}, seen from behind, {_GROUND}",
    "detail": f"close-up of one detail of the clothes, {_GROUND}",
}
_PRODUCT = f"product shot, the whole object from its best side, {_GROUND}"
_PLACE = "wide view of the empty place, nobody in it, readable light"
_MID_GREY = (128, 128, 128)


def missing(element: Element) -> tuple[View, ...]:
    """The views that a good sheet needs and that the element lacks."""
    return tuple(view for view in NEEDED[element.kind] if view not in element.images)


def request(
    kind: Kind,
    view: View,
    looks: str,
    *,
    picture: Image.Image | None = None,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> RenderRequest:
    """What to ask a renderer for."""
    if kind == "location":
        return RenderRequest(looks, _PLACE, "wide", seed, picture, size)
    if kind == "prop":
        return RenderRequest(looks, _PRODUCT, "square", seed, picture, size)
    shape: PictureShape = "square" if view in ("face", "detail") else "tall"
    return RenderRequest(looks, _SHOWS[view], shape, seed, picture, size)


def known_picture(element: Element) -> Image.Image:
    """The picture that shows most of an element's looks; transparent parts become grey."""
    order: tuple[View, ...] = ("front", "three-quarter", "face", "side", "back", "detail")
    path = next(element.images[view][0] for view in order if view in element.images)
    rgba = load_image(path)
    flat = Image.new("RGB", rgba.size, _MID_GREY)
    flat.paste(rgba, mask=rgba.getchannel("A"))
    return flat


def _known(library: Library, name: str, look: str) -> Element | None:
    """The element's look in the library; None if it is new."""
    listed = (library.root / look_folder(name, look) / "element.yaml").is_file()
    return library.load(name, look).element if listed else None


def _described(name: str, element: Element | None, description: str | None) -> str:
    """The words that describe the views; a new element needs some."""
    words = description if description is not None else (element.description if element else "")
    if element is None and not words:
        raise SettingsError(
            f"nothing is known of {name}: no picture, no description",
            remedy="add --description, or a picture first: castsheet elements add",
        )
    return words


def fill(
    library: Library,
    name: str,
    renderer: Renderer,
    *,
    look: str = DEFAULT_LOOK,
    kind: Kind | None = None,
    views: Sequence[View] = (),
    description: str | None = None,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    sorter: Sorter | None = None,
    on_view: Callable[[int], None] | None = None,
) -> list[Added]:
    """Render views, from a picture of the element if there is one, and add them to the library as made.

    Args:
        kind: of a new element, which is made from the description alone.
        views: by default the `missing` ones; for a new element all that its kind needs.
        on_view: called with the number of finished views.

    Raises:
        SettingsError: a new element without a description, or nothing is missing.
        CastsheetError: an error of the renderer or the library.
    """
    element = _known(library, name, look)
    chosen: Kind = element.kind if element else kind or "character"
    looks = _described(name, element, description)
    wanted = tuple(views) or (missing(element) if element else NEEDED[chosen])
    if not wanted:
        raise SettingsError(f"{name} lacks no view", remedy="name the views to make: --views side,back")
    picture = known_picture(element) if element else None
    added = []
    with scratch() as folder:
        for number, view in enumerate(wanted, 1):
            asked = request(chosen, view, looks, picture=picture, seed=seed, size=size)
            image = renderer.render(asked).convert("RGB")
            path = folder / f"{view}.png"
            image.save(path)
            added.append(
                library.add(
                    name,
                    [path],
                    sorter or Sorter(None, "plain"),
                    kind=chosen,
                    look=look,
                    description=description,
                    view=view,
                    origin=f"made by {renderer.name}, seed {seed}",
                    made=True,
                )
            )
            # Without a picture the first view serves as one: else the views would show different people.
            picture = picture or image
            if on_view is not None:
                on_view(number)
    return added
