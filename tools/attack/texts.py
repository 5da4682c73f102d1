"""YAML of scenes, shot lists and training runs, and prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tools.attack.case import Case, Do

SHEET = ("sheet", "scene.yaml", "-o", "out/s.png", "--cut", "none")
GENERATE = ("generate", "sheet.png", "--model", "tiny", "--device", "cpu", "--force", "-o", "out/clip.mp4")
SHOTS = ("generate", "scene.yaml", *GENERATE[2:-2], "-o", "out/shots", "--shots", "shots.yaml")
TRAIN = ("train", "run.yaml")
WAVES = ("--prompt", "Reference sheet: hero is a man.\n\nGenerated video: hero waves.")

VALUES = {
    "timestamp with month 13": "2026-13-45",
    "0b_": "0b_",
    "!!int of a word": "!!int x",
    "!!float of a word": "!!float x",
    "!!timestamp of a word": "!!timestamp x",
    "!!bool of a word": "!!bool x",
    "!!int of nothing": "!!int ''",
    "an integer of 5000 digits": "9" * 5000,
}
_BOMB = "\n".join(
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)),
    ]
)


def scene(old: str, new: str) -> Do:
    """Put something else into the scene."""

    def change(folder: Path) -> None:
        path = folder / "scene.yaml"
        text = path.read_text()
        assert old in text, old
        path.write_text(text.replace(old, new))

    return change


def text(name: str, content: str) -> Do:
    """Write a text file."""
    return lambda folder: (folder / name).write_text(content, errors="surrogatepass")


def run(line: str) -> Do:
    """Put a line into the training run, in place of the one of the same field."""

    def change(folder: Path) -> None:
        path = folder / "run.yaml"
        kept = [
            one for one in path.read_text().splitlines() if not one.startswith(line.partition(":")[0] + ":")
        ]
        path.write_text("\n".join([*kept, line]) + "\n")

    return change


_ACTION = "action: mara walks along the quay"
_WHERE: dict[str, tuple[tuple[str, ...], Callable[[str], Do]]] = {
    "scene action": (SHEET, lambda value: scene(_ACTION, f"action: {value}")),
    "shot's action": (SHOTS, lambda value: text("shots.yaml", f"shots: [{{id: a, action: {value}}}]\n")),
    "train model": (TRAIN, lambda value: run(f"model: {value}")),
}
_MANY = "".join(
    f"- {{kind: prop, id: p{n}, description: a thing, images: [face.png]}}\n" for n in range(3000)
)
_LONG = f"Reference sheet: hero is a man. {'word ' * 200_000}"
_SETS = {
    "broken YAML": ("steps=[1", (2,)),
    "a python tag": ("steps=!!python/object:os.system ls", (2,)),
    "a bad date": ("steps=2026-13-45", (2,)),
    "a deep list": (f"steps={'[' * 5000}", (2,)),
    "1e400": ("seconds=1e400", (2,)),
    "true": ("steps=true", (2,)),
    "huge": (f"steps={'9' * 400}", (2,)),
}
CASES = [
    *(
        Case("yaml", f"{where} is {name}", words, change(value))
        for name, value in VALUES.items()
        for where, (words, change) in _WHERE.items()
    ),
    Case("yaml", "train model is a lone surrogate", TRAIN, run('model: "\\ud800"')),
    Case("yaml", "train model is 5,000 nested lists", TRAIN, run(f"model: {'[' * 5000}")),
    Case(
        "yaml",
        "alias bomb in scene",
        SHEET,
        lambda f: (f / "scene.yaml").write_text(_BOMB + "\nelements: *a9\n"),
    ),
    Case(
        "yaml",
        "alias bomb in settings, used as a shot",
        SHOTS,
        text("shots.yaml", _BOMB + "\nshots: [*a9]\n"),
    ),
    Case(
        "yaml",
        "alias bomb in settings, used as an element",
        SHEET,
        lambda f: (f / "scene.yaml").write_text(
            "settings:\n  " + _BOMB.replace("\n", "\n  ") + "\nelements: [*a9]\n"
        ),
    ),
    Case("yaml", "scene with a key twice", SHEET, scene(_ACTION, f"{_ACTION}\naction: hero sleeps")),
    Case(
        "yaml", "a shot with a numeric key", SHOTS, text("shots.yaml", "shots: [{id: a, action: b, 1: 2}]\n")
    ),
    Case("yaml", "train preset is a list", TRAIN, run("preset: [mini]")),
    Case("yaml", "train preset is a mapping", TRAIN, run("preset: {a: 1}")),
    *(
        Case("yaml", f"train --set with {name}", (*TRAIN, "--set", word), codes=codes)
        for name, (word, codes) in _SETS.items()
    ),
    Case(
        "yaml",
        "a shot list of 150,000 seeds",
        SHOTS,
        text(
            "shots.yaml", f"shots: [{{id: a, action: b, seeds: [{', '.join(map(str, range(150_000)))}]}}]\n"
        ),
    ),
    Case(
        "yaml", "a scene of 3,000 elements", SHEET, text("scene.yaml", f"action: walks\nelements:\n{_MANY}")
    ),
    Case(
        "prompt",
        "shot prompt 1 MB",
        SHOTS,
        text(
            "shots.yaml",
            f'shots: [{{id: a, prompt: "{_LONG}\\n\\nGenerated video: hero waves."}}]\n',
        ),
        codes=(0, 2),
    ),
    Case("prompt", "generate --prompt a surrogate", (*GENERATE, "--prompt", f"{WAVES[1]}\udcff")),
]
