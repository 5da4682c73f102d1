"""A library of elements that scenes share: a folder per element, in it a folder per look (story beat).

    library/hero/default/element.yaml    as scene files list it, plus `pictures`: where from, how sure
    library/hero/act-2/element.yaml
    library/hero/act-2/front-3f9a1c22.jpg

A scene says `use: hero` or `use: hero@act-2`; `castsheet.elements` reads the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from castsheet.authoring.guess import Guess, Look, guess_view, look_at, one_of_several
from castsheet.authoring.shelf import LIBRARY, LIST, own_parts, put_picture
from castsheet.elements import DEFAULT_LOOK, VIEWS, Character, Element, Scene, View, look_folder, read_element
from castsheet.errors import DependencyError, ImageError, SceneError
from castsheet.machine.files import sha256
from castsheet.machine.locks import Say
from castsheet.machine.marks import owned
from castsheet.machine.regular import file_mode, is_file, require_regular, why_unread
from castsheet.machine.replace import Change, replacing
from castsheet.machine.wording import first_mistake
from castsheet.media.pictures import load_image
from castsheet.sheet.box import Kind
from castsheet.sheet.look.faces import FaceDetector, installed_detector
from castsheet.sheet.look.matting import Quality
from castsheet.sheet.look.salience import Matter

# The files that are taken from a folder. A file that the user names may have any name.
PICTURE_ENDINGS = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".avif")
)


class Kept(BaseModel):
    """What the library remembers of one picture.

    Args:
        file: its name in the look's folder.
        origin: the path that it was copied from.
        confidence: of the view, 0..1; 1 if the user stated it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    view: View
    sha256: str
    origin: str
    confidence: float
    unsure: bool
    reason: str


_KEPT = TypeAdapter(tuple[Kept, ...])
_MADE = {"confidence": 0.5, "unsure": True, "reason": "made by a model, not photographed: look at it"}


@dataclass(frozen=True)
class LibraryEntry:
    """One look of one element."""

    name: str
    look: str
    element: Element
    pictures: tuple[Kept, ...]
    folder: Path


@dataclass(frozen=True)
class Added:
    """The result of `add`: the present look, its new pictures, those that it had already, and the files of
    folders that were left out, each with the reason."""

    entry: LibraryEntry
    new: tuple[Kept, ...]
    known: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class Sorter:
    """How pictures are sorted. Without a `detector`, shape and file name decide."""

    detector: FaceDetector | None
    quality: Quality = "auto"
    matter: Matter | None = None
    cache: Path | None = None

    @classmethod
    def installed(cls, *, quality: Quality = "auto", cache: Path | None = None) -> Sorter:
        """A sorter with the tools that are installed here."""
        return cls(installed_detector(), quality, None, cache)

    def sort(self, path: Path, *, pick: int | None) -> tuple[Guess, Look]:
        """The view of a character's picture, and the picture prepared for sorting."""
        look = look_at(path, quality=self.quality, matter=self.matter, cache=self.cache)
        return guess_view(look, path, self.detector, pick=pick), look


