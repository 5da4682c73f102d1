"""Numbers from outside: every one has a range, and is checked once, before the work."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from castsheet.cli.settings import size
from castsheet.errors import CastsheetError, CheckpointError, EndpointError, SettingsError, SheetError
from castsheet.jobs.request import Request
from castsheet.jobs.shotlist import load_shots
from castsheet.loading.bundle import Bundle
from castsheet.machine.endpoint import Endpoint
from castsheet.machine.ranges import RangeError, real, whole
from castsheet.settings import Settings, preset
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Panel, Sheet
from castsheet.train.config import make_config
from castsheet.train.data.augment import Augment
from castsheet.train.data.encode import SizeBucket, read_shard

HUGE = 10**400
RUN = {"model": "mini", "data": "d", "output": "o"}


@pytest.mark.parametrize("value", [0, 11, -1, 2.5, True, "2", None, math.nan, math.inf, HUGE, [1]])
def test_whole_and_real(value: Any):
    """Red: a value that is no number, or outside the range, passes."""
    with pytest.raises(RangeError):
        whole(value, 1, 10)
    if value != 2.5:
        with pytest.raises(RangeError):
            real(value, 1, 10)
    assert (whole(2.0, 1, 10), real(3, 1, 10)) == (2, 3.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, HUGE) for name in ("width", "frames", "fps", "steps", "guidance", "first_frame_crf")),
        *((name, -HUGE) for name in ("width", "guidance", "lora_strength", "reference_every")),
        *((name, math.nan) for name in ("fps", "guidance", "rescale", "eta", "lora_strength")),
        ("width", True), ("width", 768.5), ("width", "768"), ("width", None), ("width", 8193), ("frames", 0),
        ("sigmas", [HUGE, 0]), ("sigmas", [1, math.nan, 0]), ("sigmas", [0.5, -HUGE]), ("sigmas", [1] * 5000),
        ("strength", {"hero": HUGE}), ("strength", {"hero": math.nan}), ("strength", {"": 1}),
        ("stg_blocks", [-1]), ("stg_blocks", [1.5]), ("stages", [[2, 0]]), ("stages", [[HUGE, 0]]),
        ("negative_prompt", "\ud800"), ("negative_prompt", b"x"), ("schedule", ["official"]), ("audio", 1),
    ],
)  # fmt: skip
def test_settings(name: str, value: Any):
    """Red: a number of 400 digits, NaN or half a character in a setting ends in a traceback, or is taken."""
    with pytest.raises(SettingsError) as caught:
        preset("card", **{name: value})
    assert len(caught.value.what) < 500


@pytest.mark.parametrize("name", ["", "nothing", None, ["card"]])
def test_presets(name: Any):
    """Red: an empty preset's name means the default, silently."""
    if name is None:
        assert isinstance(preset(), Settings)
    else:
        with pytest.raises((SettingsError, TypeError)):
            preset(name)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": True}, {"steps": HUGE}, {"steps": 10**12}, {"seconds": math.inf}, {"seconds": 1e300},
        {"seconds": math.nan}, {"batch": 0}, {"seed": -1}, {"seed": 2**63}, {"keep": True},
        {"preset": ["mini"]}, {"preset": {}}, {"preset": ""}, {"model": 5}, {"adapter": {"rank": 10**6}},
        {"adapter": {"alpha": 1e300}},
        {"adapter": {"alpha": math.inf}}, {"optimiser": {"betas": [1.0, 0.9]}}, {"optimiser": {"eps": 0}},
        {"optimiser": {"weight_decay": math.nan}}, {"optimiser": {"max_gradient_norm": math.inf}},
        {"optimiser": {"rate": [{"until": 1, "start": 1e9, "end": 0}]}}, {"objective": {"excerpt": -1}},
        {"objective": {"reference_downscale_factor": True}}, {"base": {"activation_gib": -1}},
        {"base": {"recompute": -1}}, {"watch": {"log_every": -5}}, {"watch": 3}, {1: 2},
        {"watch": {"samples": [{"sheet": "s", "seed": -1}]}},
    ],
    ids=str,
)  # fmt: skip
def test_training_runs(change: dict[Any, Any]):
    """Red: `steps=true` trains one step, `seconds=1e400` never ends, or a value crashes hours later."""
    with pytest.raises(SettingsError) as caught:
        make_config({**RUN, **change})
    assert "\n  fix: " in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [{"fps": -24.0}, {"fps": math.inf}, {"fps": 1e300}, {"fps": 1e-300}, {"fps": math.nan}, {"fps": 0.0},
     {"frames": 0}, {"frames": -7}, {"frames": 10**9 + 1}, {"width": 0}, {"height": 10**6}, {"downscale": 0},
     {"downscale": -1}],
    ids=str,
)  # fmt: skip
def test_encoding(value: dict[str, Any]):
    """Red: clips are encoded backwards, of their first frame only, or until memory ends."""
    with pytest.raises(SettingsError):
        SizeBucket(**value)


