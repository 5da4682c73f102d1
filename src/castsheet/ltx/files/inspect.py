"""What a file or folder is, and what else a run needs. Only headers are read, no tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from castsheet.errors import AdapterError, CastsheetError, CheckpointError, TextEncoderError
from castsheet.ltx import keys
from castsheet.ltx.adapters.kinds import is_factor
from castsheet.ltx.adapters.lora_file import DOWNSCALE, MODE, TEMPORAL, LoRA
from castsheet.ltx.family import FAMILIES, UNKNOWN, family_of
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.files.folder import is_diffusers_folder, no_model
from castsheet.ltx.files.split import Piece, complete, find_denoiser, piece_of
from castsheet.ltx.header import Entry, Header, read_header, read_json
from castsheet.ltx.parts.gemma import KINDS, EncoderFiles
from castsheet.ltx.parts.vae import diffusers_settings, is_diffusion
from castsheet.machine.regular import is_file, is_folder

Kind = Literal[
    "checkpoint",
    "fp8",
    "diffusers folder",
    "split folder",
    "denoiser",
    "video VAE",
    "sound",
    "ic-lora",
    "lora",
    "gemma folder",
    "packed text encoder",
    "unknown",
]

_REFERENCE_FIELDS = (DOWNSCALE, "reference_spatial_scale_factor", TEMPORAL, MODE)
_NEEDED = {"transformer": "denoiser", "connectors": "text connectors", "vae": "video VAE"}
_ADAPTER = "an IC-LoRA for reference sheets (.safetensors)"
_PIECES: dict[Piece, Kind] = {"vae": "video VAE", "audio": "sound"}


@dataclass(frozen=True)
class AdapterReport:
    """What a LoRA file says: `ranks` and `targets` count modules, by rank and by name within a block."""

    ranks: dict[int, int]
    targets: dict[str, int]
    blocks: int
    downscale: str | None  # as stated in the header; None when nothing is stated
    reference: str | None  # "looped" or "still", likewise


@dataclass(frozen=True)
class Report:
    """Everything that inspection finds out, in plain values.

    Attributes:
        told_by: what tells the family, where it is told: the header, the tensors or the file's name.
        parameters: count without quantisation scales.
        parts: the count of each part.
        precision: the count of each stored dtype (BF16, F32, F8_E4M3, ...).
        scaled: fp8 weights that carry a scale.
        quantisation: how an fp8 denoiser is quantised, in words; None for a denoiser that is not in fp8.
        config: the model's main sizes, from the file's own metadata.
        beside: files of the same model that a run would find by itself.
        missing: what else a run needs.
        problems: why this cannot be used as it is.
    """

    path: Path
    kind: Kind
    family: str
    told_by: str = ""
    version: str | None = None
    bytes: int = 0
    tensors: int = 0
    parameters: int = 0
    parts: dict[str, int] = field(default_factory=dict)
    precision: dict[str, int] = field(default_factory=dict)
    scaled: int = 0
    quantisation: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    adapter: AdapterReport | None = None
    beside: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        content = asdict(self)
        content["path"] = str(self.path)
        return content


def inspect_file(path: Path | str) -> Report:
    """Tell what a file or folder is.

    Raises:
        CheckpointError: nothing there, a pickle, a damaged file, or a folder without a model.
    """
    path = Path(path)
    if is_folder(path):
        if is_diffusers_folder(path):
            return _model(Checkpoint.open(path), "diffusers folder")
        if is_file(path / "config.json") or find_denoiser(path) is None:
            return _gemma(path)
        return _model(Checkpoint.open(path), "split folder")
    header = read_header(path)
    if any(map(is_factor, header.entries)):
        return _adapter(path, header.metadata, header.entries)
    piece = piece_of(header)
    if piece == "text encoder":
        return _packed(path)
    alone = Checkpoint.alone(path)
    if piece == "denoiser" and not {"vae", "connectors"} <= alone.parts:
        return _denoiser(header, alone)
    return _model(alone, "checkpoint" if piece in (None, "denoiser") else _PIECES[piece])


def _denoiser(header: Header, alone: Checkpoint) -> Report:
    """A denoiser's file: what is in it, and what of its model lies around it."""
    try:
        whole = Checkpoint.open(header.path)
        files = complete(header).files
    except CheckpointError as error:
        return replace(_model(alone, "denoiser"), problems=(error.what,))
    told = _model(whole, "denoiser")
    own = _model(alone, "denoiser")
    beside = tuple(f"{piece}: {path}" for piece, path in files.items() if path != header.path)
    return replace(own, config=told.config, problems=told.problems, missing=told.missing, beside=beside)


