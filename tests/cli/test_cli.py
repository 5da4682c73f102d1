"""The command line, from arguments to files and exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from castsheet.cli import main
from castsheet.cli.settings import adapter, size, with_options
from castsheet.clip import read_video
from castsheet.elements import Scene
from castsheet.errors import SettingsError
from castsheet.machine.progress import progress
from castsheet.settings import PRESETS, Settings, override
from castsheet.settings.kinds import About, Number, described
from castsheet.sheet.manifest import Sheet
from tests.doubles import drawn
from tests.doubles.tiny_bundle import build_bundle

SRC = Path(__file__).parents[2] / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SRC)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A tiny random model."""
    return build_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def scene(tmp_path):
    """A scene file with pictures, an action, and settings of its own."""
    folder = tmp_path / "scene"
    folder.mkdir()
    made = drawn.scene(folder, characters=1, props=1, locations=1)
    made = made.model_copy(update={"action": "c0 walks left", "settings": {"guidance": 2.0, "steps": 3}})
    made.save(folder / "scene.yaml")
    return folder / "scene.yaml"


def run(*arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_starting_costs_no_torch(scene, tmp_path):
    """Red: `castsheet --help`, `sheet` or `lint` wait seconds for torch, or need it installed."""
    program = (
        "import sys\n"
        "from castsheet.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    try:\n        main(line.split())\n"
        "    except SystemExit as done:\n        assert done.code in (0, 1), (line, done.code)\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    sheet = tmp_path / "s.png"
    lines = ["--help", f"sheet {scene} -o {sheet}", f"lint {sheet}", f"lint {scene} --json"]
    command = [sys.executable, "-c", program, *lines]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Toy(Settings):
    """Settings with one more field."""

    haze: float = field(default=0.0, metadata={"about": About("Mist over the picture.", Number(0.0, 1.0))})


def test_a_setting_is_one_place():
    """Red: a field of the settings has no option, or another type, help or range on the command line."""
    got = {}

    def command(settings: dict[str, object]) -> None:
        got.update(settings)

    app = typer.Typer()
    app.command()(with_options(settings=Toy)(command))
    runner = CliRunner()
    assert runner.invoke(app, ["--haze", "0.5", "--stg-blocks", "1,2", "--audio"]).exit_code == 0
    assert got == {"haze": 0.5, "stg_blocks": (1, 2), "audio": True}
    told = " ".join(runner.invoke(app, ["--help"], env={"COLUMNS": "300"}).output.split())
    assert "Mist over the picture. (0.0 to 1.0)" in told
    assert all(f"--{name.replace('_', '-')}" in told for name in described(Settings))
    assert override(Toy(), {"haze": 1, "steps": 3}).haze == 1
    with pytest.raises(SettingsError, match="haze = 2"):
        override(Toy(), {"haze": 2})


def test_the_help_names_every_preset(capsys):
    """Red: a new preset has to be added to the command line's help by hand."""
    assert run("generate", "--help") == 0
    assert ", ".join(PRESETS) in " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize(
    "line",
    [
        ["--strength", "c0=1.2", "p0=0.7"],
        ["--strength", "c0=1.2 p0=0.7"],
        ["--strength=c0=1.2", "p0=0.7"],
        ["--strength=c0=1.2 p0=0.7"],
    ],
)
def test_strengths_follow_their_option(scene, bundle, tmp_path, capsys, line):
    """Red: the second element's strength is taken for the scene's file."""
    out = tmp_path / "clip.mp4"
    options = ("--model", bundle, "--steps", 1, "--cache-dir", tmp_path / "cache", "-o", out)
    assert run("generate", *line, *options, scene) == 0, capsys.readouterr().err
    made = json.loads((tmp_path / "clip.clip.json").read_text())["provenance"]
    assert made["settings"]["strength"] == {"c0": 1.2, "p0": 0.7}


def test_only_strengths_are_gathered(capsys):
    """Red: a file whose name holds an equals sign is taken for a strength."""
    assert run("lint", "a=1") == 2
    assert "a=1" in capsys.readouterr().err
    assert run("generate", "--strength", "x=1", "-o", "b=2.mp4", "c=3") == 2
    assert "c=3" in capsys.readouterr().err


def test_sheet_writes_picture_and_manifest(scene, tmp_path, capsys):
    """Red: the first command of the tutorial fails, or its sheet does not load."""
    assert run("sheet", scene, "-o", tmp_path / "cast.png", "--output", "192x112", "--grid", 16) == 0
    told = capsys.readouterr()
    assert "cast.png" in told.out
    assert "cast.json" in told.out
    assert "checks:" in told.err
    sheet = Sheet.load(tmp_path / "cast.png")
    assert sheet.image.size == (384, 224)
    assert {note.id for note in sheet.elements} == {"c0", "p0", "l0"}


def test_lint_tells_severity_by_exit_code(scene, tmp_path, capsys):
    """Red: scripts cannot tell a good sheet from a bad one."""
    assert run("sheet", scene, "-o", tmp_path / "good.png", "--scale", 1) == 0
    assert run("lint", tmp_path / "good.png") in (0, 1)
    Image.new("RGB", (500, 500), "white").save(tmp_path / "bad.png")
    capsys.readouterr()
    assert run("lint", tmp_path / "bad.png", "--json") == 2
    report = json.loads(capsys.readouterr().out)
    assert report["worst"] == "error"
    assert {"rule", "severity", "message", "remedy"} <= set(report["findings"][0])
    assert run("lint", tmp_path / "good.png", "--prompt", "no headings at all") == 2
    assert "P01" in capsys.readouterr().out


def test_generate_from_a_scene(scene, bundle, tmp_path, capsys):
    """Red: a scene does not become a clip; or a setting of the command line loses against the scene's, the
    scene's against the bundle's, or the bundle's against the preset's."""
    out = tmp_path / "out" / "clip.mp4"
    cache = ("--cache-dir", tmp_path / "cache")
    assert run("generate", scene, "--model", bundle, "-o", out, "--steps", 1, "--seed", 5, *cache) == 0
    told = capsys.readouterr().out
    names = ["clip.clip.json", "clip.contact.png", "clip.mp4", "clip.sheet.json", "clip.sheet.png"]
    assert sorted(path.name for path in out.parent.iterdir()) == names
    assert all(str(out.parent / name) in told for name in names if not name.endswith("sheet.json"))
    side = json.loads((out.parent / "clip.clip.json").read_text())
    made = side["provenance"]
    stated = json.loads((bundle / "bundle.json").read_text())["bucket"]
    assert made["settings"]["steps"] == 1  # the command line's
    assert made["settings"]["guidance"] == 2.0  # the scene's
    assert made["settings"]["frames"] == stated["frames"]  # the bundle's
    assert made["settings"]["negative_prompt"] == Settings("card").negative_prompt
    assert made["seed"] == 5
    assert made["sheet"]["sha256"] == Sheet.load(out.parent / "clip.sheet.png").sha256
    frames, _ = read_video(out)
    assert frames.shape == (stated["frames"], stated["height"], stated["width"], 3)

    again = tmp_path / "again.mp4"
    sheet = out.parent / "clip.sheet.png"
    options = ("--steps", 1, "--guidance", 2, "--seed", 5, "--action", "c0 walks left")
    assert run("generate", sheet, "--model", bundle, "-o", again, *options, *cache) == 0
    assert again.read_bytes() == out.read_bytes()
    assert not (tmp_path / "again.sheet.png").exists()


def test_errors_of_the_checks_stop_unless_forced(scene, bundle, tmp_path, capsys):
    """Red: minutes are spent on a run that the checks call hopeless, or --force does not help."""
    odd = tmp_path / "odd.png"
    Image.open(_sheet(scene, tmp_path)).resize((100, 64)).save(odd)
    prompt = "Reference sheet: c0: person\n\nGenerated video: c0 waves"
    line = ("generate", odd, "--model", bundle, "--prompt", prompt, "--steps", 1, "-o", tmp_path / "x.mp4")
    line = (*line, "--cache-dir", tmp_path / "cache")
    assert run(*line) == 2
    told = capsys.readouterr()
    assert "error: the checks found an error: S03" in told.err
    assert "--force" in told.err
    assert not list(tmp_path.glob("x.*"))
    assert run(*line, "--force") == 0
    assert (tmp_path / "x.mp4").exists()


def _sheet(scene: Path, folder: Path) -> Path:
    run("sheet", scene, "-o", folder / "made.png", "--output", "64x32", "--grid", 16)
    return folder / "made.png"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "nope.yaml"), ("nope.yaml",)),
        (("generate", "SCENE", "-o", "x.gif"), ("x.gif", "x.mp4")),
        (("generate", "SCENE", "--model", "BUNDLE", "--preset", "best"), ("best", "card")),
        (("generate", "SCENE", "--model", "BUNDLE", "--stg-blocks", "a,b"), ("'a,b'",)),
        (("generate", "SCENE", "--model", "nowhere"), ("nowhere",)),
        (("generate", "SCENE", "--model", "BUNDLE", "--adapter", "a.safetensors:1.4"), ("a.safetensors",)),
        (("generate", "SCENE", "--model", "BUNDLE", "--device", "cuda:99"), ("cuda:99",)),
        (("sheet", "SCENE", "-o", "x.png", "--output", "wide"), ("wide", "768x448")),
        (("lint", "nope.png"), ("nope.png",)),
        (("inspect", "nope.safetensors"), ("nope.safetensors",)),
    ],
)
def test_mistakes_are_told_in_two_lines(scene, bundle, tmp_path, monkeypatch, capsys, arguments, words):
    """Red: a mistake of the user's ends in a traceback, in another exit code than 2, or leaves files."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    named = {"SCENE": scene, "BUNDLE": bundle}
    assert run(*(named.get(argument, argument) for argument in arguments)) == 2
    told = capsys.readouterr()
    last = told.err[told.err.index("error: ") :]
    assert "\n  fix: " in last
    assert "Traceback" not in told.err
    assert all(word in last for word in words), last
    assert sorted(tmp_path.iterdir()) == before


def test_a_scene_without_an_action_asks_for_one(scene, bundle, tmp_path, capsys):
    """Red: a clip is made of nothing, or the user is not told where the action goes."""
    Scene.load(scene).model_copy(update={"action": ""}).save(scene)
    assert run("generate", scene, "--model", bundle, "-o", tmp_path / "x.mp4") == 2
    assert "--action" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(scene, bundle, tmp_path, capsys, number, code):
    """Red: Ctrl-C or a stopped batch job leaves half a clip, temporary files or a traceback."""
    folder, cache = tmp_path / "out", tmp_path / "cache"
    line = ["generate", _sheet(scene, tmp_path), "--model", bundle, "-o", folder / "x.mp4", "--steps", 1000]
    line += ["--action", "c0 waves", "--cache-dir", cache]

    ended = threading.Event()

    def interrupt() -> None:
        # Encoded prompts are cached right before the sampling starts.
        while not ended.wait(0.01):
            with suppress(FileNotFoundError):  # a folder that goes while it is listed
                if list(cache.rglob("*.safetensors")):
                    os.kill(os.getpid(), number)
                    return

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        assert run(*line) == code
    finally:
        ended.set()
        watcher.join()
    assert "Traceback" not in capsys.readouterr().err
    assert not folder.exists() or not list(folder.iterdir())


def test_inspect_names_kind_and_family(bundle, capsys):
    """Red: a user cannot find out what a downloaded file is."""
    assert run("inspect", bundle / "tiny.safetensors") == 0
    assert "checkpoint, family ltx-2.3" in capsys.readouterr().out
    assert run("inspect", bundle / "text_encoder", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "gemma folder"
    assert run("inspect", bundle, "--json") == 0
    kinds = [report["kind"] for report in json.loads(capsys.readouterr().out)]
    assert kinds == ["checkpoint", "gemma folder", "ic-lora"]


def test_doctor_speaks_json_and_text(tmp_path, capsys):
    """Red: scripts cannot read the diagnosis, or people get no next step."""
    assert run("doctor", "--models", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["state"] == "absent"
    assert run("doctor", "--models", tmp_path) == 0
    assert "hf auth login" in capsys.readouterr().out
    assert run("--version") == 0


def test_a_closed_pipe_is_quiet(scene):
    """Red: `castsheet lint scene.yaml --json | head -1` prints a traceback."""
    command = [sys.executable, "-m", "castsheet.cli", "lint", str(scene), "--json"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=300)
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


def test_adapters_and_sizes_are_read():
    """Red: a strength is lost, or a drive letter is taken for one."""
    assert adapter("a/b.safetensors") == (Path("a/b.safetensors"), None)
    assert adapter("a/b.safetensors:0.8") == (Path("a/b.safetensors"), 0.8)
    assert adapter(r"C:\b.safetensors") == (Path(r"C:\b.safetensors"), None)
    assert size("768X448") == (768, 448)
    with pytest.raises(SettingsError):
        size("768")


def test_progress_tells_share_and_time_left():
    """Red: a log shows nothing for an hour, or loading counts as a slow step and the estimate is absurd."""
    console = Console(file=io.StringIO(), force_terminal=False)
    with progress("sampling", 4, console=console, every=0.0) as advance:
        for step in (1, 2, 3, 4):
            advance(step)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "sampling: 25 %"
    assert lines[1].startswith("sampling: 50 %, about ")
    assert lines[3] == "sampling: 100 %, about 0 s left"


def test_short_work_shows_no_bar():
    """Red: a bar flashes up for work of a moment, or stays on the screen when the work is done."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress("sampling", 2, console=console) as advance:
        advance(1)
    assert console.file.getvalue() == ""
    with progress("sampling", 2, console=console, after=0.0) as advance:
        deadline = threading.Event()
        for _ in range(500):
            if "sampling" in console.file.getvalue():
                break
            deadline.wait(0.01)
        advance(2)
    shown = console.file.getvalue()
    assert "sampling" in shown
    assert shown.endswith("\x1b[2K")
