"""What the API takes: names, words, numbers and ids. No field is a path or an address."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from castsheet.elements import View
from castsheet.studio.folder import JOB_ID, NAME, PAIR_ID, SHEET_ID
from castsheet.studio.people import PERSON, Role

Name = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
SheetId = Annotated[str, StringConstraints(pattern=f"^{SHEET_ID}$")]
JobId = Annotated[str, StringConstraints(pattern=f"^{JOB_ID}$")]
LookName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
PictureId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
FrameId = SheetId
PairId = Annotated[str, StringConstraints(pattern=f"^{PAIR_ID}$")]
PersonName = Annotated[str, StringConstraints(pattern=f"^{PERSON}$")]
Words = Annotated[str, StringConstraints(max_length=4_000)]
Line = Annotated[str, StringConstraints(max_length=300)]
Seed = Annotated[int, Field(ge=0, lt=2**53, strict=True)]
Importance = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
MOST_SHOTS = 500


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LookChange(_Asked):
    """Corrections to a look; what is left out stays. `human` is of characters."""

    description: Words | None = None
    importance: Importance | None = None
    human: bool | None = None


class PictureChange(_Asked):
    """The right view of a picture."""

    view: View


class SceneElement(_Asked):
    """An element of a scene: one of the library, or one that the scene's file describes itself.

    Attributes:
        use: hero, or hero@act-2.
        own: the id of an element that stands in the file with pictures of its own; it is kept as it is.
    """

    use: (
        Annotated[str, StringConstraints(pattern=rf"^{NAME}(@[a-z0-9][a-z0-9-]*)?$", max_length=130)] | None
    ) = None
    own: Name | None = None
    importance: Importance | None = None


class SceneChange(_Asked):
    """A scene as a whole."""

    title: Line = ""
    elements: Annotated[list[SceneElement], Field(min_length=1, max_length=12)]
    action: Words = ""
    pins: dict[
        Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*/[a-z-]+$", max_length=100)],
        tuple[Share, Share, Share, Share],
    ] = {}


class TakesAsked(_Asked):
    """One or more takes of a shot. Each becomes a job of its own, with seeds that count up.

    Attributes:
        scene: whose settings hold where nothing else is said.
        prompt: a whole two-part prompt in place of `action`.
        first_frame: a picture of `/frames` that the clip starts with.
        adapter: a run of `/runs` that has finished; its adapter is used as it was trained.
        settings: fields of docs/settings.md by name.
        force: go on although a check found an error.
    """

    sheet: SheetId
    scene: Name | None = None
    action: Words = ""
    prompt: Words | None = None
    first_frame: FrameId | None = None
    adapter: Name | None = None
    seed: Seed | None = None
    takes: Annotated[int, Field(ge=1, le=16, strict=True)] = 1
    preset: Annotated[str, StringConstraints(max_length=60)] | None = None
    settings: Annotated[
        dict[Annotated[str, StringConstraints(max_length=60)], Any], Field(max_length=60)
    ] = {}
    force: bool = False


class JobChange(_Asked):
    """A waiting job's place among those that wait, from 0."""

    place: Annotated[int, Field(ge=0, le=100_000, strict=True)]


class StarChange(_Asked):
    """Whether a take has a star."""

    star: bool


class ShotRow(_Asked):
    """A row of the table of shots. `continues`: it starts from the last frame of the row before."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")]
    action: Words
    seed: Seed | None = None
    takes: Annotated[int, Field(ge=1, le=16, strict=True)] | None = None
    continues: bool = False


class ShotListChange(_Asked):
    """A list of shots as a whole. `film`: whether the shots are joined into one film."""

    shots: Annotated[list[ShotRow], Field(min_length=1, max_length=MOST_SHOTS)]
    takes: Annotated[int, Field(ge=1, le=16, strict=True)] | None = None
    film: bool = False


class ShotsAsked(_Asked):
    """Make the shots of a list that are not finished, with the adapter of a run if one is named."""

    sheet: SheetId
    adapter: Name | None = None
    force: bool = False


class FillAsked(_Asked):
    """Make the views that a look lacks. By default all that a good sheet needs."""

    views: Annotated[list[View], Field(max_length=8)] = []
    seed: Seed = 0
    settings: dict[Annotated[str, StringConstraints(max_length=60)], Any] = Field({}, max_length=60)


class FrameAsked(_Asked):
    """A frame of a take, counted from 0; -1 is the last one."""

    frame: Annotated[int, Field(ge=-1, lt=100_000, strict=True)] = -1


class UndoAsked(_Asked):
    """The change to take back, as it was last told."""

    id: JobId


class PersonAsked(_Asked):
    """Somebody who gets a token."""

    name: PersonName
    role: Role = "maker"


class SampleAsked(_Asked):
    """A sheet and an action that a run draws again and again."""

    sheet: SheetId
    action: Words
    seed: Seed = 0


class RunChange(_Asked):
    """A training run, over the preset that is named; what is left out is the preset's.

    Attributes:
        set, held_out: names of sets, as `/sets` lists them.
        sample_every: steps between sample pictures; 0 draws none.
    """

    preset: Literal["card-recipe", "quick", "mini"]
    set: Name
    held_out: Name | None = None
    steps: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    batch: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = None
    seed: Seed | None = None
    save_every: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    sample_every: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = 100
    samples: Annotated[list[SampleAsked], Field(max_length=8)] = []


class SetAsked(_Asked):
    """Make a training set of a result of `castsheet pairs`: of which of its parts."""

    pairs: Name
    part: Literal["train", "validation", "test"] = "train"
