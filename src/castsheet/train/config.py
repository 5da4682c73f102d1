"""The YAML file of a training run, checked whole before anything is loaded.

The defaults below ARE the published recipe of the reference-sheet adapter; presets.py holds the presets.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from castsheet.errors import SettingsError, shown
from castsheet.ltx.adapters.lora import IC_TARGETS
from castsheet.ltx.adapters.mode import ReferenceMode
from castsheet.machine.text import TextReader
from castsheet.machine.wording import first_mistake
from castsheet.train.presets import PRESETS


def _no_flag(value: Any) -> Any:
    """YAML's `true` is no number, though Python would count it as 1."""
    if isinstance(value, bool):
        raise ValueError("give a number, not true or false")
    return value


MANY = 1_000_000_000
_Number = BeforeValidator(_no_flag)
Share = Annotated[float, _Number, Field(ge=0, le=1)]
Decay = Annotated[float, _Number, Field(ge=0, lt=1)]
Count = Annotated[int, _Number, Field(ge=1, le=MANY)]
CountOrNone = Annotated[int, _Number, Field(ge=0, le=MANY)]
Positive = Annotated[float, _Number, Field(gt=0, le=1e9)]
Rate = Annotated[float, _Number, Field(ge=0, le=10)]
Seed = Annotated[int, _Number, Field(ge=0, lt=2**63)]

_RUNS = TextReader(SettingsError, "correct the line")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterConfig(_Part):
    """The adapter that is trained.

    Attributes:
        start: an adapter file of the same shape; training starts from its values.
        on_top: train on the model with the adapters of its bundle, at its preset's strength; else on the bare
            base. `generate --trained` uses the adapter in the same way.
        joined: add the term to the weight before each product, which is faster in narrow models.
    """

    rank: Annotated[int, _Number, Field(ge=1, le=4096)] = 128
    alpha: Positive = 128.0
    dropout: Literal[0] = 0  # the published value; no other is computed
    targets: tuple[str, ...] = IC_TARGETS
    start: Path | None = None
    on_top: bool = False
    joined: bool = False


class Ramp(_Part):
    """Learning rate: linear from `start` to `end`, from the end of the ramp before until step `until`."""

    until: Count
    start: Rate
    end: Rate


class OptimiserConfig(_Part):
    """AdamW; `adamw8bit` keeps its moments in 8 bits (extra `train`).

    `average` is the decay of a running mean of the adapter. If it is set, files and pictures are of the mean.
    """

    name: Literal["adamw8bit", "adamw"] = "adamw8bit"
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: Rate = 0.01
    max_gradient_norm: Positive = 1.0
    average: Decay = 0.0
    rate: tuple[Ramp, ...] = (
        Ramp(until=6_000, start=1.3e-4, end=1.3e-5),
        Ramp(until=12_000, start=1.3e-5, end=1.3e-5),
    )


class TeacherConfig(_Part):
    """What a distilled adapter learns from: the same model, with these adapters, run with these settings.

    Attributes:
        adapters: files with their strengths, beside those of the model's bundle; null is the preset's.
        trained: an adapter used as it was trained: if that was alone, in place of the bundle's.
        preset: by default the model's own. settings: over the preset's.
        student: few-step: the teacher is the student that the run starts from, named by `start`, run as its
            file says. It needs no guidance, and a step costs less.
    """

    adapters: dict[Path, Annotated[float, _Number, Field(ge=-10, le=10)] | None] = {}
    trained: Path | None = None
    preset: str | None = None
    settings: dict[str, Any] = {}
    student: bool = False


class ObjectiveConfig(_Part):
    """What the adapter learns from a sample.

    Attributes:
        kind: "flow" learns the clips. The others distil a teacher; see `castsheet.train.distillation`:
            "guidance" needs one pass a step instead of the teacher's two or three, "few-step" few steps.
            `objective: guidance` is short for `objective: {kind: guidance}`.
        steps: few-step: the student's steps. substeps: the teacher's steps in each of them.
        reference: "looped" shows the sheet as a still video of the clip's length, as published; "still" as
            ONE latent frame at the first frame's positions, a sixteenth of the tokens.
        reference_frames: how many of a looped reference's latent frames are shown, drawn at random each step;
            0 shows all.
        excerpt: how many neighbouring latent frames of the clips are learned, drawn at random each step; 0 is
            all. Short excerpts of many clips teach looks at lower cost than whole clips.
        sigma_tokens: noise levels are drawn as for a clip of this many tokens (more: higher); by default the
            clip's own count.
        marker: mark the clip's first latent frame, as inference does (LTX-2.5). The vendor's published
            trainer does not.
    """

    kind: Literal["flow", "guidance", "few-step"] = "flow"
    steps: Annotated[int, _Number, Field(ge=1, le=100)] = 4
    substeps: Annotated[int, _Number, Field(ge=1, le=10)] = 4
    first_frame_probability: Share = 0.0
    reference: ReferenceMode = "looped"
    reference_downscale_factor: Annotated[int, _Number, Field(ge=1, le=64)] = 1
    reference_dropout: Share = 0.0
    reference_frames: CountOrNone = 0
    excerpt: CountOrNone = 0
    sigma_tokens: Count | None = None
    marker: bool = True

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _fits(self) -> ObjectiveConfig:
        if self.kind != "flow" and (self.excerpt or self.reference_frames):
            raise ValueError("a distilled adapter learns whole clips: leave excerpt and reference_frames out")
        if self.excerpt and self.first_frame_probability:
            raise ValueError("an excerpt has no first frame to give: use one of the two")
        if self.reference_frames and self.reference == "still":
            raise ValueError("reference_frames is for a looped reference")
        return self


