"""From the text encoder's hidden states to the contexts that the denoiser attends to.

Shape legend: B batch, N text tokens, L context slots, D width, K hidden states a token (layers + 1),
P = D x K, R registers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d
from torch import Tensor, nn

from castsheet.errors import SettingsError
from castsheet.ltx import keys
from castsheet.ltx.parts.vae import fill, unsupported
from castsheet.machine.ranges import real, whole

# Gemma-3-12B: 48 layers and the embedding. Tensor shapes tell whether a file was made for another encoder.
GEMMA_12B_STATES = 49
MAX_WIDTH = 1 << 20
_EPS = 1e-6


@dataclass(frozen=True)
class ConnectorSettings:
    """What the official `transformer` config says about the text connectors."""

    caption_channels: int
    registers: int
    layers: int
    max_position: int
    theta: float
    gated: bool
    double_precision: bool
    video: tuple[int, int]  # heads, width of a head
    audio: tuple[int, int]

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> ConnectorSettings:
        """Read the official keys.

        Raises:
            CheckpointError: a key is missing, or asks for a connector of another family.
        """
        wanted = {
            "rope_type": "split",
            "connector_norm_output": True,
            "text_encoder_norm_type": "per_token_rms",
            "connector_ff_bias": True,
        }
        for field, value in wanted.items():
            found = config.get(field, value)
            # LTX-2.5 writes names that LTX-2.3 wrote in lower case in upper case.
            if (found.lower() if isinstance(found, str) else found) != value:
                raise unsupported("pair of text connectors", f"{field} is {config[field]!r}, not {value!r}")
        try:
            heads = _size(config["connector_num_attention_heads"])
            head_width = _size(config["connector_attention_head_dim"])
            audio_heads = _size(config.get("audio_connector_num_attention_heads", heads))
            return cls(
                caption_channels=_size(config["caption_channels"]),
                registers=whole(config["connector_num_learnable_registers"], 1, 1024),
                layers=whole(config["connector_num_layers"], 1, 1024),
                max_position=_size(config["connector_positional_embedding_max_pos"][0]),
                theta=real(config.get("positional_embedding_theta", 10000.0), 2, 1e9),
                gated=bool(config.get("connector_apply_gated_attention", False)),
                double_precision=config.get("frequencies_precision", "float32") == "float64",
                video=(heads, head_width),
                audio=(
                    audio_heads,
                    _size(config.get("audio_connector_attention_head_dim", head_width)),
                ),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise unsupported(
                "pair of text connectors", f"a field is missing or malformed ({error!r})"
            ) from error

    @property
    def widths(self) -> tuple[int, int]:
        return math.prod(self.video), math.prod(self.audio)


class TextConnectors(nn.Module):
    """Projection and 1-D transformer of each stream; the audio stream is optional.

    Children carry diffusers' names: the state dict is that of LTX2TextConnectors, or the video half of it.

    Args:
        config: the official `transformer` config.
        states: hidden states a token that the text encoder gives (its layers + 1).
        audio: build the audio stream as well.

    Raises:
        CheckpointError: the config lacks a connector field.
    """

    def __init__(
        self, config: Mapping[str, Any], *, states: int = GEMMA_12B_STATES, audio: bool = False
    ) -> None:
        super().__init__()
        self.settings = settings = ConnectorSettings.parse(config)
        self.states = states
        packed = settings.caption_channels * states
        self.video_text_proj_in = nn.Linear(packed, settings.widths[0])
        self.video_connector = _transformer(settings, *settings.video)
        self.audio_text_proj_in = nn.Linear(packed, settings.widths[1]) if audio else None
        self.audio_connector = _transformer(settings, *settings.audio) if audio else None

    def context_length(self, longest: int = 1024) -> int:
        """Context slots: 1024, or fewer if the tokenizer ends sooner; always a multiple of the registers.

        Raises:
            SettingsError: `longest` is smaller than one set of registers.
        """
        length = min(longest, 1024) // self.settings.registers * self.settings.registers
        if not length:
            raise SettingsError(
                f"a context of {longest} slots is shorter than the {self.settings.registers} registers",
                remedy=f"give the tokenizer a model_max_length of at least {self.settings.registers}",
            )
        return length

    def forward(
        self, hidden_BNDK: Tensor, mask_BN: Tensor | None = None, length: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Contexts of the video and audio streams, (B,L,width) each; differentiable.

        Args:
            hidden_BNDK: every hidden state of every token, embedding first, final norm last.
            mask_BN: true at real tokens (padding on either side); None if all are real.
            length: context slots; by default `context_length()`.

        Raises:
            SettingsError: more tokens than slots, or a length that is no multiple of the registers.
        """
        length = length or self.context_length()
        if hidden_BNDK.shape[1] > length or length % self.settings.registers:
            raise SettingsError(
                f"{hidden_BNDK.shape[1]} tokens do not fit a context of {length} slots "
                f"(a multiple of {self.settings.registers})",
                remedy="truncate the prompt, or choose a longer context",
            )
        if mask_BN is not None:
            mask_BN = mask_BN.bool()
        video_BND, audio_BND = self.features(hidden_BNDK, mask_BN)
        video_BLD = connect(self.video_connector, video_BND, mask_BN, length)
        if audio_BND is None or self.audio_connector is None:
            return video_BLD, None
        return video_BLD, connect(self.audio_connector, audio_BND, mask_BN, length)

    def features(self, hidden_BNDK: Tensor, mask_BN: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Projected features of the video and audio streams, (B,N,width) each: what the connectors read.

        Args:
            hidden_BNDK, mask_BN: see `forward`. Features of padding are those of zeros.
        """
        normed = hidden_BNDK * torch.rsqrt(hidden_BNDK.float().square().mean(2, keepdim=True) + _EPS)
        packed_BNP = normed.flatten(2).to(self.video_text_proj_in.weight.dtype)
        if mask_BN is not None:
            packed_BNP = packed_BNP * mask_BN.bool()[..., None]
        audio = (
            None if self.audio_text_proj_in is None else self._project(self.audio_text_proj_in, packed_BNP)
        )
        return self._project(self.video_text_proj_in, packed_BNP), audio

    def _project(self, project: nn.Linear, packed_BNP: Tensor) -> Tensor:
        return project(packed_BNP * math.sqrt(project.out_features / self.settings.caption_channels))


def connect(connector: Any, features_BND: Tensor, mask_BN: Tensor | None, length: int) -> Tensor:
    """A stream's context (B,L,D) from its projected features."""
    x_BLD = place_registers(features_BND, mask_BN, connector.learnable_registers, length)
    # Registers fill every empty slot, so no slot is masked from here on.
    rotary = connector.rope(x_BLD.shape[0], length, device=x_BLD.device)
    for block in connector.transformer_blocks:
        x_BLD = block(x_BLD, attention_mask=None, rotary_emb=rotary)
    return connector.norm_out(x_BLD)


def place_registers(
    features_BND: Tensor, mask_BN: Tensor | None, registers_RD: Tensor, length: int
) -> Tensor:
    """Real tokens first, in order; the slots after them take the registers of their own slot numbers.

    Without a mask no padding is needed, and only real tokens are computed. The official run with padding
    gives the same values: the encoder masks the padding, and registers replace it here.
    """
    batch, count, width = features_BND.shape
    registers_LD = registers_RD.to(features_BND.dtype).repeat(length // registers_RD.shape[0], 1)
    tail_BLD = registers_LD.expand(batch, -1, -1)
    if mask_BN is None:
        return torch.cat([features_BND, tail_BLD[:, count:]], dim=1)
    order_BN = torch.argsort((~mask_BN).int(), dim=1, stable=True)
    front_BND = features_BND.gather(1, order_BN[..., None].expand(-1, -1, width))
    slots_N = torch.arange(count, device=mask_BN.device)
    real_BN1 = (slots_N < mask_BN.sum(1, keepdim=True))[..., None]
    head_BND = torch.where(real_BN1, front_BND, tail_BLD[:, :count])
    return torch.cat([head_BND, tail_BLD[:, count:]], dim=1)


def connectors_from_official(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, audio: bool = False
) -> TextConnectors:
    """Build the connectors around official tensors, keeping their device and dtype.

    Args:
        config: the official `transformer` config.
        tensors: tensors under official names; without `audio`, those of the audio stream are ignored.
        audio: build the audio stream as well.

    Raises:
        CheckpointError: a tensor is missing, unknown or of the wrong shape.
    """
    state = {keys.connectors_to_diffusers(name): tensor for name, tensor in tensors.items()}
    if not audio:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("audio_")}
    settings = ConnectorSettings.parse(config)
    projection = state.get("video_text_proj_in.weight")
    states = GEMMA_12B_STATES if projection is None else projection.shape[-1] // settings.caption_channels
    with torch.device("meta"):
        connectors = TextConnectors(config, states=states, audio=audio)
    fill(connectors, state)
    return connectors


def _size(value: Any) -> int:
    return whole(value, 1, MAX_WIDTH)


def _transformer(settings: ConnectorSettings, heads: int, head_width: int) -> LTX2ConnectorTransformer1d:
    return LTX2ConnectorTransformer1d(
        num_attention_heads=heads,
        attention_head_dim=head_width,
        num_layers=settings.layers,
        num_learnable_registers=settings.registers,
        rope_base_seq_len=settings.max_position,
        rope_theta=settings.theta,
        rope_double_precision=settings.double_precision,
        rope_type="split",
        gated_attention=settings.gated,
    )
