"""Train mini from nothing: `python -m castsheet.mini.recipe --out FOLDER` on one GPU.

Codec, base and adapter in turn; each stage's result lies in the folder and is not made again. Pictures and
the log lie beside them. Needs the `mini` extra and an EGL driver for rendering.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from castsheet.ltx import lora
from castsheet.ltx.dit import Stream
from castsheet.ltx.vae import VideoVAE, video_vae_from_official, video_vae_to_official
from castsheet.mini import corpus as corpora
from castsheet.mini.architecture import LATENT_CHANNELS, config
from castsheet.mini.captions import NEGATIVE, caption, train_tokenizer
from castsheet.mini.corpus import Corpus
from castsheet.mini.optimise import Budget
from castsheet.mini.train_codec import encode_corpus, train_codec
from castsheet.mini.train_flow import (
    LATENT,
    TOKENS,
    Models,
    Phase,
    compile_blocks,
    rope_tables,
    train_adapter,
    train_base,
)
from castsheet.mini.world import TRAINING, VALIDATION
from castsheet.mini.world.motion import ACTIONS
from castsheet.sampling.schedule import sigmas


class Recipe:
    """The stages, sharing a folder, a device and a log."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.out: Path = arguments.out
        self.device: str = arguments.device
        self.begun = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)

    def log(self, text: str) -> None:
        line = f"{time.monotonic() - self.begun:7.1f} s  {text}"
        print(line, flush=True)
        with (self.out / "log.txt").open("a") as handle:
            handle.write(line + "\n")

    def run(self) -> None:
        options = self.arguments
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        held_out = corpora.start(
            VALIDATION[: options.validation], device=self.device, processes=options.processes
        )
        held_out.wait_for(options.validation)
        training: Corpus | None = None
        if not (self.out / "latents.safetensors").exists():
            training = corpora.start(
                TRAINING[: options.identities], device=self.device, processes=options.processes
            )
            training.wait_for(min(options.identities, options.first))
            self.log(f"{training.ready} of {options.identities} identities rendered")
        vae = self.codec(training)
        self.show_codec(vae, held_out)
        if options.until == "codec":
            return
        clips, sheets, actions = self.latents(vae, training)
        models = self.base(clips, actions)
        self.show_clips(models, vae, held_out, "base.png", reference=False)
        if options.until == "base":
            return
        self.adapter(models, vae, held_out, clips, sheets, actions)
        self.log("done")

    def latents(self, vae: VideoVAE, training: Corpus | None) -> tuple[Tensor, Tensor, Tensor]:
        """Clips (S, 1344, 64), sheets (S, 84, 64) and actions (S,), encoded once."""
        path = self.out / "latents.safetensors"
        if training is None:
            stored = load_file(path, self.device)
            return stored["clips"], stored["sheets"], stored["actions"]
        clips, sheets = encode_corpus(vae, training, self.device, self.log)
        training.clips = torch.empty(0)
        torch.cuda.empty_cache()
        self.log(f"encoded {tuple(clips.shape)}")
        save_file({"clips": clips, "sheets": sheets, "actions": training.actions}, path)
        return clips, sheets, training.actions

    def codec(self, training: Corpus | None) -> VideoVAE:
        path = self.out / "codec.safetensors"
        if path.exists() or training is None:
            return video_vae_from_official(config()["vae"], load_file(path, self.device)).float()
        options = self.arguments
        budget = Budget(options.codec_steps, options.codec_seconds)
        vae = train_codec(training, budget, batch=options.codec_batch, device=self.device, log=self.log)
        save(video_vae_to_official(vae), path)
        return vae

    def base(self, clips: Tensor, actions: Tensor) -> Models:
        tokenizer = self.out / "tokenizer"
        if not (tokenizer / "tokenizer.json").exists():
            train_tokenizer(tokenizer)
        torch.manual_seed(42)
        models = Models.build(tokenizer, self.device)
        path = self.out / "base.safetensors"
        options = self.arguments
        if path.exists():
            load_models(models, path)
            compile_blocks(models.transformer, self.device)
            return models
        budget = Budget(options.base_steps, options.base_seconds)
        train_base(models, clips, actions, budget, batch=options.base_batch, device=self.device, log=self.log)
        save(models_state(models), path)
        return models

    def adapter(
        self, models: Models, vae: VideoVAE, held_out: Corpus, clips: Tensor, sheets: Tensor, actions: Tensor
    ) -> None:
        options = self.arguments
        sparse = Budget(options.sparse_steps, options.sparse_seconds)
        full = Budget(options.full_steps, options.full_seconds)
        phases = [
            Phase(sparse, options.sparse_batch, 2, 1e-3),
            Phase(full, options.full_batch, LATENT[0], 5e-4),
        ]
        done = self.out / "adapter-0.safetensors"

        def keep(number: int) -> None:
            path = self.out / f"adapter-{number}.safetensors"
            lora.write(path, lora.attached_state(models.transformer, torch.bfloat16), {})
            self.show_clips(models, vae, held_out, f"adapter-{number}.png", reference=True)

        train_adapter(
            models, clips, sheets, actions, phases, device=self.device, log=self.log, after=keep, done=done
        )

    @torch.no_grad()
    def show_codec(self, vae: VideoVAE, held_out: Corpus) -> None:
        """Truth and reconstruction of unseen clips, and their sheets."""
        rows, errors = [], []
        for index in range(min(6, held_out.ready)):
            with torch.autocast(self.device.split(":")[0], torch.bfloat16):
                decoded = to_uint8(
                    vae.decode(vae.encode(corpora.pixels(held_out.clips[index : index + 1])))[0]
                )
                still = to_uint8(
                    vae.decode(vae.encode(corpora.pixels(held_out.sheets[index : index + 1, None])))[0]
                )
            truth = held_out.clips[index].cpu().numpy()
            errors.append(float(np.mean((decoded.astype(float) - truth) ** 2)))
            frames = [
                truth[0],
                decoded[0],
                truth[61],
                decoded[61],
                held_out.sheets[index].cpu().numpy(),
                still[0],
            ]
            rows.append(np.concatenate(frames, axis=1))
        Image.fromarray(np.concatenate(rows)).save(self.out / "codec.png")
        self.log(f"codec: unseen clips at {10 * np.log10(255**2 / np.mean(errors)):.2f} dB PSNR")

    @torch.no_grad()
    def show_clips(
        self, models: Models, vae: VideoVAE, held_out: Corpus, name: str, *, reference: bool
    ) -> None:
        """Sheet, truth and sampled frames of held-out identities."""
        count = min(12, held_out.ready)
        random = np.random.default_rng(3)
        actions = [list(ACTIONS)[int(a)] for a in held_out.actions[:count]]
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            still = vae.encode(corpora.pixels(held_out.sheets[:count, None])).flatten(2).transpose(1, 2)
            ids, mask = models.gemma.batch([caption(action, random) for action in actions] + [NEGATIVE])
            contexts = models.contexts(ids, mask)
            given = still.repeat(1, LATENT[0], 1) if reference else None
            tokens = sample(models, contexts[:-1], contexts[-1:].expand(count, -1, -1), given, self.device)
            latents = tokens.transpose(1, 2).unflatten(2, LATENT)
            clips = [to_uint8(vae.decode(latents[i : i + 1])[0]) for i in range(count)]
        rows = []
        for i, clip in enumerate(clips):
            truth = held_out.clips[i].cpu().numpy()
            rows.append(
                np.concatenate(
                    [held_out.sheets[i].cpu().numpy(), truth[45], *clip[[0, 25, 45, 75, 110]]], axis=1
                )
            )
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
    if reference is None:
        tables = tables.first(TOKENS)
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
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=14)
    parser.add_argument("--identities", type=int, default=8000)
    parser.add_argument(
        "--first", type=int, default=600, help="identities to wait for before the codec starts"
    )
    parser.add_argument("--validation", type=int, default=12)
    parser.add_argument("--until", choices=("codec", "base", "adapter"), default="adapter")
    for stage, steps, batch in (
        ("codec", 6000, 16),
        ("base", 3000, 128),
        ("sparse", 3000, 128),
        ("full", 1200, 64),
    ):
        parser.add_argument(f"--{stage}-steps", type=int, default=steps)
        parser.add_argument(f"--{stage}-batch", type=int, default=batch)
        parser.add_argument(f"--{stage}-seconds", type=float, default=math.inf, help="end the stage earlier")
    Recipe(parser.parse_args()).run()


if __name__ == "__main__":
    main()