def _packed(path: Path) -> Report:
    """LTX-2.5's packed text encoder."""
    entries = read_header(path).entries
    problems, config, family = [], dict[str, Any](), UNKNOWN
    try:
        files = EncoderFiles.open(path)
        text = files.text_config()
        files.tokenizer()
        config = {"layers": text.num_hidden_layers, "width": text.hidden_size, "version": files.version}
        kinds = (one for one in FAMILIES.values() if one.runs and one.encoder == files.kind)
        family = next(kinds).name
    except TextEncoderError as error:
        problems.append(error.what)
    if not any(name.startswith(keys.PROJECTION) for name in entries):
        problems.append("no projections of the text connectors in it")
    return _report(
        path,
        "packed text encoder",
        family,
        entries,
        config=config,
        missing=(_checkpoint(family), _ADAPTER),
        problems=tuple(problems),
    )


def _model(checkpoint: Checkpoint, kind: Kind) -> Report:
    entries = {name: checkpoint.entries[name] for name in checkpoint.keys}
    parts: Counter[str] = Counter()
    for name, entry in entries.items():
        parts[keys.part_of(name) or "other"] += entry.count
    if kind == "checkpoint" and any(entry.dtype.startswith("F8") for entry in entries.values()):
        kind = "fp8"
    if not checkpoint.parts:
        return _report(
            checkpoint.path, "unknown", "unknown", entries, problems=("no tensor of an LTX model in it",)
        )

    problems = []
    config: dict[str, Any] = {}
    try:
        config = _config(checkpoint) if "transformer" in checkpoint.parts else {}
    except CastsheetError as error:
        problems.append(error.what)
    missing = [name for part, name in _NEEDED.items() if part not in checkpoint.parts]
    if checkpoint.text_encoder is None and not (checkpoint.path / "text_encoder" / "config.json").is_file():
        missing.append(_text_encoder(checkpoint, config))
    scales = [name for name in checkpoint.entries if name.endswith((".weight_scale", ".scale_weight"))]
    return _report(
        checkpoint.path,
        kind,
        checkpoint.family,
        entries,
        version=checkpoint.metadata.get("model_version"),
        told_by=checkpoint.told.by,
        parts={part: parts[part] for part in (*keys.PARTS, "other") if part in parts},
        scaled=len(scales),
        quantisation=_quantisation(checkpoint),
        config=config,
        missing=(*missing, _ADAPTER),
        problems=tuple(problems),
    )


def _quantisation(checkpoint: Checkpoint) -> str | None:
    """The kind of fp8 file: its scales, its blocks outside fp8, and whether it is the denoiser alone."""
    names = [name for name in checkpoint.keys if keys.part_of(name) == "transformer"]
    narrow = [name for name in names if checkpoint.entries[name].dtype.startswith("F8")]
    if not narrow:
        return None
    stems = [name.removesuffix(".weight") for name in narrow]
    stored = [f"{stem}{end}" for stem in stems for end in (".weight_scale", ".scale_weight")]
    counts = {checkpoint.entries[name].count for name in stored if name in checkpoint.entries}
    scale = "no scales" if not counts else "a scale a tensor" if counts == {1} else "a scale a row"
    whole, eighth = (set(re.findall(r"transformer_blocks\.(\d+)\.", " ".join(of))) for of in (names, narrow))
    wide = ", ".join(sorted(whole - eighth, key=int))
    inputs = any(f"{stem}.input_scale" in checkpoint.entries for stem in stems)
    scale += " and of activations" if inputs else ""
    alone = "denoiser only" if checkpoint.parts == {"transformer"} else "whole file"
    return f"{scale}, {alone}" + (f", blocks {wide} not quantised" if wide else "")


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The model's main sizes, from the parsed config."""
    model = checkpoint.config
    transformer, raw = model.transformer, model.raw["transformer"]
    vae = diffusers_settings(model.vae)
    return {
        "layers": transformer.layers,
        "width": transformer.dim,
        "heads": transformer.heads,
        "audio": checkpoint.has_audio,
        "context_width": transformer.context_dim,
        "text_width": raw.get("caption_channels"),
        "latent_channels": vae["latent_channels"],
        "spatial_compression": vae["spatial_compression_ratio"],
        "temporal_compression": vae["temporal_compression_ratio"],
        "decoder": "diffusion" if is_diffusion(model.vae) else "convolutional",
    }


