"""A study's page in the docs: question, table, plot, pictures. What a person wrote below stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from castsheet.machine.files import require, write_atomic, write_text
from mini.evaluation.parts import Floats
from mini.evaluation.validation import ValidationSet
from mini.studies.designs import Study
from mini.studies.figures import GROUP_NAMES, Mean, choices, off, overall, summarise
from mini.studies.journal import Entry, Made, Place
from mini.studies.measure import Row

READING = "## What it says"
_COLOURS = {
    "person": "#3367d6",
    "prop": "#d6822c",
    "location": "#2f9e5b",
    "action": "#8a5fc2",
    "leaked": "#c23b4b",
}


@dataclass(frozen=True)
class Clips:
    """The clips of one study by place; `made` says what made them, each run once."""

    made: tuple[Made, ...]
    entries: Mapping[Place, Entry]
    name: str

    def missing(self, study: Study, count: int) -> int:
        """How many clips are not there."""
        return sum(
            place not in self.entries for takes in self._places(study, count).values() for place in takes
        )

    def rows(self, study: Study, count: int) -> dict[str, list[list[Row]]]:
        """Figures by condition, identity and take."""
        places = self._places(study, count)
        return {
            one.name: [
                [self.entries[place].row for place in places[one.name, index]] for index in range(count)
            ]
            for one in study.conditions
        }

    def strips(self, study: Study) -> dict[str, Image.Image | None]:
        """By condition, the pictures of the first identities, one below the other."""
        found: dict[str, Image.Image | None] = {}
        for one in study.conditions:
            mine = sorted(place for place in self.entries if place[1] == one.name)
            pictures = [picture for place in mine if (picture := self.entries[place].picture) is not None]
            rows = [np.asarray(picture) for picture in pictures]
            found[one.name] = Image.fromarray(np.concatenate(rows)) if rows else None
        return found

    def _places(self, study: Study, count: int) -> dict[tuple[str, int], list[Place]]:
        return {
            (one.name, index): [(self.name, one.name, index, take) for take in range(one.takes)]
            for one in study.conditions
            for index in range(count)
        }


def newest(found: Sequence[tuple[Made, Entry]], name: str) -> Clips:
    """A study's clips, all made alike: of the model that made most of them, the last such one."""
    by_model: dict[Made, dict[Place, tuple[Made, Entry]]] = {}
    for made, entry in found:
        if entry.place[0] == name:
            by_model.setdefault(made.alike, {})[entry.place] = made, entry
    if not by_model:
        return Clips((), {}, name)
    chosen = max(reversed(list(by_model.values())), key=len)
    makers = tuple(dict.fromkeys(made for made, _ in chosen.values()))
    return Clips(makers, {place: entry for place, (_, entry) in chosen.items()}, name)


@dataclass(frozen=True)
class Result:
    """A study with its figures.

    Attributes:
        rows: by condition, identity and take.
        machine: one line: model, settings, device, commit and command.
    """

    name: str
    study: Study
    rows: Mapping[str, Sequence[Sequence[Row]]]
    truths: ValidationSet
    machine: str

    @property
    def count(self) -> int:
        """Identities."""
        return len(self.rows[self.study.base])

    def values(self) -> dict[str, dict[str, Floats]]:
        """Per-identity values by condition; see `figures.summarise`."""
        return {
            one.name: summarise(self.rows[one.name], self.truths, partner=one.wants_partner)
            for one in self.study.conditions
        }


def write(result: Result, folder: Path, strips: Mapping[str, Image.Image | None]) -> Path:
    """Write a page, a chart (SVG) and, where there are pictures, a JPEG, all named after the study.

    Raises:
        DependencyError: matplotlib is missing.
        OutputError: the disk refused.
    """
    path = folder / f"{result.name}.md"
    plot = _takes_plot if result.name.startswith("takes") else _plot
    write_atomic(folder / f"{result.name}.svg", lambda file: plot(result, file))
    picture = _pictures(strips)
    if picture is not None:
        write_atomic(
            folder / f"{result.name}.jpg", lambda file: picture.save(file, format="JPEG", quality=88)
        )
    text = page(result, _reading(path), pictures=list(strips) if picture is not None else [])
    return write_text(path, text)


