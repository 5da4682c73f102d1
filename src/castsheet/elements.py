"""What a scene is made of: characters, props, locations, and the YAML file that lists them."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from castsheet.errors import SceneError, shown
from castsheet.machine.files import sign, signed
from castsheet.machine.outputs import Output, write_output
from castsheet.machine.regular import is_file
from castsheet.machine.text import TextReader
from castsheet.machine.wording import Mistake, first_mistake

View = Literal["face", "front", "three-quarter", "side", "back", "detail"]
VIEWS: tuple[View, ...] = get_args(View)

DEFAULT_LOOK = "default"
_USE = re.compile(r"^(?P<name>[a-z][a-z0-9_-]*)(@(?P<look>.+))?$")
_EXAMPLE = "images: {face: ann-face.png, front: ann-front.png}"
_SCENES = TextReader(SceneError, "correct the line; tags such as !!python/object are not allowed")


def _as_views(value: Any) -> Any:
    """Pictures by view; a single picture or a plain list of pictures becomes views from the front."""
    if isinstance(value, str | Path):
        value = [value]
    if isinstance(value, list | tuple):
        value = {"front": value}
    if isinstance(value, dict):
        return {view: [item] if isinstance(item, str | Path) else item for view, item in value.items()}
    return value


Images = Annotated[dict[View, tuple[Path, ...]], BeforeValidator(_as_views)]


class _Part(BaseModel):
    """A frozen model that reports mistakes as `SceneError`, in Python and in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            _refuse(type(self), data, error)


class _Element(_Part):
    id: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    description: str
    importance: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    images: Images

    @field_validator("images")
    @classmethod
    def _some_image(cls, images: dict[View, tuple[Path, ...]]) -> dict[View, tuple[Path, ...]]:
        usable = {view: paths for view, paths in images.items() if paths}
        if not usable:
            raise ValueError("no picture is given")
        # One order of views makes elements equal that were written in different orders.
        return {view: usable[view] for view in VIEWS if view in usable}


class Character(_Element):
    """A person or creature. `face` is for the close-up, the other views for the turnaround.

    Args:
        human: False for a puppet, a robot or an animal. The judge knows people by their faces, and looks at
            these as a whole.
    """

    kind: Literal["character"] = "character"
    human: bool = True

    @field_validator("images")
    @classmethod
    def _some_figure(cls, images: dict[View, tuple[Path, ...]]) -> dict[View, tuple[Path, ...]]:
        if set(images) == {"detail"}:
            raise ValueError("only details are given, but a character needs a face or a figure")
        return images


class Prop(_Element):
    """A thing. All its pictures stand side by side in one product panel."""

    kind: Literal["prop"] = "prop"


class Location(_Element):
    """A place, best without people in it. Its first picture becomes one clean panel."""

    kind: Literal["location"] = "location"


Element = Character | Prop | Location
_CLASSES: dict[str, type[Element]] = {one.__name__.lower(): one for one in get_args(Element)}


class Scene(_Part):
    """Everything that one sheet shows, and what happens in the clip.

    Args:
        title: for people only.
        elements: at least one; their order is the order of the sheet and of the prompt.
        action: the prompt's second half.
        settings: overrides of a generation preset; checked when a run reads them.

    Raises:
        SceneError: any mistake, with the field and a remedy.
    """

    title: str = ""
    elements: tuple[Element, ...]
    action: str = ""
    settings: dict[str, Any] = {}

    @field_validator("elements", mode="before")
    @classmethod
    def _each_element(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError("a scene needs a list of at least one element")
        return tuple(_element(index, item) for index, item in enumerate(value))

    @field_validator("elements")
    @classmethod
    def _unique(cls, elements: tuple[Element, ...]) -> tuple[Element, ...]:
        for name, times in Counter(element.id for element in elements).items():
            if times > 1:
                raise ValueError(f"the id {name!r} is used {times} times; ids must differ")
        return elements

    @classmethod
    def load(cls, path: Path | str) -> Scene:
        """Read a scene from YAML; picture paths are relative to the file.

        `use: hero@act-2` takes an element from a library (see `castsheet elements add`); fields beside `use`
        replace the library's. `library:` names the library's folder; the default is `library` beside the
        file.

        Raises:
            SceneError: naming the file, the field and the remedy.
        """
        path = Path(path)
        return cls.parse(_read_yaml(path), path)

    @classmethod
    def parse(cls, raw: dict[str, Any], path: Path) -> Scene:
        """A scene from the mapping that a file at `path` holds, or is going to hold.

        Raises:
            SceneError: as `load`.
        """
        raw = dict(raw)
        library = path.parent / str(raw.pop("library", "library"))
        try:
            items = raw.get("elements")
            if isinstance(items, list):
                raw["elements"] = [_used(index, item, library) for index, item in enumerate(items)]
            scene = cls(**raw)
            elements = tuple(_placed(element, path.parent) for element in scene.elements)
        except SceneError as error:
            raise SceneError(f"{path}: {error.what}", remedy=error.remedy) from error
        return scene.model_copy(update={"elements": elements})

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the scene as YAML, picture paths relative to the file.

        Args:
            overwrite: replace a file that Castsheet did not write, or that was edited since.

        Raises:
            OutputError: such a file is there, or the disk refused.
        """
        path = Path(path)
        data = self.model_dump(mode="json", exclude_defaults=True)
        data["elements"] = [_plain(element, path.parent) for element in self.elements]
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
        return write_output(
            Output(path, signed), lambda file: file.write_bytes(sign(text)), overwrite=overwrite
        )


def look_folder(name: str, look: str = DEFAULT_LOOK) -> Path:
    """The folder of an element's look in a library. "act 2", "Act-2" and "act2" are the same look.

    Raises:
        SceneError: the name or the look has no usable letters.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"([a-z])(?=\d)", r"\1-", look.lower())).strip("-")
    if not slug or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise SceneError(
            f"{name}@{look} cannot name an element's look",
            remedy="use a lower-case letter, then letters, digits, - or _, as in hero@act-2",
        )
    return Path(name) / slug


