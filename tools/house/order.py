"""Who may import whom: the floors of the house, lowest first.

A room is a folder of the package, or a module at its root. A room may import rooms of lower floors only: two
rooms of one floor do not know each other. `tests/test_house.py` holds the code to this order, and
`docs/architecture.md` shows it.
"""

from __future__ import annotations

Floors = tuple[tuple[str, ...], ...]

FRONT_DOOR = "__init__"
"""`castsheet/__init__.py`. It loads its five names on demand, and is a floor of its own at the top."""

HOUSE: Floors = (
    ("errors", "embedded"),
    ("machine",),
    ("media",),
    ("elements", "clip"),
    ("sheet", "ltx"),
    ("prompt", "sampling"),
    ("settings",),
    ("lint", "judge", "loading"),
    ("run",),
    ("staged",),
    ("pipeline",),
    ("authoring", "train"),
    ("jobs", "pairs"),
    ("studio", "comfy"),
    ("cli",),
    (FRONT_DOOR,),
)
"""The rooms of `castsheet`. `pairs` has its floor before it is built. `cli` stands above the other faces: its
command `castsheet studio` starts the page."""

INSIDE: dict[str, Floors] = {
    "ltx": (
        ("keys", "header", "releases"),
        ("family", "ahead"),
        ("model",),
        ("adapters", "parts", "formats"),
        ("latents", "files"),
        ("speed",),
    ),
    "sheet": (("box",), ("manifest",), ("look", "plan", "preview"), ("sources",), ("compose",)),
}
"""Rooms that are houses themselves, by the same rule."""

PURPOSE: dict[str, str] = {
    "errors": "what a user can mend",
    "embedded": "mini's weights, the demo",
    "machine": "files, devices, processes",
    "media": "pictures, pages, provenance",
    "clip": "frames, sound, MP4",
    "elements": "people, props, places",
    "sheet": "manifest, plan, composing",
    "ltx": "the video model",
    "prompt": "the two-part prompt",
    "settings": "fields, ranges, presets",
    "lint": "every rule",
    "sampling": "noise to latents",
    "judge": "did identity carry?",
    "loading": "which files, where in memory",
    "run": "one clip, settled",
    "staged": "its latents, size by size",
    "pipeline": "sheet and words to clip",
    "authoring": "before the sheet stands",
    "train": "adapters",
    "jobs": "requests, takes, shots",
    "pairs": "films to training pairs",
    "cli": "the command line",
    "studio": "the web page",
    "comfy": "ComfyUI nodes",
    FRONT_DOOR: "from castsheet import ...",
}
"""A few words on each room, for the picture."""