@pytest.mark.parametrize(
    "text",
    ["0x0", "1x1", "768", "768x", "x448", "-1x5", "9" * 5000 + "x16", "1e3x16", "99999x99999", "", "a x b"],
)
def test_sizes(text: str):
    """Red: a size of 5,000 digits, or of 0, passes the command line."""
    with pytest.raises(SettingsError, match="WIDTHxHEIGHT"):
        size(text)


@pytest.mark.parametrize("text", ["1/1", "-1/2", "0/0", "a/b", "1", "/", "0/" + "9" * 5000, "\u0661/2x"])
def test_shards(text: str):
    """Red: a worker's share of 5,000 digits is a traceback."""
    with pytest.raises(SettingsError, match="I/N"):
        read_shard(text)


@pytest.mark.parametrize(
    "values",
    [(0,), (10**9, 0.5), (2, 1.5), (2, math.nan), (2, 0.5, 1.0), (2, 0.5, 0.0, -1), (2, 0.5, 0.0, 10**9)],
)
def test_variants(values: tuple[Any, ...]):
    """Red: chances beyond 1 or a million variants are accepted."""
    with pytest.raises(SettingsError):
        Augment(*values)


# --- bundles, shots, requests

BUNDLE = {"version": 1, "name": "m", "files": {"checkpoint": "m.safetensors", "text_encoder": "t"}}


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"checkpoint": "../m.safetensors", "text_encoder": "t"}},
        {"files": {"checkpoint": "/etc/passwd", "text_encoder": "t"}},
        {"files": {"checkpoint": "m.safetensors", "text_encoder": "t/../.."}},
        {"files": {"checkpoint": "", "text_encoder": "t"}},
        {"files": {"checkpoint": "x" * 300, "text_encoder": "t"}},
        {"files": {"checkpoint": "m\0", "text_encoder": "t"}},
        {"files": {**BUNDLE["files"], "adapters": [{"path": "../a.safetensors"}]}},
        {"files": []},
        {"version": 2}, {"version": "1.5"}, {"name": 5}, {"extra": 1},
        {"preset": {"width": HUGE // 10**310}}, {"preset": {"steps": 1e9}}, {"preset": {"nothing": 1}},
        {"preset": []}, {"bucket": {"width": 10**9, "height": 1, "frames": 9}},
        {"bucket": {"width": 192, "height": 112, "frames": 9, "fps": 0}},
        {"bucket": {"width": 192, "height": 112, "frames": 9, "stg_blocks": [-5]}},
    ],
    ids=str,
)  # fmt: skip
def test_bundles(change: dict[str, Any], tmp_path: Path):
    """Red: a bundle reads files outside its folder, or holds a number that crashes."""
    (tmp_path / "m.safetensors").touch()
    (tmp_path / "t").mkdir()
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps(BUNDLE))
    Bundle.load(tmp_path)
    path.write_text(json.dumps({**BUNDLE, **change}))
    with pytest.raises((CheckpointError, SettingsError)):
        Bundle.load(tmp_path)