class BaseConfig(_Part):
    """How the frozen model is held and run; only `weights` changes numbers.

    Attributes:
        weights: "fp8" holds the large matrices with a scale a row, and multiplies in fp8 if the card can.
        recompute: what the backward pass computes again instead of storing it: "all" of every block, all but
            the "attention", "none", the first N blocks, or "auto": as little as `activation_gib` of memory
            allows.
        offload: host memory keeps blocks' inputs until the backward pass, and gradients until the update.
        compile: compile the blocks; by default on a GPU only.
        shard: divide the base over the processes' cards.
        stream: host memory holds the frozen blocks; each comes to the card when it runs.
    """

    weights: Literal["bf16", "fp8", "fp32"] = "bf16"
    recompute: CountOrNone | Literal["all", "attention", "none", "auto"] = "auto"
    activation_gib: Positive = 8.0
    offload: bool = False
    compile: bool | None = None
    shard: bool = False
    stream: bool = False


class SampleConfig(_Part):
    """A sheet and an action, or a whole prompt, sampled at intervals."""

    sheet: Path
    action: str = ""
    prompt: str | None = None
    seed: Seed = 0
    settings: dict[str, Any] = {}


class WatchConfig(_Part):
    """After how many steps each thing is shown; 0 switches it off."""

    log_every: CountOrNone = 10
    page_every: CountOrNone = 100
    held_out_every: CountOrNone = 250
    sample_every: CountOrNone = 500
    samples: tuple[SampleConfig, ...] = ()
    tensorboard: bool = False


