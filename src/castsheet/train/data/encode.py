"""`castsheet encode`: a table of clips, sheets and captions becomes a training data set.

Two passes, each resumable and safe to run on many machines at once: first contexts, then latents. Text
encoder and VAE are never in memory together. A sample's file says what it was made from; it is made again
only if that changed.

Legend: B batch, K variants, C channels, F frames, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from castsheet.clip import read_video
from castsheet.errors import SettingsError, TextEncoderError, shown
from castsheet.loading.source import Source
from castsheet.ltx.family import family_of
from castsheet.ltx.latents import Grid, encode_still, reference_size, to_pixels
from castsheet.ltx.parts.gemma import gemma_fingerprint
from castsheet.ltx.parts.text import ContextCache, GemmaEncoder, TextEncoder
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.machine.device import pick_device, pick_dtype
from castsheet.machine.locks import Say
from castsheet.machine.marks import Kind, owned
from castsheet.machine.outputs import require_space
from castsheet.machine.regular import MIB, is_file
from castsheet.machine.text import TextReader
from castsheet.media.timed import SLACK_S, Timed, read_timed
from castsheet.settings import Number
from castsheet.sheet.manifest import Sheet
from castsheet.train.data.augment import Augment, variant
from castsheet.train.data.dataset import DatasetError, header_of, write_sample
from castsheet.train.data.packed import PACKED

# Columns and what the official trainer's tables call them.
COLUMNS = {
    "video": ("media_path",),
    "sheet": ("reference_video", "ref_media_path", "reference_path"),
    "caption": (),
}
OTHERS = "sheets"
"""The column that may name further sheets of the clip: separated by `;`, or in JSONL a list."""
_VIDEOS = (".mp4", ".mov", ".mkv", ".webm")

_RANGES = {
    "width": Number(16, 8192),
    "height": Number(16, 8192),
    "frames": Number(1, 2001),
    "fps": Number(1.0, 240.0),
    "downscale": Number(1, 64),
}
_TABLES = TextReader(
    DatasetError, "give a .csv or .jsonl table with the columns video, sheet and caption", limit=256 * MIB
)
DATA = Kind("training data", lambda folder: (folder / "samples").is_dir() or (folder / PACKED).is_file())

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Row:
    """One line of the table; paths are absolute. `others`: further sheets of the same clip."""

    name: str
    video: Path
    sheet: Path
    caption: str
    others: tuple[Path, ...] = ()

    @property
    def sheets(self) -> tuple[Path, ...]:
        """All sheets of the clip."""
        return self.sheet, *self.others


@dataclass(frozen=True)
class SizeBucket:
    """The size of clips: pixels, frames (8k + 1), frames a second; a sheet's sides are 1/downscale of it."""

    width: int = 768
    height: int = 448
    frames: int = 121
    fps: float = 24.0
    downscale: int = 1

    @property
    def seconds(self) -> float:
        """How long a clip must be, and a little more: its last frame is shown then."""
        return (self.frames - 1) / self.fps

    def describe(self) -> str:
        """What clips need, for people."""
        return (
            f"clips become {self.frames} frames at {self.fps:g} fps, {self.width}x{self.height}: each must"
            f" last longer than {self.seconds:.2f} s, at any frame rate; its first frames are taken by their"
            " time stamps, and its picture is scaled to fill and cropped to the middle"
        )

    def __post_init__(self) -> None:
        for name, kind in _RANGES.items():
            kind.check(name, getattr(self, name))


@dataclass(frozen=True)
class Encoding:
    """A whole job: the model's files, the clips' bucket, the sheets' variants, this worker's share."""

    source: Source
    out: Path
    bucket: SizeBucket
    augment: Augment
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"


def read_table(path: Path) -> list[Row]:
    """Read a CSV or JSONL table with the columns video, sheet, caption, and perhaps sheets; paths relative to
    the table.

    Raises:
        DatasetError: the table is unreadable, lacks a column or a file, or two clips have one name.
    """
    records = _TABLES.json_lines(path) if path.suffix.lower() == ".jsonl" else _TABLES.table(path)
    rows: dict[str, Row] = {}
    for line, record in records:
        row = _row(record, f"{path} line {line}", path.parent)
        if row.name in rows:
            raise DatasetError(
                f"{path} line {line}: a second row is called {row.name}", remedy="give every clip one row"
            )
        rows[row.name] = row
    if not rows:
        raise DatasetError(f"{path} has no rows", remedy=_TABLES.remedy)
    return list(rows.values())


def encode(
    rows: Sequence[Row],
    job: Encoding,
    *,
    shard: tuple[int, int] = (0, 1),
    advance: Advance | None = None,
    say: Say = lambda _: None,
) -> int:
    """Make the missing samples of this worker's share of the rows.

    Args:
        shard: (i, n): every n-th row from row i.
        advance: called with the number of samples that exist.
        say: told when another process makes the same share, which is waited for.

    Returns:
        How many samples were made now.

    Raises:
        DatasetError, ImageError, SheetError, SettingsError: an input is not usable; it is named.
        TextEncoderError, CheckpointError: the model's files are not complete.
        OutputError: the folder is somebody else's, or cannot be written.
    """
    with owned(job.out, DATA, say, part=f"share {shard[0]} of {shard[1]}"):
        return _encode(rows, job, shard, advance or (lambda _: None))