class Library:
    """The elements in a folder; it need not exist yet."""

    def __init__(self, root: Path | str, say: Say = lambda _: None) -> None:
        self.root, self.say = Path(root), say

    def names(self) -> dict[str, tuple[str, ...]]:
        """Element names, and the looks of each; the default look first."""
        found: dict[str, tuple[str, ...]] = {}
        for file in sorted(self.root.glob(f"*/*/{LIST}")):
            name, look = file.parent.parent.name, file.parent.name
            found[name] = (*found.get(name, ()), look)
        order = {name: sorted(looks, key=lambda look: look != DEFAULT_LOOK) for name, looks in found.items()}
        return {name: tuple(looks) for name, looks in order.items()}

    def load(self, name: str, look: str = DEFAULT_LOOK) -> LibraryEntry:
        """One look of an element, its pictures checked against their hashes.

        Raises:
            SceneError: there is no such look, its file is damaged, or a picture is missing or was changed.
        """
        folder = self.root / look_folder(name, look)
        element, extra = read_element(folder / LIST)
        try:
            pictures = _KEPT.validate_python(extra.get("pictures", ()))
        except ValidationError as error:
            raise SceneError(
                f"{folder / LIST}: field pictures.{first_mistake(error).where}: {first_mistake(error).what}",
                remedy="correct it, or remove the look and add its pictures again",
            ) from error
        remedy = (
            "put the file back as it was, or remove the look and add its pictures again: "
            f"castsheet elements remove {name} --look {folder.name}"
        )
        for kept in pictures:
            _check_unchanged(folder / kept.file, kept.sha256, remedy)
        return LibraryEntry(name, folder.name, element, pictures, folder)

    def add(
        self,
        name: str,
        paths: Sequence[Path],
        sorter: Sorter,
        *,
        kind: Kind | None = None,
        look: str = DEFAULT_LOOK,
        description: str | None = None,
        importance: float | None = None,
        human: bool | None = None,
        view: View | None = None,
        pick: int | None = None,
        origin: str | None = None,
        made: bool = False,
    ) -> Added:
        """Sort pictures into views and copy them in, all of them or none.

        A new look without a face gets the default look's face: the person stays, the clothes change.

        Args:
            kind: by default the element's kind, or character.
            human: of a character, see `Character`; by default what it was, or True.
            view: the view of all the pictures, if the user knows it.
            pick: which face is the subject's, counted from the left; the picture is cropped between that
                person and the neighbours.
            origin: recorded as the pictures' origin in place of their paths.
            made: whether a model made them: then they count as unsure, and photos come before them.

        Raises:
            SceneError: no usable name or look, nothing to add, or another kind than before.
            ImageError: a picture cannot be read, or shows several people.
            OutputError: the disk refused.
        """
        folder = self.root / look_folder(name, look)
        new, known = [], []
        found, skipped = _pictures(paths)
        with owned(self.root, LIBRARY, self.say, part=name), replacing(self.root) as change:
            before = self.load(name, look) if (folder / LIST).is_file() else None
            base = before or self._default(name)
            kind = _kind_of(name, kind, base)
            taken = {kept.sha256 for kept in before.pictures} if before else set()
            for path in found:
                digest = _digest(path)
                if digest in taken and pick is None:
                    known.append(path)
                    continue
                kept = self._keep(path, digest, folder, sorter, kind, view, pick, change)
                known_as = {"origin": origin or kept.origin, **(_MADE if made else {})}
                new.append(kept.model_copy(update=known_as))
                taken.add(kept.sha256)
            pictures = [*(before.pictures if before else ()), *new]
            if before is None and base is not None and not any(kept.view == "face" for kept in pictures):
                faces = [kept for kept in base.pictures if kept.view == "face"]
                for kept in faces:  # so that each look stands alone
                    put_picture(change, self.root, folder / kept.file, base.folder / kept.file)
                pictures.extend(faces)
            text = list_text(document(name, kind, pictures, base, description, importance, human))
            change.new((folder / LIST).relative_to(self.root).as_posix()).write_bytes(text)
        return Added(self.load(name, look), tuple(new), tuple(known), tuple(skipped))

    def remove(self, name: str, look: str | None = None) -> tuple[Path, ...]:
        """Delete a look, or the element with all its looks; files that somebody put beside them stay.

        Raises:
            SceneError: there is no such element or look, or it is a symbolic link.
            OutputError: the disk refused.
        """
        with owned(self.root, LIBRARY, self.say, part=name):
            return self._remove(name, look)

    def _remove(self, name: str, look: str | None) -> tuple[Path, ...]:
        looks = self.names().get(name, ())
        wanted = looks if look is None else (look_folder(name, look).name,)
        gone = tuple(self.root / name / one for one in wanted if one in looks)
        if not gone:
            told = f"{name}@{look}" if look else name
            raise SceneError(
                f"the library {self.root} has no element {told}", remedy="list it: castsheet elements list"
            )
        with replacing(self.root) as change:
            names = [one for folder in gone for one in own_parts(self.root, folder)]
            if set(names) == {f"{name}/{path.name}" for path in (self.root / name).iterdir()}:
                names = [name]
            for one in names:
                change.drop(one)
        return gone

    def _default(self, name: str) -> LibraryEntry | None:
        file = self.root / name / DEFAULT_LOOK / LIST
        return self.load(name) if is_file(file) else None

    def _keep(
        self,
        path: Path,
        digest: str,
        folder: Path,
        sorter: Sorter,
        kind: Kind,
        view: View | None,
        pick: int | None,
        change: Change,
    ) -> Kept:
        """Copy one picture in, under a name made of its view and a hash of its bytes."""
        part = None
        if kind != "character":
            load_image(path)
            guess = Guess(view or "front", 1.0, f"a {kind}'s picture")
        elif view is not None and pick is None:
            load_image(path)
            guess = Guess(view, 1.0, "stated")
        elif pick is not None:
            part, guess = one_of_several(path, sorter.detector, pick)
            guess = guess if view is None else Guess(view, 1.0, "stated")
        else:
            guess, _ = sorter.sort(path, pick=None)
        suffix = ".png" if part is not None else path.suffix.lower()
        target = folder / f"{guess.view}-{digest[:8]}{f'-{pick}' if part is not None else ''}{suffix}"
        stored = put_picture(change, self.root, target, path if part is None else part)
        return Kept(
            file=target.name,
            view=guess.view,
            sha256=stored,
            origin=path.as_posix(),
            confidence=round(guess.confidence, 2),
            unsure=guess.unsure,
            reason=guess.reason,
        )


