"""Train mini from nothing: `python -m mini.training.recipe --out FOLDER` on one GPU, or under
`torchrun --nproc-per-node N -m mini.training.recipe --out FOLDER` on several.

Codec and base in turn; each stage's result lies in the folder and is not made again. Every process renders
and encodes its own share of the identities and draws its batches from it; gradients are averaged. Pictures
and the log lie beside the results. The adapters are trained from there by the product's own trainer: see
pack.py. Needs the `mini` extra and an EGL driver for rendering.
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from castsheet.ltx.parts.vae import VideoVAE
from castsheet.machine.files import sha256
from castsheet.machine.processes import World, world
from mini.bundle.package import CHECKPOINT
from mini.bundle.unpack import unpack
from mini.data import corpus as corpora
from mini.data.captions import train_tokenizer
from mini.data.corpus import Corpus
from mini.data.emphasis import emphasis, token_weights
from mini.data.latents import Latents, encode
from mini.official import video_vae_to_official
from mini.training.optimise import Budget, mixed
from mini.training.pictures import clips_picture, to_uint8
from mini.training.stored import load_codec, load_models, models_state, save
from mini.training.train_codec import train_codec, train_decoder
from mini.training.train_flow import LATENT, Models, train_base
from mini.world import TRAINING, VALIDATION
from mini.world.render import Renderer


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
        self.show_clips(models, vae, held_out)
        if not self.latents_file.exists():
            latents.save(self.latents_file)
            self.log(f"encoded {tuple(latents.clips.shape)}")
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

    def show_clips(self, models: Models, vae: VideoVAE, held_out: Corpus) -> None:
        """Frames of held-out identities' actions that nothing but the caption guides."""
        if self.where.main:
            clips_picture(models, vae, held_out, self.device).save(self.out / "base.png")
            self.log("wrote base.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--bundle",
        type=Path,
        help="a bundle: its encoder stays, decoder and base are trained further (0 steps keep them), adapters"
        " start from its own",
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=14, help="that render, for each GPU")
    parser.add_argument("--identities", type=int, default=8000)
    parser.add_argument(
        "--first", type=int, default=600, help="identities a GPU waits for before the codec starts"
    )
    parser.add_argument("--validation", type=int, default=12)
    parser.add_argument("--until", choices=("codec", "base"), default="base")
    for stage, steps, batch in (
        ("codec", 6000, 16),
        ("decoder", 2000, 16),
        ("base", 3000, 128),
    ):
        parser.add_argument(f"--{stage}-steps", type=int, default=steps)
        parser.add_argument(f"--{stage}-batch", type=int, default=batch, help="samples a GPU")
        parser.add_argument(f"--{stage}-seconds", type=float, default=math.inf, help="end the stage earlier")
    arguments = parser.parse_args()
    with world(torch.device(arguments.device)) as where:
        Recipe(arguments, where).run()


if __name__ == "__main__":
    main()