class Config(_Part):
    """A training run. Relative paths are relative to the file.

    Attributes:
        model: a checkpoint file, a diffusers folder, a bundle's folder, or "mini".
        text_encoder: a Gemma-3 folder; needed for sample pictures only.
        data, held_out: datasets in either layout; see `castsheet.train.data.dataset`.
        output: the run's folder.
        seconds: end after this time even if `steps` are not done; the learning rate then follows the time.
        batch: samples a process takes at once; a step sees batch * accumulation * processes samples.
    """

    preset: str = "card-recipe"
    model: str
    data: Path
    output: Path
    held_out: Path | None = None
    text_encoder: Path | None = None
    device: str = "auto"
    steps: Count = 12_000
    seconds: Positive | None = None
    batch: Count = 1
    accumulation: Count = 1
    seed: Seed = 42
    save_every: Count = 250
    keep: Count = 3
    adapter: AdapterConfig = AdapterConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    teacher: TeacherConfig = TeacherConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    base: BaseConfig = BaseConfig()
    watch: WatchConfig = WatchConfig()

    @model_validator(mode="after")
    def _schedule_covers(self) -> Config:
        ends = [ramp.until for ramp in self.optimiser.rate]
        if not ends or ends != sorted(set(ends)):
            raise ValueError("optimiser.rate: each `until` must lie after the one before")
        return self

    @model_validator(mode="after")
    def _teacher_is_asked(self) -> Config:
        if self.objective.kind == "flow" and self.teacher != TeacherConfig():
            raise ValueError("teacher: objective flow has none; set objective to guidance or few-step")
        if self.teacher.student and (self.objective.kind != "few-step" or self.adapter.start is None):
            raise ValueError("teacher.student: name it in adapter.start, and set objective to few-step")
        return self

    def global_batch(self, processes: int) -> int:
        """Samples a step."""
        return self.batch * self.accumulation * processes

    @property
    def fingerprint(self) -> str:
        """Hash of what the loss curve depends on: not of watching, saving and the number of steps."""
        parts = {"seed", "objective", "optimiser", "adapter", "teacher"}
        values = self.model_dump(mode="json", include=parts)
        values["adapter"].pop("start")
        # Runs that began before an option go on.
        if not self.adapter.on_top:
            values["adapter"].pop("on_top")
        if self.objective.marker:
            values["objective"].pop("marker")
        if self.objective.kind == "flow":
            for name in ("kind", "steps", "substeps"):
                values["objective"].pop(name)
            values.pop("teacher")
        else:  # a file's folder may move
            teacher = values["teacher"]
            teacher["adapters"] = {Path(file).name: one for file, one in teacher["adapters"].items()}
            teacher["trained"] = teacher["trained"] and Path(teacher["trained"]).name
            for name in ("trained", "student"):
                if not teacher[name]:
                    teacher.pop(name)
        values |= {"model": Path(self.model).name, "weights": self.base.weights}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def load_config(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a run's YAML file.

    Args:
        overrides: nested values that win over the file's.

    Raises:
        SettingsError: the file is not readable YAML, or a field is unknown or out of range; the nearest
            field's name is given.
    """
    path = Path(path)
    raw = _RUNS.yaml(path)
    if not isinstance(raw, dict):
        raise SettingsError(f"{path} holds no settings", remedy="write fields such as `model: ...`")
    return make_config(join(raw, overrides or {}), where=str(path), folder=path.parent)


def make_config(values: Mapping[str, Any], *, where: str = "config", folder: Path = Path()) -> Config:
    """The preset named in `values`, with `values` over it; relative paths start at `folder`.

    Raises:
        SettingsError: see `load_config`.
    """
    name = values.get("preset", "card-recipe")
    if not isinstance(name, str) or name not in PRESETS:
        raise SettingsError(
            f"{where}: unknown preset {shown(name)}", remedy=f"choose one of {', '.join(PRESETS)}"
        )
    try:
        config = Config.model_validate(join(PRESETS[name], values))
    except ValidationError as error:
        raise _explain(error, where) from error
    return _absolute(config, folder)


def join(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above` in their place, mapping by mapping; lists are replaced whole."""
    joined = dict(below)
    for key, value in above.items():
        under = joined.get(key)
        joined[key] = join(under, value) if isinstance(under, dict) and isinstance(value, Mapping) else value
    return joined


def read_override(text: str) -> dict[str, Any]:
    """`optimiser.name=adamw` as the nested mapping {"optimiser": {"name": "adamw"}}.

    Raises:
        SettingsError: the text is not of the form FIELD=VALUE.
    """
    field, equals, value = text.partition("=")
    if not (field and equals):
        raise SettingsError(f"{shown(text)} is not FIELD=VALUE", remedy="write it as steps=2000")
    nested: Any = _RUNS.parse_yaml(value, f"--set {field}")
    for name in reversed(field.split(".")):
        nested = {name: nested}
    return nested


def _absolute(config: Config, folder: Path) -> Config:
    samples = tuple(one.model_copy(update={"sheet": folder / one.sheet}) for one in config.watch.samples)
    named = ("data", "output", "held_out", "text_encoder")
    paths = {name: folder / getattr(config, name) for name in named if getattr(config, name) is not None}
    start = config.adapter.start
    teacher = config.teacher
    taught = {
        "adapters": {folder / file: strength for file, strength in teacher.adapters.items()},
        "trained": teacher.trained and folder / teacher.trained,
    }
    model = config.model if config.model == "mini" else str(folder / config.model)
    return config.model_copy(
        update={
            **paths,
            "model": model,
            "adapter": config.adapter.model_copy(update={"start": start and folder / start}),
            "teacher": teacher.model_copy(update=taught),
            "watch": config.watch.model_copy(update={"samples": samples}),
        }
    )


def _explain(error: ValidationError, where: str) -> SettingsError:
    # A misspelt name may be the reason why another one is missing: it is reported first.
    first = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")[0]
    names = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        field, what, remedy = first_mistake(error)
        return SettingsError(f"{where}: {field or 'the file'}: {what}", remedy=remedy)
    fields = _fields(Config, names[:-1])
    near = difflib.get_close_matches(names[-1], fields, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else f"fields here are {', '.join(fields)}"
    return SettingsError(f"{where}: unknown field {'.'.join(names)}", remedy=remedy)


def _fields(part: type[BaseModel], names: list[str]) -> list[str]:
    """Field names of the model that lies at the path `names` below `part`."""
    if not names:
        return list(part.model_fields)
    if names[0].isdigit():
        return _fields(part, names[1:])
    annotation = part.model_fields[names[0]].annotation
    inner = next(
        one
        for one in (annotation, *get_args(annotation))
        if isinstance(one, type) and issubclass(one, BaseModel)
    )
    return _fields(inner, names[1:])
