"""Values of all commands, tables, manifests and workflows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.doubles.hostile import picture
from tools.attack.case import Case, Do
from tools.attack.files import ADD, ENCODE, LINT
from tools.attack.tensors import MAKE
from tools.attack.texts import SHEET, SHOTS, scene, text

_DIGITS, _MORE = "9" * 400, "9" * 5000
_SCENE = ("generate", "scene.yaml", "--model", "tiny", "--device", "cpu", "--force", "-o", "out/clip.mp4")
_ACTION = "action: mara walks along the quay"


def setting(line: str) -> Do:
    """Give the scene a setting."""
    return scene(_ACTION, f"{_ACTION}\nsettings: {{{line}}}")


def lines(*content: str) -> tuple[tuple[str, ...], Do]:
    """Encode from JSON lines."""
    return ("encode", "t.jsonl", *ENCODE[2:]), text("t.jsonl", "\n".join(content) + "\n")


def table(content: str) -> Do:
    """Encode from another table."""
    return text("table.csv", f"video,sheet,caption\n{content}")


def _row(**fields: str) -> str:
    return json.dumps({"video": "a.mp4", "sheet": "sheet.png", "caption": "hero walks", **fields})


def _keeps(folder: Path) -> str:
    notes = [path for path in (folder / "out/set").rglob("*") if path.is_file()]
    kept = any(b"hero\\nwalks" in path.read_bytes() or b"hero\nwalks" in path.read_bytes() for path in notes)
    return "" if kept or _read(folder) else "the caption's line break is gone"


def _read(folder: Path) -> bool:
    """Whether the reader of tables keeps it, where the samples hold no caption."""
    from castsheet.train.data.encode import read_table

    return any("hero\nwalks" in str(row) for row in read_table(folder / "table.csv"))


def _many(folder: Path) -> None:
    with (folder / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "sheet", "caption"])
        for number in range(60_000):
            rows.writerow([f"v/{number}.mp4", "sheet.png", f"hero walks {number}"])


def manifest(description: str) -> Do:
    """Give the sheet an element that is described so."""

    def do(folder: Path) -> None:
        path = folder / "sheet.json"
        told = json.loads(path.read_text())
        told["elements"] = [
            {"id": "hero", "kind": "character", "description": "DESCRIPTION", "importance": 1.0}
        ]
        path.write_text(json.dumps(told).replace("DESCRIPTION", description))

    return do


def _detail(folder: Path) -> None:
    picture(384, 400, 9).save(folder / "d.png")


def _index(folder: Path) -> None:
    place = folder / "models/google/gemma-3-12b-it"
    place.mkdir(parents=True)
    for name in ("model.safetensors.index.json", "config.json"):
        (place / name).write_text("[" * 5000)
        (folder / "models" / name).write_text("[" * 5000)


_V = "value"
CASES = [
    *(
        Case(_V, f"--{name} 400 digits", (*MAKE, f"--{name}", _DIGITS))
        for name in ("width", "frames", "steps")
    ),
    Case(_V, "generate --preset=", (*MAKE, "--preset=")),
    Case(_V, "scene settings: width 10^400", _SCENE, setting(f"width: 1{'0' * 400}")),
    Case(_V, "scene settings: guidance 10^400", _SCENE, setting(f"guidance: 1{'0' * 400}")),
    Case(_V, "scene settings: sigmas [10^400, 0]", _SCENE, setting(f"sigmas: [1{'0' * 400}, 0]")),
    Case(_V, "scene settings: negative_prompt surrogate", _SCENE, setting('negative_prompt: "\\ud800"')),
    Case(_V, "scene settings: first_frame_crf 10^400", _SCENE, setting(f"first_frame_crf: 1{'0' * 400}")),
    Case(
        _V,
        "shot width 10^400",
        SHOTS,
        text("shots.yaml", f"shots: [{{id: a, action: b, settings: {{width: 1{'0' * 400}}}}}]\n"),
    ),
    *(
        Case(_V, f"encode --{name} {value[:20]}", (*ENCODE, f"--{name}={value}"), codes=codes)
        for name, value, codes in (
            ("size", f"{_MORE}x{_MORE}", (2,)),
            ("size", "0x0", (2,)),
            ("size", "1000000x1000000", (2,)),
            ("frames", "0", (2,)),
            ("frames", "-7", (2,)),
            ("frames", "1000000001", (2,)),
            ("fps", "nan", (2,)),
            ("fps", "0", (2,)),
            ("fps", "-24", (2,)),
            ("fps", "inf", (2,)),
            ("fps", "1e-300", (2,)),
            ("fps", "1e300", (2,)),
            ("downscale", "0", (2,)),
            ("downscale", "-1", (2,)),
            ("shard", f"{_MORE}/{_MORE}", (2,)),
        )
    ),
    *(
        Case(_V, f"encode JSONL {name}", *lines(*content))
        for name, content in {
            "of lists": ("[1, 2]",),
            "of texts": ('"a"',),
            "null": ("null",),
            "lone surrogate in caption": (_row().replace("hero walks", "\\ud800"),),
            "deep": ("[" * 100_000,),
            "path of 5000 letters": (_row(video="x" * 5000),),
        }.items()
    ),
    Case(_V, "encode CSV with NUL", ENCODE, table("a.mp4,sheet.png,hero\0walks\n")),
    Case(
        _V,
        "encode CSV with an open quote",
        ENCODE,
        table('a.mp4,sheet.png,"hero walks\nb.mp4,sheet.png,hero waves\n'),
    ),
    Case(
        _V,
        "encode CSV quoted newline in the caption",
        ENCODE,
        table('a.mp4,sheet.png,"hero\nwalks"\n'),
        codes=(0,),
        check=_keeps,
    ),
    Case(_V, "encode CSV caption of spaces", ENCODE, table("a.mp4,sheet.png,   \n")),
    Case(
        _V,
        "encode a table of 60,000 clips, this worker's share is one",
        (*ENCODE, "--shard", "0/60000"),
        _many,
    ),
    Case(_V, "sheet --output 5000 digits", (*SHEET, "--output", f"{_MORE}x{_MORE}")),
    Case(_V, "sheet --cut ''", (*SHEET, "--cut", "")),
    Case(_V, "sheet --preview is the sheet", (*SHEET, "--preview", "out/s.png")),
    Case(_V, "lint --output 5000 digits", (*LINT, "--output", f"{_MORE}x{_MORE}")),
    Case(_V, "lint --output 0x0", (*LINT, "--output", "0x0")),
    Case(_V, "lint --report is the sheet", (*LINT, "--report", "white.png")),
    Case(
        _V,
        "lint workflow: links null",
        ("lint", "w.json"),
        text("w.json", '{"nodes": [{"id": 1, "type": "KSampler"}], "links": null}'),
        codes=(0, 1, 2),
    ),
    Case(_V, "generate: manifest with surrogate in description", MAKE, manifest("\\ud800")),
    Case(
        _V, "describe: manifest with surrogate in description", ("describe", "sheet.png"), manifest("\\ud800")
    ),
    Case(
        _V,
        "describe --endpoint 'http://[::1'",
        ("describe", "sheet.png", "--endpoint", "http://[::1", "--model", "m", "--again"),
        manifest("a man"),
    ),
    Case(_V, "elements add importance 0", (*ADD, "face.png", "--importance", "0")),
    Case(
        _V,
        "elements add only a detail",
        (*ADD[:5], "--view", "detail", "--library", "out/lib", "d.png"),
        _detail,
    ),
    Case(_V, "doctor --models holds deep index", ("doctor", "--models", "models"), _index, codes=(0, 2)),
    Case(_V, "doctor --models of 300 letters", ("doctor", "--models", "x" * 300), codes=(0, 2)),
]
