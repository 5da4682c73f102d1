"""The model as the pipeline uses it: parts loaded on demand, adapters merged, encoded prompts cached."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import Tensor

from castsheet.errors import OutputError, TextEncoderError
from castsheet.loading.placement import Placement
from castsheet.loading.source import Source
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.family import family_of
from castsheet.ltx.files.transformer import load_transformer
from castsheet.ltx.formats import FORMATS
from castsheet.ltx.latents import enlarge
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.gemma import gemma_fingerprint
from castsheet.ltx.parts.text import Context, ContextCache, GemmaEncoder, TextEncoder
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.ltx.speed.fast import make_fast
from castsheet.ltx.speed.memory import Plan
from castsheet.machine.device import working_on
from castsheet.machine.files import cache_folder
from castsheet.sampling.denoiser import Contexts, RunPasses, run_alone
from castsheet.settings import Settings


class _GivenUp(Exception):
    """Ends a thread whose work nobody wants any more."""


class Models:
    """The parts of a `Source` in memory. Each is loaded once, when it is first asked for.

    Parts that do not fit the GPU together take turns: asking for a part brings it to the GPU and sends the
    others to host memory. Therefore ask anew for each stage of a run.

    Attributes:
        source: the files.
        device, dtype: where and in which precision the parts work; AdaLN tables and the vocoder stay fp32.
        placement: which parts are on the GPU at which stage; planned anew for each size of clip.
        run: runs a step's passes.
        left_out: adapter layers that were skipped because the denoiser was loaded without its audio half.
    """

    def __init__(
        self,
        source: Source,
        device: torch.device,
        dtype: torch.dtype,
        cache_dir: Path | None,
        placement: Placement | None = None,
        run: RunPasses = run_alone,
    ) -> None:
        self.source, self.device, self.dtype = source, device, dtype
        self.cache_dir = cache_dir or cache_folder()
        self.placement = placement or Placement(device)
        self.run = run
        self._vae: VideoVAE | None = None
        self._audio: tuple[AudioVAE, Vocoder] | None = None
        self._transformer: Transformer | None = None
        self._lent: Transformer | None = None
        self._merged: tuple[Any, ...] = ()
        self.left_out: tuple[str, ...] = ()

    @property
    def numerics(self) -> str:
        """The precision as far as it changes a clip: the dtype, and formats that the user asked for."""
        asked = {"layers": self.placement.dtype, "attention": self.placement.attention}
        return ", ".join(
            [str(self.dtype), *(f"{kind} {part}" for part, kind in asked.items() if kind in FORMATS)]
        )

    def vae(self) -> VideoVAE:
        """The video VAE."""
        if self._vae is None:
            self._vae = self.source.checkpoint.load_video_vae(device=self.device, dtype=self.dtype)
        self.placement.turn(self._vae, [self._transformer])
        if self.placement.plan is not None:
            self._vae.tile(self.placement.plan.tiling)
        return self._vae

    def vae_at_rest(self) -> VideoVAE:
        """The video VAE where it lies now, on the GPU or in host memory: nothing makes room for it."""
        return self.vae() if self._vae is None else self._vae

    def audio(self) -> tuple[AudioVAE, Vocoder]:
        """The audio VAE and the vocoder. They are small and stay on the GPU.

        Raises:
            CheckpointError: the checkpoint has no audio parts.
        """
        if self._audio is None:
            self._audio = self.source.checkpoint.load_audio(device=self.device, dtype=self.dtype)
        return self._audio

    def settle(self, settings: Settings) -> Plan | None:
        """Plan which parts are on the GPU at which stage; None on a CPU.

        Raises:
            SettingsError: the clip does not fit the memory.
        """
        plan = self.placement.settle(self.source, settings)
        if self._merged != self._wanted(settings):
            self._transformer = None  # it will be loaded anew: nothing need make room for the old one
        return plan

    def enlarged(self, settings: Settings, latents_BCFHW: Tensor) -> Tensor:
        """Latents, enlarged by the run's latent upsampler, which is loaded for it and freed after it.

        Raises:
            CheckpointError: the upsampler is not there, or damaged.
            ValueError: the run has none.
        """
        upsampler, vae = self.source.upsampler(settings), self.vae()
        if upsampler is None:
            raise ValueError("no stage of the run enlarges")
        network = upsampler.load(device=self.device, dtype=self.dtype)
        return enlarge(network, vae, latents_BCFHW.to(self.device))

    def transformer(self, settings: Settings, *, refining: bool = False) -> Transformer:
        """The denoiser with the adapters merged at the settings' strengths, made fast.

        Other strengths load the weights anew: an adapter that was rounded into bf16 cannot be taken out.

        Args:
            refining: the one of the stages from an enlarging one on, with `refining_adapters` alone.

        Raises:
            AdapterError: an adapter does not fit the model.
        """
        if self._lent is not None:
            return self._lent
        wanted = self._wanted(settings, refining)
        if self._transformer is None or self._merged != wanted:
            self._transformer = None  # two copies of the real model do not fit
            self.placement.turn(None, [self._vae])
            self._transformer = self._made_fast(self._read(settings, refining))
            self._merged = wanted
        self.placement.turn(self._transformer, [self._vae])
        return self._transformer

    @contextmanager
    def lent(self, transformer: Transformer) -> Iterator[None]:
        """Inside, the denoiser is this one, whatever the settings; the VAE leaves memory after it."""
        self._lent = transformer
        try:
            yield
        finally:
            self._lent = self._vae = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _strengths(self, settings: Settings, refining: bool) -> list[tuple[LoRA, float]]:
        adapters = self.source.refiners(settings) if refining else self.source.adapters_in(settings)
        return [(one.lora, one.strength_in(settings)) for one in adapters]

    def _wanted(self, settings: Settings, refining: bool = False) -> tuple[Any, ...]:
        """A value that differs between denoisers that must be loaded separately."""
        strengths = [(lora.path, strength) for lora, strength in self._strengths(settings, refining)]
        return settings.audio, self.placement.form(self.source.checkpoint), *strengths

    def _read(
        self, settings: Settings, refining: bool = False, on_tensor: Callable[[], None] | None = None
    ) -> Transformer:
        form, audio = self.placement.form(self.source.checkpoint), settings.audio
        adapters = self._strengths(settings, refining)
        home = torch.device("cpu") if form.streams else self.device
        model, self.left_out = load_transformer(
            self.source.checkpoint,
            form.precision,
            device=self.device,
            home=home,
            dtype=self.dtype,
            audio=audio,
            adapters=adapters,
            on_tensor=on_tensor,
        )
        if self.left_out:
            warnings.warn(
                f"{len(self.left_out)} adapter layers belong to the audio half and are left out, such as"
                f" {self.left_out[0]}; run with audio to use them",
                stacklevel=4,
            )
        return model

    def _made_fast(self, transformer: Transformer) -> Transformer:
        form = self.placement.form(self.source.checkpoint)
        resident = form.resident if form.streams else None
        return make_fast(transformer, self.device, attention=self.placement.attention, resident=resident)

    def contexts(
        self, prompts: Sequence[str], *, audio: bool, following: Settings | None = None
    ) -> list[Contexts]:
        """The text contexts of prompts, read from the cache or encoded.

        The text encoder, as large as the denoiser, is loaded only for missing prompts, and freed after them.

        Args:
            following: settings of the clip that is made next. Its VAE and denoiser are loaded meanwhile, if
                the plan has room for both.

        Raises:
            TextEncoderError: the text encoder is needed and not given, or does not fit the checkpoint.
        """
        cache = self._contexts(audio)
        found = {prompt: cache.get(prompt) for prompt in prompts}
        missing = [prompt for prompt, context in found.items() if context is None]
        if missing:
            with self._ahead(following) as begin:
                encoder = self._text_encoder(audio, begin)
                for prompt in missing:
                    found[prompt] = context = encoder.encode(prompt)
                    _keep(cache, prompt, context)
        contexts = [context for context in (found[prompt] for prompt in prompts) if context is not None]
        return [
            Contexts(
                one.video_LD[None].to(self.device),
                None if one.audio_LD is None else one.audio_LD[None].to(self.device),
            )
            for one in contexts
        ]

    def context_path(self, prompt: str) -> Path:
        """The file of a prompt's context, without sound, in the cache."""
        return self._contexts(audio=False).path(prompt)

    def _contexts(self, audio: bool) -> ContextCache:
        return ContextCache(self.cache_dir / "contexts", self._text_fingerprint(audio))

    @contextmanager
    def _ahead(self, following: Settings | None) -> Iterator[Callable[[], None]]:
        """Gives what begins to load VAE and denoiser in another thread; they are there when the block ends.

        An error of the block comes before one of the thread, and ends the thread at its next tensor.
        """
        plan, ended = self.placement.plan, Event()

        def look() -> None:
            if ended.is_set():
                raise _GivenUp

        def load(settings: Settings) -> Transformer | None:
            with torch.no_grad():  # each thread has its own
                self.vae()
                if self._transformer is not None and self._merged == self._wanted(settings):
                    return None
                self._transformer = None  # as in `transformer`
                return self._read(settings, on_tensor=look)

        with ThreadPoolExecutor(1, "castsheet-load", partial(working_on, self.device)) as pool:
            loading: list[Future[Transformer | None]] = []

            def begin() -> None:
                if plan is not None and plan.ahead and following is not None:
                    loading.append(pool.submit(load, following))

            try:
                yield begin
                for one in loading:
                    if following is not None and (read := one.result()) is not None:
                        # In this thread: torch keeps what is set for its compiler apart for each.
                        self._transformer = self._made_fast(read)
                        self._merged = self._wanted(following)
            finally:
                ended.set()

    def _text_encoder(self, audio: bool, on_built: Callable[[], None] | None = None) -> TextEncoder:
        folder, device = self._text_folder(), self.placement.text_device
        self.placement.turn_of_text([self._vae, self._transformer])
        gemma = GemmaEncoder.load(folder, device=device, dtype=self._text_dtype, on_built=on_built)
        connectors = self.source.checkpoint.load_connectors(
            device=device, dtype=self._text_dtype, audio=audio
        )
        return TextEncoder(gemma, connectors)

    @property
    def _text_dtype(self) -> torch.dtype:
        # On a CPU prompts are encoded in fp32: each is encoded once, and bf16 would only lose digits.
        return self.dtype if self.device.type == "cuda" else torch.float32

    def _text_folder(self) -> Path:
        if self.source.text_encoder is None:
            raise TextEncoderError(
                f"{self.source.checkpoint.path} holds no text encoder",
                remedy=family_of(self.source.checkpoint.family).encoder_remedy,
            )
        return self.source.text_encoder

    def _text_fingerprint(self, audio: bool) -> str:
        parts = (
            gemma_fingerprint(self._text_folder()),
            self.source.checkpoint.connectors_fingerprint(),
            str(self._text_dtype),
            "audio" if audio else "video",
            self.source.checkpoint.family,
        )
        return " ".join(parts)


def _keep(cache: ContextCache, prompt: str, context: Context) -> None:
    """Store a context. If the cache cannot be written the run goes on: the next one encodes again."""
    try:
        cache.put(prompt, context)
    except OutputError as error:
        warnings.warn(f"the prompt's context was not kept: {error.what}", stacklevel=2)