SHOTS = {
    "a key that is a number": "shots: [{1: 2, action: a}]",
    "a shot that is a list": "shots: [[1]]",
    "a seed of true": "shots: [{action: a, seed: true}]",
    "a seed of 400 digits": f"shots: [{{action: a, seed: {'9' * 90}}}]",
    "a seed of a word": "shots: [{action: a, seed: x}]",
    "seeds that are no list": "shots: [{action: a, seeds: 5}]",
    "seeds that are lists": "shots: [{action: a, seeds: [[1]]}]",
    "no seeds": "shots: [{action: a, seeds: []}]",
    "takes of 0": "shots: [{action: a, takes: 0}]",
    "a million takes": "shots: [{action: a, takes: 1000000}]",
    "settings of a list": "shots: [{action: a, settings: [1]}]",
    "common settings of a list": "settings: [1]\nshots: [a]",
    "an id that climbs": "shots: [{action: a, id: ../b}]",
    "an id of a list": "shots: [{action: a, id: [b]}]",
    "an id of a path": "shots: [{action: a, id: b/c}]",
    "an id that is long": f"shots: [{{action: a, id: {'b' * 300}}}]",
    "one id twice": "shots: [{action: a, id: b}, {action: a, id: B}]",
    "both prompts": "shots: [{action: a, prompt: b}]",
    "no prompt": "shots: [{id: b}]",
    "an unknown field": "shots: [{action: a, sead: 1}]",
    "too many seeds": f"shots: [{{action: a, seeds: [{','.join(map(str, range(10_001)))}]}}]",
    "no shots": "shots: []",
    "shots that are a text": "shots: all",
    "an unknown list": "shotz: [a]",
}


@pytest.mark.parametrize("case", SHOTS)
def test_shots(case: str, tmp_path: Path):
    """Red: a mistake in a shot list is a traceback, or is told after the first shots were made."""
    path = tmp_path / "l.yaml"
    path.write_text(SHOTS[case])
    with pytest.raises(SettingsError):
        load_shots(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"source": 5, "out": "a"}',
        '{"source": "a", "out": "b", "takes": 0}',
        '{"source": "a", "out": "b", "x": 1}',
    ],
)
def test_requests(text: str):
    """Red: a request from a queue that is no request is a traceback."""
    with pytest.raises(SettingsError):
        Request.read(text)


# --- sheets

PICTURE = Image.new("RGB", (64, 32), (9, 9, 9))


@pytest.mark.parametrize("to", [(0, 0), (-1, 5), (10**6, 10**6), (HUGE, 5), (5, 0)])
def test_conditioning_sizes(to: tuple[int, int]):
    """Red: a sheet is shown at a size that divides by zero or takes terabytes."""
    with pytest.raises(SheetError):
        Sheet(PICTURE).conditioning_image(*to)


@pytest.mark.parametrize(
    "sheet",
    [
        Sheet(PICTURE, layout={"score": math.nan}),
        Sheet(PICTURE, layout={"score": {1, 2}}),
        Sheet(PICTURE, layout={"note": "\ud800"}),
        Sheet(PICTURE, output=(0, 0)),
        Sheet(PICTURE, output=(10**9, 5)),
        Sheet(Image.new("RGB", (0, 0))),
        Sheet(PICTURE, panels=(Panel("hero", "character", "face", Box(0, 0, 9, 9)),)),
        Sheet(PICTURE, panels=(Panel("hero", "character", "face", Box(0, 0, 9, 9)),) * 501),
    ],
)  # fmt: skip
def test_sheets_that_cannot_be_kept(sheet: Sheet, tmp_path: Path):
    """Red: a sheet is written that cannot be read back, or the writing is a traceback."""
    with pytest.raises(SheetError):
        sheet.save(tmp_path / "s.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path", ["", ".", "/", "a\0b.png", "x" * 300 + ".png", "nothing.png", "nothing.json"]
)
def test_sheets_that_are_not_there(path: str):
    """Red: an impossible name of a sheet is a traceback."""
    with pytest.raises(CastsheetError):
        Sheet.load(path)


@pytest.mark.parametrize(
    "base",
    [
        "",
        "x",
        "ftp://a",
        "http://",
        "http://[::1",
        "http://a:99999",
        "http://a:0",
        "http://a:b",
        "http://a\u2100/",
    ],
)
def test_endpoints_that_are_none(base: str):
    """Red: a typing error in --endpoint is called a fault of Castsheet."""
    with pytest.raises(EndpointError, match="is no address"):
        Endpoint(base, "m")


def test_a_key_that_http_cannot_send_is_told_without_it(monkeypatch: pytest.MonkeyPatch):
    """Red: a line feed at the end of a key is a fault, or shows the key."""
    monkeypatch.setenv("SOME_KEY", "hidden\nkey\n")
    endpoint = Endpoint("http://127.0.0.1:9/v1", "m", key_variable="SOME_KEY")
    with pytest.raises(EndpointError, match="letters that HTTP cannot send") as caught:
        endpoint._post("/x", b"", "text/plain")
    assert "hidden" not in str(caught.value)