def _encode(rows: Sequence[Row], job: Encoding, shard: tuple[int, int], advance: Advance) -> int:
    mine = rows[shard[0] :: shard[1]]
    device = pick_device(job.device)
    cache = _encode_captions(mine, job, device)
    stamps = {row: stamp(row, job, cache) for row in mine}
    todo = [row for row in mine if header_of(_path(job, row)).get("source") != stamps[row]]
    if not todo:
        return 0
    bucket, dtype = job.bucket, pick_dtype(job.dtype, device)
    # At most a sixteenth of a byte for a clip's pixel, and as much for each sheet's.
    pixels = bucket.width * bucket.height * (bucket.frames + 8 * job.augment.variants)
    require_space(job.out, len(todo) * pixels // 16)
    vae = job.source.checkpoint.load_video_vae(device=device, dtype=dtype)
    for done, row in enumerate(todo, start=1):
        tensors = {
            "latents": encode_clip(vae, row.video, job.bucket),
            "references": encode_sheets(vae, row, job),
        }
        write_sample(
            _path(job, row),
            {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()},
            fps=job.bucket.fps,
            context=cache.path(row.caption).name,
            augment=job.augment.record(),
            source=stamps[row],
            caption=row.caption,
            sheet=str(row.sheet.absolute()),
            family=job.source.checkpoint.family,
        )
        advance(len(mine) - len(todo) + done)
    return len(todo)


def _grid(vae: VideoVAE, bucket: SizeBucket) -> Grid:
    """The bucket in latent cells; SettingsError if the VAE cannot make it."""
    size = {"width": bucket.width, "height": bucket.height}
    return Grid.of(vae.config, **size, frames=bucket.frames, fps=bucket.fps)


@torch.no_grad()
def encode_clip(vae: VideoVAE, path: Path, bucket: SizeBucket) -> Tensor:
    """Normalised latents (C,F,H,W) of a clip at the bucket's rate, scaled to fill it and centre-cropped.

    Raises:
        DatasetError: the clip is too short.
    """
    _grid(vae, bucket)
    read = read_timed(path, bucket.fps, bucket.frames)
    if len(read.frames_FHWC) < bucket.frames:
        raise DatasetError(
            f"{path} lasts {read.seconds:.2f} s ({read.count} frames at {read.rate:.4g} fps), and"
            f" {bucket.frames} frames at {bucket.fps:g} fps need more than {bucket.seconds:.2f} s",
            remedy=_longer(read, bucket),
        )
    pixels_FCHW = torch.from_numpy(read.frames_FHWC).permute(0, 3, 1, 2).float() / 127.5 - 1
    pixels_FCHW = fill_crop(pixels_FCHW, bucket.width, bucket.height)
    weight = next(vae.parameters())
    return vae.encode(pixels_FCHW.transpose(0, 1)[None].to(weight.device))[0]


def _longer(read: Timed, bucket: SizeBucket) -> str:
    """What to do about a clip that is too short."""
    frames = math.floor((bucket.seconds + SLACK_S) * read.rate) + 1
    ways = [f"cut it at {frames} frames or more ({frames / read.rate:.2f} s)"]
    if (bucket.frames - 1) / read.rate < read.seconds:
        ways.append(f"encode with --fps {read.rate:.4g}")
    if (fewer := (len(read.frames_FHWC) - 1) // 8 * 8 + 1) > 1:
        ways.append(f"encode with --frames {fewer}")
    return "; or ".join([*ways, "leave the clip out"])


def fill_crop(pixels_FCHW: Tensor, width: int, height: int) -> Tensor:
    """Bicubic scaling to fill width x height, then the middle of it."""
    h, w = pixels_FCHW.shape[2:]
    factor = max(width / w, height / h)
    size = (max(height, round(h * factor)), max(width, round(w * factor)))
    if size != (h, w):
        pixels_FCHW = F.interpolate(pixels_FCHW, size, mode="bicubic", antialias=True).clamp(-1, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return pixels_FCHW[:, :, top : top + height, left : left + width]


@torch.no_grad()
def encode_sheets(vae: VideoVAE, row: Row, job: Encoding) -> Tensor:
    """Latents (K,C,1,h,w) of the row's sheets and then of their variants, which take turns."""
    bucket = job.bucket
    size = reference_size(_grid(vae, bucket), bucket.downscale)
    plain = [_sheet(path) for path in row.sheets]
    sheets = list(plain)
    for number in range(1, job.augment.variants):
        random = np.random.default_rng([job.seed, number, *row.name.encode()])
        sheets.append(variant(plain[number % len(plain)], job.augment, random))
    device = next(vae.parameters()).device
    pictures = [to_pixels(sheet.conditioning_image(*size)).to(device) for sheet in sheets]
    return torch.cat([encode_still(vae, picture, 1) for picture in pictures])


def _sheet(path: Path) -> Sheet:
    """A sheet, or the first frame of the video that others loop a sheet into."""
    if path.suffix.lower() not in _VIDEOS:
        return Sheet.load(path)
    from PIL import Image

    image = Image.fromarray(read_video(path, most=lambda _: 1)[0][0])
    return Sheet(image, output=image.size, path=path)


def _encode_captions(rows: Sequence[Row], job: Encoding, device: torch.device) -> ContextCache:
    """Contexts of all captions, in the data set's own cache."""
    cache = contexts_of(job, device)
    missing = [row.caption for row in rows if not cache.path(row.caption).is_file()]
    if missing:
        encoder = text_encoder_of(job, device)
        for caption in dict.fromkeys(missing):
            cache.put(caption, encoder.encode(caption))
    return cache


def contexts_of(job: Encoding, device: torch.device) -> ContextCache:
    """The data set's own cache of contexts: names of its files say what made them.

    Raises:
        TextEncoderError: no text encoder is given.
    """
    model = job.source.checkpoint
    gemma, dtype = gemma_fingerprint(_gemma_of(job)), _text_dtype(device)
    parts = (gemma, model.connectors_fingerprint(), str(dtype), model.family)
    return ContextCache(job.out / "contexts", " ".join(parts))


def text_encoder_of(job: Encoding, device: torch.device, *, audio: bool = False) -> TextEncoder:
    """The job's text encoder, loaded; with `audio`, its connectors' audio half too."""
    dtype = _text_dtype(device)
    gemma = GemmaEncoder.load(_gemma_of(job), device=device, dtype=dtype)
    return TextEncoder(gemma, job.source.checkpoint.load_connectors(device=device, dtype=dtype, audio=audio))


def _gemma_of(job: Encoding) -> Path:
    if job.source.text_encoder is None:
        remedy = family_of(job.source.checkpoint.family).encoder_remedy
        raise TextEncoderError("captions need a text encoder", remedy=remedy)
    return job.source.text_encoder


def _text_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def stamp(row: Row, job: Encoding, cache: ContextCache) -> str:
    """Hash of everything that a sample's file depends on; of files it takes size and time."""
    files = [_size_and_time(path) for path in (row.video, *row.sheets)]
    entries = job.source.checkpoint.entries
    model = [(path.name, *_size_and_time(path)) for path in sorted({one.file for one in entries.values()})]
    parts = [files, model, asdict(job.bucket), asdict(job.augment), job.seed, cache.path(row.caption).name]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _path(job: Encoding, row: Row) -> Path:
    return job.out / "samples" / f"{row.name}.safetensors"


def _row(record: Any, where: str, folder: Path) -> Row:
    if not isinstance(record, Mapping):
        raise DatasetError(f"{where} is {shown(record)}, not a mapping", remedy=_TABLES.remedy)
    values = {}
    for column, aliases in COLUMNS.items():
        value = next((record[name] for name in (column, *aliases) if record.get(name)), None)
        if not (isinstance(value, str) and value.strip()):
            raise DatasetError(f"{where}: no {column}", remedy=f"the columns are {', '.join(COLUMNS)}")
        values[column] = value
    if any(unicodedata.category(one) == "Cc" for one in values["caption"] if one not in "\t\r\n"):
        told = f"{where}: the caption {shown(values['caption'])} holds control characters"
        raise DatasetError(told, remedy="write it as plain text")
    others = _others(record, where)
    for path in (values["video"], values["sheet"], *others):
        if not is_file(folder / path):
            raise DatasetError(f"{where}: {path} is not there", remedy="paths are relative to the table")
    name = "__".join(
        part for part in Path(values["video"]).with_suffix("").parts if part not in ("/", "..", ".")
    )
    others_of = tuple(folder / path for path in others)
    return Row(name, folder / values["video"], folder / values["sheet"], values["caption"], others_of)


def _others(record: Mapping[str, Any], where: str) -> list[str]:
    """The paths of a row's further sheets."""
    given = record.get(OTHERS) or ""
    listed = given.split(";") if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise DatasetError(
            f"{where}: {OTHERS} is {shown(given)}", remedy="name further sheets, separated by ;"
        )
    return [one.strip() for one in listed if one.strip()]


def read_shard(text: str) -> tuple[int, int]:
    """Read I/N.

    Raises:
        SettingsError: the text is not I/N, or I is not below N.
    """
    share, slash, count = text.partition("/")
    digits = share.isdecimal() and count.isdecimal() and len(text) <= 20
    if not (slash and digits and int(share) < int(count)):
        raise SettingsError(
            f"shard {shown(text)} is not I/N with I from 0 to N - 1", remedy="write it as 0/8"
        )
    return int(share), int(count)