def page(result: Result, reading: str, pictures: Sequence[str]) -> str:
    """The page's text."""
    body = _takes_table(result) if result.name.startswith("takes") else _table(result)
    shown = (
        f"\n![frames]({result.name}.jpg)\n\nFrames 8, 56 and 104 of the first identities, a row each;"
        f" columns: {', '.join(pictures)}.\n"
        if pictures
        else ""
    )
    note = f"{result.study.note}\n\n" if result.study.note else ""
    return (
        f"# {result.study.question}\n\n{result.machine}\n\n{note}{body}\n"
        f"![{result.name}]({result.name}.svg)\n{shown}\n{READING}\n{reading}"
    )


_LEGEND = (
    "Mean over {count} validation identities with a 95 % interval (bootstrap over partner pairs). *Person,"
    " prop, location*: share of telling colours that lie nearer to the wanted identity's than to its"
    " partner's; 50 % is chance. *Off*: mean CIE76 from the true colours, person. *Action*: the motion is the"
    " one asked for. *Leaked*: share of frames that show the sheet. *Change*: of the person's share against"
    " **{base}**, paired."
)


def _table(result: Result) -> str:
    values, base = result.values(), result.study.base
    lines = [
        "| | person | prop | location | off | action | leaked | change |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in values.items():
        shares = [_percent(Mean.of(one[group])) for group in GROUP_NAMES]
        apart = _plain(Mean.of(one["person off"]))
        change = "" if name == base else _percent(Mean.of(one["person"] - values[base]["person"]), sign=True)
        row = [*shares, apart, _percent(Mean.of(one["action"])), _percent(Mean.of(one["leaked"])), change]
        lines.append(f"| {f'**{name}**' if name == base else name} | {' | '.join(row)} |")
    told = [*lines, "", _LEGEND.format(count=result.count, base=base), "", _differences(values, base)]
    return "\n".join([*told, ""])


def _differences(values: Mapping[str, Mapping[str, Floats]], base: str) -> str:
    """Every paired difference from the base whose interval excludes 0."""
    found = []
    for name, one in values.items():
        for measure in (*GROUP_NAMES, "action", "leaked"):
            change = Mean.of(one[measure] - values[base][measure])
            if change.low is not None and change.high is not None and change.low * change.high > 0:
                found.append(f"- {name}: {measure} {_percent(change, sign=True)}")
    head = f"Differences from **{base}**, paired, whose interval excludes 0"
    return "\n".join([f"{head}:", "", *found]) if found else f"{head}: none."


def _takes_table(result: Result) -> str:
    # The best take has the highest identity, and by the other figure the least distance.
    chosen = {"worst": ("lowest", "highest"), "best": ("highest", "lowest")}
    lines = [
        "| choice | identity | over random | over the first | off | against random | against the first |",
        "|---|---|---|---|---|---|---|",
    ]
    made = []
    for condition, rows in result.rows.items():
        found, apart = (choices(rows, result.truths, value) for value in (overall, off))
        for name in ("worst", "first", "random", "judge, early", "judge", "best"):
            high, low = chosen.get(name, (name, name))
            shares, distances = [_percent(Mean.of(found[high]))], [_plain(Mean.of(apart[low]))]
            for other in ("random", "first"):
                gain, change = Mean.of(found[high] - found[other]), Mean.of(apart[low] - apart[other])
                shares.append("" if name == other else _percent(gain, sign=True))
                distances.append("" if name == other else _plain(change, sign=True))
            title = name if len(result.rows) == 1 else f"{condition}: {name}"
            lines.append(f"| {title} | {' | '.join([*shares, *distances])} |")
        made.append(f"{found['takes made'].mean():.2f}")
    takes = len(result.rows[result.study.base][0])
    told = (
        f"Mean over {result.count} validation identities with a 95 % interval (bootstrap over partner pairs)."
        " Identity: mean of the person's, prop's and location's shares of telling colours nearer to the own"
        " identity's than to the partner's; *off*: mean CIE76 from the true colours, likewise. Both are"
        " measured under the truth's masks: the judge does not know them. *First* is `--takes 1`. *Judge,"
        f" early* is `generate --takes {takes}`: it stops at the first take that passes, and made"
        f" {' and '.join(made)} takes on average. *Judge* is `--takes {takes} --keep all`. *Best* and *worst*"
        " are by each figure itself."
    )
    return "\n".join([*lines, "", told, ""])


def _plain(one: Mean, *, sign: bool = False) -> str:
    if one.mean is None or one.low is None or one.high is None:
        return "-"
    form = "+.1f" if sign else ".1f"
    return f"{one.mean:{form}} ({one.low:{form}} to {one.high:{form}})"


def _percent(one: Mean, *, sign: bool = False) -> str:
    if one.mean is None or one.low is None or one.high is None:
        return "-"
    form = "+.1f" if sign else ".1f"
    return f"{100 * one.mean:{form}} % ({100 * one.low:{form}} to {100 * one.high:{form}})"


def _plot(result: Result, file: Path) -> None:
    values = result.values()
    figure, axes = _axes(2)
    conditions = result.study.conditions
    numbers = [float(at) if one.x is None else one.x for at, one in enumerate(conditions)]
    panels = (axes[0], GROUP_NAMES), (axes[1], ("action", "leaked"))
    for axis, names in panels:
        for name in names:
            xs = _areas(result, name) if result.study.by_area and name in GROUP_NAMES else numbers
            means = [Mean.of(values[one.name][name]) for one in conditions]
            _line(axis, xs, means, name, joined=bool(result.study.axis))
        axis.set_ylim(-3, 103)
        axis.set_ylabel("%")
        axis.legend(frameon=False, fontsize=8)
        axis.set_xlabel(result.study.axis)
        if not result.study.axis:
            axis.set_xticks(numbers, [one.name for one in conditions], rotation=25, ha="right", fontsize=8)
    if result.study.by_area:
        axes[1].set_xlabel("importance of the hero")
        axes[1].set_xscale("log", base=2)
    axes[0].axhline(50, color="#999999", linestyle=":", linewidth=1)
    _save(figure, file)


def _takes_plot(result: Result, file: Path) -> None:
    figure, axes = _axes(len(result.rows))
    names = ["highest", "first", "random", "judge, early", "judge", "lowest"]
    for axis, (condition, rows) in zip(axes, result.rows.items(), strict=True):
        found = choices(rows, result.truths, off)
        for at, name in enumerate(names):
            _line(axis, [float(at)], [Mean.of(found[name] / 100)], "person", joined=False, label=None)
        axis.set_xticks(range(len(names)), ["worst", *names[1:-1], "best"], rotation=25, ha="right")
        axis.set_ylabel("off, CIE76")
        axis.set_title(condition, fontsize=9)
    _save(figure, file)


def _areas(result: Result, group: str) -> list[float]:
    """Mean share of the sheet under a group's panels, by condition."""
    by_area = result.study.by_area
    assert by_area is not None
    return [
        float(np.mean([by_area(one, index, group) for index in range(result.count)]))
        for one in result.study.conditions
    ]


def _axes(count: int) -> tuple[Any, list[Any]]:
    matplotlib = require("matplotlib", "studies")
    matplotlib.use("svg")
    pyplot = require("matplotlib.pyplot", "studies")
    figure, axes = pyplot.subplots(1, count, figsize=(4.8 * count, 3.4), squeeze=False)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def _line(
    axis: Any, xs: Sequence[float], means: Sequence[Mean], name: str, *, joined: bool, label: str | None = ""
) -> None:
    """Points with their intervals, joined where the axis has an order."""
    known = [
        (x, one.mean, one.low, one.high)
        for x, one in sorted(zip(xs, means, strict=True), key=lambda pair: pair[0])
        if one.mean is not None and one.low is not None and one.high is not None
    ]
    if not known:
        return
    x, mean, low, high = (np.array(column) for column in zip(*known, strict=True))
    # A percentile interval of few values can leave its mean out by a rounding error.
    reach = 100 * np.maximum(np.stack([mean - low, high - mean]), 0)
    style = "o-" if joined else "o"
    shown = name if label == "" else label
    axis.errorbar(
        x,
        100 * mean,
        yerr=reach,
        fmt=style,
        color=_COLOURS[name],
        label=shown,
        capsize=2,
        markersize=4,
        linewidth=1.2,
    )


def _save(figure: Any, file: Path) -> None:
    pyplot = require("matplotlib.pyplot", "studies")
    with pyplot.rc_context({"svg.hashsalt": "castsheet", "svg.fonttype": "none"}):
        figure.tight_layout()
        figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _pictures(strips: Mapping[str, Image.Image | None]) -> Image.Image | None:
    """The conditions' strips side by side, halved, so that a page stays light."""
    found = [np.asarray(one) for one in strips.values() if one is not None]
    if not found or len({one.shape[0] for one in found}) > 1:
        return None
    wide = Image.fromarray(np.concatenate(found, axis=1))
    return wide.resize((wide.width // 2, wide.height // 2), Image.Resampling.LANCZOS)


def _reading(path: Path) -> str:
    """What stands under the last heading of the page that is there; nothing on a new page."""
    try:
        return path.read_text(encoding="utf-8").split(READING, 1)[1].lstrip("\n")
    except (OSError, IndexError):
        return ""
