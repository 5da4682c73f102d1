"""Train mini from nothing: `python -m castsheet.mini.recipe --out FOLDER` on one GPU, or under
`torchrun --nproc-per-node N -m castsheet.mini.recipe --out FOLDER` on several.

Codec, base and adapters in turn; each stage's result lies in the folder and is not made again. Every process
renders and encodes its own share of the identities and draws its batches from it; gradients are averaged.
Pictures and the log lie beside the results. Needs the `mini` extra and an EGL driver for rendering.
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from castsheet.files import sha256
from castsheet.ltx import lora
from castsheet.ltx.dit import Stream
from castsheet.ltx.vae import VideoVAE, video_vae_from_official, video_vae_to_official
from castsheet.mini import corpus as corpora
from castsheet.mini.architecture import LATENT_CHANNELS, config
from castsheet.mini.captions import NEGATIVE, caption, train_tokenizer
from castsheet.mini.corpus import Corpus
from castsheet.mini.emphasis import emphasis, token_weights
from castsheet.mini.latents import Latents, encode
from castsheet.mini.optimise import Budget, mixed
from castsheet.mini.package import CHECKPOINT
from castsheet.mini.train_codec import train_codec, train_decoder
from castsheet.mini.train_flow import (
    EXCERPT,
    LATENT,
    TOKENS,
    Models,
    Phase,
    compile_blocks,
    rope_tables,
    train_adapter,
    train_base,
)
from castsheet.mini.unpack import unpack
from castsheet.mini.world import TRAINING, VALIDATION
from castsheet.mini.world.motion import ACTIONS
from castsheet.mini.world.render import Renderer
from castsheet.processes import World, world
from castsheet.sampling.schedule import sigmas


class Recipe:
    """The stages, sharing a folder, a device and a log. Only the first process writes and draws."""

    def __init__(self, arguments: argparse.Namespace, where: World) -> None:
        self.arguments = arguments
        self.where = where
        self.out: Path = arguments.out
        self.device = str(where.device)
        self.begun = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        self.start: Path | None = None
        if arguments.bundle is not None:
            self.start = self.out / "start"
            if where.main and not self.start.exists():
                unpack(arguments.bundle, self.start)
                shutil.copyfile(self.start / "codec.safetensors", self.out / "codec.safetensors")
                shutil.copytree(self.start / "tokenizer", self.out / "tokenizer", dirs_exist_ok=True)
            where.wait()
            checkpoint = arguments.bundle / CHECKPOINT
            self.log(f"went on from {checkpoint.name}, sha256 {sha256(checkpoint)[:12]}")

    def log(self, text: str) -> None:
        if not self.where.main:
            return
        line = f"{time.monotonic() - self.begun:7.1f} s  {text}"
        print(line, flush=True)
        with (self.out / "log.txt").open("a") as handle:
            handle.write(line + "\n")

    def run(self) -> None:
        options = self.arguments
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        held_out = self.render(VALIDATION[: options.validation])
        held_out.wait_for(options.validation)
        training: Corpus | None = None
        if not self.latents_file.exists():
            training = self.render(TRAINING[: options.identities][self.where.rank :: self.where.size])
            training.wait_for(min(len(training.actions), options.first))
            self.log(f"{training.ready} of {len(training.actions)} identities of this process rendered")
        weights_AFHW = emphasis(Renderer()).to(self.device)
        vae = self.codec(training)
        latents = self.latents(vae, training)
        vae = self.decoder(vae, training, weights_AFHW)
        self.show_codec(vae, held_out)
        if options.until == "codec":
            return
        weights_AN = token_weights(weights_AFHW, LATENT)
        models = self.base(latents, weights_AN)
        self.show_clips(models, vae, held_out, "base.png", reference_frames=0)
        if not self.latents_file.exists():
            latents.save(self.latents_file)
            self.log(f"encoded {tuple(latents.clips.shape)}")
        if options.until == "base":
            return
        self.adapter(models, vae, held_out, latents, weights_AN)
        self.log("done")

    def render(self, seeds: Sequence[int]) -> Corpus:
        """Begin to render identities, on this process's card."""
        return corpora.start(seeds, card=self.where.device.index, processes=self.arguments.processes)

    @property
    def latents_file(self) -> Path:
        """What this process has encoded."""
        return self.out / f"latents-{self.where.rank}-of-{self.where.size}.safetensors"

    def latents(self, vae: VideoVAE, training: Corpus | None) -> Latents:
        """What this process trains on, perhaps still being rendered and encoded."""
        if training is None:
            return Latents.load(self.latents_file, self.device)
        latents = encode(vae, training, self.device)
        latents.wait_for(min(len(latents.actions), self.arguments.first))
        return latents

    def codec(self, training: Corpus | None) -> VideoVAE:
        path = self.out / "codec.safetensors"
        if path.exists() or training is None:
            return load_codec(path, self.device)
        self.where.wait()  # nobody may find what the first process is about to write
        options = self.arguments
        budget = Budget(options.codec_steps, options.codec_seconds)
        vae = train_codec(training, budget, batch=options.codec_batch, where=self.where, log=self.log)
        if self.where.main:
            save(video_vae_to_official(vae), path)
        return vae

    def decoder(self, vae: VideoVAE, training: Corpus | None, weights_AFHW: Tensor) -> VideoVAE:
        """The codec with its decoder trained on; `decoder.safetensors` holds all of it."""
        path = self.out / "decoder.safetensors"
        if path.exists():
            return load_codec(path, self.device)
        if training is None:
            return vae
        self.where.wait()
        options = self.arguments
        budget = Budget(options.decoder_steps, options.decoder_seconds)
        train_decoder(
            vae, training, weights_AFHW, budget, batch=options.decoder_batch, where=self.where, log=self.log
        )
        if self.where.main:
            save(video_vae_to_official(vae), path)
        return vae

    def base(self, latents: Latents, weights_AN: Tensor) -> Models:
        tokenizer = self.out / "tokenizer"
        if self.where.main and not (tokenizer / "tokenizer.json").exists():
            train_tokenizer(tokenizer)
        self.where.wait()
        torch.manual_seed(42 + self.where.rank)
        models = Models.build(tokenizer, self.device)
        path = self.out / "base.safetensors"
        options = self.arguments
        if path.exists():
            load_models(models, path)
            compile_blocks(models.transformer, self.device)
            return models
        budget = Budget(options.base_steps, options.base_seconds)
        self.where.wait()
        if self.start is not None:
            load_models(models, self.start / path.name)
        batch = options.base_batch
        train_base(models, latents, weights_AN, budget, batch=batch, where=self.where, log=self.log)
        if self.where.main:
            save(models_state(models), path)
        return models

    def adapter(
        self, models: Models, vae: VideoVAE, held_out: Corpus, latents: Latents, weights_AN: Tensor
    ) -> None:
        options = self.arguments
        earlier = None if self.start is None else self.start / "looped.safetensors"

        def phase(name: str, frames: int, rate: float, **more: Any) -> Phase:
            steps, seconds, batch = (getattr(options, f"{name}_{of}") for of in ("steps", "seconds", "batch"))
            return Phase(name, Budget(steps, seconds), batch, frames, rate, **more)

        phases = [
            phase("sparse", 2, 2e-3, target=EXCERPT, sigma_tokens=3 * TOKENS, start=earlier, floor=0.3),
            phase("looped", LATENT[0], 1e-3),
            phase("still", 1, 5e-4, start=self.out / "sparse.safetensors"),
        ]
        frames_of = {one.name: one.frames for one in phases}

        def file(name: str) -> Path:
            return self.out / f"{name}.safetensors"

        def keep(name: str) -> None:
            if self.where.main:
                lora.write(file(name), lora.attached_state(models.transformer, torch.bfloat16), {})
            held = 1 if frames_of[name] == 1 else LATENT[0]
            self.show_clips(models, vae, held_out, f"{name}.png", reference_frames=held)

        train_adapter(
            models, latents, weights_AN, phases, where=self.where, log=self.log, files=file, after=keep
        )

    @torch.no_grad()
    def show_codec(self, vae: VideoVAE, held_out: Corpus) -> None:
        """Truth and reconstruction of unseen clips, and their sheets."""
        if not self.where.main:
            return
        rows, errors = [], []
        for index in range(min(6, held_out.ready)):
            with mixed(self.device):
                clip = corpora.pixels(held_out.clips[index : index + 1], self.device)
                sheet = corpora.pixels(held_out.sheets[index : index + 1, None], self.device)
                decoded = to_uint8(vae.decode(vae.encode(clip))[0])
                still = to_uint8(vae.decode(vae.encode(sheet))[0])
            truth = held_out.clips[index].numpy()
            errors.append(float(np.mean((decoded.astype(float) - truth) ** 2)))
            frames = [
                truth[0],
                decoded[0],
                truth[61],
                decoded[61],
                held_out.sheets[index].numpy(),
                still[0],
            ]
            rows.append(np.concatenate(frames, axis=1))
        Image.fromarray(np.concatenate(rows)).save(self.out / "codec.png")
        self.log(f"codec: unseen clips at {10 * np.log10(255**2 / np.mean(errors)):.2f} dB PSNR")

    @torch.no_grad()
    def show_clips(
        self, models: Models, vae: VideoVAE, held_out: Corpus, name: str, *, reference_frames: int
    ) -> None:
        """Sheet, truth and sampled frames of held-out identities."""
        if not self.where.main:
            return
        count = min(12, held_out.ready)
        random = np.random.default_rng(3)
        actions = [list(ACTIONS)[int(a)] for a in held_out.actions[:count]]
        eager = torch.compiler.set_stance("force_eager")  # compiling for one batch of pictures costs more
        with eager, mixed(self.device):
            sheets = corpora.pixels(held_out.sheets[:count, None], self.device)
            still = vae.encode(sheets).flatten(2).transpose(1, 2)
            ids, mask = models.gemma.batch([caption(action, random) for action in actions] + [NEGATIVE])
            contexts = models.contexts(ids, mask)
            given = still.repeat(1, reference_frames, 1) if reference_frames else None
            tokens = sample(models, contexts[:-1], contexts[-1:].expand(count, -1, -1), given, self.device)
            latents = tokens.transpose(1, 2).unflatten(2, LATENT)
            clips = [to_uint8(vae.decode(latents[i : i + 1])[0]) for i in range(count)]
        rows = []
        for i, clip in enumerate(clips):
            truth, sheet = held_out.clips[i].numpy(), held_out.sheets[i].numpy()
            rows.append(np.concatenate([sheet, truth[45], *clip[[0, 25, 45, 75, 110]]], axis=1))
        Image.fromarray(np.concatenate(rows)).save(self.out / name)
        self.log(f"wrote {name}")


