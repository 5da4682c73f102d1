"""The shot list: a YAML file of prompts and seeds that share one sheet. No torch.

```yaml
takes: 4                      # for every shot that does not set its own
settings: {steps: 20}         # likewise
continues: true               # likewise: shots start from the last frame of the shot before
film: true                    # join all shots into film.mp4
shots:
  - hero waves                # an action is enough
  - id: barn
    action: hero walks left past the barn
    seeds: [1, 2, 3]          # three shots: barn-1, barn-2, barn-3
  - prompt: "Reference sheet: ... Generated video: ..."
    seed: 7
    takes: 2
    first_frame: opening.png  # relative to the file; or continues: true
    settings: {guidance: 3}
```
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from castsheet.errors import SettingsError, shown
from castsheet.machine.text import TextReader
from castsheet.machine.wording import first_mistake

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_EXAMPLE = "shots: [hero waves, {action: hero jumps, seed: 3}]"
MAX_SHOTS = 10_000
_FIELDS = {"shots", "takes", "settings", "continues", "film"}
_LISTS = TextReader(SettingsError, "correct the line")


class Shot(BaseModel):
    """One shot. Its settings are checked when it is prepared.

    Attributes:
        id: names the shot's folder; `shot-001`, `shot-002`, ... by default.
        action: what happens; or `prompt`, a whole two-part prompt.
        seed: of the first take; further takes count up from it. With None the scene sets it.
        takes: how many takes are made at most. With None the command sets it.
        first_frame: a picture that the shot starts from; or `continues`.
        continues: start from the last frame of the shot that is listed before.
        settings: overrides of the preset for this shot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    id: str = Field(pattern=_NAME, max_length=80)
    action: str | None = None
    prompt: str | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63, strict=True)
    takes: int | None = Field(default=None, ge=1, le=1000, strict=True)
    first_frame: Path | None = None
    continues: bool = Field(default=False, strict=True)
    settings: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_prompt(self) -> Shot:
        if (self.action is None) == (self.prompt is None):
            raise ValueError("give an action, or a whole prompt, not both")
        if self.continues and self.first_frame is not None:
            raise ValueError("give a first_frame, or continues: true, not both")
        return self


@dataclass(frozen=True)
class ShotList:
    """A whole list; `film`: whether its shots are joined into one film."""

    shots: tuple[Shot, ...]
    film: bool = False


def load_shots(path: Path | str) -> tuple[Shot, ...]:
    """The shots of a list; see `load_list`."""
    return load_list(path).shots


def load_list(path: Path | str) -> ShotList:
    """Read a shot list.

    Raises:
        SettingsError: an entry is wrong; the message names the file, the shot and the field.
    """
    path = Path(path)
    content = _mapping(path)
    unknown = sorted(set(content) - _FIELDS)
    listed = content.get("shots")
    if unknown:
        _refuse(path, f"unknown field {unknown[0]!r}", f"fields are {', '.join(sorted(_FIELDS))}")
    for name in ("continues", "film"):
        if type(content.get(name, False)) is not bool:
            _refuse(path, f"{name} is {shown(content[name])}", f"write {name}: true, or leave it out")
    if not isinstance(listed, list) or not listed:
        _refuse(path, "no list of shots", f"write {_EXAMPLE}")
    common = content.get("settings") or {}
    if not isinstance(common, dict):
        _refuse(path, f"settings is {shown(common)}", "give settings by name: {steps: 20}")
    asked = sum(len(_seeds(item)) for item in listed)
    if asked > MAX_SHOTS:
        _refuse(path, f"{asked:,} shots", f"split the list: {MAX_SHOTS:,} at most")
    shots: list[Shot] = []
    for number, item in enumerate(listed, 1):
        for raw in _seeded(path, number, item):
            goes_on = bool(shots) and "first_frame" not in raw and content.get("continues", False)
            given = {"takes": content.get("takes"), "continues": goes_on}
            shots.append(_shot(path, number, raw, given, common))
    if shots[0].continues:
        _refuse(path, "the first shot continues, and none is before it", "leave continues out there")
    # Two ids that differ by case alone are one folder in a case-blind file system.
    name, times = Counter(shot.id.lower() for shot in shots).most_common(1)[0]
    if times > 1:
        _refuse(path, f"the id {name!r} is used {times} times", "give every shot its own id")
    return ShotList(tuple(shots), content.get("film", False))


def _seeds(item: Any) -> list[Any]:
    """The seeds that an entry lists; one nothing where it lists none."""
    seeds = item.get("seeds") if isinstance(item, dict) else None
    return seeds if isinstance(seeds, list) else [None]


def _seeded(path: Path, number: int, item: Any) -> list[dict[str, Any]]:
    """An entry as mappings, one for every seed that it lists."""
    raw = {"action": item} if isinstance(item, str) else item
    if not (isinstance(raw, dict) and all(isinstance(key, str) for key in raw)):
        _refuse(path, f"shot {number} is {shown(item)}", f"write an action or fields: {_EXAMPLE}")
    raw = {"id": f"shot-{number:03}", **raw}
    if "seeds" not in raw:
        return [raw]
    seeds = raw.pop("seeds")
    if "seed" in raw or not isinstance(seeds, list) or not seeds:
        told = f"shot {number}: seeds is {shown(seeds)}"
        _refuse(path, told, "list seeds: [1, 2, 3], without a seed beside it")
    return [{**raw, "id": f"{raw['id']}-{seed}", "seed": seed} for seed in seeds]


def _shot(
    path: Path, number: int, raw: dict[str, Any], usual: dict[str, Any], common: dict[str, Any]
) -> Shot:
    own = raw.get("settings") or {}
    merged = {**common, **own} if isinstance(own, dict) else own
    given = {**usual, **raw, "settings": merged}
    try:
        shot = Shot(**given)
    except ValidationError as error:
        where, what, remedy = first_mistake(error)
        _refuse(path, f"shot {number}: {f'{where}: ' if where else ''}{what}", remedy)
    if shot.first_frame is None:
        return shot
    return shot.model_copy(update={"first_frame": path.parent / shot.first_frame})


def _mapping(path: Path) -> dict[str, Any]:
    content = _LISTS.yaml(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        _refuse(path, "not a mapping", f"write {_EXAMPLE}")
    return content


def _refuse(path: Path, what: str, remedy: str) -> NoReturn:
    raise SettingsError(f"{path}: {what}", remedy=remedy) from None
