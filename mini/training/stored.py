"""What mini's recipe keeps in its folder, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from castsheet.ltx import keys
from castsheet.ltx.family import detect_family, family_of
from castsheet.ltx.parts.audio import AudioVAE, Vocoder, audio_vae_from_official, vocoder_from_official
from castsheet.ltx.parts.vae import VideoVAE, video_vae_from_official
from mini.official import video_vae_to_official
from mini.training.architecture import config
from mini.training.train_codec import start_near_linear
from mini.training.train_flow import Models

AUDIO, VOCODER, BASE = "audio.safetensors", "vocoder.safetensors", "base.safetensors"


def codec_file(recipe: Path) -> Path:
    """The whole codec: with its decoder trained on, once that is done."""
    trained_on = recipe / "decoder.safetensors"
    return trained_on if trained_on.exists() else recipe / "codec.safetensors"


def load_codec(path: Path, device: str, header: Mapping[str, Any] | None = None) -> VideoVAE:
    """A codec. `header`: the config that it was built from; mini's by default."""
    vae = (config() if header is None else header)["vae"]
    return video_vae_from_official(vae, load_file(path, device)).float().requires_grad_(False)


def deepened(path: Path, device: str) -> VideoVAE:
    """A codec from a file that may lack residual layers of the present header: they begin silent.

    Raises:
        CheckpointError: the file has tensors that the header does not know, or of other shapes.
    """
    stored = load_file(path, device)
    vae = VideoVAE(config()["vae"]).to(device)
    start_near_linear(vae)
    fresh = {name: tensor for name, tensor in video_vae_to_official(vae).items() if ".res_blocks." in name}
    return video_vae_from_official(vae.config, fresh | stored).float()


def load_audio(recipe: Path, device: str) -> tuple[AudioVAE, Vocoder]:
    """The audio VAE and the vocoder."""
    return load_audio_vae(recipe, device), load_vocoder(recipe / VOCODER, device)


def load_audio_vae(recipe: Path, device: str) -> AudioVAE:
    """The audio VAE."""
    vae = audio_vae_from_official(config()["audio_vae"], load_file(recipe / AUDIO, device)).float()
    return vae.requires_grad_(False)


def load_vocoder(path: Path, device: str) -> Vocoder:
    """A vocoder."""
    return vocoder_from_official(config()["vocoder"], load_file(path, device)).requires_grad_(False)


def header_of(base: Path) -> dict[str, Any]:
    """Mini's config in the formulas of the family that a base's tensors show."""
    with safe_open(base, framework="pt") as file:
        names = [name.removeprefix("transformer.") for name in file.keys()]  # noqa: SIM118
    return in_family(detect_family((), names))


def in_family(family: str) -> dict[str, Any]:
    """Mini's config in a family's formulas."""
    header = config()
    return header | {"transformer": header["transformer"] | dict(family_of(family).flags)}


def models_state(models: Models) -> dict[str, Tensor]:
    parts = {"transformer": models.transformer, "gemma": models.gemma.model, "connectors": models.connectors}
    return {
        f"{name}.{key}": tensor for name, part in parts.items() for key, tensor in part.state_dict().items()
    }


def load_models(models: Models, path: Path) -> None:
    state = load_file(path)
    parts = {"transformer": models.transformer, "gemma": models.gemma.model, "connectors": models.connectors}
    for name, part in parts.items():
        own = {key.removeprefix(f"{name}."): t for key, t in state.items() if key.startswith(f"{name}.")}
        part.load_state_dict({key: tensor.float() for key, tensor in own.items()})


def save(tensors: dict[str, Tensor], path: Path) -> None:
    """bf16, as the package ships them; statistics and modulation tables stay fp32, as in official files."""
    stored = {
        key: (tensor.float() if "statistics" in key or keys.is_table(key) else tensor.bfloat16())
        .detach()
        .cpu()
        .contiguous()
        for key, tensor in tensors.items()
    }
    temporary = path.with_suffix(".part")
    save_file(stored, temporary)
    temporary.replace(path)
