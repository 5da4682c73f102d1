"""Corrections to a look of the library: views, words, importance, pictures taken out, masks approved."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from PIL import Image

from castsheet.authoring.library import Library, LibraryEntry, document, list_text
from castsheet.authoring.shelf import LIBRARY, LIST
from castsheet.elements import DEFAULT_LOOK, View
from castsheet.errors import SceneError
from castsheet.machine.locks import Say
from castsheet.machine.marks import owned
from castsheet.machine.replace import replacing
from castsheet.media.pictures import load_image
from castsheet.sheet.look.matting import mask_beside, mask_path


def revise(
    library: Library,
    name: str,
    look: str = DEFAULT_LOOK,
    *,
    description: str | None = None,
    importance: float | None = None,
    human: bool | None = None,
    views: Mapping[str, View] | None = None,
    without: Collection[str] = (),
    say: Say = lambda _: None,
) -> LibraryEntry:
    """Correct a look; what is not named stays. A view that a person states is sure.

    Args:
        views: the right views, by the pictures' file names.
        without: file names of pictures that leave the look; their masks leave with them.

    Raises:
        SceneError: there is no such look or picture, or no usable picture would be left.
        OutputError: the disk refused.
    """
    views = views or {}
    with owned(library.root, LIBRARY, say, part=name):
        entry = library.load(name, look)
        for file in (*views, *without):
            _require(entry, name, file)
        if all(kept.file in without for kept in entry.pictures):
            raise SceneError(
                f"{name}@{entry.look} would be left without a picture",
                remedy=f"add another picture first, or delete it whole: castsheet elements remove {name}",
            )
        pictures = [
            kept
            if kept.file not in views
            else kept.model_copy(
                update={"view": views[kept.file], "confidence": 1.0, "unsure": False, "reason": "stated"}
            )
            for kept in entry.pictures
            if kept.file not in without
        ]
        text = list_text(document(name, entry.element.kind, pictures, entry, description, importance, human))
        with replacing(library.root) as change:
            place = entry.folder.relative_to(library.root).as_posix()
            change.new(f"{place}/{LIST}").write_bytes(text)
            for file in without:
                change.drop(f"{place}/{file}")
                if (mask := mask_beside(entry.folder / file)) is not None:
                    change.drop(f"{place}/{mask.name}")
    return library.load(name, look)


def _require(entry: LibraryEntry, name: str, file: str) -> None:
    names = [kept.file for kept in entry.pictures]
    if file not in names:
        raise SceneError(
            f"{name}@{entry.look} has no picture {file}", remedy=f"name one of: {', '.join(names)}"
        )


def put_mask(
    library: Library, name: str, look: str, file: str, mask: Image.Image, say: Say = lambda _: None
) -> None:
    """Keep a mask beside a picture of the library: white where the subject is. It replaces an earlier mask.

    Raises:
        SceneError: there is no such look or picture, or the mask has another shape than the picture.
        OutputError: the disk refused.
    """
    with owned(library.root, LIBRARY, say, part=name):
        entry = library.load(name, look)
        picture = entry.folder / file
        _require(entry, name, file)
        opened = load_image(picture)
        wide = opened.width / opened.height
        if abs(mask.width / mask.height - wide) > 0.02 * wide:
            raise SceneError(
                f"the mask is {mask.width}x{mask.height}, another shape than its picture",
                remedy="draw the mask on the picture itself",
            )
        with replacing(library.root) as change:
            beside = mask_path(picture).relative_to(library.root).as_posix()
            mask.convert("L").save(change.new(beside), format="PNG")