def _text_encoder(checkpoint: Checkpoint, config: Mapping[str, Any]) -> str:
    family = family_of(checkpoint.family)
    if family.encoder == "gemma4":
        return f"{family.title}'s packed text encoder (gemma4-12b-with-proj-ltx-2.5-bf16.safetensors)"
    width = config.get("text_width")
    packed = checkpoint.entries.get(f"{keys.PROJECTION}video_aggregate_embed.weight")
    if not width or packed is None or width == 3840:
        return "a Gemma-3-12B folder (text encoder)"
    return f"a Gemma-3 folder of width {width} and {packed.shape[-1] // width - 1} layers (text encoder)"


def _adapter(path: Path, metadata: Mapping[str, str], entries: Mapping[str, Entry]) -> Report:
    stated = any(name in metadata for name in _REFERENCE_FIELDS)
    reference = stated or "ic-lora" in path.name.lower().replace("_", "-")
    problems = []
    if reference and not stated:
        problems.append(f"no {DOWNSCALE} in the header: 1 will be assumed")
    family, told_by = "unknown", ""
    adapter = None
    try:
        lora = LoRA.open(path)
        family, told_by = lora.told
        adapter = _adapter_report(lora)
        if len(adapter.ranks) > 1:
            problems.append(f"modules of different ranks: {', '.join(map(str, adapter.ranks))}")
        _ = lora.downscale, lora.mode  # read for their errors: garbled metadata
        if lora.temporal != 1:
            problems.append(f"{TEMPORAL} is {lora.temporal}; references of other rates are not supported")
    except AdapterError as error:
        problems.append(error.what)
    return _report(
        path,
        "ic-lora" if reference else "lora",
        family,
        entries,
        version=metadata.get("model_version"),
        told_by=told_by,
        adapter=adapter,
        missing=(_checkpoint(family), "the text encoder that the checkpoint needs"),
        problems=tuple(problems),
    )


def _checkpoint(family: str) -> str:
    """What an adapter or a text encoder is for."""
    title = FAMILIES[family].title if family in FAMILIES else "LTX"
    return f"an {title} checkpoint (.safetensors, or a folder)"


def _adapter_report(lora: LoRA) -> AdapterReport:
    modules = [re.fullmatch(r"(?:transformer_blocks\.(\d+)\.)?(.+)", module) for module in lora.terms]
    found = [module.groups() for module in modules if module]
    ranks = Counter(term.rank for term in lora.terms.values())
    targets = Counter(name for _, name in found)
    return AdapterReport(
        ranks=dict(sorted(ranks.items())),
        targets=dict(sorted(targets.items())),
        blocks=len({block for block, _ in found if block is not None}),
        downscale=lora.metadata.get(DOWNSCALE),
        reference=lora.metadata.get(MODE),
    )


def _gemma(folder: Path) -> Report:
    config_path = folder / "config.json"
    if not is_file(config_path):
        raise no_model(folder)
    config = read_json(config_path)
    entries: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.safetensors")):
        entries |= read_header(path).entries
    if config.get("model_type") not in KINDS:
        problem = f"a model of type {config.get('model_type')!r}, which Castsheet does not use"
        return _report(folder, "unknown", "unknown", entries, problems=(problem,))
    text = config.get("text_config", config)
    problems = [] if entries else ["no *.safetensors in it"]
    tokenizers = (folder / "tokenizer.json", folder.parent / "tokenizer" / "tokenizer.json")
    if not any(is_file(path) for path in tokenizers):
        problems.append("no tokenizer.json in it")
    return _report(
        folder,
        "gemma folder",
        "unknown",
        entries,
        config={"layers": text.get("num_hidden_layers"), "width": text.get("hidden_size")},
        missing=(_checkpoint(UNKNOWN), _ADAPTER),
        problems=tuple(problems),
    )


def _report(path: Path, kind: Kind, family: str, entries: Mapping[str, Entry], **rest: Any) -> Report:
    precision: Counter[str] = Counter()
    for entry in entries.values():
        precision[entry.dtype] += entry.count
    return Report(
        path=path,
        kind=kind,
        family=family,
        bytes=sum(file.stat().st_size for file in {entry.file for entry in entries.values()}),
        tensors=len(entries),
        parameters=sum(entry.count for entry in entries.values()),
        precision=dict(precision.most_common()),
        **rest,
    )
