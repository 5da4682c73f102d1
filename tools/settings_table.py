"""Writes docs/settings.md: the settings of a run and the presets, from the fields of `Settings`.

python -m tools.settings_table
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from castsheet.settings import PRESETS, Settings
from castsheet.settings.kinds import described

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

_HEAD = """# Settings

Every setting of a run. Each is an option of `castsheet generate` (`--stg-scale 0`), a line under `settings:`
of a scene or a shot (`stg_scale: 0`), and a keyword in Python (`castsheet(sheet, action, stg_scale=0)`). The
command line wins over a shot, the shot over its list, the list over the scene, the scene over the model's
bundle, the bundle over the preset. A value out of range is refused before the model is loaded.

*This page is written by `python -m tools.settings_table` from `src/castsheet/settings/`.*

"""
_PRESETS = """
## Presets

What each preset sets. The bare default is the recipe of the adapter's model card.

"""


def page() -> str:
    """The whole page in Markdown."""
    usual, known = Settings(), described(Settings)
    rows = [
        f"| `{name}` | {_shown(getattr(usual, name))} | {about.kind.allowed} | {about.help} |"
        for name, about in known.items()
    ]
    table = ["| setting | default | allowed | what it does |", "|---|---|---|---|", *rows]
    names = [one.name for one in fields(Settings) if one.name in known]
    told = [f"- `{name}`: {_differences(preset, usual, names)}" for name, preset in PRESETS.items()]
    return _HEAD + "\n".join(table) + "\n" + _PRESETS + "\n".join(told) + "\n"


def _differences(preset: Settings, usual: Settings, names: list[str]) -> str:
    changed = [name for name in names if getattr(preset, name) != getattr(usual, name)]
    return "; ".join(f"`{name}` {_shown(getattr(preset, name))}" for name in changed) or "the defaults"


def _shown(value: Any) -> str:
    """A default as a reader would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(_shown(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}={number:g}" for name, number in value.items()) or "none"
    if value is None or value == "":
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
