"""What a scene is made of: characters, props, locations, and the YAML file that lists them."""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args

import numpy as np
import yaml
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from castsheet.errors import CastsheetError, ImageError, SceneError
from castsheet.files import write_atomic

View = Literal["face", "front", "three-quarter", "side", "back", "detail"]
VIEWS: tuple[View, ...] = get_args(View)

MIN_SIDE = 16
# Pillow's own guard against decompression bombs refuses above this as well (twice its warning level).
MAX_PIXELS = 178_000_000

_EXAMPLE = "images: {face: ann-face.png, front: ann-front.png}"
# What a decoder may raise on damaged data, besides OSError.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)


def _as_views(value: Any) -> Any:
    """A single picture or a plain list of pictures means views from the front."""
    if isinstance(value, str | Path):
        value = [value]
    if isinstance(value, list | tuple):
        value = {"front": value}
    if isinstance(value, dict):
        return {view: [item] if isinstance(item, str | Path) else item for view, item in value.items()}
    return value


Images = Annotated[dict[View, tuple[Path, ...]], BeforeValidator(_as_views)]


class _Part(BaseModel):
    """A frozen model whose mistakes are reported as `SceneError`, in Python as in YAML."""

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
        # One order for all, so that equal elements are equal however they were written.
        return {view: usable[view] for view in VIEWS if view in usable}


class Character(_Element):
    """A person or creature. `face` feeds the close-up; front, three-quarter, side, back the turnaround."""

    kind: Literal["character"] = "character"

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
_CLASSES: dict[str, type[Character] | type[Prop] | type[Location]] = {
    "character": Character,
    "prop": Prop,
    "location": Location,
}


class Scene(_Part):
    """Everything that one sheet shows, and what happens.

    Args:
        title: for people only.
        elements: at least one; their order is the order of the sheet and of the prompt.
        action: the prompt's second half.
        settings: overrides of a generation preset; checked by whoever uses them.

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
        ids = [element.id for element in elements]
        for name in ids:
            if ids.count(name) > 1:
                raise ValueError(f"the id {name!r} is used {ids.count(name)} times; ids must differ")
        return elements

    @classmethod
    def load(cls, path: Path | str) -> Scene:
        """Read a scene from YAML; picture paths are relative to the file.

        Raises:
            SceneError: naming the file, the field and the remedy.
        """
        path = Path(path)
        raw = _read_yaml(path)
        try:
            scene = cls(**raw)
            elements = tuple(_placed(element, path.parent) for element in scene.elements)
        except SceneError as error:
            raise SceneError(f"{path}: {error.what}", remedy=error.remedy) from error
        return scene.model_copy(update={"elements": elements})

    def save(self, path: Path | str) -> Path:
        """Write the scene as YAML, picture paths relative to the file.

        Raises:
            OutputError: the disk refused.
        """
        path = Path(path)
        data = self.model_dump(mode="json", exclude_defaults=True)
        data["elements"] = [_plain(element, path.parent) for element in self.elements]
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)

        def write(temporary: Path) -> None:
            temporary.write_text(text, encoding="utf-8", newline="\n")

        return write_atomic(path, write)


def _element(index: int, value: Any) -> Any:
    if isinstance(value, Element):
        return value
    if not isinstance(value, dict):
        raise SceneError(
            f"elements[{index}] is {value!r}, not a mapping",
            remedy=f"give each element kind, id, description and {_EXAMPLE}",
        )
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in _CLASSES:
        given = "is missing" if kind is None else f"is {kind!r}"
        raise SceneError(
            f"elements[{index}] ({value.get('id', 'no id')}): field kind {given}",
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
            if not stat.S_ISREG(_mode(path)):
                raise SceneError(
                    f"{element.kind} {element.id!r}: field images.{view}: there is no file {given}",
                    remedy=f"correct the path; it is taken relative to {folder.resolve()}",
                )
    return element.model_copy(update={"images": images})


def _mode(path: Path) -> int:
    """The file's type and permission bits, 0 when there is none or its name is impossible."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


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
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SceneError(f"{path}: {error.strerror}", remedy="check the path of the scene file") from error
    except UnicodeDecodeError as error:
        raise SceneError(f"{path}: not UTF-8 text", remedy="save the file as UTF-8") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "unknown place"
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise SceneError(
            f"{path}: not plain YAML at {place}: {problem}",
            remedy="correct the line; tags such as !!python/object are not allowed",
        ) from error
    if not isinstance(raw, dict):
        found = "empty" if raw is None else f"a {type(raw).__name__}"
        raise SceneError(
            f"{path}: the file must be a mapping with a field elements, but it is {found}",
            remedy=f"begin with `elements:` and a list, each with kind, id, description and {_EXAMPLE}",
        )
    return {str(key): value for key, value in raw.items()}


