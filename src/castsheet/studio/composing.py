"""Sheets as the page sees them: composed from a scene, checked, mended, told without paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from castsheet import prompt as prompts
from castsheet.authoring.fix import FIXABLE, fix
from castsheet.elements import Scene
from castsheet.errors import SceneError
from castsheet.jobs.inputs import check, sheet_of
from castsheet.lint.findings import RULES, Finding, gravest_first
from castsheet.machine.files import sign, write_atomic
from castsheet.machine.text import TextReader
from castsheet.sheet.manifest import Sheet
from castsheet.studio.asked import SceneChange
from castsheet.studio.problems import Missing
from castsheet.studio.state import Studio

_SCENES = TextReader(SceneError, "correct the line")


def read_raw(path: Path) -> dict[str, Any]:
    """A scene's file as it stands.

    Raises:
        SceneError: it cannot be read, or is no mapping.
    """
    raw = _SCENES.yaml(path)
    if not isinstance(raw, dict):
        raise SceneError(f"{path} is no scene", remedy="write it anew")
    return raw


def written(path: Path, asked: SceneChange) -> None:
    """Write a scene's file, as `castsheet elements scene` writes it. What the page does not know stays.

    Raises:
        SceneError: the scene cannot be used; nothing was written.
        OutputError: the disk refused.
    """
    raw = read_raw(path) if path.exists() else {}
    own = {
        str(one.get("id")): one
        for one in raw.get("elements") or []
        if isinstance(one, dict) and "use" not in one
    }
    elements = []
    for one in asked.elements:
        if one.own is not None and one.own not in own:
            raise Missing(f"the scene has no element {one.own} of its own", remedy="load the scene again")
        entry = dict(own[one.own]) if one.own is not None else {"use": one.use}
        if one.use is None and one.own is None:
            raise SceneError("an element names nothing", remedy="give use or own")
        if one.importance is not None:
            entry["importance"] = one.importance
        elements.append(entry)
    settings = dict(raw.get("settings") or {})
    layout = dict(settings.pop("layout", None) or {})
    layout.pop("pin", None)
    if asked.pins:
        layout["pin"] = {name: [round(side, 5) for side in sides] for name, sides in asked.pins.items()}
    if layout:
        settings["layout"] = layout
    scene = {"library": "../library", **raw, "elements": elements, "action": asked.action}
    scene |= {"title": asked.title, "settings": settings}
    scene = {key: value for key, value in scene.items() if value or key in ("elements", "library")}
    Scene.parse(scene, path)
    text = yaml.safe_dump(scene, sort_keys=False, allow_unicode=True, width=100)
    write_atomic(path, lambda file: file.write_bytes(sign(text)))


def scene_told(name: str, path: Path) -> dict[str, Any]:
    """A scene as the API tells it.

    Raises:
        SceneError: the file cannot be used.
    """
    raw, scene = read_raw(path), Scene.load(path)
    elements = []
    for entry, element in zip(raw["elements"], scene.elements, strict=True):
        used = entry.get("use") if isinstance(entry, dict) else None
        elements.append(
            {
                "use": used,
                "own": None if used else element.id,
                "id": element.id,
                "kind": element.kind,
                "description": element.description,
                "importance": element.importance,
            }
        )
    layout = scene.settings.get("layout")
    pins = layout.get("pin") if isinstance(layout, dict) else None
    others = {key: value for key, value in scene.settings.items() if key != "layout"}
    return {
        "id": name,
        "title": scene.title,
        "action": scene.action,
        "elements": elements,
        "pins": pins if isinstance(pins, dict) else {},
        "settings": others,
    }


def composed(studio: Studio, name: str) -> str:
    """Compose a scene's sheet for the model's size and keep it; its id.

    Raises:
        NotYet: the model's size is not known yet.
        CastsheetError: the scene cannot be composed.
    """
    model = studio.known()
    scene = Scene.load(studio.folder.scene(name))
    with studio.heavy:
        sheet = sheet_of(scene, (model["width"], model["height"]), model["cell"])
    return keep(studio, sheet)


def keep(studio: Studio, sheet: Sheet) -> str:
    """Keep a sheet under its hash; the id."""
    name = sheet.sha256[:16]
    sheet.save(studio.folder.sheets / f"{name}.png", overwrite=True)
    return name


def sheet_told(studio: Studio, name: str, action: str = "") -> dict[str, Any]:
    """A sheet as the API tells it: panels, findings, score, the prompt's first half."""
    model = studio.known()
    sheet = Sheet.load(studio.folder.sheet(name))
    size = (model["width"], model["height"])
    prompt = prompts.build(sheet, action).text if action.strip() and sheet.elements else None
    found = check(sheet, prompt=prompt, output=size, grid=model["cell"], sheet=sheet)
    score = sheet.layout.get("score")
    shown = {panel.element for panel in sheet.panels}
    return {
        "id": name,
        "sha256": sheet.sha256,
        "width": sheet.image.width,
        "height": sheet.image.height,
        "seen": {"width": size[0], "height": size[1], "cell": model["cell"]},
        "panels": [
            {
                "name": f"{panel.element}/{panel.view}",
                "element": panel.element,
                "kind": panel.kind,
                "view": panel.view,
                "box": [panel.box.x, panel.box.y, panel.box.w, panel.box.h],
            }
            for panel in sheet.panels
        ],
        "cells": sheet.layout.get("cells") or [],
        "elements": [note.id for note in sheet.elements if note.id in shown],
        "reference": "; ".join(prompts.describe(note) for note in sheet.elements if note.id in shown),
        "doubts": [studio.folder.told(str(one)) for one in sheet.layout.get("doubts") or []],
        "score": score if isinstance(score, dict) else None,
        "findings": [_finding(studio, one) for one in gravest_first(found)],
    }


def mended(studio: Studio, name: str) -> tuple[str, tuple[str, ...]]:
    """Mend a sheet as far as its own pixels allow; the new sheet's id, and what was done."""
    model = studio.known()
    sheet = Sheet.load(studio.folder.sheet(name))
    with studio.heavy:
        fixed = fix(sheet, output=(model["width"], model["height"]), grid=model["cell"])
    return keep(studio, fixed.sheet), fixed.done


def _finding(studio: Studio, one: Finding) -> dict[str, Any]:
    told = one.to_dict()
    told["message"], told["remedy"] = studio.folder.told(one.message), studio.folder.told(one.remedy)
    meaning = RULES[one.rule].meaning if one.rule in RULES else ""
    return {**told, "meaning": meaning, "mends": one.rule in FIXABLE and one.severity != "info"}