@torch.no_grad()
def sample(
    models: Models,
    context: Tensor,
    negative: Tensor,
    reference: Tensor | None,
    device: str,
    *,
    steps: int = 16,
    guidance: float = 2.5,
) -> Tensor:
    """Euler sampling for pictures while training; the product's own sampler serves users."""
    count = len(context)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, TOKENS, LATENT_CHANNELS, generator=generator).to(device)
    tables = rope_tables(models.transformer, device)
    tables = tables.first(TOKENS + (0 if reference is None else reference.shape[1]))
    levels = sigmas(steps).tolist()
    for level, following in pairwise(levels):
        sigma = torch.full((count,), level, device=device)
        velocity = []
        for words in (context, negative):
            parts = [x] if reference is None else [x, reference.to(x)]
            times = [sigma] if reference is None else [sigma, torch.zeros_like(sigma)]
            stream = Stream(
                tokens_BTC=torch.cat(parts, dim=1),
                context_BLD=words,
                rope=tables,
                segments=tuple(part.shape[1] for part in parts),
                timesteps_BS=torch.stack(times, dim=1),
                sigma_B=sigma,
            )
            velocity.append(models.transformer(stream, keep=TOKENS).video_BTC.float())
        x = x + (following - level) * (velocity[1] + guidance * (velocity[0] - velocity[1]))
    return x


