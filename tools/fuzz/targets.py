"""What is fuzzed: the readers, each with the files that it starts from."""

from __future__ import annotations

import io
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        file: the name that the fuzzed bytes get in an otherwise empty folder.
        read: reads the folder's file; may raise CastsheetError and nothing else.
        seeds: good files to start from.
        words: pieces that mean something to the format.
    """

    file: str
    read: Read
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()


_COMMON = (b'"\\ud800"', b"9" * 120, b"[" * 70)
_YAML_WORDS = (
    *b"&a ;*a;<<: ;!!int ;!!bool ;!!timestamp ;!!binary ;2026-13-45;0x_;0b_;.nan;.inf;1e999;null;true".split(
        b";"
    ),
    *(b"? ", b"---\n", b"|\n ", *_COMMON),
)
_JSON_WORDS = (*b'1e999;NaN;-1;null;[];{};true;0.5;"version"'.split(b";"), *_COMMON)


def _scene(path: Path) -> None:
    from castsheet.elements import Scene

    Scene.load(path).save(path.with_name("again.yaml"))


def _shots(path: Path) -> None:
    from castsheet.jobs.shotlist import load_shots
    from castsheet.settings import preset

    for shot in load_shots(path):
        preset(**shot.settings)


def _config(path: Path) -> None:
    from castsheet.train.config import load_config

    _ = load_config(path).fingerprint


def _override(path: Path) -> None:
    from castsheet.train.config import join, make_config, read_override

    text = path.read_bytes().decode("utf-8", "surrogateescape")
    make_config(join({"model": "mini", "data": "d", "output": "o"}, read_override(text)))


def _sheet(path: Path) -> None:
    from castsheet.sheet.manifest import Sheet

    Image.new("RGB", (64, 32)).save(path.with_suffix(".png"))
    Sheet.load(path).save(path.with_name("again.png"))


def _table(path: Path) -> None:
    from castsheet.train.data.encode import read_table

    for name in ("a.mp4", "b.mp4", "s.png"):
        path.with_name(name).touch()
    read_table(path)


def _header(path: Path) -> None:
    """What our reader takes, the loader's library must take too."""
    from safetensors import safe_open

    from castsheet.ltx.header import read_header

    read_header(path)
    with safe_open(path, framework="pt") as file:
        file.keys()


def _adapter(path: Path) -> None:
    from castsheet.ltx.adapters.lora_file import LoRA

    lora = LoRA.open(path)
    _ = lora.family, lora.mode, lora.downscale, lora.factors()


def _sample(path: Path) -> None:
    from castsheet.train.data.dataset import Dataset

    root = path.parent
    (root / "samples").mkdir(exist_ok=True)
    (root / "samples" / "a.safetensors").write_bytes(path.read_bytes())
    data = Dataset.open(root, channels=4, context_dim=8)
    data.load(0)


def _bundle(path: Path) -> None:
    from castsheet.loading.bundle import Bundle

    (path.parent / "m.safetensors").touch()
    (path.parent / "text").mkdir(exist_ok=True)
    Bundle.load(path.parent).settings(None)


def _model(path: Path) -> None:
    """The `config` metadata of a checkpoint, as far as the sizes of its networks."""
    from castsheet.ltx.model.config import ModelConfig
    from castsheet.ltx.parts.connectors import ConnectorSettings
    from castsheet.ltx.parts.vae import diffusers_settings

    text = path.read_bytes().decode("utf-8", "replace")
    config = ModelConfig.from_header({"config": text})
    diffusers_settings(config.vae)
    ConnectorSettings.parse(config.raw["transformer"])


def _workflow(path: Path) -> None:
    from castsheet.cli.check import _workflow as read
    from castsheet.lint.workflow import lint_workflow

    graph = read(path)
    if graph is not None:
        lint_workflow(graph)


def _picture(path: Path) -> None:
    from castsheet.media.pictures import load_image

    load_image(path)


def _video(path: Path) -> None:
    from castsheet.media.video import read_video

    read_video(path, most=lambda _: 8)


def _log(path: Path) -> None:
    from castsheet.train.log import read_log

    list(read_log(path.parent))


def _yaml_seeds(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


def _drawing(width: int = 40, height: int = 24) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 5, y * 9, x * y], -1).clip(0, 255).astype(np.uint8))


def _picture_seeds() -> list[bytes]:
    seeds = []
    picture = _drawing()
    for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        data = io.BytesIO()
        picture.save(data, name)
        seeds.append(data.getvalue())
    for mode in ("I;16", "L", "P", "RGBA", "1"):
        data = io.BytesIO()
        (picture.convert("L").convert("I").convert(mode) if mode == "I;16" else picture.convert(mode)).save(
            data, "PNG"
        )
        seeds.append(data.getvalue())
    return seeds


def _video_seeds() -> list[bytes]:
    seeds = []
    frames = [np.asarray(_drawing(48, 32)) for _ in range(4)]
    for suffix, codec in ((".mp4", "libx264"), (".mkv", "mpeg4"), (".gif", "gif")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"clip{suffix}"
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=8)
                stream.width, stream.height = 48, 32
                stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
                for frame in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode(None))
            seeds.append(path.read_bytes())
    return seeds


