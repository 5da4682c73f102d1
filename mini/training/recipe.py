"""Train mini from nothing: `python -m mini.training.recipe --out FOLDER` on one GPU, or under
`torchrun --nproc-per-node N -m mini.training.recipe --out FOLDER` on several.

Sound, words, codec and base in turn; each stage's result lies in the folder and is not made again. Every
process renders its own share of the stories and draws its batches from it; gradients are averaged. Pictures
and the log lie beside the results. `--given FOLDER` begins with the results that lie there; a stage goes on
from begun-STAGE.safetensors (codec, vocoder, base; words from the base's). The adapters are trained from
there by the product's own trainer: see pack.py. Needs the `mini` extra and an EGL driver for rendering.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from castsheet.ltx.parts.vae import VideoVAE
from castsheet.machine.processes import World, world
from mini.data import corpus as corpora
from mini.data.captions import train_tokenizer
from mini.data.corpus import Corpus, Rendered, Stories
from mini.data.latents import Encoders, Latents, encode
from mini.data.prompts import texts
from mini.official import audio_vae_to_official, video_vae_to_official, vocoder_to_official
from mini.story.place import kind_of
from mini.training.architecture import config
from mini.training.excerpts import Sizes
from mini.training.measure import fidelity, places_heard
from mini.training.optimise import Budget
from mini.training.options import parsed
from mini.training.pictures import clips_picture, codec_picture, limbs_picture, sound_picture
from mini.training.positions import Moving
from mini.training.stored import (
    AUDIO,
    BASE,
    VOCODER,
    codec_file,
    deepened,
    load_audio,
    load_audio_vae,
    load_codec,
    load_models,
    load_vocoder,
    models_state,
    save,
)
from mini.training.train_audio import train_audio_vae, train_vocoder
from mini.training.train_codec import train_codec, train_decoder
from mini.training.train_flow import Models, mean_loss, train_base
from mini.training.train_words import Words, train_words
from mini.world import TRAINING, VALIDATION

TOKENIZER, TOKENIZER_TEXTS = "tokenizer", 20_000
MASKS_EVERY = 4  # frames, for the base: its tokens are 8 frames long
AHEAD = 120  # stories of the base that may wait for the encoder, while the codec still learns


class Recipe:
    """The stages, sharing a folder, a device and a log. Only the first process writes and draws."""

    def __init__(self, arguments: argparse.Namespace, where: World) -> None:
        self.arguments = arguments
        self.where = where
        self.out: Path = arguments.out
        self.device = str(where.device)
        self.since = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        if arguments.given is not None and where.main:
            for file in sorted(arguments.given.glob("*.safetensors")):
                if not (self.out / file.name).exists():
                    shutil.copyfile(file, self.out / file.name)
            if (arguments.given / TOKENIZER).is_dir():
                shutil.copytree(arguments.given / TOKENIZER, self.out / TOKENIZER, dirs_exist_ok=True)
        where.wait()
        self._corpus: Corpus | None = None
        self._latents: Latents | None = None
        self._stories: Stories | None = None

    def log(self, text: str) -> None:
        if not self.where.main:
            return
        line = f"{time.monotonic() - self.since:7.1f} s  {text}"
        print(line, flush=True)
        with (self.out / "log.txt").open("a") as handle:
            handle.write(line + "\n")

    def run(self) -> None:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        stages = self.arguments.stages
        if "sound" in stages:
            self.sound()
        if "codec" in stages:
            self.begin_corpus()
        elif "latents" in stages or ("base" in stages and not (self.out / BASE).exists()):
            self.stories()  # rendered while the unseen ones and the models are made ready
        if "words" in stages:
            self.words()
        held_out = self.held_out() if {"codec", "base", "latents"} & set(stages) else None
        if "codec" in stages:
            self.show_codec(self.decoder(self.codec()), held_out)
            self._corpus = None
        if "base" in stages:
            vae, models = load_codec(codec_file(self.out), self.device), self.base()
            self.show_clips(models, vae, held_out)
            self.compare(models, vae, held_out)
        if "latents" in stages:
            self.store_latents()
        if self._latents is not None:
            self._latents.stop()
        self.log("done")

    def held_out(self) -> Corpus | None:
        """Unseen stories, on the first process."""
        if not self.where.main or not self.arguments.validation:
            return None
        held_out = self.render(VALIDATION[: self.arguments.validation])
        held_out.wait_for(self.arguments.validation)
        self.log(f"{held_out.ready} unseen stories rendered")
        return held_out

    def render(self, seeds: Sequence[int]) -> Corpus:
        return corpora.start(seeds, device=self.device, processes=self.arguments.processes)

    def share(self, count: int, *, after: int = 0) -> Sequence[int]:
        """This process's training seeds, of `count` a process, `after` so many."""
        begin = (self.arguments.skip + after) * self.where.size
        return TRAINING[begin : begin + count * self.where.size][self.where.rank :: self.where.size]

    def begin_corpus(self) -> Corpus:
        """This process's training stories, being rendered."""
        if self._corpus is None:
            self._corpus = self.render(self.share(self.arguments.clips))
        return self._corpus

    @property
    def corpus(self) -> Corpus:
        """This process's training stories, all of them: on a card that is being trained they take twice as
        long, and so does a step. After them come the base's, as many as may wait.
        """
        corpus = self.begin_corpus()
        if corpus.ready < len(corpus):
            corpus.wait_for(len(corpus))
            self.log(f"{len(corpus)} stories of this process rendered")
        if {"base", "latents"} & set(self.arguments.stages):
            self.stories()
        return corpus

    def stories(self) -> Stories:
        """The base's training stories of this process, being rendered."""
        if self._stories is None:
            options, card = self.arguments, torch.device(self.device).index
            seeds = self.share(options.stories)
            ahead = min(options.first, AHEAD)
            self._stories = Stories(
                seeds,
                processes=options.processes,
                card=card,
                ahead=ahead,
                masks_every=MASKS_EVERY,
                poses=options.poses,
            )
        return self._stories

    def all_stories(self) -> Iterator[Rendered]:
        """The base's stories, then windows of others that are drawn in software, beside its training."""
        yield from self.stories()
        options = self.arguments
        if options.windows:
            seeds, workers = self.share(options.windows, after=options.stories), options.window_processes
            yield from Stories(
                seeds, processes=workers, card=None, masks_every=MASKS_EVERY, windows=True, software=True
            )

    def budget(self, stage: str) -> Budget:
        steps, seconds, share, hold = (
            vars(self.arguments)[f"{stage}_{name}"] for name in ("steps", "seconds", "share", "hold")
        )
        return Budget(steps, seconds, tuple(share), hold)

    def sizes(self, stage: str) -> Sizes:
        return Sizes(cuts=vars(self.arguments)[f"{stage}_batch"])

    def missing(self, *names: str) -> bool:
        """Whether results are not there yet. All processes look before one of them writes."""
        absent = not all((self.out / name).exists() for name in names)
        self.where.wait()
        return absent

    def begun(self, stage: str) -> Path | None:
        """What a stage goes on from, if an earlier run has begun it."""
        path = self.out / f"begun-{stage}.safetensors"
        if not path.exists():
            return None
        self.log(f"{stage} goes on")
        return path

    def codec(self) -> VideoVAE:
        path = self.out / "codec.safetensors"
        if not self.missing(path.name):
            return load_codec(path, self.device)
        begun = self.begun("codec")
        vae = train_codec(
            config()["vae"],
            self.corpus,
            self.budget("codec"),
            sizes=self.sizes("codec"),
            rate=self.arguments.codec_rate,
            where=self.where,
            log=self.log,
            start=None if begun is None else deepened(begun, self.device),
        )
        self.keep(video_vae_to_official(vae), path.name)
        return vae

    def decoder(self, vae: VideoVAE) -> VideoVAE:
        """The codec with its decoder trained on; `decoder.safetensors` holds all of it."""
        path = self.out / "decoder.safetensors"
        if not self.missing(path.name):
            return load_codec(path, self.device)
        budget, sizes = self.budget("decoder"), self.sizes("decoder")
        train_decoder(vae, self.corpus, budget, sizes=sizes, where=self.where, log=self.log)
        self.keep(video_vae_to_official(vae), path.name)
        return vae

    def sound(self) -> None:
        """The audio VAE and the vocoder, into the folder."""
        made = not self.missing(AUDIO)
        if made and not self.missing(VOCODER):
            return
        options, header = self.arguments, config()
        sounds = corpora.sounds(self.share(options.sounds), processes=options.processes)
        self.log(f"{len(sounds)} sounds of this process made")
        if not made:
            budget, batch = self.budget("audio"), options.audio_batch
            audio = train_audio_vae(
                header["audio_vae"], sounds, budget, batch=batch, where=self.where, log=self.log
            )
            self.keep(audio_vae_to_official(audio), AUDIO)
        budget, batch = self.budget("vocoder"), options.vocoder_batch
        begun = self.begun("vocoder")
        vocoder = train_vocoder(
            header["vocoder"],
            sounds,
            budget,
            batch=batch,
            where=self.where,
            log=self.log,
            start=None if begun is None else load_vocoder(begun, self.device),
        )
        self.keep(vocoder_to_official(vocoder), VOCODER)
        self.show_sound()
        self.where.wait()

    def words(self) -> None:
        """What the base begins with, its text encoder taught whom words name."""
        torch.manual_seed(45 + self.where.rank)
        models, options = Models.build(self.tokenizer(), self.device), self.arguments
        if begun := self.begun("base"):
            load_models(models, begun)
        if "base" in options.stages:
            self.latents(models)  # are made meanwhile
        words = Words.of(texts(TOKENIZER_TEXTS), models.gemma)
        budget, batch = self.budget("words"), options.words_batch
        train_words(models, words, budget, batch=batch, where=self.where, log=self.log)
        self.keep(models_state(models), "begun-base.safetensors")
        self.where.wait()

    def base(self) -> Models:
        torch.manual_seed(46 + self.where.rank)
        models, path = Models.build(self.tokenizer(), self.device), self.out / BASE
        if not self.missing(path.name):
            load_models(models, path)
            return models
        options = self.arguments
        if begun := self.begun("base"):
            load_models(models, begun)
        latents = self.latents(models)
        budget, batch = self.budget("base"), options.base_batch

        def keep() -> None:
            self.keep(models_state(models), "begun-base.safetensors")

        def compiled() -> None:
            """Rendering and training would slow each other down: what may be shared is compiling alone."""
            latents.wait_for(min(len(latents), options.first))
            self.log(f"{latents.ready} of {len(latents)} stories of this process encoded")

        moving = None
        if options.base_moving:
            theta, reach, steps = options.base_moving
            moving = Moving(theta, reach, int(steps))
        train_base(
            models,
            latents,
            budget,
            batch=batch,
            where=self.where,
            log=self.log,
            keep=keep,
            compiled=compiled,
            moving=moving,
        )
        self.log(f"{latents.ready} of {len(latents)} stories of this process encoded by now")
        self.keep(models_state(models), path.name)
        return models

    def latents(self, models: Models) -> Latents:
        """Training stories of this process, perhaps still being rendered and encoded."""
        if self._latents is None:
            count = self.arguments.stories + self.arguments.windows
            self._latents = Latents.empty(count, self.device, windows=self.arguments.windows)
            encode(
                self.encoders(models, load_codec(codec_file(self.out), self.device)),
                self.all_stories(),
                self._latents,
            )
            self._latents.wait_for(min(self.arguments.stories, self.arguments.first, AHEAD))
        return self._latents

    def encoders(self, models: Models, vae: VideoVAE) -> Encoders:
        return Encoders(vae, load_audio_vae(self.out, self.device), models.gemma)

    def store_latents(self) -> None:
        """All of this process's latents, for the adapters: see pack.py."""
        models = Models.build(self.tokenizer(), self.device)
        latents = self.latents(models)
        latents.wait_for(len(latents) - latents.windows, self.arguments.latents_seconds)
        latents.stop()
        latents.save(self.out / f"latents-{self.where.rank}-of-{self.where.size}.safetensors")
        self.log(f"encoded {latents.whole} whole stories of this process")

    def tokenizer(self) -> Path:
        folder = self.out / TOKENIZER
        if self.where.main and not (folder / "tokenizer.json").exists():
            train_tokenizer(folder, texts(TOKENIZER_TEXTS))
        self.where.wait()
        return folder

    def keep(self, tensors: dict[str, Tensor], name: str) -> None:
        if self.where.main:
            save(tensors, self.out / name)

    def show_codec(self, vae: VideoVAE, held_out: Corpus | None) -> None:
        """Unseen clips and sheets beside their reconstructions, and moving limbs enlarged."""
        if held_out is not None:
            found = fidelity(vae, held_out, self.device)
            self.log("codec, dB PSNR: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
            (self.out / "codec.json").write_text(json.dumps(found, indent=1) + "\n")
            codec_picture(vae, held_out, self.device).save(self.out / "codec.jpg", quality=92)
            limbs_picture(vae, held_out, self.device).save(self.out / "limbs.jpg", quality=92)

    def show_sound(self) -> None:
        """Spectrograms of unseen sounds: true, through the VAE, and of what the vocoder makes of either."""
        if self.where.main:
            unseen = corpora.sounds(VALIDATION[:64], processes=self.arguments.processes)
            vae, vocoder = load_audio(self.out, self.device)
            picture, found = sound_picture(vae, vocoder, unseen, self.device)
            self.log("sound, mean error of log-mels: " + ", ".join(f"{k} {v:.3f}" for k, v in found.items()))
            kinds = [kind_of(seed) for seed in VALIDATION[:64]]
            share = places_heard(vocoder, unseen, kinds, self.device)
            self.log(f"vocoder, places that can be told from their sound: {share:.0%}")
            picture.save(self.out / "sound.png")

    def show_clips(self, models: Models, vae: VideoVAE, held_out: Corpus | None) -> None:
        """Frames of unseen stories that nothing but the prompt guides."""
        if held_out is not None:
            clips_picture(models, vae, held_out, self.device).save(self.out / "base.jpg", quality=92)

    def compare(self, models: Models, vae: VideoVAE, held_out: Corpus | None) -> None:
        """The base's loss on unseen stories, beside that on as many of the training's if those are there."""
        if held_out is None:
            return
        count, found = held_out.ready, dict[str, Latents]()
        found["unseen"] = Latents.empty(count, self.device)
        for begin in range(0, count, 4):
            stories = [held_out.story(index) for index in range(begin, min(begin + 4, count))]
            self.encoders(models, vae).add(found["unseen"], stories)
        if self._latents is not None and self._latents.ready >= count:
            found["seen"] = self._latents
        losses = {name: mean_loss(models, latents, self.device, count) for name, latents in found.items()}
        self.log("base, mean loss: " + ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items()))
        (self.out / "base.json").write_text(json.dumps(losses, indent=1) + "\n")


def main() -> None:
    arguments = parsed(__doc__ or "")
    with world(torch.device(arguments.device)) as where:
        Recipe(arguments, where).run()


if __name__ == "__main__":
    main()