def to_uint8(pixels_CFHW: Tensor) -> np.ndarray:
    """(3, F, H, W) in [-1, 1] to (F, H, W, 3) uint8."""
    return ((pixels_CFHW.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().numpy()


def load_codec(path: Path, device: str) -> VideoVAE:
    return video_vae_from_official(config()["vae"], load_file(path, device)).float().requires_grad_(False)


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
        key: (tensor.float() if "statistics" in key or "scale_shift_table" in key else tensor.bfloat16())
        .detach()
        .cpu()
        .contiguous()
        for key, tensor in tensors.items()
    }
    temporary = path.with_suffix(".part")
    save_file(stored, temporary)
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--bundle",
        type=Path,
        help="a bundle: its codec is kept, its base and looped adapter are trained further",
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=14, help="that render, for each GPU")
    parser.add_argument("--identities", type=int, default=8000)
    parser.add_argument(
        "--first", type=int, default=600, help="identities a GPU waits for before the codec starts"
    )
    parser.add_argument("--validation", type=int, default=12)
    parser.add_argument("--until", choices=("codec", "base", "adapter"), default="adapter")
    for stage, steps, batch in (
        ("codec", 6000, 16),
        ("decoder", 2000, 16),
        ("base", 3000, 128),
        ("sparse", 3000, 384),
        ("looped", 3000, 64),
        ("still", 1500, 128),
    ):
        parser.add_argument(f"--{stage}-steps", type=int, default=steps)
        parser.add_argument(f"--{stage}-batch", type=int, default=batch, help="samples a GPU")
        parser.add_argument(f"--{stage}-seconds", type=float, default=math.inf, help="end the stage earlier")
    arguments = parser.parse_args()
    with world(torch.device(arguments.device)) as where:
        Recipe(arguments, where).run()


if __name__ == "__main__":
    main()