def _pictures(paths: Sequence[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The pictures in folders and among files, and the files of folders that are none, each with the reason.

    A mask is left out, because it is copied with its picture. A file that the user names is always taken.
    """
    found: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        for one in sorted(path.iterdir()):
            why = _why_not(one)
            if why:
                skipped.append((one, why))
            elif not one.name.endswith(".mask.png"):
                found.append(one)
    found = [path for path in found if not path.name.endswith(".mask.png")]
    if not found:
        told = "; ".join(f"{path.name}: {why}" for path, why in skipped[:3])
        raise SceneError(
            f"there is no picture to add{f' ({told})' if told else ''}",
            remedy="name picture files or a folder of them",
        )
    return found, skipped


def _why_not(path: Path) -> str:
    """Why a file of a folder is no picture to add; empty if it is one."""
    if path.is_dir():
        return "a folder in a folder"
    if path.suffix.lower() not in PICTURE_ENDINGS:
        return f"{path.suffix or 'a name without ending'} is no picture's"
    if path.name.endswith(".mask.png"):
        alone = not any(path.with_name(path.name[:-9] + end).exists() for end in PICTURE_ENDINGS)
        return "a mask without its picture" if alone else ""
    try:
        load_image(path)
    except (ImageError, DependencyError) as error:
        return f"{error.what.removeprefix(f'{path}: ').removeprefix(f'{path} ')}; {error.remedy}"
    return ""


def _digest(path: Path) -> str:
    require_regular(path, ImageError)
    try:
        return sha256(path)
    except OSError as error:
        what, remedy = why_unread(error)
        raise ImageError(f"{path} cannot be read: {what}", remedy=remedy) from error


def _check_unchanged(picture: Path, digest: str, remedy: str) -> None:
    """Refuse a picture of the library that is missing or has other bytes than when it was added."""
    mode = file_mode(picture)
    if not mode:
        raise SceneError(f"{picture} is missing", remedy=remedy)
    require_regular(picture, SceneError)
    try:
        found = sha256(picture)
    except OSError as error:
        what, mend = why_unread(error)
        raise SceneError(f"{picture} cannot be read: {what}", remedy=mend) from error
    if found != digest:
        raise SceneError(f"{picture} was changed since it was added", remedy=remedy)


def _kind_of(name: str, kind: Kind | None, base: LibraryEntry | None) -> Kind:
    if base is None:
        return kind or "character"
    if kind is not None and kind != base.element.kind:
        raise SceneError(
            f"{name} is a {base.element.kind} already, not a {kind}",
            remedy="choose another name, or remove the element first",
        )
    return base.element.kind


def document(
    name: str,
    kind: Kind,
    pictures: Sequence[Kept],
    base: LibraryEntry | None,
    description: str | None,
    importance: float | None,
    human: bool | None = None,
) -> dict[str, Any]:
    """The look's file: an element as scene files list it, and what is known of each picture.

    Of several pictures of one view the surest comes first, because sheets show the first.
    """
    images: dict[str, list[str]] = {}
    for view in VIEWS:
        of_view = sorted((kept for kept in pictures if kept.view == view), key=lambda kept: -kept.confidence)
        if of_view:
            images[view] = [kept.file for kept in of_view]
    old = base.element if base else None
    if human is None:
        human = old.human if isinstance(old, Character) else True
    return {
        "kind": kind,
        "id": name,
        **({} if human else {"human": False}),
        "description": description if description is not None else (old.description if old else ""),
        "importance": importance if importance is not None else (old.importance if old else 1.0),
        "images": images,
        "pictures": [kept.model_dump() for kept in pictures],
    }


def list_text(data: dict[str, Any]) -> bytes:
    """The look's file, once it is known to be an element.

    Raises:
        SceneError: only details of a character, for example.
    """
    plain = {key: value for key, value in data.items() if key != "pictures"}
    Scene.model_validate({"elements": [plain]})
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100).encode()