def tensors(entries: dict[str, tuple[list[int], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file of fp32 tensors: their shapes and bytes by name."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    body = b""
    for name, (shape, data) in entries.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _adapter_seeds() -> list[bytes]:
    layer = "diffusion_model.transformer_blocks.0.attn1.to_q"
    down, up = ([2, 4], bytes(32)), ([4, 2], bytes(32))
    pair = {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}
    scaled = {
        f"{layer}.lora_down.weight": down,
        f"{layer}.lora_up.weight": up,
        f"{layer}.alpha": ([], bytes(4)),
    }
    return [tensors(pair, {"reference_downscale_factor": "2"}), tensors(scaled)]


def _sample_seeds() -> list[bytes]:
    notes = {"version": "1", "fps": "24.0", "context": "c.safetensors", "augment": "{}"}
    clip, sheet = ([4, 2, 2, 2], bytes(128)), ([1, 4, 1, 2, 2], bytes(64))
    return [tensors({"latents": clip, "references": sheet}, notes)]


_MANIFEST = {
    "version": 1,
    "image": {"width": 64, "height": 32, "sha256": "0" * 64},
    "output": [64, 32],
    "elements": [{"id": "hero", "kind": "character", "description": "a hero", "importance": 1.0}],
    "panels": [
        {
            "element": "hero",
            "kind": "character",
            "view": "face",
            "box": {"x": 0, "y": 0, "w": 32, "h": 32},
            "sources": [],
        }
    ],
    "layout": {"grid": 32, "score": 0.5},
}
_BUNDLE = {
    "version": 1,
    "name": "m",
    "files": {"checkpoint": "m.safetensors", "text_encoder": "text", "adapters": [{"path": "m.safetensors"}]},
    "bucket": {"width": 192, "height": 112, "frames": 9, "fps": 24, "stg_blocks": [5]},
    "preset": {"steps": 16, "lora_strength": 1.0},
}
_GRAPH = {
    "nodes": [{"id": 1, "type": "LTXVAddGuide"}, {"id": 2, "type": "VAEDecode"}],
    "links": [[1, 1, 0, 2, 0, "LATENT"]],
}
_API = {
    "1": {"class_type": "LTXVAddGuide", "inputs": {}},
    "2": {"class_type": "VAEDecode", "inputs": {"a": ["1", 0]}},
}


def _json_seeds(*values: object) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(value).encode() for value in values]


def _official() -> list[bytes]:
    root = Path(__file__).parents[2]
    content = json.loads((root / "tests/data/ltx-2.3-config.json").read_text(encoding="utf-8"))
    return [json.dumps(content["config"]).encode()]


TARGETS: dict[str, Target] = {
    "scene": Target(
        "scene.yaml",
        _scene,
        _yaml_seeds(
            "elements:\n  - {kind: character, id: a, description: b, images: scene.yaml}\naction: c\n",
            "elements: &e\n  - {kind: prop, id: a, description: b, images: [scene.yaml]}\nx: *e\n",
            "elements:\n  - kind: prop\n    id: a\n    description: >\n      b\n    images: scene.yaml\n",
            "library: lib\nelements: [{use: hero@act-2}]\n",
        ),
        _YAML_WORDS,
    ),
    "shots": Target(
        "shots.yaml",
        _shots,
        _yaml_seeds(
            "takes: 2\nsettings: {steps: 4}\nshots:\n  - hero waves\n  - {id: b, action: c, seeds: [1, 2]}\n",
            "shots: [{prompt: a, seed: 7, first_frame: x.png, settings: {sigmas: [1, 0.5, 0]}}]\n",
        ),
        _YAML_WORDS,
    ),
    "config": Target(
        "run.yaml",
        _config,
        _yaml_seeds(
            "model: m\ndata: d\noutput: o\noptimiser: {rate: [{until: 5, start: 0, end: 1e-4}]}\n",
            "model: m\ndata: d\noutput: o\nwatch: {samples: [{sheet: s.png, seed: 3, settings: {}}]}\n",
        ),
        _YAML_WORDS,
    ),
    "override": Target("set", _override, _yaml_seeds("steps=20", "optimiser.name=adamw"), _YAML_WORDS),
    "sheet": Target("sheet.json", _sheet, _json_seeds(_MANIFEST), _JSON_WORDS),
    "table": Target(
        "t.csv",
        _table,
        _yaml_seeds('video,sheet,caption\na.mp4,s.png,"hero\nwalks"\nb.mp4,s.png,hero waves\n'),
        (b'"', b'""', b",", b"\n", b"\r\n", b"\0", "\u2028".encode(), b"\xff", b"a.mp4"),
    ),
    "lines": Target(
        "t.jsonl",
        _table,
        _json_seeds({"video": "a.mp4", "sheet": "s.png", "caption": "hero\nwalks"}),
        (*_JSON_WORDS, b"\n", b"a.mp4"),
    ),
    "bundle": Target("bundle.json", _bundle, _json_seeds(_BUNDLE), (*_JSON_WORDS, b"../", b"/")),
    "model": Target("config.json", _model, _official, _JSON_WORDS),
    "workflow": Target("flow.json", _workflow, _json_seeds(_GRAPH, _API), _JSON_WORDS),
    "log": Target(
        "log.jsonl", _log, _json_seeds({"kind": "step", "step": 3, "loss": 0.5}), (*_JSON_WORDS, b"\n")
    ),
    "header": Target("m.safetensors", _header, _adapter_seeds, _JSON_WORDS),
    "adapter": Target("a.safetensors", _adapter, _adapter_seeds, _JSON_WORDS),
    "sample": Target("in.safetensors", _sample, _sample_seeds, _JSON_WORDS),
    "picture": Target("picture.png", _picture, _picture_seeds),
    "video": Target("clip.mp4", _video, _video_seeds),
}