def _refuse(model: type[BaseModel], data: dict[str, Any], error: ValidationError) -> NoReturn:
    """Turn pydantic's first finding into a `SceneError`."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"] if part != "[key]"]
    name = model.__name__.lower()
    if "id" in data:
        name += f" {data['id']!r}"
    message = first["msg"].removeprefix("Value error, ")
    raise SceneError(
        f"{name}: field {'.'.join(location)}: {message}", remedy=_remedy(model, location, first["type"])
    ) from error


def _remedy(model: type[BaseModel], location: list[str], problem: str) -> str:
    field = location[0]
    if problem == "extra_forbidden":
        return f"remove or rename it; the fields are {', '.join(model.model_fields)}"
    if field == "images":
        return f"give pictures by view ({', '.join(VIEWS)}), for example {_EXAMPLE}"
    if field == "elements":
        return "list characters, props and locations under elements, each with an id of its own"
    if field == "id":
        return "use a lower-case letter, then lower-case letters, digits, - or _"
    if field == "importance":
        return "use a number above 0 and up to 100; 1 is normal, 2 gets about twice the area"
    return f"add a usable {field}"


def load_image(path: Path | str) -> Image.Image:
    """Read a picture of any usual format and mode as 8-bit RGBA, upright and in sRGB.

    Of an animation the first frame is taken. 16-bit and float pictures are brought to 8 bits; float ones
    are taken as 0..1 when no value exceeds 1, else as 0..255. EXIF orientation is applied.

    Raises:
        ImageError: not a picture, truncated, a side below 16 px, or more than 178 million pixels.
    """
    path = Path(path)
    try:
        mode = _mode(path)
        if not stat.S_ISREG(mode):
            problem = "is a folder, not a picture" if stat.S_ISDIR(mode) else "does not exist"
            raise ImageError(f"{path} {problem}", remedy="give the path of a picture file")
        with warnings.catch_warnings():
            # Plugins warn of damaged metadata; either the pixels are there, or the load below fails.
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                _check_size(path, opened.size)
                opened.load()
                return _to_rgba(path, opened)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not a picture in a known format", remedy="use PNG, JPEG, WebP, GIF, BMP or TIFF"
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except MemoryError as error:
        raise _too_large(path) from error
    except CastsheetError:
        raise
    except _DECODE_ERRORS as error:
        raise ImageError(
            f"{path} cannot be read; it is damaged, cut short or protected: {error}",
            remedy="check its permissions, or export or download the picture again",
        ) from error


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(path)
    if min(size) < MIN_SIDE:
        raise ImageError(
            f"{path} is {width}x{height}; both sides must be at least {MIN_SIDE} px",
            remedy="use a larger picture, best 512 px or more",
        )


def _too_large(path: Path) -> ImageError:
    return ImageError(
        f"{path} has more than {MAX_PIXELS // 1_000_000} million pixels",
        remedy="scale it down; 4096 px on the long side are plenty",
    )


def _to_rgba(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bit(path, image)
    elif image.mode in ("RGB", "RGBA") and image.info.get("icc_profile"):
        image = _to_srgb(image)
    upright = ImageOps.exif_transpose(image)
    # Modes without a direct way to RGBA (LAB, CMYK, YCbCr, HSV) go through RGB; they carry no alpha.
    if upright.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"):
        upright = upright.convert("RGB")
    if upright.mode == "La":
        upright = upright.convert("LA")
    return upright.convert("RGBA")


def _to_8_bit(path: Path, image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError(f"{path} contains NaN or infinity", remedy="export it as an 8-bit PNG")
    top = float(values.max())
    if image.mode == "F":
        scale = 255.0 if top <= 1 else 1.0
    else:
        # 32-bit integer pictures are 16-bit ones read by an older plugin, unless their values say otherwise.
        scale = 1 / 257 if image.mode != "I" or 255 < top <= 65535 else (255 / top if top > 65535 else 1.0)
    grey = Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))
    grey.info = {key: value for key, value in image.info.items() if key == "exif"}
    return grey


def _to_srgb(image: Image.Image) -> Image.Image:
    """Colours as on an sRGB screen; a damaged or foreign profile is ignored, as viewers do."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError):
        return image
    return converted if converted is not None else image