def read_element(path: Path) -> tuple[Element, dict[str, Any]]:
    """An element of a library with the full paths of its pictures, and the library's own field `pictures`.

    Raises:
        SceneError: the file cannot be read, or does not hold an element.
    """
    raw = _read_yaml(path)
    extra = {"pictures": raw.pop("pictures")} if "pictures" in raw else {}
    try:
        element = _placed(_element(0, raw), path.parent)
    except SceneError as error:
        raise SceneError(f"{path}: {error.what}", remedy=error.remedy) from error
    return element, extra


def _used(index: int, value: Any, library: Path) -> Any:
    """The element that `use` takes from the library; a value without `use` stays as it is."""
    if not isinstance(value, dict) or "use" not in value:
        return value
    given = {str(key): item for key, item in value.items()}
    named = _USE.match(str(given.pop("use")))
    if named is None:
        raise SceneError(
            f"elements[{index}]: field use: {shown(value['use'])} does not name an element",
            remedy="write use: hero, or use: hero@act-2 for a look",
        )
    file = library / look_folder(named["name"], named["look"] or DEFAULT_LOOK) / "element.yaml"
    if not is_file(file):
        raise SceneError(
            f"elements[{index}]: field use: there is no {value['use']} in the library {library.resolve()}",
            remedy=f"{_nearest(named['name'], library)}see castsheet elements list, or name the folder in "
            "the scene's field library:",
        )
    element, _ = read_element(file)
    # The library's paths become absolute: paths in the scene file are relative to another folder.
    own = {"images": {view: [path.resolve() for path in paths] for view, paths in element.images.items()}}
    return {**element.model_dump(), **own, **given}


def _nearest(name: str, library: Path) -> str:
    """A question that offers the library's name that is most like one that is not there; empty if none is."""
    try:
        known = [folder.name for folder in library.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}? else " if near else ""


def _element(index: int, value: Any) -> Any:
    if isinstance(value, Element):
        return value
    if not isinstance(value, dict):
        raise SceneError(
            f"elements[{index}] is {shown(value)}, not a mapping",
            remedy=f"give each element kind, id, description and {_EXAMPLE}",
        )
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in _CLASSES:
        given = "is missing" if kind is None else f"is {shown(kind)}"
        name = shown(value.get("id", "no id")).strip("'")
        raise SceneError(
            f"elements[{index}] ({name}): field kind {given}",
            remedy="write kind: character, kind: prop or kind: location",
        )
    try:
        return _CLASSES[kind](**{str(key): item for key, item in value.items()})
    except SceneError as error:
        raise SceneError(f"elements[{index}] {error.what}", remedy=error.remedy) from error


def _placed(element: Element, folder: Path) -> Element:
    """The element with its paths joined to the scene file's folder; every picture must exist."""
    images = {view: tuple(folder / path for path in paths) for view, paths in element.images.items()}
    for view, paths in images.items():
        for given, path in zip(element.images[view], paths, strict=True):
            if not is_file(path):
                raise SceneError(
                    f"{element.kind} {element.id!r}: field images.{view}: there is no file {given}",
                    remedy=f"correct the path; it is taken relative to {folder.resolve()}",
                )
    return element.model_copy(update={"images": images})


def _plain(element: Element, folder: Path) -> dict[str, Any]:
    data = {"kind": element.kind, **element.model_dump(mode="json", exclude_defaults=True)}
    data["images"] = {
        view: [_relative(path, folder) for path in paths] for view, paths in element.images.items()
    }
    return data


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive, on Windows
        return path.resolve().as_posix()


def _read_yaml(path: Path) -> dict[str, Any]:
    raw = _SCENES.yaml(path)
    if not isinstance(raw, dict):
        found = "empty" if raw is None else f"a {type(raw).__name__}"
        raise SceneError(
            f"{path}: the file must be a mapping with a field elements, but it is {found}",
            remedy=f"begin with `elements:` and a list, each with kind, id, description and {_EXAMPLE}",
        )
    return {str(key): value for key, value in raw.items()}


def _refuse(model: type[BaseModel], data: dict[str, Any], error: ValidationError) -> NoReturn:
    """Turn pydantic's first finding into a `SceneError`."""
    mistake = first_mistake(error)
    name = model.__name__.lower()
    if "id" in data:
        name += f" {shown(data['id'])}"
    what = f"{name}: field {mistake.where or '(no name)'}: {mistake.what}"
    raise SceneError(what, remedy=_remedy(model, mistake)) from error


def _remedy(model: type[BaseModel], mistake: Mistake) -> str:
    field = mistake.where.partition(".")[0]
    if field not in model.model_fields:
        return f"remove or rename it; the fields are {', '.join(model.model_fields)}"
    if field == "images":
        return f"give pictures by view ({', '.join(VIEWS)}), for example {_EXAMPLE}"
    if field == "elements":
        return "list characters, props and locations under elements, each with an id of its own"
    if field == "id":
        return "use a lower-case letter, then lower-case letters, digits, - or _"
    if field == "importance":
        return "use a number above 0 and up to 100; 1 is normal, 2 gets about twice the area"
    return mistake.remedy
